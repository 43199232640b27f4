"""What every command says of a student that is not shown to be better than the constant."""

import json
import shutil

import numpy as np
import pytest
from evaluated_run import FILTER, stories
from typer.testing import CliRunner

from potstill.cli import build
from potstill.oracle import open_oracle
from potstill.pipeline.label import label_run
from potstill.pipeline.run import Run

CAUTION = "shipped with --anyway, not shown to be better than the constant: skill "


def invoke(*arguments):
    return CliRunner().invoke(build(), [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """Return a run up to its students, whose labels were shuffled among the articles and are all below 4."""
    folder = tmp_path_factory.mktemp("noise")
    articles, answers = stories(90)
    shuffled = np.random.default_rng(3).permutation(90)
    answers = [{"id": answers[i]["id"], "samples": answers[j]["samples"]} for i, j in enumerate(shuffled)]
    for one in answers:
        for sample in one["samples"]:
            sample["scores"] = {name: round(0.7 * score) / 2 for name, score in sample["scores"].items()}
    for name, rows in (("articles", articles), ("answers", answers)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = folder / "run"
    label_run(run, FILTER, folder / "articles.jsonl", open_oracle(f"replay:{folder / 'answers.jsonl'}"), samples=2)
    assert invoke("dataset", run).exit_code == 0
    assert invoke("train", run, "--recipe", "constant", "--recipe", "tfidf-ridge").exit_code == 0
    return run


@pytest.fixture(scope="module")
def shipped(noise):
    """Return the run with its bundle, which was shipped anyway, its evaluation and its report."""
    done = invoke("bundle", noise, "--anyway")
    assert done.exit_code == 0, done.output
    assert invoke("evaluate", noise, "--no-time", "--folds", "0").exit_code == 0
    assert invoke("report", noise).exit_code == 0
    return noise


def test_bundle_and_distill_refuse_it_with_exit_code_1_and_leave_all_as_it_was(noise):
    run = Run.open(noise)
    before = run.manifest.stages.get("bundle"), run.fingerprint("bundle")
    done = invoke("bundle", noise)
    assert done.exit_code == 1
    run = Run.open(noise)
    assert (run.manifest.stages.get("bundle"), run.fingerprint("bundle")) == before
    error = str(done.exception)
    assert len(error) < 300
    assert "tfidf-ridge is not shown to be better than the constant: skill -" in error
    assert "on 72 held-out rows; no number of labels is in sight" in error
    assert "now 90" in error
    assert "--anyway" in error


def test_distill_refuses_it_and_keeps_what_was_trained(noise, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(noise, run)
    shutil.rmtree(run / "bundle", ignore_errors=True)
    done = invoke("distill", run, "--recipe", "tfidf-ridge")
    assert done.exit_code == 1
    assert "is not shown to be better than the constant" in str(done.exception)
    assert (run / "students" / "tfidf-ridge").is_dir()
    done = invoke("distill", run, "--recipe", "tfidf-ridge", "--anyway", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["caution"].startswith(CAUTION)


def test_bundle_ships_it_anyway_and_says_so(shipped):
    done = invoke("bundle", shipped, "--anyway")
    assert CAUTION in " ".join(done.stderr.split())
    found = json.loads(invoke("bundle", shipped, "--anyway", "--json").stdout)
    assert found["caution"].startswith(CAUTION)
    assert found["choice"]["skill"]["interval"]["low"] < 0
    assert found["choice"]["skill"]["labels"]["articles"] is None


@pytest.mark.parametrize("command", ["verify", "status", "evaluate"])
def test_other_commands_say_so_too(shipped, command):
    options = ["--no-time", "--folds", "0"] if command == "evaluate" else []
    place = shipped / "bundle" if command == "verify" else shipped
    assert CAUTION in invoke(command, place, *options).stdout
    found = json.loads(invoke(command, place, *options, "--json").stdout)
    if command == "evaluate":
        rules = {finding["rule"]: finding for finding in found["findings"]}
        assert rules["shipped-anyway"]["tone"] == "bad"
        assert CAUTION in rules["shipped-anyway"]["text"]
    else:
        assert found["caution"].startswith(CAUTION)


def test_scoring_ends_with_it(shipped, tmp_path):
    articles = shipped.parent / "articles.jsonl"
    done = invoke("score", shipped / "bundle", articles, "-o", tmp_path / "out.jsonl")
    assert CAUTION in " ".join(done.stderr.split())
    found = json.loads(invoke("score", shipped / "bundle", articles, "-o", tmp_path / "out.jsonl", "--json").stdout)
    assert found["caution"].startswith(CAUTION)


def test_report_and_model_card_say_it_and_the_student_is_not_ready_for_production(shipped):
    report = shipped / "report"
    pages = [report / "report.md", report / "model_card.md", report / "report.html"]
    for page in pages:
        assert CAUTION in page.read_text(encoding="utf-8"), page
    assert "Was shown to beat the constant on rows that selected nothing" in pages[0].read_text(encoding="utf-8")


def test_the_constant_is_shipped_by_name_and_said_to_be_one(shipped):
    done = invoke("bundle", shipped, "--student", "constant")
    assert done.exit_code == 0
    assert "the student is the constant baseline: its scores do not depend on the text" in " ".join(done.stderr.split())
    assert "constant baseline" in invoke("verify", shipped / "bundle").stdout


class TestEndsOfTheScaleWithoutLabels:
    said = "no label above 3.5 in 2 of 2 dimensions (gain, near): high scores cannot be learned"

    def test_dataset_status_and_audit_name_them(self, shipped):
        assert self.said in invoke("status", shipped).stdout
        assert self.said in json.loads(invoke("status", shipped, "--json").stdout)["unreached"]
        assert self.said[1:] in invoke("audit", shipped, "--no-learn").stdout
        assert self.said in invoke("dataset", shipped).stdout

    def test_the_report_names_them_and_how_far_each_dimension_reaches(self, shipped):
        text = (shipped / "report" / "report.md").read_text(encoding="utf-8")
        assert self.said in text
        assert "Training labels reach" in text
