import json
import shutil

import pytest
from evaluated_run import evaluated_run
from typer.testing import CliRunner

from potstill.bundle import load_bundle
from potstill.cli import build
from potstill.errors import BadInput, BundleError, RunError
from potstill.files import read_json, sha256, write_json
from potstill.pipeline.compare import compare_paths
from potstill.pipeline.run import Run
from potstill.report.facts import collect
from potstill.report.sections.comparison import comparison


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return evaluated_run(tmp_path_factory.mktemp("compared"), 60).folder


@pytest.fixture
def run(original, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Run.open(shutil.copytree(original, tmp_path / "run"))


@pytest.fixture
def figures(run):
    (run.folder.parent / "risk.json").write_text(json.dumps({"filter": "risk", "filter_version": 2, "mae": 0.67}))
    return "risk.json"


def invoke(*arguments):
    return CliRunner().invoke(build(), list(map(str, arguments)))


def words(section):
    return " ".join(str(part) for block in section.blocks if hasattr(block, "text") for part in block.text)


def test_a_bare_bundle_is_compared_by_the_skill_that_it_recorded(run, figures):
    bundle = run.path("bundle")
    recorded = read_json(bundle / "facts.json")["choice"]["validation_mae"]
    found = compare_paths([str(bundle), figures])
    entry = found.entries[0]
    assert (entry.name, entry.filter, entry.filter_version, entry.source) == (str(bundle), "good-news", 3, "validation")
    assert entry.mae == recorded["tfidf-ridge"]
    assert entry.skill == pytest.approx(1 - recorded["tfidf-ridge"] / recorded["constant"], abs=1e-6)
    assert found.pairs == ()


def test_a_bundle_knows_the_constants_error_though_no_constant_was_trained(run, figures):
    facts = load_bundle(run.path("bundle")).facts
    assert facts.choice.constant_mae == pytest.approx(facts.choice.validation_mae["constant"], abs=1e-6)


def test_a_bundle_that_is_not_as_it_was_written_is_refused(run, figures):
    (run.path("bundle") / "facts.json").write_text("{}")
    with pytest.raises(BundleError, match="facts"):
        compare_paths([str(run.path("bundle")), figures])


def test_a_comparison_is_kept_in_the_run_and_shown_by_its_report(run, figures):
    done = invoke("compare", "run", figures, "--keep", "--json")
    assert done.exit_code == 0, done.output
    record = read_json(run.path("comparison"))
    assert record == json.loads(done.stdout)
    assert record["evaluation_sha256"] == sha256(run.path("evaluation"))
    section = comparison(collect(Run.open(run.folder)))
    table = next(block for block in section.blocks if getattr(block, "caption", "") == "Compared entries")
    assert [str(row.cells[0][0]) for row in table.rows] == ["run", "risk.json"]
    assert str(table.rows[1].cells[4][0]) == "unknown"
    assert "is not known" in words(section)


def test_the_report_shows_first_what_is_found_of_each_positive_tier_and_errors_after_it(run):
    shutil.copytree(run.folder, run.folder.parent / "other")
    invoke("compare", "run", "other", "run/bundle", "--keep")
    record = read_json(run.path("comparison"))
    found, differences, errors, pairs = comparison(collect(Run.open(run.folder))).blocks[:4]
    assert (errors.caption, pairs.caption.split(" (")[0]) == ("Compared entries", "Differences in MAE")
    shown = {str(row.cells[0][0]): ["".join(map(str, cell)) for cell in row.cells[1:]] for row in found.rows}
    assert list(shown) == [entry["name"] for entry in record["entries"]]
    for entry in record["entries"]:
        (tier,) = entry["positive_tiers"]
        assert shown[entry["name"]] == [
            "lead",
            "at the oracle's volume" if tier["at_volume"] else "by cut",
            *(f"{tier[name]:.0f}" for name in ("oracle", "named", "both")),
            *(
                f"{100 * tier[name]:.0f}%" if tier[name] is not None else "\N{EM DASH}"
                for name in ("recall", "precision")
            ),
            f"{tier['average_precision']:.3f}",
        ]
    bundle = next(entry["positive_tiers"][0] for entry in record["entries"] if entry["name"] == "run/bundle")
    assert bundle["precision"] == pytest.approx(bundle["both"] / bundle["named"], abs=1e-6)
    (row,) = differences.rows
    assert [str(cell[0]) for cell in row.cells[:3]] == ["run", "other", "lead"]
    assert [str(cell[0]).strip("+") for cell in row.cells[5:9]] == ["0.00"] * 4


def test_a_comparison_of_an_older_version_has_no_precision(run, figures):
    invoke("compare", "run", figures, "--keep")
    record = read_json(run.path("comparison"))
    del record["entries"][0]["positive_tiers"][0]["precision"]
    write_json(run.path("comparison"), record)
    found = comparison(collect(Run.open(run.folder))).blocks[0]
    assert str(found.rows[0].cells[7][0]) == "\N{EM DASH}"


def test_a_comparison_on_another_evaluation_is_not_shown(run, figures):
    invoke("compare", "run", figures, "--keep")
    run.path("evaluation").write_text(run.path("evaluation").read_text() + " ")
    section = comparison(collect(Run.open(run.folder)))
    assert len(section.blocks) == 1
    assert "with a different evaluation" in words(section)


def test_without_a_comparison_the_way_to_one_is_named(run):
    assert "compare RUN OTHER --keep" in words(comparison(collect(run)))


def test_only_a_run_keeps_a_comparison(run, figures):
    done = invoke("compare", figures, "run", "--keep")
    assert isinstance(done.exception, RunError | BadInput)
    assert not run.path("comparison").exists()
