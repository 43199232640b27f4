"""Tests of the leaderboard: models that fit the time are trained, others are named, and the best in budget wins."""

import json
import sys

import pytest
import typer
from tiny_run import started
from typer.testing import CliRunner

from potstill.cli import train as command
from potstill.cli.leaderboard import described
from potstill.errors import BadInput, MissingModel, RecipeError, RunError
from potstill.pipeline.leaderboard import Entry, Leaderboard, next_of, train_candidates
from potstill.pipeline.run import Run
from potstill.pipeline.train import train_one
from potstill.report.cost import prepare_cost, write_picture
from potstill.report.facts import json_record
from potstill.students.recipes import load_recipe

CHEAP = ("constant", "tfidf-ridge")


def seconds_by_name(**seconds):
    """Return an estimate by recipe name; 0 for recipes that are not named."""
    return lambda recipe, *_: seconds.get(recipe.name.replace("-", "_"), 0.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    run = started(tmp_path_factory.mktemp("leaderboard"))
    guess = seconds_by_name(minilm_ridge=1e6)
    return run, train_candidates(run, ("minilm-ridge", *CHEAP), minutes=10, estimating=guess)


@pytest.fixture(scope="module")
def record(made):
    run, _ = made
    return json_record(run.folder, run.path("ladder"), Leaderboard)


def test_the_record_on_disk_is_what_the_call_gave(made):
    run, found = made
    assert Leaderboard.from_file(run.path("ladder")) == found


def test_cheap_candidates_come_first_and_one_that_does_not_fit_says_why(made):
    _, found = made
    assert [(step.name, step.state) for step in found.steps] == [
        ("constant", "trained"),
        ("tfidf-ridge", "trained"),
        ("minilm-ridge", "no time"),
    ]
    assert "training would take about 16667 min, but only 10 min are left" in found.steps[2].why


def test_the_figures_are_those_of_validation_clipped(made):
    run, found = made
    constant, ridge = found.steps[:2]
    saved = json.loads((run.path("students") / "constant" / "record.json").read_text())
    assert constant.mae == pytest.approx(saved["validation"]["mae"], abs=1e-6)
    assert constant.mae == pytest.approx(found.constant_mae)
    assert constant.skill == pytest.approx(0)
    assert ridge.interval.low < ridge.mae < ridge.interval.high
    assert ridge.latency.milliseconds_p50 > 0
    assert found.floor is None


def test_the_pick_errs_least(made):
    _, found = made
    assert found.pick.name == min(found.steps[:2], key=lambda step: step.mae).name == "tfidf-ridge"


def test_students_that_are_done_cost_no_time(made, monkeypatch):
    run, before = made
    monkeypatch.setattr(sys.modules["potstill.training.fit"], "fit", lambda *_, **__: pytest.fail("trained again"))
    after = train_candidates(run, CHEAP, minutes=0, estimating=seconds_by_name(constant=5.0, tfidf_ridge=5.0))
    assert [step.mae for step in after.steps] == [step.mae for step in before.steps[:2]]


def test_figures_of_a_trained_candidate_are_kept(made, monkeypatch):
    run, before = made
    target = sys.modules["potstill.pipeline.leaderboard"]
    monkeypatch.setattr(target, "measure", lambda *_: pytest.fail("measured again"))
    assert train_candidates(run, CHEAP).steps == before.steps[:2]


def test_a_killed_leaderboard_continues_with_its_estimates_and_the_time_that_was_left(tmp_path, monkeypatch):
    run, seconds = started(tmp_path), [0.0]

    def killed(*_, **__):
        seconds[0] += 50.0
        if seconds[0] > 50.0:
            raise KeyboardInterrupt
        return train_one(*_, **__)

    monkeypatch.setattr(sys.modules["potstill.pipeline.leaderboard"], "train_one", killed)
    how = {"minutes": 1.5, "tiny": True, "clock": lambda: seconds[0]}
    names = ("constant", "tfidf-ridge", "minilm-ridge")
    guess = seconds_by_name(constant=1.0, tfidf_ridge=2.0, minilm_ridge=60.0)
    with pytest.raises(KeyboardInterrupt):
        train_candidates(run, names, estimating=guess, **how)
    assert Leaderboard.from_file(run.path("ladder")).unfinished_seconds == 50.0
    assert "train" not in Run.open(run.folder).manifest.stages

    seconds[0] = 0.0
    monkeypatch.setattr(sys.modules["potstill.pipeline.leaderboard"], "train_one", train_one)
    # Were the time of the killed process not counted, there would be time for the third candidate.
    found = train_candidates(run, names, estimating=guess, **how)

    assert [(entry.name, entry.state) for entry in found.steps] == [
        ("constant", "trained"),
        ("tfidf-ridge", "trained"),
        ("minilm-ridge", "no time"),
    ]
    assert found.unfinished_seconds is None
    assert "only 40 s are left" in found.steps[2].why


def test_a_budget_leaves_out_what_is_slower(made):
    run, _ = made
    assert train_candidates(run, CHEAP, milliseconds=1e-9, minutes=1).pick is None
    assert train_candidates(run, CHEAP, milliseconds=1e9, minutes=1).pick.name == "tfidf-ridge"


def test_a_backbone_that_is_not_here_holds_up_no_other(tmp_path):
    def absent(recipe, *_):
        if recipe.name == "minilm-ridge":
            raise MissingModel("all-MiniLM-L6-v2: not on this machine")
        return 0.0

    found = train_candidates(started(tmp_path), ("minilm-ridge", "constant"), estimating=absent)

    states = {step.name: (step.state, step.why) for step in found.steps}
    assert states["minilm-ridge"] == ("not possible", "all-MiniLM-L6-v2: not on this machine")
    assert states["constant"] == ("trained", None)
    assert found.next is None


class SlowMachine:
    """A simulated clock: each estimate of a network and each training take a fixed number of seconds."""

    def __init__(self, monkeypatch, *, estimating, **training):
        self.now, self.estimating = 0.0, estimating
        self.training = seconds_by_name(**training)
        self.estimated = []
        monkeypatch.setattr(sys.modules["potstill.pipeline.leaderboard"], "train_one", self._train_one)

    def estimate(self, recipe, *_):
        if recipe.name not in CHEAP:
            self.now += self.estimating
            self.estimated.append(recipe.name)
        return self.training(recipe)

    def _train_one(self, run, dataset, recipe, **how):
        self.now += self.training(load_recipe(recipe))
        return train_one(run, dataset, recipe, **how)

    def train(self, run, names, *, minutes):
        how = {"estimating": self.estimate, "clock": lambda: self.now}
        return train_candidates(run, names, minutes=minutes, tiny=True, **how)


def test_a_second_head_on_a_backbone_needs_no_second_reading(tmp_path, monkeypatch):
    machine = SlowMachine(monkeypatch, estimating=0.0, minilm_ridge=50.0, minilm_svr=50.0)

    found = machine.train(started(tmp_path), ("minilm-ridge", "minilm-svr"), minutes=1.5)

    assert [step.state for step in found.steps] == ["trained", "trained"]
    assert machine.estimated == ["minilm-ridge"]


def test_estimating_leaves_time_to_train_the_cheap_candidates(tmp_path, monkeypatch):
    """Estimating each of the six networks would take all of the 360 seconds."""
    slow = ("minilm-full", "minilm-full-median", "minilm-3-layers", "minilm-lora")
    seconds = {name.replace("-", "_"): 1000.0 for name in slow}
    machine = SlowMachine(
        monkeypatch, estimating=60.0, constant=10.0, tfidf_ridge=10.0, minilm_ridge=50.0, minilm_svr=50.0, **seconds
    )

    found = machine.train(started(tmp_path), (*slow, "minilm-ridge", "minilm-svr", *CHEAP), minutes=6)

    assert [step.name for step in found.steps if step.state == "trained"] == [*CHEAP, "minilm-ridge", "minilm-svr"]
    assert [step.why for step in found.steps if step.state == "no time"] == [
        "training would take about 17 min, but only 2 min are left",
        "training would take about 17 min, but only 60 s are left",
        "training would take about 17 min, but only 0 s are left",
        "the time was up before its training time could be estimated",
    ]
    lines = list(described(found))
    assert f"left out, because 6 min are too few: {', '.join(slow)}; more --minutes train them" in lines
    assert any(line.startswith("next candidate: minilm-full, about 16.7 min") for line in lines)


def test_two_recipes_of_one_name_are_refused(tmp_path):
    with pytest.raises(RecipeError, match="two of the recipes have the same name"):
        train_candidates(started(tmp_path), ("constant", "constant"))


def step(name, seconds, mae, state="trained"):
    student = "constant" if name == "constant" else "encoder-head"
    known = {"seconds": seconds, "mae": mae} if state == "trained" else {"estimated_seconds": seconds}
    return Entry(name=name, student=student, recipe_hash="", state=state, **known)


class TestNext:
    """Three models whose error fell by 0.2 with each tenfold time, and one that would take ten times longer."""

    CANDIDATES = (step("constant", 0.001, 2.0), step("a", 1, 1.4), step("b", 10, 1.2), step("c", 100, 1.0))
    MISSING = step("d", 1000, None, state="no time")

    def test_error_goes_on_falling_as_it_did(self):
        found = next_of([*self.CANDIDATES, self.MISSING], None)
        assert (found.name, found.points) == ("d", 3)
        assert found.mae == pytest.approx(0.8)
        assert found.gain == pytest.approx(0.2)

    def test_it_stops_at_the_floor(self):
        assert next_of([*self.CANDIDATES, self.MISSING], 0.9).mae == pytest.approx(0.9)

    def test_a_candidate_that_gained_nothing_promises_nothing(self):
        flat = [step("a", 1, 1.0), step("b", 10, 1.0), step("c", 100, 1.0), self.MISSING]
        assert next_of(flat, None).gain == 0

    def test_two_candidates_are_too_few(self):
        assert next_of([*self.CANDIDATES[:3], self.MISSING], None).gain is None

    def test_a_candidate_without_an_estimate_is_not_next(self):
        late = step("d", None, None, "no time")
        assert next_of((*self.CANDIDATES, late), None) is None
        assert next_of((*self.CANDIDATES, late, step("e", 1000, None, "no time")), None).name == "e"

    def test_nothing_is_next_when_all_had_their_time(self):
        assert next_of(self.CANDIDATES, None) is None


class TestPicture:
    def test_every_point_equals_its_record(self, record):
        rows = prepare_cost(record)
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


def test_a_leaderboard_that_is_not_there_names_its_command(tmp_path):
    with pytest.raises(RunError, match="run: potstill train RUN --auto"):
        Leaderboard.from_file(tmp_path / "ladder.json")


def test_the_command_says_what_to_take(made):
    run, _ = made
    app = typer.Typer(pretty_exceptions_enable=False)
    command.register(app)
    chosen = [part for name in CHEAP for part in ("--recipe", name)]

    said = (
        CliRunner().invoke(app, ["train", str(run.folder), "--auto", *chosen, "--latency", "5000"]).stdout.splitlines()
    )
    found = json.loads(CliRunner().invoke(app, ["train", str(run.folder), "--auto", *chosen, "--json"]).stdout)

    assert said[0].split() == ["model", "MAE", "skill", "ms", "seconds"]
    status = next(stage for stage in Run.open(run.folder).status() if stage.stage == "train")
    assert status.command.endswith("--auto --minutes 15 --recipe constant --recipe tfidf-ridge")
    assert any(line.startswith("recommended within 5000 ms: tfidf-ridge, MAE") for line in said)
    assert found["pick"]["name"] == "tfidf-ridge"


def test_a_leaderboard_of_an_older_potstill_is_read(made):
    _, found = made
    old = {name: value for name, value in found.model_dump(mode="json").items() if name != "unfinished_seconds"}
    assert Leaderboard.from_json(old | {"schema_version": 1}, "ladder.json").pick == found.pick


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--minutes", "3"], "--minutes needs --auto"),
        (["--latency", "3"], "--latency needs --auto"),
        (["--auto", "--with", "other"], "--with cannot be combined with --auto"),
        (["--auto", "--folds", "3"], "--folds cannot be combined with --auto"),
    ],
)
def test_options_that_do_not_belong_together_are_refused(made, options, message):
    app = typer.Typer(pretty_exceptions_enable=False)
    command.register(app)
    error = CliRunner().invoke(app, ["train", str(made[0].folder), *options]).exception
    assert isinstance(error, BadInput)
    assert str(error).startswith(message)
