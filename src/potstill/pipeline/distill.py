"""Bring a labelled run up to date: dataset, students, bundle, evaluation, refit and report, and only what is stale.

Input: a run with labels, and budgets of time and latency. Output: the run with all its results, and for each stage
whether it ran, and why. Each stage is complete or absent on disk, so a killed process loses at most the work of one
student.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from potstill.dataset import Fractions
from potstill.errors import RunError
from potstill.evaluation import Evaluation
from potstill.interrupts import on_interrupt
from potstill.operating_points import as_points
from potstill.pipeline.bundle import build_bundle
from potstill.pipeline.dataset import build_dataset
from potstill.pipeline.evaluate import evaluate_run
from potstill.pipeline.leaderboard import MINUTES, read_leaderboard, train_candidates
from potstill.pipeline.refit import Refitted, refit_run
from potstill.pipeline.train import recipes_of
from potstill.students.recipes import load_recipe
from potstill.terminal import indented, note
from potstill.training.folder import finished

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from potstill.pipeline.leaderboard import Leaderboard
    from potstill.pipeline.run import Run, StageRecord, StageStatus

_FEW = 4
"""Number of finished stages up to which they are named if the work is interrupted."""

NOTHING_CHANGED = "nothing changed"
"""Why a stage that is current was not run."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a stage ran, why, and how many seconds it took."""

    stage: str
    ran: bool
    why: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Distilled:
    """A run that is up to date: what was done for it, stage by stage, and its results."""

    outcomes: tuple[Outcome, ...]
    evaluation: Evaluation
    """The figures of the student before the refit."""
    refitted: Refitted
    """How its student was refitted on all labelled rows."""
    bundle: Path
    """Folder of the bundle to ship."""
    report: Path
    """Folder of the report."""

    @property
    def nothing_done(self) -> bool:
        """Whether every stage was current."""
        return not any(outcome.ran for outcome in self.outcomes)


@dataclass(slots=True)
class NumberedStages:
    """Runs stages one after the other and writes a numbered line about each; stages that are current are not run."""

    total: int
    outcomes: list[Outcome] = field(default_factory=list)

    def run(self, stage: str, why: str | None, doing: str, work: Callable[[], object], *, partly: str = "") -> None:
        """Run a stage, or say that it is current.

        Args:
            stage: its name.
            why: the reason to run it; None if it is current.
            doing: what it does, shown before the reason.
            work: does it.
            partly: what is kept of the stage if it is interrupted.
        """
        number = f"{len(self.outcomes) + 1}/{self.total} {stage}"
        if why is None:
            note(f"{number}: done, {NOTHING_CHANGED}")
            self.outcomes.append(Outcome(stage, ran=False, why=NOTHING_CHANGED, seconds=0.0))
            return
        note(f"{number}: {doing} ({why})")
        on_interrupt(f"{self._kept(partly)}; run the same command to resume")
        begun = time.monotonic()
        with indented():
            work()
        self.outcomes.append(Outcome(stage, ran=True, why=why, seconds=round(time.monotonic() - begun, 3)))

    def _kept(self, partly: str) -> str:
        names = [outcome.stage for outcome in self.outcomes]
        if len(names) > _FEW:
            names = [f"{len(names)} finished stages"]
        kept = ", ".join([*names, *([partly] if partly else [])])
        return f"kept: {kept}" if kept else "nothing was finished"


@dataclass(frozen=True, slots=True)
class _Request:
    """What is asked for; None means as in the stage's last execution, or its default."""

    minutes: float | None
    milliseconds: float | None
    recipes: Sequence[str | Path] | None
    seed: int | None
    device: str
    tiny: bool
    anyway: bool


def distill(
    run: Run,
    *,
    report: Callable[[Run], Path],
    minutes: float | None = None,
    latency: float | None = None,
    recipes: Sequence[str | Path] | None = None,
    seed: int | None = None,
    device: str = "auto",
    tiny: bool = False,
    anyway: bool = False,
) -> Distilled:
    """Run the stages of a labelled run that are missing or stale, from the dataset to the report.

    A stage whose inputs have changed runs again with the options of its last execution. If the process is killed, the
    next call continues: finished stages and finished students are kept, and so is the time that they used.

    Args:
        run: an open run with labels.
        report: writes the report of an evaluated run and returns its path.
        minutes: time budget for training; by default that of the last leaderboard, or `MINUTES`. More minutes than
            last time continue a leaderboard that had too little time.
        latency: maximum milliseconds per article of the student that goes into the bundle; by default that of the last
            leaderboard, or no limit.
        recipes: presets by name, or paths of recipe files; by default those that were trained last, or all presets that
            train on a CPU.
        seed: random seed of the split and of training; by default the last one, or 0.
        device: device for recipes that train a network.
        tiny: use tiny random networks, to test the pipeline; scores are meaningless.
        anyway: ship the student even if it is not shown to be better than the constant. A bundle that was shipped so
            is made again so.

    Returns:
        What was done, and the results.

    Raises:
        NoSkill: the student is not shown to be better than the constant. All that was trained is kept.
        RunError: the run has no labels or its labels are stale, another process is writing to it, no student is within
            the latency budget, or a stale stage depends on another run.
        DatasetError, RecipeError, BundleError, MissingExtra, MissingModel: as the stages.
    """
    run.check_done("label")
    request = _Request(minutes, latency, recipes, seed, device, tiny, anyway)
    stages = NumberedStages(6)
    stages.run("dataset", _why_dataset(run, request), "split the labelled articles", lambda: _dataset(run, request))
    stages.run(
        "train",
        _why_train(run, request),
        "train students within the time and compare them",
        lambda: _train(run, request),
        partly="finished students",
    )
    student = _wanted(run, request)
    stages.run(
        "bundle",
        _why_bundle(run, student),
        "calibrate, export and prove the best student",
        lambda: _bundle(run, request, student),
    )
    stages.run("evaluate", why_stale(run, "evaluate"), "measure the students and the bundle", lambda: evaluate_run(run))
    stages.run(
        "refit",
        why_stale(run, "refit"),
        "fit the student again on all labelled rows",
        lambda: refit_run(run, device=request.device),
    )
    stages.run("report", why_stale(run, "report"), "write the report", lambda: report(run))
    evaluation = Evaluation.from_file(run.path("evaluation"))
    refitted = Refitted.from_file(run.path("refit"))
    return Distilled(tuple(stages.outcomes), evaluation, refitted, run.shipped(), run.path("report"))


def _status(run: Run, stage: str) -> StageStatus:
    return next(status for status in run.status() if status.stage == stage)


def why_stale(run: Run, stage: str) -> str | None:
    """Return why a stage is not current, or None if it is."""
    status = _status(run, stage)
    return None if status.state == "done" else status.why


def _last(run: Run, stage: str) -> StageRecord | None:
    return run.manifest.stages.get(stage)


def _other_seed(last: StageRecord | None, name: str, request: _Request) -> str | None:
    """Return the reason if another seed is asked for than a stage was run with."""
    if last is None or request.seed is None or last.seeds.get(name) == request.seed:
        return None
    return f"seed {request.seed} in place of {last.seeds.get(name)}"


def _seed(last: StageRecord | None, name: str, request: _Request) -> int:
    if request.seed is not None:
        return request.seed
    return 0 if last is None else last.seeds.get(name, 0)


def _why_dataset(run: Run, request: _Request) -> str | None:
    last = _last(run, "dataset")
    why = why_stale(run, "dataset") or _other_seed(last, "split", request)
    if why is not None and last is not None and "like" in last.parameters:
        raise RunError(
            f"{run.folder}: dataset has to be made again ({why}), and it was split like that of another run; "
            f"run: potstill dataset {run.folder} --like RUN"
        )
    return why


def _dataset(run: Run, request: _Request) -> None:
    last = _last(run, "dataset")
    options = {} if last is None else last.parameters
    chosen = {name: options[name] for name in ("whole", "oracle") if options.get(name) is not None}
    if "fractions" in options:
        chosen["fractions"] = Fractions.model_validate(options["fractions"])
    build_dataset(run, seed=_seed(last, "split", request), **chosen)


def _budget(run: Run) -> dict[str, Any]:
    """Return the options of the run's last leaderboard; empty if its students were trained without one."""
    last = _last(run, "train")
    return {} if last is None else last.parameters.get("leaderboard") or {}


def _why_train(run: Run, request: _Request) -> str | None:
    last = _last(run, "train")
    status = _status(run, "train")
    why = status.why if status.state != "done" else _other_seed(last, "train", request) or _other_training(run, request)
    if why is not None and last is not None and last.parameters.get("with"):
        raise RunError(
            f"{run.folder}: students have to be trained again ({why}), and they were trained together with other runs; "
            f"run: {status.command}"
        )
    return why


def _other_training(run: Run, request: _Request) -> str | None:
    """Return the reason if other recipes, more minutes or another latency budget are asked for."""
    last, budget, found = _last(run, "train"), _budget(run), read_leaderboard(run)
    if last is None:
        return None
    if budget and found is None:
        return "the leaderboard is gone"
    known = {entry.name: entry.recipe_hash for entry in found.steps} if budget and found else last.parameters["recipes"]
    if request.recipes is not None and {r.name: r.hash for r in map(load_recipe, request.recipes)} != known:
        return "other recipes are asked for"
    if request.milliseconds is not None and budget.get("milliseconds") != request.milliseconds:
        return f"the latency budget is now {request.milliseconds:g} ms"
    if budget and found is not None and request.minutes is not None and request.minutes > found.minutes:
        waiting = [entry.name for entry in found.steps if entry.state == "no time"]
        if waiting:
            return f"{len(waiting)} candidates had no time, and there are more minutes now"
    return None


def _train(run: Run, request: _Request) -> None:
    last, budget = _last(run, "train"), _budget(run)
    minutes = request.minutes if request.minutes is not None else budget.get("minutes", MINUTES)
    milliseconds = request.milliseconds if request.milliseconds is not None else budget.get("milliseconds")
    found = train_candidates(
        run,
        request.recipes or recipes_of(last),
        minutes=minutes,
        milliseconds=milliseconds,
        seed=_seed(last, "train", request),
        device=request.device,
        tiny=request.tiny,
    )
    if not any(entry.state == "trained" for entry in found.steps):
        raise RunError(_no_student(run, found))


def _wanted(run: Run, request: _Request) -> str | None:
    """Return the student that belongs into the bundle; None for the best of a run without a leaderboard.

    A student that was put into the bundle by name stays there, unless recipes or a latency are asked for.

    Raises:
        RunError: no student was trained, or none is within the latency budget.
    """
    last = _last(run, "bundle")
    named = None if last is None or last.parameters.get("recommended") else last.parameters.get("student")
    asked = request.recipes is not None or request.milliseconds is not None
    if named and not asked and finished(run.path("students") / named) is not None:
        return str(named)
    if not _budget(run):
        return None
    found = read_leaderboard(run)
    if found is None or found.pick is None:
        raise RunError(_no_student(run, found))
    return found.pick.name


def _no_student(run: Run, found: Leaderboard | None) -> str:
    """Return why no student can be put into the bundle, and what to do."""
    timed = [] if found is None else [entry for entry in found.steps if entry.latency is not None]
    if found is None or not timed:
        return f"{run.folder}: no student was trained within the time; run the command with more --minutes"
    fastest = min(timed, key=lambda entry: entry.latency.milliseconds_p50 if entry.latency else 0.0)
    took = fastest.latency.milliseconds_p50 if fastest.latency else 0.0
    return (
        f"{run.folder}: no student is within {found.milliseconds:g} ms per article; the fastest, {fastest.name}, takes "
        f"{took:.3g} ms; run the command with a larger --latency"
    )


def _why_bundle(run: Run, student: str | None) -> str | None:
    why, last = why_stale(run, "bundle"), _last(run, "bundle")
    if why is not None or student is None or last is None:
        return why
    shipped = last.parameters.get("choice", {}).get("rung")
    return None if shipped == student else f"it holds {shipped}, and {student} is recommended"


def _bundle(run: Run, request: _Request, student: str | None) -> None:
    last = _last(run, "bundle")
    earlier = {} if last is None else last.parameters
    again = student is not None and earlier.get("choice", {}).get("rung") == student
    named = again and earlier.get("student") == student and not earlier.get("recommended")
    points = {tier: point for tier, point in earlier.get("decide", {}).items() if tier in run.filter.positive_tiers}
    build_bundle(
        run,
        student,
        kind=earlier.get("kind") if again else None,
        recommended=student is not None and not named,
        decide=as_points(points, run.filter.positive_tiers),
        anyway=request.anyway or bool(earlier.get("anyway")),
    )
