"""Tests of the evaluation on new articles in the report: errors with their noise floor, and the bundle they are of."""

import json

import pytest
from evaluated_run import evaluated_run, stories

from potstill.files import read_json, write_json
from potstill.oracle import open_oracle
from potstill.pipeline.fresh import prepare
from potstill.pipeline.run import Run
from potstill.report import write_report
from potstill.report.blocks import Paragraph, Shown, Table
from potstill.report.facts import collect
from potstill.report.sections.fresh import fresh


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with a report, and then an evaluation on 30 new stories, each labelled twice."""
    folder = tmp_path_factory.mktemp("fresh")
    run = evaluated_run(folder)
    write_report(run)
    # With the same seed, the first 90 stories are those of the run.
    articles, answers = stories(120)
    for name, rows in (("new", articles), ("more", answers)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepare(run.folder, folder / "new.jsonl", 30).carry_out(open_oracle(f"replay:{folder / 'more.jsonl'}"), samples=2)
    return Run.open(run.folder)


def said(run):
    """Return the section's text, tables by caption, and the tone of each paragraph."""
    section = fresh(collect(run))
    paragraphs = [block for block in section.blocks if isinstance(block, Paragraph)]
    tables = {block.caption: block for block in section.blocks if isinstance(block, Table)}
    return ["".join(map(str, one.text)) for one in paragraphs], tables, [one.tone for one in paragraphs]


def states(run):
    return {status.stage: status.state for status in run.status()}


def test_a_fresh_check_makes_the_report_stale_and_a_new_report_shows_it(run):
    assert (states(run)["fresh"], states(run)["report"]) == ("done", "stale")
    write_report(run)
    assert states(Run.open(run.folder))["report"] == "done"
    page = (run.path("report") / "report.html").read_text(encoding="utf-8")
    assert 'data-file="fresh/fresh.json" data-field="/judgement/mean/mae"' in page
    assert "Evaluation on new articles" in (run.path("report") / "report.md").read_text(encoding="utf-8")


def test_each_dimension_stands_beside_its_floor(run):
    record = read_json(run.path("fresh_record"))
    words, tables, tones = said(run)
    assert words[0].startswith("30 articles, a random sample of 120 that")
    assert "(2 answers each; 30 have a label)" in words[0]
    assert tones == [None, None]
    table = tables["The bundle on new articles"]
    rows = {str(row.cells[0][0]): row.cells for row in table.rows}
    assert list(rows) == ["gain", "near", "mean", "weighted overall"]
    for name in ("gain", "near"):
        mae, floor = rows[name][1][0], rows[name][-1][0]
        assert isinstance(mae, Shown)
        assert mae.fact.value == record["judgement"]["dimensions"][name]["mae"]
        assert floor.fact.value == record["floor"]["floor"][name] > 0


def test_a_check_of_another_bundle_says_so(run):
    kept = read_json(run.path("fresh_record"))
    try:
        write_json(run.path("fresh_record"), kept | {"bundle_sha256": "ab" * 32})
        words, _, tones = said(run)
    finally:
        write_json(run.path("fresh_record"), kept)
    assert words[0].startswith("These figures are for a different bundle (abababababab) than the bundle")
    assert tones[0] == "caution"


def test_without_a_check_the_section_says_how_to_make_one(run):
    moved = run.path("fresh").rename(run.folder / "elsewhere")
    try:
        words, tables, _ = said(run)
    finally:
        moved.rename(run.path("fresh"))
    assert words == [
        "Not recorded. Run potstill evaluate RUN --oracle ORACLE to evaluate the bundle on newly labelled articles."
    ]
    assert tables == {}
