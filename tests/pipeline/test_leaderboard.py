"""Tests of the leaderboard: models that fit the time are trained, others are named, and the best in budget wins."""

import json
import sys

import numpy as np
import pytest
import typer
from tiny_run import started
from typer.testing import CliRunner

from potstill.cli import ladder as command
from potstill.errors import BadInput, MissingModel, RecipeError, RunError
from potstill.pipeline.leaderboard import Ladder, Step, climb, next_of
from potstill.report.climb import prepare_climb, write_picture
from potstill.report.facts import json_record

CHEAP = ("constant", "tfidf-ridge")


def seconds_by_name(**seconds):
    """Return an estimate by recipe name; 0 for recipes that are not named."""
    return lambda recipe, *_: seconds.get(recipe.name.replace("-", "_"), 0.0)


@pytest.fixture(scope="module")
def climbed(tmp_path_factory):
    run = started(tmp_path_factory.mktemp("ladder"))
    guess = seconds_by_name(minilm_ridge=1e6)
    return run, climb(run, ("minilm-ridge", *CHEAP), minutes=10, estimating=guess)


@pytest.fixture(scope="module")
def record(climbed):
    run, _ = climbed
    return json_record(run.folder, run.path("ladder"), Ladder)


def test_the_record_on_disk_is_what_the_call_gave(climbed):
    run, found = climbed
    assert Ladder.from_file(run.path("ladder")) == found


def test_cheap_rungs_come_first_and_one_that_does_not_fit_says_why(climbed):
    _, found = climbed
    assert [(step.name, step.state) for step in found.steps] == [
        ("constant", "trained"),
        ("tfidf-ridge", "trained"),
        ("minilm-ridge", "no time"),
    ]
    assert "training would take about 16667 min, but only 10 min are left" in found.steps[2].why


def test_the_figures_are_those_of_validation_clipped(climbed):
    run, found = climbed
    constant, ridge = found.steps[:2]
    saved = json.loads((run.path("students") / "constant" / "record.json").read_text())
    assert constant.mae == pytest.approx(saved["validation"]["mae"], abs=1e-6)
    assert constant.mae == pytest.approx(found.constant_mae)
    assert constant.skill == pytest.approx(0)
    assert ridge.interval.low < ridge.mae < ridge.interval.high
    assert ridge.latency.milliseconds_p50 > 0
    assert found.floor is None


def test_the_pick_errs_least(climbed):
    _, found = climbed
    assert found.pick.name == min(found.steps[:2], key=lambda step: step.mae).name == "tfidf-ridge"


def test_students_that_are_done_cost_no_time(climbed, monkeypatch):
    run, before = climbed
    monkeypatch.setattr(sys.modules["potstill.training.fit"], "fit", lambda *_, **__: pytest.fail("trained again"))
    after = climb(run, CHEAP, minutes=0, estimating=seconds_by_name(constant=5.0, tfidf_ridge=5.0))
    assert [step.mae for step in after.steps] == [step.mae for step in before.steps[:2]]


def test_a_budget_leaves_out_what_is_slower(climbed):
    run, _ = climbed
    assert climb(run, CHEAP, milliseconds=1e-9, minutes=1).pick is None
    assert climb(run, CHEAP, milliseconds=1e9, minutes=1).pick.name == "tfidf-ridge"


def test_a_backbone_that_is_not_here_holds_up_no_other(tmp_path):
    def absent(recipe, *_):
        if recipe.name == "minilm-ridge":
            raise MissingModel("all-MiniLM-L6-v2: not on this machine")
        return 0.0

    found = climb(started(tmp_path), ("minilm-ridge", "constant"), estimating=absent)

    states = {step.name: (step.state, step.why) for step in found.steps}
    assert states["minilm-ridge"] == ("not possible", "all-MiniLM-L6-v2: not on this machine")
    assert states["constant"] == ("trained", None)
    assert found.next is None


def test_a_second_head_on_a_backbone_needs_no_second_reading(tmp_path):
    guess = seconds_by_name(minilm_ridge=50.0, minilm_svr=50.0)
    # Each reading of the clock is half a minute later.
    ticks = iter(np.arange(0.0, 1e4, 30.0))

    found = climb(
        started(tmp_path),
        ("minilm-ridge", "minilm-svr"),
        minutes=2.5,
        tiny=True,
        estimating=guess,
        clock=lambda: next(ticks),
    )

    assert [step.state for step in found.steps] == ["trained", "trained"]


def test_two_recipes_of_one_name_are_refused(tmp_path):
    with pytest.raises(RecipeError, match="two of the recipes have the same name"):
        climb(started(tmp_path), ("constant", "constant"))


def step(name, seconds, mae, state="trained"):
    student = "constant" if name == "constant" else "encoder-head"
    known = {"seconds": seconds, "mae": mae} if state == "trained" else {"estimated_seconds": seconds}
    return Step(name=name, student=student, recipe_hash="", state=state, **known)


class TestNext:
    """Three models whose error fell by 0.2 with each tenfold time, and one that would take ten times longer."""

    RUNGS = (step("constant", 0.001, 2.0), step("a", 1, 1.4), step("b", 10, 1.2), step("c", 100, 1.0))
    MISSING = step("d", 1000, None, state="no time")

    def test_error_goes_on_falling_as_it_did(self):
        found = next_of([*self.RUNGS, self.MISSING], None)
        assert (found.name, found.points) == ("d", 3)
        assert found.mae == pytest.approx(0.8)
        assert found.gain == pytest.approx(0.2)

    def test_it_stops_at_the_floor(self):
        assert next_of([*self.RUNGS, self.MISSING], 0.9).mae == pytest.approx(0.9)

    def test_a_rung_that_bought_nothing_promises_nothing(self):
        flat = [step("a", 1, 1.0), step("b", 10, 1.0), step("c", 100, 1.0), self.MISSING]
        assert next_of(flat, None).gain == 0

    def test_two_rungs_are_too_few(self):
        assert next_of([*self.RUNGS[:3], self.MISSING], None).gain is None

    def test_nothing_is_next_when_all_had_their_time(self):
        assert next_of(self.RUNGS, None) is None


class TestPicture:
    def test_every_point_equals_its_record(self, record):
        rows = prepare_climb(record)
        assert [row["model"] for row in rows] == ["constant", "tfidf-ridge"]
        for place, row in enumerate(rows):
            assert row["mae"] == record.at("steps", place, "mae").value
            assert row["field"] == f"/steps/{place}/mae"
        assert [row["picked"] for row in rows] == [False, True]

    def test_is_drawn(self, record, tmp_path):
        write_picture(record, tmp_path / "ladder.svg")
        assert "tfidf-ridge" in (tmp_path / "ladder.svg").read_text()

    def test_another_ending_is_refused(self, record, tmp_path):
        with pytest.raises(BadInput, match=r"ends in \.png or \.svg"):
            write_picture(record, tmp_path / "ladder.gif")


def test_a_ladder_that_is_not_there_names_its_command(tmp_path):
    with pytest.raises(RunError, match="run: potstill ladder"):
        Ladder.from_file(tmp_path / "ladder.json")


def test_the_command_says_what_to_take(climbed):
    run, _ = climbed
    app = typer.Typer(pretty_exceptions_enable=False)
    command.register(app)
    chosen = [part for name in CHEAP for part in ("--recipe", name)]

    said = CliRunner().invoke(app, [str(run.folder), *chosen, "--latency", "5000"]).stdout.splitlines()
    found = json.loads(CliRunner().invoke(app, [str(run.folder), *chosen, "--json"]).stdout)

    assert said[0].split() == ["model", "MAE", "skill", "ms", "seconds"]
    assert any(line.startswith("recommended within 5000 ms: tfidf-ridge, MAE") for line in said)
    assert found["pick"]["name"] == "tfidf-ridge"
