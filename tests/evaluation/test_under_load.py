"""Tests that times measured on a busy machine are recorded, shown, and marked as unreliable."""

import json
import os

import pytest
from evaluated_run import bundled_run
from typer.testing import CliRunner

from potstill.backends.plan import bench_path
from potstill.cli import build
from potstill.evaluation import Evaluation
from potstill.evaluation.latency import measure
from potstill.evaluation.records import Latency
from potstill.pipeline.evaluate import evaluate_run
from potstill.pipeline.run import Run
from potstill.report import write_report
from potstill.speed.benching import Bench, bench_bundle, write_bench


def invoke(*words):
    done = CliRunner().invoke(build(), [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.stdout


def busy(patched):
    """A load far above any machine's number of cores."""
    patched.setattr(os, "getloadavg", lambda: (5000.0, 5000.0, 5000.0))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with all times measured on a busy machine, and a bench next to its bundle."""
    with pytest.MonkeyPatch.context() as patched:
        busy(patched)
        made = bundled_run(tmp_path_factory.mktemp("busy"), 60, seed=1)
        evaluate_run(made, k=0, resamples=20)
        bundle = made.path("bundle")
        write_bench(bundle, bench_bundle(bundle, limit=5, rounds=1, patience=0.1))
        return Run.open(made.folder)


def test_a_latency_says_how_busy_the_machine_was(monkeypatch):
    busy(monkeypatch)
    found = measure(lambda texts: None, ["a", "b", "c"])
    assert found.under_load
    assert found.load.average == 5000
    assert found.load.cores == os.cpu_count()
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    assert not measure(lambda texts: None, ["a", "b", "c"]).under_load


def test_a_record_from_before_loads_were_recorded_is_read():
    old = {"milliseconds_p50": 3.5, "articles_per_second": 200.0, "articles": 80, "threads": 2, "machine": "Linux"}
    assert Latency.model_validate(old).load is None
    assert not Latency.model_validate(old).under_load


def test_every_time_of_a_run_is_recorded_with_its_load(run):
    evaluation = Evaluation.from_file(run.path("evaluation"))
    assert all(rung.latency.load.heavy for rung in evaluation.ladder)
    assert evaluation.shipped.latency.load.heavy
    record = json.loads((run.path("students") / "tfidf-ridge" / "record.json").read_text())
    assert record["load"]["heavy"]
    assert record["load"]["processor_seconds"] > 0
    assert all(stage.load.heavy for stage in run.manifest.stages.values())
    bench = Bench.model_validate_json(bench_path(run.path("bundle")).read_text())
    assert bench.load.heavy
    content = bench.model_dump()
    del content["load"]
    assert Bench.model_validate(content).load is None


def test_the_report_and_the_card_call_no_such_time_a_fact(run):
    folder = write_report(run).parent
    for name in ("report.md", "model_card.md"):
        text = (folder / name).read_text()
        assert "measured under load: 5,000" in text, name
    report = (folder / "report.md").read_text()
    [checked] = [line for line in report.splitlines() if "Scoring time is measured without heavy load" in line]
    assert "| **no** |" in checked
    assert "measured under load" in checked
    [median] = [line for line in report.splitlines() if line.startswith("| One article, median time")]
    assert "measured under load" in median


def test_tables_of_the_command_line_mark_it(run):
    out = invoke("evaluate", run.folder, "--folds", 0)
    assert "~" not in out
    with pytest.MonkeyPatch.context() as patched:
        busy(patched)
        out = invoke("evaluate", run.folder, "--folds", 0)
        assert "~ measured under load (5000.0 on " in out
        bench = invoke("bench", run.path("bundle"), "--number", 3, "--rounds", 1)
        assert "measured under load (5000.0 on " in bench
        trained = invoke("train", run.folder, "--recipe", "constant")
        assert "~ measured under load" in trained


def test_a_quiet_machine_leaves_times_as_they_are(tmp_path):
    run = bundled_run(tmp_path, 60)
    evaluate_run(run, k=0, resamples=20)
    report = (write_report(run).parent / "report.md").read_text()
    assert "under load" not in report
    [checked] = [line for line in report.splitlines() if "Scoring time is measured without heavy load" in line]
    assert "| yes |" in checked
