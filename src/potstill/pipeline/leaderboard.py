"""The leaderboard of a run: the candidates that can be trained in the given time, their errors and costs, and a choice.

In: a run with a dataset, and minutes. Out: students, and `ladder.json`: for each candidate its validation error and the
time per article, or why it was not trained; the recommended candidate under a latency budget; and the expected gain
from the first candidate for which there was no time. All choices use the validation part; the test part is not read.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from potstill import metrics
from potstill.dataset import Dataset
from potstill.errors import RecipeError, RunError, TrainingError, Unavailable
from potstill.evaluation.latency import measure
from potstill.evaluation.records import Latency  # noqa: TC001 - pydantic reads it
from potstill.files import digest
from potstill.machine import Load  # noqa: TC001 - pydantic reads it
from potstill.pipeline.evaluate import run_floor, saved
from potstill.pipeline.teachers_and_members import changed
from potstill.pipeline.train import (
    count_kept,
    put_away_others,
    rows_hash,
    same_training,
    train_one,
    train_parameters,
)
from potstill.records import Interval, Part, Record
from potstill.students.constant import fit_constant
from potstill.students.neural import part_keys, reading_members
from potstill.students.recipes import BlendRecipe, ConstantRecipe, EncoderHeadRecipe, load_recipe
from potstill.students.storage import load_student
from potstill.terminal import note
from potstill.training.estimating import estimate
from potstill.training.folder import finished, same_student

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from potstill.dataset import Examples
    from potstill.pipeline.run import Run
    from potstill.students.recipes import Recipe
    from potstill.training import StudentRecord
    from potstill.types import FloatArray

CANDIDATES = (
    "constant",
    "tfidf-ridge",
    "tfidf-median",
    "minilm-ridge",
    "minilm-svr",
    "minilm-median",
    "e5-ridge",
    "e5-svr",
    "e5-median",
    "minilm-e5-svr",
    "minilm-e5-median",
    "tfidf-e5-blend",
    "minilm-full",
    "minilm-full-median",
    "e5-small-full",
    "e5-small-full-median",
)
"""Recipes that are tried by default: all presets that can be shipped and run on a CPU."""

MINUTES = 15.0
"""Default time budget in minutes."""

ESTIMATING = 0.25
"""Share of the remaining time that estimates may use before the candidates that have one are trained."""

FEWEST = 3
"""The minimum number of trained candidates, without the constant, for an estimate of the next."""


class Entry(Part):
    """One candidate: trained, with its figures, or not trained, with the reason in `why`.

    `mae` is the mean over dimensions on the validation part, with scores clipped to the scale; `interval` is its
    interval over clusters of near-duplicates. `estimated_seconds` was estimated before training, `seconds` was
    measured.
    """

    name: str
    student: str
    recipe_hash: str
    state: Literal["trained", "no time", "not possible"]
    why: str | None = None
    estimated_seconds: float | None = None
    seconds: float | None = None
    load: Load | None = None
    """How busy the machine was during the fit."""
    mae: float | None = None
    interval: Interval | None = None
    skill: float | None = None
    latency: Latency | None = None
    tiny: bool = False


class Pick(Part):
    """The recommended candidate: the lowest error within the budget.

    `as_good` names cheaper candidates whose error is not significantly larger: the 95% interval of the difference, over
    clusters, contains 0.
    """

    name: str
    mae: float
    milliseconds: float
    as_good: tuple[str, ...]


class Next(Part):
    """The expected gain from the first candidate for which there was no time, if error falls with time as before.

    It is a linear fit of the lowest error so far against the logarithm of seconds, over `points` candidates, bounded
    below by the noise floor. `mae` and `gain` are None if there are too few candidates for an estimate.
    """

    name: str
    seconds: float
    points: int
    mae: float | None
    gain: float | None


class Leaderboard(Record):
    """`ladder.json`."""

    fault = RunError
    made_by = "potstill train RUN --auto"

    schema_version: int = 2
    rows: str
    """SHA-256 of the dataset's rows."""
    seed: int
    tiny: bool
    train_rows: int
    validation_rows: int
    minutes: float
    milliseconds: float | None
    """The latency budget per article."""
    constant_mae: float
    floor: float | None
    """The noise floor, the error that no student can beat; None if no article was labelled twice."""
    steps: tuple[Entry, ...]
    pick: Pick | None
    next: Next | None
    unfinished_seconds: float | None = None
    """Seconds of the time budget that an unfinished leaderboard has used; None once it is finished."""


def train_candidates(
    run: Run,
    recipes: Sequence[str | Path] | None = None,
    *,
    minutes: float = MINUTES,
    milliseconds: float | None = None,
    seed: int = 0,
    device: str = "auto",
    tiny: bool = False,
    estimating: Callable[[Recipe, Sequence[str], Sequence[str]], float] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Leaderboard:
    """Train the candidates that fit into the time, cheapest first, as the stage `train`; record their errors and costs.

    Students that are already trained are kept and cost no time, so a leaderboard that is given more minutes continues.
    The record is written after each candidate, with the time used so far: if the process is killed, the next call
    continues with the same estimates and the time that was left.

    Args:
        run: an open run with a dataset.
        recipes: presets by name, or paths of recipe files; None for `CANDIDATES`.
        minutes: total time. A candidate is started only if its estimated time fits into the remaining time.
        milliseconds: the latency budget per article; None for no limit.
        seed: random seed.
        device: where fine-tuned students train.
        tiny: use tiny random backbones, to test the whole path.
        estimating: estimates the seconds of a recipe on training and validation texts; by default, they are measured
            with its backbone.
        clock: a monotonic clock in seconds.

    Raises:
        RunError: there is no dataset, or another process writes to the run.
        RecipeError: a recipe is unknown, or two recipes have the same name.
    """
    start = clock()
    named = {load_recipe(name).name: name for name in recipes or CANDIDATES}
    if len(named) < len(recipes or CANDIDATES):
        raise RecipeError("two of the recipes have the same name; names of students in a run must be unique")
    about = {"minutes": minutes, "milliseconds": milliseconds, "named": None if recipes is None else list(named)}
    parameters = train_parameters(named.values(), device=device, tiny=tiny) | {"leaderboard": about}
    dataset = Dataset.load(run.need("rows", "dataset"), run.filter.dimension_names)
    with run.recording("train", parameters=parameters, seeds={"train": seed}) as recording:
        put_away_others(run, rows_hash(run, dataset))
        before = {name: finished(run.path("students") / name) for name in named}
        earlier = _earlier(run, seed=seed, tiny=tiny)
        work = _Work(run, dataset, seed, device, tiny, minutes, milliseconds, earlier)
        if earlier is not None:
            start -= earlier.unfinished_seconds or 0.0
        guess = estimating or (_nothing if tiny else lambda *given: estimate(*given, device=device))
        steps = _trained(work, named, guess, lambda: clock() - start)
        work.leaderboard(steps).save(run.path("ladder"))
        trained = {name for name in named if any(step.name == name and step.state == "trained" for step in steps)}
        parameters["recipes"] = {name: hash_ for name, hash_ in parameters["recipes"].items() if name in trained}
        # Without a student there is nothing to record.
        recording.abandoned = not trained
        now = {name: finished(run.path("students") / name) for name in trained}
        records = [record for record in now.values() if record is not None]
        same = same_training(run.manifest.stages.get("train"), parameters)
        count_kept(recording, records, [before[name] for name in now], same=same)
    return work.leaderboard(steps)


def _trained(
    work: _Work,
    named: Mapping[str, str | Path],
    guess: Callable[[Recipe, Sequence[str], Sequence[str]], float],
    used: Callable[[], float],
) -> list[Entry]:
    """Train the candidates that fit into the time and return an entry for each; `used` returns the seconds so far.

    Candidates are taken in groups, cheap kinds first. Within a group, estimating stops when it has used its share of
    the remaining time; what has an estimate by then is trained, cheapest first, before the others are estimated.
    """
    steps: list[Entry] = []
    encoded: set[str] = set()
    guess = _once_per_encoder(guess)
    wanted = [load_recipe(name) for name in named.values()]
    for level in sorted({_cost_level(recipe) for recipe in wanted}):
        waiting = [recipe for recipe in wanted if _cost_level(recipe) == level]
        while waiting:
            began = used()
            planned: list[Entry] = []
            while waiting and (not planned or used() - began < ESTIMATING * (60 * work.minutes - began)):
                planned.append(work.planned(waiting.pop(0), guess, 60 * work.minutes - used()))
            planned.sort(key=lambda step: step.estimated_seconds or 0.0)
            begun = len(steps)
            steps += planned
            for place, step in enumerate(planned, start=begun):
                if step.state == "not possible" or step.why is not None:
                    continue
                recipe = load_recipe(named[step.name])
                left = 60 * work.minutes - used()
                # Features that a backbone computed for another head are already cached.
                need = 0.0 if _readings(recipe) <= encoded else step.estimated_seconds or 0.0
                steps[place] = work.trained(step, recipe, named[step.name], need, left)
                if steps[place].state == "trained":
                    encoded |= _readings(recipe)
                so_far = work.leaderboard(steps).model_copy(update={"unfinished_seconds": round(used(), 3)})
                so_far.save(work.run.path("ladder"))
    return steps


def _once_per_encoder(
    guess: Callable[[Recipe, Sequence[str], Sequence[str]], float],
) -> Callable[[Recipe, Sequence[str], Sequence[str]], float]:
    """Return a function that estimates as `guess`, but measures each frozen encoder once for all heads on it."""
    known: dict[str, float] = {}

    def estimated(recipe: Recipe, train: Sequence[str], validation: Sequence[str]) -> float:
        readings = _readings(recipe)
        if readings <= known.keys():
            return sum(known[key] for key in readings)
        seconds = guess(recipe, train, validation)
        if len(readings) == 1:
            known[next(iter(readings))] = seconds
        return seconds

    return estimated


def read_leaderboard(run: Run) -> Leaderboard | None:
    """Return the run's leaderboard, or None if there is none or it was made of other rows."""
    path = run.path("ladder")
    if not path.exists() or not run.path("rows").exists():
        return None
    found = Leaderboard.from_file(path)
    dataset = Dataset.load(run.path("rows"), run.filter.dimension_names)
    return found if found.rows == rows_hash(run, dataset) else None


def _earlier(run: Run, *, seed: int, tiny: bool) -> Leaderboard | None:
    """Return the run's leaderboard if it is of the same rows, seed and networks, and can be read."""
    try:
        found = read_leaderboard(run)
    except RunError:
        return None
    return found if found is not None and (found.seed, found.tiny) == (seed, tiny) else None


@dataclass(frozen=True, slots=True)
class _Work:
    """What every candidate needs; `earlier` is the leaderboard that is continued."""

    run: Run
    dataset: Dataset
    seed: int
    device: str
    tiny: bool
    minutes: float
    milliseconds: float | None
    earlier: Leaderboard | None

    @property
    def continues(self) -> bool:
        """Whether an unfinished leaderboard is continued, so that its estimates are used."""
        return self.earlier is not None and self.earlier.unfinished_seconds is not None

    def known(self, recipe_hash: str) -> Entry | None:
        """The earlier leaderboard's entry of a recipe."""
        entries = () if self.earlier is None else self.earlier.steps
        return next((entry for entry in entries if entry.recipe_hash == recipe_hash), None)

    def planned(
        self, recipe: Recipe, guess: Callable[[Recipe, Sequence[str], Sequence[str]], float], left: float
    ) -> Entry:
        """The step with its estimate, or with the reason why it is not possible; `left` is in seconds."""
        step = Entry(name=recipe.name, student=recipe.student, recipe_hash=recipe.hash, state="no time", tiny=self.tiny)
        if recipe.student == "source-median":
            return step.model_copy(
                update={"state": "not possible", "why": "never shipped, because it does not read the text"}
            )
        if left <= 0 and finished(self.run.path("students") / recipe.name) is None:
            return step.model_copy(update={"why": "the time was up before its training time could be estimated"})
        known = self.known(recipe.hash)
        if known is not None and known.estimated_seconds is not None and self.continues:
            return step.model_copy(update={"estimated_seconds": known.estimated_seconds})
        try:
            seconds = guess(recipe, self.dataset.part("train").texts, self.dataset.part("validation").texts)
        except Unavailable as error:
            return step.model_copy(update={"state": "not possible", "why": str(error)})
        return step.model_copy(update={"estimated_seconds": round(seconds, 3)})

    def trained(self, step: Entry, recipe: Recipe, name: str | Path, need: float, left: float) -> Entry:
        """The trained step, or the step with the reason why it was not trained; `need` and `left` are in seconds."""
        record = finished(self.run.path("students") / step.name)
        done = record is not None and same_student(record, recipe, self.rows_hash, self.seed, tiny=self.tiny)
        if done and record is not None and not changed(self.run, record.sources):
            note(f"{step.name}: already trained")
            known = self.known(recipe.hash)
            if known is not None and known.seconds == record.seconds and known.latency and not known.latency.under_load:
                return known
            return self.measured(step, record)
        if not done and (need > left or left <= 0):
            why = f"training would take about {_words(need)}, but only {_words(max(left, 0.0))} are left"
            note(f"{step.name}: {why}")
            return step.model_copy(update={"state": "no time", "why": why})
        try:
            record = train_one(self.run, self.dataset, name, seed=self.seed, device=self.device, tiny=self.tiny)
        except (TrainingError, Unavailable) as error:
            note(f"{step.name}: {error}")
            return step.model_copy(update={"state": "not possible", "why": str(error)})
        return self.measured(step, record)

    def measured(self, step: Entry, record: StudentRecord) -> Entry:
        rows = self.dataset.part("validation")
        scores = self.scores(step.name)
        mae = metrics.average(metrics.mae(scores, rows.scores))
        low, high = metrics.bootstrap_mean(_errors(scores, rows)[:, None], rows.clusters, seed=self.seed)
        interval = Interval(low=_rounded(np.asarray(low).item()), high=_rounded(np.asarray(high).item()))
        student = load_student(self.run.path("students") / step.name)
        latency = measure(lambda places: student.predict(rows.frame[list(places)]), range(len(rows)))
        figures = {
            "state": "trained",
            "why": None,
            "seconds": record.seconds,
            "load": record.load,
            "mae": _rounded(mae),
            "interval": interval,
            "skill": _rounded(1 - mae / self.constant_mae),
            "latency": latency,
        }
        return step.model_copy(update=figures)

    @property
    def rows_hash(self) -> str:
        """The hash of the rows, as training writes it into a student's record."""
        return rows_hash(self.run, self.dataset)

    def scores(self, name: str) -> FloatArray:
        """A student's scores of the validation part, clipped to the scale, as a user sees them."""
        scale = self.run.filter.scale
        raw = saved(self.run.path("students") / name, self.dataset.part("validation"))
        return np.clip(raw, scale.min, scale.max)

    @property
    def constant_mae(self) -> float:
        """The error of each dimension's median, on the validation part."""
        rows = self.dataset.part("validation")
        constant = fit_constant(ConstantRecipe(name="constant", student="constant"), self.dataset.part("train"), seed=0)
        return metrics.average(metrics.mae(constant.predict(rows.frame), rows.scores))

    def leaderboard(self, steps: Sequence[Entry]) -> Leaderboard:
        floor = run_floor(self.run, self.run.filter, self.dataset)
        bottom = None if floor is None else floor.mean_floor
        return Leaderboard(
            rows=self.rows_hash,
            seed=self.seed,
            tiny=self.tiny,
            train_rows=len(self.dataset.part("train")),
            validation_rows=len(self.dataset.part("validation")),
            minutes=self.minutes,
            milliseconds=self.milliseconds,
            constant_mae=_rounded(self.constant_mae),
            floor=bottom,
            steps=tuple(steps),
            pick=self.pick(steps),
            next=next_of(steps, bottom),
        )

    def pick(self, steps: Sequence[Entry]) -> Pick | None:
        """The lowest error of a candidate within the budget that reads the text, and cheaper ones that may be as good.

        None if no candidate is within the budget; the constant if it alone is.
        """
        within = [step for step in steps if _fits(step, self.milliseconds)]
        if not within:
            return None
        # Whether a student is better than the constant is tested by the stage `bundle`, on more rows.
        within = [step for step in within if step.student != "constant"] or within
        best = min(within, key=lambda step: (step.mae, _milliseconds(step)))
        rows = self.dataset.part("validation")
        errors = _errors(self.scores(best.name), rows)
        as_good = []
        for step in sorted(within, key=_milliseconds):
            if _milliseconds(step) < _milliseconds(best):
                more = _errors(self.scores(step.name), rows) - errors
                low, _ = metrics.bootstrap_mean(more[:, None], rows.clusters, seed=self.seed)
                if np.asarray(low).item() <= 0:
                    as_good.append(step.name)
        return Pick(
            name=best.name, mae=best.mae or 0.0, milliseconds=round(_milliseconds(best), 3), as_good=tuple(as_good)
        )


def next_of(steps: Sequence[Entry], floor: float | None) -> Next | None:
    """The expected gain from the cheapest candidate without time; None if none has an estimate and had no time."""
    missing = min(
        (step for step in steps if step.state == "no time" and step.estimated_seconds is not None),
        key=lambda step: step.estimated_seconds or 0.0,
        default=None,
    )
    if missing is None:
        return None
    curve = sorted(
        (max(step.seconds, 1e-3), step.mae)
        for step in steps
        if step.mae is not None and step.seconds is not None and step.student != "constant"
    )
    seconds = missing.estimated_seconds or 0.0
    unknown = Next(name=missing.name, seconds=seconds, points=len(curve), mae=None, gain=None)
    times = np.log10([at for at, _ in curve])
    if len(curve) < FEWEST or np.ptp(times) == 0:
        return unknown
    least = np.minimum.accumulate([mae for _, mae in curve])
    slope = min(float(np.polyfit(times, least, 1)[0]), 0.0)
    best = float(least[-1])
    # The next candidate adds the time beyond that of the candidate with the lowest error.
    reached = float(times[int(np.argmin(least))])
    expected = best + slope * max(float(np.log10(max(seconds, 1e-3))) - reached, 0.0)
    expected = max(expected, min(floor or 0.0, best))
    return unknown.model_copy(update={"mae": _rounded(expected), "gain": _rounded(best - expected)})


def _fits(step: Entry, milliseconds: float | None) -> bool:
    if step.mae is None or step.latency is None:
        return False
    return milliseconds is None or step.latency.milliseconds_p50 <= milliseconds


def _milliseconds(step: Entry) -> float:
    return float("inf") if step.latency is None else step.latency.milliseconds_p50


def _errors(scores: FloatArray, rows: Examples) -> FloatArray:
    """The error of each row, the mean over its labels; NaN for a row without labels."""
    known = ~np.isnan(rows.scores)
    error = np.where(known, np.abs(scores - rows.scores), 0.0).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(error / np.where(known.any(axis=1), known.sum(axis=1), np.nan))


def _readings(recipe: Recipe) -> set[str]:
    """Keys of the features of frozen encoders: recipes with the same keys differ only in their heads."""
    if not isinstance(recipe, EncoderHeadRecipe | BlendRecipe) or not reading_members(recipe):
        return {recipe.name}
    return {digest([key, str(member.chunks)]) for member in reading_members(recipe) for key in part_keys(member)}


def _cost_level(recipe: Recipe) -> int:
    """Return 0 for recipes without a network, 1 for those that only read with one, 2 for those that train one."""
    match recipe.student:
        case "constant" | "source-median" | "tfidf-ridge":
            return 0
        case "encoder-head" | "blend":
            return 1
        case _:
            return 2


def _nothing(*_: object) -> float:
    return 0.0


def _words(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _rounded(value: float) -> float:
    return round(value, 6)
