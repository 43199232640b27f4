"""Tests of the hints in error messages for common mistakes."""

import json

import pytest
from evaluated_run import bundled_run
from tiny_run import started
from typer.testing import CliRunner

from potstill.cli import build
from potstill.cli.tiers import described_cut
from potstill.evaluation.records import Threshold
from potstill.filters import load_filter, scaffold, untouched
from potstill.pipeline.leaderboard import train_candidates
from potstill.pipeline.run import Run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hints")
    bundled_run(folder, 60)
    return folder


def test_a_run_stands_for_its_bundle_and_that_is_said(made, ending, tmp_path):
    run, articles = made / "run", made / "articles.jsonl"
    for command in (["verify", run], ["score", run, articles, "-o", tmp_path / "out.jsonl"]):
        code, error = ending(*command)
        assert code == 0, error
        assert f"{run} is a run; its bundle is used: {run / 'bundle'}" in error
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 60


def test_a_run_without_a_bundle_is_told_how_to_make_one(tmp_path, ending):
    run = started(tmp_path / "run").folder
    for command in ("verify", "bench", "optimize"):
        code, error = ending(command, run)
        assert (code, error) == (2, f"error: {run}: is a run, and it has no bundle yet; run: potstill bundle {run}\n")


def test_a_bundle_in_place_of_a_run_is_told_which_run_is_its_own(made, ending):
    for command in ("status", "train", "dataset"):
        code, error = ending(command, made / "run" / "bundle")
        assert code == 2
        assert f"(no run.json); it is the bundle of the run {made / 'run'}" in error


def test_labelling_by_the_untouched_template_is_refused_before_anything_is_paid(tmp_path, ending):
    filter_ = scaffold("my-topic", tmp_path)
    assert untouched(load_filter(str(filter_))) == ("description", "dimensions", "rubric")
    (tmp_path / "articles.jsonl").write_text('{"id": "a", "content": "A flood."}\n')
    words = ["--filter", filter_, "--articles", tmp_path / "articles.jsonl"]
    for command in (["label", tmp_path / "run"], ["label", tmp_path / "run", "--plan"], ["bakeoff", tmp_path / "b"]):
        code, error = ending(
            *command, *words, "--oracle", "openai:m", *(["--oracle", "openai:n"] * ("b" in command[0]))
        )
        assert code == 2
        assert "my-topic: rubric.md is still the unedited template" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["front-page", "uplifting", "investment-risk", "sustainability-tech-innovation"])
def test_a_filter_that_ships_is_no_template(name):
    assert untouched(load_filter(name)) == ()


def test_a_plan_shows_the_currency_wherever_it_shows_money(made):
    words = ["label", made / "run", "--oracle", "openai:m", "--prices", "1/4", "--plan"]
    done = CliRunner().invoke(build(), list(map(str, words)))
    assert done.exit_code == 0, done.output
    out = done.stdout
    [line] = [line for line in out.splitlines() if line.startswith("about ") and "at most" in line]
    assert line.count("$") == 2


def test_few_positives_are_counted_and_no_recall_is_made_up():
    few = Threshold(overall_at_least=4.0, rows=10, positives=8, found=7, recall=None, recall_low=None, precision=None)
    assert described_cut(few) == (
        "overall >= 4.0000 selects 10 rows, finds 7 of the 8 positives, too few to estimate recall"
    )
    old = few.model_copy(update={"found": None})
    assert " - " not in described_cut(old)
    many = few.model_copy(update={"positives": 80, "found": 72, "recall": 0.9, "recall_low": 0.83, "precision": 0.5})
    assert described_cut(many).endswith(
        "finds 0.900 of 80 positives (at least 0.830 with 95% confidence), precision 0.500"
    )


def test_a_leaderboard_that_trains_nothing_keeps_the_time_of_the_training(tmp_path):
    run = started(tmp_path / "run")
    names = ["constant", "tfidf-ridge"]
    train_candidates(run, names)
    first = Run.open(run.folder).manifest.stages["train"]
    made = [json.loads((run.path("students") / name / "record.json").read_text())["seconds"] for name in names]
    # The stage's duration includes that of its students, although each was trained in a separate step.
    assert first.seconds >= sum(made)
    assert set(first.parameters["recipes"]) == set(names)
    train_candidates(Run.open(run.folder), names)
    again = Run.open(run.folder).manifest.stages["train"]
    assert (again.started, again.seconds, again.load) == (first.started, first.seconds, first.load)


def test_labelling_that_asks_nothing_keeps_the_time_of_the_labelling(made, ending):
    run = made / "run"
    before = Run.open(run).manifest.stages["label"]
    code, error = ending("label", run, "--oracle", f"replay:{made / 'answers.jsonl'}", "--answers", 2)
    assert code == 0, error
    after = Run.open(run).manifest.stages["label"]
    assert (after.started, after.seconds) == (before.started, before.seconds)


def test_a_csv_without_a_header_is_told_so_at_line_1(made, ending, tmp_path):
    path = tmp_path / "news.csv"
    lines = "\n".join(f"line {number}" for number in range(17))
    path.write_text(f'a1,"{lines}"\na2,"A second story."\n')
    code, error = ending("score", made / "run" / "bundle", path)
    assert code == 2
    assert error.startswith(f"error: {path}: line 1: field content is missing")
