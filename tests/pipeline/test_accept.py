import json
import re
import shutil

import pytest
import typer
from evaluated_run import evaluated_run
from typer.testing import CliRunner

from potstill.cli import targets as commands
from potstill.errors import LONGEST_MESSAGE, BadInput, RunError, TargetMissed
from potstill.evaluation.targets import read_targets
from potstill.pipeline.accept import Acceptance, accept_run, carry_targets, decide, decisions_of
from potstill.pipeline.run import Run


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return evaluated_run(tmp_path_factory.mktemp("targets"), 60).folder


@pytest.fixture
def run(original, tmp_path):
    return Run.open(shutil.copytree(original, tmp_path / "run"))


@pytest.fixture
def app():
    found = typer.Typer()
    commands.register(found)
    return found


def invoke(app, *arguments):
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)


def wanted(run, *lines):
    path = run.path("filter") / "targets.yaml"
    path.write_text("targets:\n" + "".join(f"  - {{{line}}}\n" for line in lines))
    return path


SKILL = "figure: shipped/judgement/mean/skill"
MAE = "figure: shipped/judgement/mean/mae"


def test_targets_beside_the_filter_are_judged_and_recorded(run):
    wanted(run, f"{SKILL}, at_least: 0.05", f"{MAE}, below: 0.0001")
    found = accept_run(run)
    assert [(one.met, one.weak) for one in found.outcomes] == [(True, True), (False, False)]
    assert not found.met
    assert Acceptance.from_file(run.path("acceptance")) == found


def test_the_incumbent_is_judged_on_the_same_labels(run):
    path = wanted(run, f"{MAE}, at_most: 1, of: incumbent")
    # The run's own bundle equals itself, so the difference is only noise.
    found = accept_run(run, path, run.path("bundle"))
    assert found.met
    assert found.incumbent.difference == 0
    assert found.incumbent.p == 1
    assert found.incumbent.judgement.rows == 6


def test_a_run_that_has_changed_since_is_refused(run):
    wanted(run, f"{SKILL}, at_least: 0.05")
    (run.path("rows")).write_bytes(run.path("rows").read_bytes() + b" ")
    with pytest.raises(RunError, match="evaluate is stale"):
        accept_run(run)


def test_targets_are_carried_from_a_package_named_by_folder_or_file_and_never_over_others(run, tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    assert carry_targets(package, run.folder) is None
    (package / "targets.yaml").write_text(f"targets:\n  - {{{SKILL}, at_least: 0.2}}\n")
    assert carry_targets("front-page", run.folder) is None
    assert carry_targets(package / "filter.yaml", tmp_path / "no-run") is None
    (package / "filter.yaml").write_text("")
    target = carry_targets(package / "filter.yaml", run.folder)
    assert target == run.path("filter") / "targets.yaml"
    assert carry_targets(package, run.folder) is None
    assert accept_run(run).targets == str(target)


def test_targets_that_are_none_are_refused_when_they_are_carried(run, tmp_path):
    (tmp_path / "targets.yaml").write_text("targets: []\n")
    with pytest.raises(BadInput, match="targets"):
        carry_targets(tmp_path, run.folder)


def test_without_targets_the_place_for_them_is_named(run):
    with pytest.raises(BadInput, match=r"filter/targets.yaml: no such file"):
        accept_run(run)


def test_the_command_prints_a_table_and_misses_with_exit_code_1(app, run):
    wanted(run, f"{SKILL}, at_least: 0.05", f"{MAE}, below: 0.0001")
    assert TargetMissed.exit_code == 1
    with pytest.raises(TargetMissed, match="1 of 2 targets missed: shipped/judgement/mean/mae"):
        invoke(app, "accept", run.folder)
    wanted(run, f"{SKILL}, at_least: 0.05")
    output = invoke(app, "accept", run.folder).stdout
    assert "met  shipped/judgement/mean/skill  at least 0.05 (weak)" in output
    assert json.loads(invoke(app, "accept", run.folder, "--json").stdout)["met"] is True


def test_decisions_are_kept_in_order_with_what_they_were_made_on(app, run):
    wanted(run, f"{SKILL}, at_least: 0.05")
    decide(run, "looks good", accepted=True)
    accept_run(run)
    output = invoke(app, "decide", run.folder, "--reject", "--why", "recall is too low").stdout
    assert "rejected: recall is too low" in output
    first, second = decisions_of(run.path("decisions"))
    assert (first.accepted, first.why, first.targets_met) == (True, "looks good", None)
    assert (second.accepted, second.targets_met) == (False, True)
    assert first.evaluation_sha256 == second.evaluation_sha256


def test_no_decision_is_made_about_a_run_that_has_changed_since(run):
    run.path("rows").write_bytes(run.path("rows").read_bytes() + b" ")
    with pytest.raises(RunError, match="evaluate is stale"):
        decide(run, "good enough", accepted=True)
    assert not run.path("decisions").exists()


def test_a_decision_needs_a_reason(run):
    with pytest.raises(BadInput, match="give a reason"):
        decide(run, "  ", accepted=True)
    assert decisions_of(run.path("decisions")) == ()


def test_a_broken_log_names_its_line(run):
    decide(run, "good", accepted=True)
    with run.path("decisions").open("a") as stream:
        stream.write("{}\n")
    with pytest.raises(RunError, match="line 2"):
        decisions_of(run.path("decisions"))


def test_a_run_without_targets_is_told_what_such_a_file_looks_like(tmp_path, run):
    with pytest.raises(BadInput, match="no such file; create it, for example with this line: ") as caught:
        accept_run(run)
    assert len(str(caught.value)) <= LONGEST_MESSAGE
    example = re.search(r"this line: (targets: .*\]) \(or", str(caught.value)).group(1)
    (tmp_path / "targets.yaml").write_text(example)
    assert [str(one) for one in read_targets(tmp_path / "targets.yaml")] == ["at least 0.35"]
