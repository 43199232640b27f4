"""Builds a run's bundle: selects a student on validation, then calibrates, exports and verifies it.

Input: a run with trained students. Output: its bundle, with the reasons for the choice. Calibration and intervals are
fitted on rows that were not used for selection: the calibration part if the dataset has one, otherwise out-of-fold or
held-out predictions of training rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from potstill import metrics
from potstill.bundle.exporting import (
    CALIBRATION_PART,
    OUT_OF_FOLD,
    bundle_student,
    calibrate,
    with_novelty,
    with_tier_head,
)
from potstill.bundle.facts import Choice
from potstill.dataset import Dataset
from potstill.errors import RunError
from potstill.pipeline.held_out import held_out_scores
from potstill.records import Interval
from potstill.students import outputs_of
from potstill.students.recipes import recorded_recipe
from potstill.students.storage import feature_folder, load_student
from potstill.terminal import note, steps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from potstill.bundle.layout import Kind
    from potstill.bundle.reading import Bundle
    from potstill.calibration import Calibration
    from potstill.dataset import Examples
    from potstill.evaluation.skill import Claim
    from potstill.filters import Filter
    from potstill.operating_points import OperatingPoint
    from potstill.pipeline.run import Run
    from potstill.students.storage import AnyStudent
    from potstill.training.facts import StudentRecord
    from potstill.types import FloatArray

NEVER_SHIPPED = frozenset({"source-median"})
"""Baselines that do not read the text; they are not meant for scoring and are never put in a bundle."""

_BY_VALIDATION = "selected on validation"
"""How a student is chosen by default, in the recorded reason."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A trained student of the run, with its raw predictions of the validation part, shape (rows, dimensions)."""

    name: str
    folder: Path
    record: StudentRecord
    validation: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class CalibratedStudent:
    """A candidate's student, with a tier head if it can have one, and its calibration.

    `tier_outputs`, shape (training rows, positive tiers), come from tier heads that were not fitted on the row; None
    without a tier head. `predicted` are raw scores of `rows`, shape (rows, dimensions), from which it was calibrated.
    """

    candidate: Candidate
    student: AnyStudent
    calibration: Calibration
    tier_outputs: FloatArray | None
    rows: Examples
    predicted: FloatArray


def build_bundle(
    run: Run,
    student: str | None = None,
    *,
    kind: Kind | None = None,
    seed: int = 0,
    graphs_of: Sequence[Path] = (),
    recommended: bool = False,
    decide: Mapping[str, OperatingPoint] | None = None,
    anyway: bool = False,
) -> Bundle:
    """Build a run's bundle; recorded as the stage `bundle`.

    Args:
        run: an open run with trained students.
        student: name of the recipe to ship; None selects the student that reads the text with the lowest validation
            error.
        kind: whether a network is stored completely or as an adapter to its base; by default an adapter only if the
            complete network does not fit an ONNX file.
        seed: random seed of the golden word lists, the calibration folds and the bootstrap.
        graphs_of: other bundles. If one of them, or the run's previous bundle, holds the graph of a frozen network, the
            graph is copied instead of exported again, after a check that it gives the same features here.
        recommended: whether `student` is the leaderboard's recommendation and not a person's choice.
        decide: operating points that override those of the filter, by positive tier.
        anyway: whether to ship a student that is not shown to be better than the constant; see `evaluation.skill`.

    Raises:
        RunError: nothing is trained yet, or a student is unknown or was trained on other rows.
        NoSkill: the student is not shown to be better than the constant; the previous bundle is kept.
        BundleError: the bundle cannot be made or does not pass its checks; the previous bundle is kept.
        MissingExtra, MissingModel: a neural student's libraries or backbone are not installed.
    """
    from potstill.evaluation.skill import proven_skill

    filter_ = run.filter
    dataset = Dataset.load(run.need("rows", "dataset"), filter_.dimension_names)
    parameters: dict[str, Any] = {"student": student, "kind": kind, "recommended": recommended, "anyway": anyway}
    if decide:
        parameters["decide"] = {tier: point.spelling for tier, point in decide.items()}
    with run.recording("bundle", parameters=parameters, seeds={"bundle": seed}):
        candidates = read_candidates(run, dataset)
        choice = choose(
            candidates, dataset.part("validation"), filter_, wanted=student, recommended=recommended, seed=seed
        )
        choice = choice.model_copy(update={"constant_mae": round(constant_mae(dataset), 6)})
        note(f"bundle: {choice.reason}")
        chosen = next(candidate for candidate in candidates if candidate.name == choice.rung)
        place = run.path("bundle")
        with steps("calibrating the student", None):
            fitted = calibrate_candidate(run, dataset, chosen, decide=decide, seed=seed)
        skill = proven_skill(_claim(run, dataset, fitted), anyway=anyway, cache=feature_folder(), seed=seed)
        choice = choice.model_copy(update={"skill": skill})
        with steps("exporting and proving the bundle", None):
            bundle = write_candidate(
                run, dataset, fitted, place, choice, kind=kind, seed=seed, graphs_of=[*graphs_of, place]
            )
        parameters |= {"choice": choice.model_dump(mode="json"), "kind": bundle.manifest.kind, "sha256": bundle.hash}
    return bundle


def write_candidate(
    run: Run,
    dataset: Dataset,
    fitted: CalibratedStudent,
    folder: Path,
    choice: Choice | None,
    *,
    kind: Kind | None = None,
    seed: int = 0,
    graphs_of: Sequence[Path] = (),
) -> Bundle:
    """Export a calibrated student and write it as a bundle.

    Args:
        run: the run that the student belongs to.
        dataset: the run's dataset.
        fitted: the student to write.
        folder: folder of the bundle; an existing bundle is replaced.
        choice: why the student was chosen, recorded in the bundle's facts.
        kind: as in `build_bundle`.
        seed: random seed of the golden word lists.
        graphs_of: as in `build_bundle`.

    Raises:
        BundleError, MissingExtra: as `build_bundle`.
    """
    return bundle_student(
        folder,
        fitted.student,
        fitted.candidate.name,
        run.filter,
        fitted.calibration,
        train_texts=dataset.part("train").texts,
        kind=kind,
        seed=seed,
        graphs_of=graphs_of,
        choice=choice,
        record=fitted.candidate.record,
    )


def shipped_choice(run: Run) -> Choice | None:
    """Return which student is in the run's bundle and why, as the run recorded it; None without a bundle."""
    stage = run.manifest.stages.get("bundle")
    recorded = None if stage is None else stage.parameters.get("choice")
    return None if recorded is None else Choice.validated(recorded, f"{run.folder}: stage bundle", error=RunError)


def read_candidates(run: Run, dataset: Dataset) -> list[Candidate]:
    """Read the run's trained students that may be shipped, sorted by name.

    Raises:
        RunError: there is none, or one was trained on other rows than the dataset has now.
    """
    from potstill.training.facts import StudentRecord
    from potstill.training.folder import LAYOUT, read_scores

    folder = run.need("students", "train")
    validation = dataset.part("validation")
    found = []
    for path in sorted(folder.glob(f"*/{LAYOUT['record']}")):
        record = StudentRecord.from_file(path)
        if record.recipe["student"] in NEVER_SHIPPED:
            continue
        ids, scores = read_scores(path.parent / LAYOUT["validation"], dataset.dimensions)
        if tuple(ids) != validation.ids:
            raise RunError(f"{path.parent}: was trained on other rows; run: potstill train {run.folder}")
        found.append(Candidate(path.parent.name, path.parent, record, scores))
    if not found:
        raise RunError(f"{folder}: holds no student that can be shipped; run: potstill train {run.folder}")
    return found


def choose(
    candidates: Sequence[Candidate],
    validation: Examples,
    filter_: Filter,
    *,
    wanted: str | None = None,
    recommended: bool = False,
    seed: int = 0,
) -> Choice:
    """Select the candidate with the lowest validation error, or the one asked for, and compute its margin.

    The constant is selected only if it is asked for or there is no other candidate: whether a student is better than
    the constant is tested on more rows than the validation part has, and on rows that selected nothing.

    Raises:
        RunError: there is no candidate of the name asked for.
    """
    names = [candidate.name for candidate in candidates]
    if wanted is not None and wanted not in names:
        raise RunError(f"student {wanted!r} is not among those that can be shipped: {', '.join(names)}")
    clipped = {c.name: np.clip(c.validation, filter_.scale.min, filter_.scale.max) for c in candidates}
    errors = {name: np.abs(predicted - validation.scores) for name, predicted in clipped.items()}
    means = {name: metrics.average(metrics.mae(predicted, validation.scores)) for name, predicted in clipped.items()}
    order = sorted(names, key=lambda name: means[name])
    readers = [candidate.name for candidate in candidates if not _is_constant(candidate)]
    rung = wanted or next((name for name in order if name in readers), order[0])
    how = "recommended by the leaderboard" if recommended else "requested by name" if wanted else _BY_VALIDATION
    runner_up = next((name for name in order if name != rung), None)
    margin = interval = None
    if runner_up is not None:
        margin = means[runner_up] - means[rung]
        found = metrics.compare(errors[runner_up], errors[rung], validation.clusters, seed=seed)
        interval = (float(found.low), float(found.high))
    return Choice(
        rung=rung,
        validation_mae={name: round(value, 6) for name, value in means.items()},
        runner_up=runner_up,
        margin=None if margin is None else round(margin, 6),
        margin_interval=interval and Interval(low=round(interval[0], 6), high=round(interval[1], 6)),
        reason=_why(rung, runner_up, means, interval, how=how),
    )


def _is_constant(candidate: Candidate) -> bool:
    return bool(candidate.record.recipe["student"] == "constant")


def constant_mae(dataset: Dataset) -> float:
    """Return the validation error of the training rows' median; rows chosen by a predicted score do not count."""
    scores = dataset.part("validation").scores
    constant = metrics.constant(dataset.part("train").untargeted().scores)
    return metrics.average(metrics.mae(np.broadcast_to(constant, scores.shape), scores))


def choose_for_all(runs: Sequence[Run]) -> str:
    """Select the student that serves several runs' filters best, so that one network can score them all.

    It reads the text and has the lowest validation error relative to the constant's, averaged over the runs. The result
    is the name of its recipe.

    Raises:
        RunError: no student that can be shipped is trained in every run.
    """
    shares: dict[tuple[bool, str], list[float]] = {}
    for run in runs:
        dataset = Dataset.load(run.need("rows", "dataset"), run.filter.dimension_names)
        validation, low, high = dataset.part("validation"), run.filter.scale.min, run.filter.scale.max
        level = constant_mae(dataset) or 1.0
        for candidate in read_candidates(run, dataset):
            error = metrics.mae(np.clip(candidate.validation, low, high), validation.scores)
            place = (_is_constant(candidate), candidate.name)
            shares.setdefault(place, []).append(metrics.average(error) / level)
    means = {place: float(np.mean(own)) for place, own in shares.items() if len(own) == len(runs)}
    if not means:
        raise RunError(f"no student is trained in every run; run: potstill train {runs[0].folder} --with OTHER")
    # The constant comes after every student that reads the text.
    return min(means, key=lambda place: (place[0], means[place]))[1]


def calibrate_candidate(
    run: Run,
    dataset: Dataset,
    chosen: Candidate,
    *,
    decide: Mapping[str, OperatingPoint] | None = None,
    seed: int = 0,
) -> CalibratedStudent:
    """Open a trained student, fit a tier head for it if it can have one, let it measure novelty, and calibrate it.

    Args:
        run: the run that the student belongs to.
        dataset: the run's dataset.
        chosen: the student.
        decide: as in `build_bundle`.
        seed: random seed of the calibration folds.

    Raises:
        RunError, BundleError, MissingExtra, MissingModel: as `build_bundle`.
    """
    train, filter_ = dataset.part("train"), run.filter
    student, unseen = with_tier_head(load_student(chosen.folder, cache=feature_folder()), train, filter_)
    others = [dataset.part("validation")]
    if dataset.has_calibration_part:
        rows, origin = dataset.part("calibration"), CALIBRATION_PART
        predicted, outputs, _ = outputs_of(student, rows.frame)
        others.append(rows)
    else:
        rows, origin, outputs = train, OUT_OF_FOLD, unseen
        predicted = held_out_scores(chosen.folder, train)
    student, distances = with_novelty(student, train, others, seed=seed)
    calibration = calibrate(
        predicted, rows, filter_, origin, tier_outputs=outputs, decide=decide, distances=distances, seed=seed
    )
    return CalibratedStudent(chosen, student, calibration, unseen, rows, predicted)


def _claim(run: Run, dataset: Dataset, fitted: CalibratedStudent) -> Claim:
    """Return what the student's skill is tested on."""
    from potstill.evaluation.skill import Claim

    record = fitted.candidate.record
    return Claim(
        name=f"{run.folder}: {fitted.candidate.name}",
        recipe=recorded_recipe(record.recipe, str(fitted.candidate.folder)),
        tiny=record.tiny,
        train=dataset.part("train"),
        rows=fitted.rows,
        predicted=fitted.predicted,
        origin=fitted.calibration.origin,
        labels=dataset.frame.height,
        filter=run.filter,
    )


def _why(
    rung: str,
    runner_up: str | None,
    means: dict[str, float],
    interval: tuple[float, float] | None,
    *,
    how: str,
) -> str:
    """Return one sentence that explains the choice, for the record and the terminal."""
    said = f"{rung}, {how}: MAE {means[rung]:.3f}"
    if runner_up is not None and interval is not None:
        lead = means[runner_up] - means[rung]
        said += (
            f", {abs(lead):.3f} {'better' if lead >= 0 else 'worse'} than {runner_up} "
            f"(95% interval of the difference {interval[0]:+.3f} to {interval[1]:+.3f})"
        )
    return said
