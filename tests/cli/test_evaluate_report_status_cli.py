import json
import shutil

import pytest
import typer
from evaluated_run import bundled_run
from typer.testing import CliRunner

from potstill.cli import evaluate, report, run
from potstill.errors import RunError
from potstill.evaluation import Evaluation
from potstill.pipeline.refit import refit_run
from potstill.pipeline.run import Run


@pytest.fixture(scope="module")
def app():
    found = typer.Typer()
    for group in (evaluate, report, run):
        group.register(found)
    return found


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return bundled_run(tmp_path_factory.mktemp("cli"), 60).folder


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "run")


def invoke(app, *arguments):
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)


QUICK = ("--folds", 3, "--no-time")


def test_evaluate_prints_the_ladder_and_what_it_means(app, folder):
    output = invoke(app, "evaluate", folder, *QUICK).stdout
    record = Evaluation.from_file(Run.open(folder).path("evaluation"))
    shipped = record.rung("tfidf-ridge").judgements["out-of-fold"].mean
    line = next(line for line in output.splitlines() if line.startswith("tfidf-ridge *"))
    assert f"{shipped.mae:.3f}" in line
    assert "out-of-fold, 60 rows" in line
    assert f"- {record.findings[0].text}" in output.splitlines()


def test_evaluate_json_is_the_record(app, folder):
    printed = json.loads(invoke(app, "evaluate", folder, *QUICK, "--json").stdout)
    assert printed == json.loads(Run.open(folder).path("evaluation").read_text())


def test_status_names_the_next_command_until_all_is_done(app, folder):
    assert f"next: potstill evaluate {folder}" in invoke(app, "status", folder).stdout
    invoke(app, "evaluate", folder, *QUICK)
    assert f"next: potstill refit {folder}" in invoke(app, "status", folder).stdout
    refit_run(Run.open(folder))
    assert f"next: potstill report {folder}" in invoke(app, "status", folder).stdout
    printed = invoke(app, "report", folder).stdout.strip()
    assert printed == str(folder / "report" / "report.html")
    assert "all stages are done" in invoke(app, "status", folder).stdout


def test_status_json_says_what_is_stale_and_why(app, folder):
    rows = folder / "dataset" / "rows.parquet"
    rows.write_bytes(rows.read_bytes() + b" ")
    found = json.loads(invoke(app, "status", folder, "--json").stdout)
    states = {stage["stage"]: stage for stage in found["stages"]}
    assert states["label"]["state"] == "done"
    assert states["dataset"]["state"] == states["train"]["state"] == "stale"
    assert "rows.parquet" in states["dataset"]["why"]
    assert found["next"] == f"potstill dataset {folder}"


def test_report_before_evaluate_names_the_command(app, folder):
    with pytest.raises(RunError, match="run: potstill evaluate"):
        invoke(app, "report", folder)


@pytest.mark.parametrize("command", ["evaluate", "report", "status"])
def test_a_folder_that_is_no_run_is_refused(app, tmp_path, command):
    with pytest.raises(RunError, match="not a run folder"):
        invoke(app, command, tmp_path)
