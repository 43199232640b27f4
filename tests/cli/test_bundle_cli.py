import json

import pytest
from tiny_run import started
from typer.testing import CliRunner

from potstill.bundle import load_bundle
from potstill.cli import build
from potstill.errors import BadInput
from potstill.pipeline.run import Run
from potstill.pipeline.train import train_run


def test_bundle_builds_one_student_for_several_runs(tmp_path):
    runs = [started(tmp_path / name) for name in ("one", "two")]
    for run in runs:
        train_run(run, ["constant", "tfidf-ridge"])
    folders = [str(run.folder) for run in runs]
    done = CliRunner().invoke(build(), ["bundle", folders[0], "--with", folders[1], "--json"])
    assert done.exit_code == 0, done.output
    assert [one["choice"]["rung"] for one in json.loads(done.stdout)] == ["tfidf-ridge"] * 2
    assert all("requested by name" in one["choice"]["reason"] for one in json.loads(done.stdout))
    assert load_bundle(runs[1].path("bundle")).manifest.recipe == "tfidf-ridge"


def test_bundle_chooses_the_cut_for_an_operating_point_and_prints_it(tmp_path):
    run = started(tmp_path / "run")
    train_run(run, ["tfidf-ridge"])
    done = CliRunner().invoke(build(), ["bundle", str(run.folder), "--decide", "lead:recall=0.5"])
    assert done.exit_code == 0, done.output
    (cut,) = load_bundle(run.path("bundle")).calibration.decisions.cuts
    assert cut.point.recall == 0.5
    assert f"  lead: named from probability {cut.probability:.3f} on, for recall 0.5; " in done.stdout
    assert f"{cut.named} of 80 held-out articles named, {cut.found} of {cut.positives} found" in done.stdout
    assert Run.open(run.folder).manifest.stages["bundle"].parameters["decide"] == {"lead": "recall=0.5"}
    for text, message in (
        ("brief:f1", "brief is no positive tier; there are lead"),
        ("recall=2", "got 2.0, expected a number above 0 and below 1"),
    ):
        with pytest.raises(BadInput, match=message):
            CliRunner().invoke(build(), ["bundle", str(run.folder), "--decide", text], catch_exceptions=False)


def test_bundle_builds_what_validation_prefers_and_says_why(tmp_path):
    run = started(tmp_path / "run")
    train_run(run, ["constant", "tfidf-ridge"])
    done = CliRunner().invoke(build(), ["bundle", str(run.folder)])
    assert done.exit_code == 0, done.output
    assert "tfidf-ridge, selected on validation" in done.stderr
    assert load_bundle(run.path("bundle")).manifest.recipe == "tfidf-ridge"
    done = CliRunner().invoke(build(), ["bundle", str(run.folder), "--student", "constant", "--json"])
    assert json.loads(done.stdout)["choice"]["rung"] == "constant"
