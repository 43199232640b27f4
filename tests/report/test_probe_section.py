"""Tests of behaviour tests in the report."""

import pytest
from evaluated_run import evaluated_run

from potstill.files import read_json, write_json
from potstill.pipeline.probe import prepare
from potstill.pipeline.run import Run
from potstill.probing import CHECKS
from potstill.report import write_report
from potstill.report.blocks import Findings, Paragraph, Table
from potstill.report.facts import collect
from potstill.report.sections.probe import probe

PROBES = """
ramps:
  gain:
    - [Fire theft crash strike town., Fire theft bridge strike town., School garden bridge clinic town.]
paraphrases:
  - [A garden in the town., In the town a garden.]
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe")
    run = evaluated_run(folder)
    (folder / "probes.yaml").write_text(PROBES)
    prepare(run.folder, probes=folder / "probes.yaml", number=5).carry_out(least=["ramps=0.9", "0"])
    return Run.open(run.folder)


def blocks(run, kind):
    return [block for block in probe(collect(run)).blocks if isinstance(block, kind)]


def said(run):
    return ["".join(map(str, block.text)) for block in blocks(run, Paragraph)]


def test_each_cell_counts_what_passes_and_what_was_compared(run):
    record = read_json(run.path("probe_record"))
    table = blocks(run, Table)[0]
    rows = {str(row.cells[0][0]): ["".join(map(str, cell)) for cell in row.cells[1:]] for row in table.rows}
    assert list(rows) == ["gain", "near", "all dimensions"]
    ramps = record["subjects"]["student"]["checks"]["ramps"]["dimensions"]["gain"]
    assert rows["gain"][0] == f"{ramps['passed']} of {ramps['compared']}"
    assert rows["near"][0] == "\N{EM DASH}"
    labels = [column.label for column in table.columns][1:]
    assert labels == [check for check in CHECKS if check in record["subjects"]["student"]["checks"]]


def test_texts_targets_and_conclusions_are_told(run):
    words = said(run)
    assert words[0].startswith("1 ramps, lists of texts in which one dimension rises")
    assert "5 articles (test part)" in words[0]
    assert any(line.startswith("ramps: ") and "at least 90% was asked for" in line for line in words)
    (conclusions,) = blocks(run, Findings)
    assert len(conclusions.items) == len(read_json(run.path("probe_record"))["findings"]) > 0


def test_the_report_and_the_card_show_the_tests_and_new_tests_make_the_report_stale(run):
    write_report(run)
    folder = run.path("report")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert 'data-file="probe/probe.json" data-field="/subjects/student/checks/ramps/overall/rate"' in page
    assert "Behaviour tests" in (folder / "report.md").read_text(encoding="utf-8")
    assert "## Evaluation of behaviour" in (folder / "model_card.md").read_text(encoding="utf-8")
    prepare(run.folder, number=4).carry_out()
    state = next(one.state for one in Run.open(run.folder).status() if one.stage == "report")
    assert state == "stale"


def test_tests_of_another_bundle_say_so(run):
    kept = read_json(run.path("probe_record"))
    kept_student = kept["subjects"]["student"]
    try:
        changed = kept | {"subjects": {"student": kept_student | {"bundle_sha256": "ab" * 32}}}
        write_json(run.path("probe_record"), changed)
        assert said(run)[0].startswith("These tests are of a different bundle (abababababab)")
    finally:
        write_json(run.path("probe_record"), kept)


def test_without_tests_the_section_says_how_to_make_them(run):
    moved = run.path("probe").rename(run.folder / "elsewhere")
    try:
        assert said(run) == ["Not recorded. Run potstill probe RUN to test the behaviour of the bundle."]
    finally:
        moved.rename(run.path("probe"))
