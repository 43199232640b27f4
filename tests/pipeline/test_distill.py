"""Tests of `distill`: only what is missing or stale runs, and a killed process ends like one that was not."""

import functools
import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import polars as pl
import pytest
from evaluated_run import FILTER, stories
from kept import kept

from potstill.bundle import load_bundle
from potstill.dataset import Fractions
from potstill.errors import RunError
from potstill.evaluation import Evaluation
from potstill.filters import save_filter
from potstill.operating_points import as_points
from potstill.oracle import open_oracle
from potstill.pipeline.bundle import build_bundle
from potstill.pipeline.dataset import build_dataset
from potstill.pipeline.distill import distill
from potstill.pipeline.evaluate import evaluate_run
from potstill.pipeline.label import label_run
from potstill.pipeline.run import Run
from potstill.pipeline.train import train_run
from potstill.report import write_report

CHEAP = ("constant", "tfidf-ridge")
EVERY = ("dataset", "train", "bundle", "evaluate", "refit", "report")


# The evaluation has its own tests; here it need not be precise.
QUICKLY = functools.partial(evaluate_run, k=2, resamples=20)


@pytest.fixture(autouse=True, scope="module")
def quick_evaluation():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys.modules["potstill.pipeline.distill"], "evaluate_run", QUICKLY)
        yield


def labelled(folder):
    """Create a run with labels and nothing else, and return its folder."""
    kept(folder, _label, "labelled")
    return folder / "run"


def distilled(folder):
    """Create a run that is up to date, and return its folder."""
    kept(folder, lambda own: distill(Run.open(labelled(own)), report=write_report, recipes=CHEAP), "distilled")
    return folder / "run"


def _label(folder):
    articles, answers = stories(80)
    for name, rows in (("articles", articles), ("answers", answers)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    oracle = open_oracle(f"replay:{folder / 'answers.jsonl'}")
    label_run(folder / "run", FILTER, folder / "articles.jsonl", oracle, samples=2)


def again(folder, **options):
    return distill(Run.open(folder), report=write_report, **options)


def ran(done):
    """Return the stages that ran, with the reasons."""
    return {outcome.stage: outcome.why for outcome in done.outcomes if outcome.ran}


def results(folder):
    """Return everything that scores, and all figures that are not times."""
    run = Run.open(folder)
    assert all(status.state == "done" for status in run.status() if not status.optional)
    evaluation = Evaluation.from_file(run.path("evaluation")).model_dump(mode="json")
    evaluation["shipped"] |= {"bundle_sha256": None, "latency": None}
    for candidate in evaluation["ladder"]:
        candidate["latency"] = None
    bundle = load_bundle(run.path("bundle"), check="all")
    files = {path: bundle.manifest.files[path] for path in bundle.manifest.files if path != "facts.json"}
    leaderboard = json.loads(run.path("ladder").read_text())
    figures = [(entry["name"], entry["state"], entry["mae"]) for entry in leaderboard["steps"]]
    students = sorted(path.name for path in run.path("students").iterdir())
    return evaluation, files, figures, students, pl.read_parquet(run.path("predictions")).to_dicts()


@pytest.mark.slow
def test_a_labelled_run_gets_every_stage_and_a_second_call_does_nothing(tmp_path, capsys):
    folder = labelled(tmp_path)
    done = again(folder, recipes=CHEAP)
    assert list(ran(done)) == list(EVERY)
    assert done.evaluation.shipped.rung == "tfidf-ridge"
    assert done.evaluation.choice.reason.split(":")[0].endswith(", recommended by the leaderboard")
    assert (done.report / "report.html").exists()
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if line[0].isdigit()] == [
        "1/6 dataset: split the labelled articles (never run)",
        "2/6 train: train students within the time and compare them (never run)",
        "3/6 bundle: calibrate, export and prove the best student (never run)",
        "4/6 evaluate: measure the students and the bundle (never run)",
        "5/6 refit: fit the student again on all labelled rows (never run)",
        "6/6 report: write the report (never run)",
    ]
    assert all(line.startswith("    ") for line in said if not line[0].isdigit())

    before = (folder / "run.json").read_text()
    second = again(folder)
    assert second.nothing_done
    assert (folder / "run.json").read_text() == before
    assert capsys.readouterr().err.splitlines() == [
        f"{number}/6 {stage}: done, nothing changed" for number, stage in enumerate(EVERY, start=1)
    ]


def test_a_run_whose_stages_were_run_one_by_one_is_up_to_date(tmp_path):
    run = Run.open(labelled(tmp_path))
    build_dataset(run)
    train_run(run, ["constant", "tfidf-ridge"])
    build_bundle(run, "constant")
    evaluate_run(run, k=2, resamples=20)
    assert list(ran(again(run.folder))) == ["refit", "report"]
    # The student was put into the bundle by name, so it stays there when the labels change.
    change_a_label(run.folder)
    assert again(run.folder).evaluation.shipped.rung == "constant"
    assert set(Run.open(run.folder).manifest.stages["train"].parameters["recipes"]) == {"constant", "tfidf-ridge"}


def change_a_label(folder):
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as database, database:
        [key] = database.execute("SELECT key FROM calls ORDER BY key LIMIT 1").fetchone()
        scores = json.dumps({"gain": 9.5, "near": 0.5})
        assert database.execute("UPDATE calls SET scores = ? WHERE key = ?", (scores, key)).rowcount == 1


def test_a_changed_label_runs_every_stage_that_depends_on_it_and_no_other(tmp_path):
    folder = distilled(tmp_path)
    before = Run.open(folder).manifest.stages
    change_a_label(folder)
    done = again(folder)
    assert ran(done)["dataset"] == "ledger.sqlite has changed"
    assert ran(done)["train"] == "dataset/rows.parquet has changed"
    assert list(ran(done)) == list(EVERY)
    after = Run.open(folder).manifest.stages
    assert after["label"] == before["label"]
    assert after["train"].parameters == before["train"].parameters
    assert again(folder).nothing_done


def test_a_changed_tier_trains_nothing(tmp_path):
    folder = distilled(tmp_path)
    path = folder / "filter" / "filter.yaml"
    path.write_text(path.read_text().replace("lead", "front"))
    assert list(ran(again(folder))) == ["bundle", "evaluate", "refit", "report"]


def test_a_result_that_is_gone_is_made_again(tmp_path):
    folder = distilled(tmp_path)
    shutil.rmtree(folder / "report")
    assert ran(again(folder)) == {"report": "report is gone"}
    (folder / "ladder.json").unlink()
    assert ran(again(folder))["train"] == "the leaderboard is gone"


def test_other_recipes_another_seed_and_more_minutes_train_again(tmp_path):
    folder = distilled(tmp_path)
    done = again(folder, recipes=["constant"])
    assert ran(done)["train"] == "other recipes are asked for"
    assert ran(done)["bundle"] == "it holds tfidf-ridge, and constant is recommended"
    assert done.evaluation.shipped.rung == "constant"
    assert again(folder, recipes=["constant"]).nothing_done
    assert ran(again(folder, seed=1))["dataset"] == "seed 1 in place of 0"
    assert again(folder).nothing_done


def test_too_little_time_is_an_error_and_more_minutes_go_on(tmp_path):
    folder = labelled(tmp_path)
    with pytest.raises(RunError, match="no student was trained within the time; run the command with more --minutes"):
        again(folder, recipes=CHEAP, minutes=0)
    assert ran(again(folder, recipes=CHEAP, minutes=5))["train"] == "never run"
    assert again(folder, minutes=10).nothing_done
    leaderboard = json.loads((folder / "ladder.json").read_text())
    leaderboard["steps"][1] |= {"state": "no time", "mae": None, "latency": None}
    (folder / "ladder.json").write_text(json.dumps(leaderboard))
    assert again(folder, minutes=5).outcomes[1].ran is False
    assert ran(again(folder, minutes=6))["train"] == "1 candidates had no time, and there are more minutes now"


def test_a_latency_budget_chooses_and_one_that_nothing_meets_is_an_error(tmp_path):
    folder = distilled(tmp_path)
    done = again(folder, latency=1000)
    assert ran(done)["train"] == "the latency budget is now 1000 ms"
    assert "bundle" not in ran(done)
    with pytest.raises(RunError, match="no student is within 1e-09 ms per article; the fastest, constant, takes"):
        again(folder, latency=1e-9)
    trained = json.loads((folder / "ladder.json").read_text())["steps"]
    times = {entry["name"]: entry["latency"]["milliseconds_p50"] for entry in trained}
    assert times["constant"] < times["tfidf-ridge"]
    done = again(folder, latency=times["constant"] + 1e-6)
    assert done.evaluation.shipped.rung == "constant"
    assert again(folder).nothing_done


def test_options_of_the_last_execution_are_kept(tmp_path):
    folder = distilled(tmp_path)
    build_dataset(Run.open(folder), seed=3, fractions=Fractions.parse("60/20/20"))
    change_a_label(folder)
    again(folder)
    dataset = Run.open(folder).manifest.stages["dataset"]
    assert (dataset.seeds, dataset.parameters["record"]["parts"]["test"]) == ({"split": 3}, 16)


def test_operating_points_of_the_last_bundle_are_kept_for_tiers_that_the_filter_still_has(tmp_path):
    folder = distilled(tmp_path)
    run = Run.open(folder)
    build_bundle(run, "tfidf-ridge", decide=as_points("recall=0.5", run.filter.positive_tiers))
    change_a_label(folder)
    assert "bundle" in ran(again(folder))
    assert Run.open(folder).manifest.stages["bundle"].parameters["decide"] == {"lead": "recall=0.5"}
    (cut,) = load_bundle(folder / "bundle").calibration.decisions.cuts
    assert cut.point.recall == 0.5
    path = folder / "filter" / "filter.yaml"
    path.write_text(path.read_text().replace("lead", "first"))
    again(folder)
    assert "decide" not in Run.open(folder).manifest.stages["bundle"].parameters


def test_a_run_without_labels_and_one_with_stale_labels_are_refused(tmp_path):
    Run.create(tmp_path / "new", FILTER)
    with pytest.raises(RunError, match=r"label is missing \(never run\); run: potstill label"):
        again(tmp_path / "new")
    folder = labelled(tmp_path / "old")
    save_filter(FILTER.model_copy(update={"rubric": "Score something else."}), folder / "filter")
    with pytest.raises(RunError, match=r"label is stale \(filter has changed\)"):
        again(folder)
    assert not (folder / "dataset").exists()


def test_a_run_split_like_another_is_not_split_otherwise(tmp_path):
    first, second = Run.open(distilled(tmp_path / "a")), Run.open(labelled(tmp_path / "b"))
    build_dataset(second, like=first)
    change_a_label(second.folder)
    with pytest.raises(RunError, match="it was split like that of another run; run: potstill dataset"):
        again(second.folder)


PROGRAM = """
import functools, os, pkgutil, signal, sys
from potstill.pipeline.distill import distill
from potstill.pipeline.run import Run
from potstill.report import write_report

distilling = sys.modules["potstill.pipeline.distill"]
distilling.evaluate_run = functools.partial(distilling.evaluate_run, k=2, resamples=20)
module, _, name = sys.argv[2].rpartition(".")
calls = 0
if name:
    place = pkgutil.resolve_name(module)
    real = getattr(place, name)

    def killed(*given, **named):
        global calls
        calls += 1
        if calls < int(sys.argv[3]):
            return real(*given, **named)
        if sys.argv[4] == "after":
            real(*given, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(place, name, killed)
print("ready", flush=True)
distill(Run.open(sys.argv[1]), report=write_report, recipes=sys.argv[5:])
"""


def process(folder, target="", call=1, when="before"):
    words = [sys.executable, "-c", PROGRAM, str(folder), target, str(call), when, *CHEAP]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("target", "call", "when"),
    [
        # The second student is complete in its temporary folder, and not yet in its place.
        ("potstill.training.facts.StudentRecord.save", 2, "after"),
        ("potstill.pipeline.evaluate.Evaluation", 1, "after"),
        ("potstill.pipeline.dataset.Pairs", 1, "before"),
        ("potstill.pipeline.leaderboard.train_one", 2, "before"),
        ("potstill.pipeline.leaderboard.count_kept", 1, "before"),
        ("potstill.pipeline.bundle.write_bundle", 1, "before"),
        ("potstill.pipeline.bundle.write_bundle", 1, "after"),
        ("potstill.report.render_card", 1, "after"),
    ],
)
@pytest.mark.slow
@pytest.mark.by_example(4)
def test_a_killed_run_goes_on_and_ends_like_one_that_was_not_killed(tmp_path, target, call, when):
    folder = labelled(tmp_path / "killed")
    killed = process(folder, target, call, when)
    killed.communicate(timeout=300)
    assert killed.returncode == -signal.SIGKILL
    again(folder, recipes=CHEAP)
    assert results(folder) == results(distilled(tmp_path / "whole"))


@pytest.mark.long
def test_ten_kills_at_random_moments_change_nothing(tmp_path):
    whole = results(distilled(tmp_path / "whole"))
    begun = process(labelled(tmp_path / "timed"))
    begun.stdout.readline()
    started = time.monotonic()
    begun.communicate(timeout=300)
    seconds = time.monotonic() - started
    moments, killed = random.Random(7), 0
    for number in range(10):
        folder = labelled(tmp_path / str(number))
        one = process(folder)
        one.stdout.readline()
        time.sleep(moments.uniform(0, seconds))
        one.kill()
        one.communicate(timeout=300)
        killed += one.returncode == -signal.SIGKILL
        again(folder, recipes=CHEAP)
        assert results(folder) == whole, number
    assert killed >= 7
