"""Tests of `potstill distill`: what it prints on stdout, and its last line after an interrupt."""

import json
import signal

import pytest
from commands import PROGRAM, started
from evaluated_run import evaluated_run
from typer.testing import CliRunner

from potstill.cli import build


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distill")
    return evaluated_run(folder, 90).folder


def test_the_figures_that_matter_and_the_next_command_are_printed(run):
    done = CliRunner().invoke(build(), ["distill", str(run)])
    assert done.exit_code == 0, done.output
    evaluation = json.loads((run / "evaluation.json").read_text())
    test, choice = evaluation["shipped"]["judgement"], evaluation["choice"]
    positives = test["tiers"]["positives"]
    assert done.stdout.splitlines() == [
        "student     tfidf-ridge",
        f"validation  MAE {choice['validation_mae']['tfidf-ridge']:.3f}, constant {choice['constant_mae']:.3f}",
        f"test        MAE {test['mean']['mae']:.3f}, constant {test['mean']['constant_mae']:.3f}, {test['rows']} rows",
        f"positives   {positives['both']} of {positives['oracle']} found in the test part (tiers: lead)",
        f"bundle      {run / 'shipped'}: {json.loads((run / 'refit.json').read_text())['why']}",
        f"report      {run / 'report' / 'report.html'}",
    ]
    assert done.stderr.splitlines()[-1] == f"next: potstill score {run / 'shipped'} FILE -o RESULTS"
    again = CliRunner().invoke(build(), ["distill", str(run)])
    assert again.stdout.splitlines() == ["Everything is up to date; nothing was done.", *done.stdout.splitlines()]
    found = json.loads(CliRunner().invoke(build(), ["-q", "distill", str(run), "--json"]).stdout)
    assert [(stage["stage"], stage["ran"]) for stage in found["stages"]] == [
        (stage, False) for stage in ("dataset", "train", "bundle", "evaluate", "refit", "report")
    ]
    assert found["validation"]["constant_mae"] == choice["constant_mae"]
    assert found["test"]["rows"] == test["rows"]
    assert (found["refit"]["rows"], found["refit"]["train_rows"]) == (90, 72)


def test_an_interrupt_says_what_is_kept_and_how_to_resume(run):
    (run / "evaluation.json").unlink()
    slow = (
        "import time, potstill.pipeline.distill as distilling\n"
        "def slowly(*_, **__):\n"
        "    print('evaluating', flush=True); time.sleep(60)\n"
        f"distilling.evaluate_run = slowly\n{PROGRAM}"
    )
    process = started("distill", run, program=slow)
    assert process.stdout.readline() == "evaluating\n"
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=100)
    assert process.returncode == 130
    assert error.splitlines()[-1] == "Stopped; kept: dataset, train, bundle; run the same command to resume."
