"""Tests whether a student is better than the constant, and estimates how many labels it would take to show it.

Input: a student's predictions of rows that neither trained nor selected it, with their labels. Output: its skill with
an interval, and a number of labels from a learning curve, or the reason why none is in sight. The curve is that of the
student itself if it is fitted in seconds, and otherwise that of a cheap one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from potstill import metrics
from potstill.audit.learning import power_law
from potstill.audit.suspects import cheap_student
from potstill.bundle.facts import CurvePoint, HeldOutSkill, LabelsNeeded
from potstill.calibration import cross_fitted
from potstill.dataset import folds
from potstill.errors import NoSkill
from potstill.evaluation.judging import constant_for, out_of_fold_constant
from potstill.findings import FEWEST_CLUSTERS_FOR_SKILL, LABELS_IN_SIGHT, SIGNIFICANCE
from potstill.metrics import number
from potstill.records import Interval
from potstill.terminal import note, steps_if_long
from potstill.training import fitter, refitter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from potstill.audit.learning import PowerLaw
    from potstill.dataset import Examples
    from potstill.filters import Filter
    from potstill.students import Student
    from potstill.students.recipes import Recipe
    from potstill.types import FloatArray

_FOLDS = 5
"""Folds in which the constant is fitted without the row that it is compared on, as the student is."""

_Z_SHOWN = 1.96 + 0.84
"""Standard errors by which a skill must exceed 0 so that its 95% interval excludes 0 in four of five data sets."""

_DRAWS = 200
_STEPS = 200
"""Numbers of labels that are tried; each is 1.5% larger than the one before."""

_SIZES = 5
_SMALLEST = 8
_MOST_FITTED = 2000
"""Rows of the largest subset: a curve of few labels is asked for, and a larger subset would take minutes."""


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """A student that is to be shipped, and what its claim to be better than the constant is tested on.

    `predicted` are its raw predictions of `rows`, shape (rows, dimensions), by models that had not seen the row. The
    rows are those of the calibration: the calibration part, or the training rows out of fold. Validation rows are left
    out, since a student that was selected on them looks better there than it is, and so are test rows.
    """

    name: str
    """The student and, if it is in a run, the run, for the message."""
    recipe: Recipe
    tiny: bool
    train: Examples
    rows: Examples
    predicted: FloatArray
    origin: str
    labels: int
    """Number of labelled articles in all parts."""
    filter: Filter


def proven_skill(claim: Claim, *, anyway: bool = False, cache: Path | None = None, seed: int = 0) -> HeldOutSkill:
    """Return the skill of a student that may be shipped, and say it in a note.

    The constant baseline may be shipped, since it claims nothing. A student of tiny stand-ins for backbones, whose
    scores are declared to be meaningless, may be shipped as if `anyway` were given.

    Args:
        claim: the student and its rows.
        anyway: whether to ship it although it is not shown to be better than the constant.
        cache: folder in which frozen encoders keep features, for the learning curve.
        seed: random seed of the intervals and of the learning curve.

    Raises:
        NoSkill: the interval of its skill does not lie above 0.
    """
    learned = None if claim.rows.ids == claim.train.ids else claim.train
    compared = Compared.of(claim.predicted, claim.rows, claim.filter, learned=learned, seed=seed)
    found = held_out_skill(compared, claim.origin, baseline=claim.recipe.student == "constant", seed=seed)
    if not (found.shown or found.baseline):
        needed = labels_needed(found, compared, claim, cache=cache, seed=seed)
        found = found.model_copy(update={"labels": needed})
        if not (anyway or claim.tiny):
            raise NoSkill(
                f"{claim.name} is not shown to be better than the constant: {found.words}; {needed.words}; "
                "--anyway ships it all the same"
            )
    note(f"{claim.name}: {found.caution or found.words}")
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """Held-out rows with a student's calibrated scores and the constant's, each of shape (rows, dimensions)."""

    rows: Examples
    scores: FloatArray
    constant: FloatArray

    @classmethod
    def of(
        cls, predicted: FloatArray, rows: Examples, filter_: Filter, *, learned: Examples | None = None, seed: int = 0
    ) -> Compared:
        """Calibrate raw predictions, each without its row, and predict the same rows by the constant.

        Args:
            predicted: raw predictions by models that had not seen the row, shape (rows, dimensions).
            rows: the labelled rows; those that were chosen by a predicted score are left out.
            filter_: the filter.
            learned: rows that the constant is fitted on; None to fit it on the other folds of `rows`.
            seed: random seed of the folds.
        """
        keep = ~rows.targeted & np.isfinite(predicted).all(axis=1)
        rows, predicted = rows.take(keep), predicted[keep]
        scores = cross_fitted(
            predicted, rows.scores, rows.clusters, seed, low=filter_.scale.min, high=filter_.scale.max
        )
        if learned is not None:
            constant = constant_for(learned.untargeted().scores, filter_, len(rows))
        elif len(np.unique(rows.clusters)) < 2:
            constant = np.full((len(rows), len(rows.dimensions) + 1), np.nan)
        else:
            k = min(_FOLDS, len(np.unique(rows.clusters)))
            constant = out_of_fold_constant(rows, folds(rows.clusters, rows.scores, k, seed), filter_)
        return cls(rows, scores, constant[:, : len(rows.dimensions)])


def held_out_skill(compared: Compared, origin: str, *, baseline: bool = False, seed: int = 0) -> HeldOutSkill:
    """Compute a student's skill with its interval, by bootstrap over clusters.

    Without an interval, for lack of rows, the skill is not shown.

    Args:
        compared: scores and labels.
        origin: which rows these are, for the record.
        baseline: whether the student is the constant.
        seed: random seed of the resamples.
    """
    rows = compared.rows
    ours, base = np.abs(compared.scores - rows.scores), np.abs(compared.constant - rows.scores)
    clusters = len(np.unique(rows.clusters))
    mae, constant = (metrics.average(np.array([_mean(column) for column in errors.T])) for errors in (ours, base))
    skill, interval = number(1 - mae / constant) if constant > 0 else None, None
    if skill is not None and clusters >= FEWEST_CLUSTERS_FOR_SKILL:
        low, high = metrics.bootstrap_ratio(
            metrics.row_shares(ours), metrics.row_shares(base), rows.clusters, seed=seed
        )
        interval = Interval(low=round(float(1 - high[0]), 6), high=round(float(1 - low[0]), 6))
    return HeldOutSkill(
        rows=len(rows),
        clusters=clusters,
        origin=origin,
        mae=number(mae),
        constant_mae=number(constant),
        skill=skill,
        interval=interval,
        baseline=baseline,
    )


def labels_needed(
    found: HeldOutSkill, compared: Compared, claim: Claim, *, cache: Path | None = None, seed: int = 0
) -> LabelsNeeded:
    """Estimate the number of labels at which the skill would be shown, from a learning curve.

    A student whose predictions are unrelated to the labels gets no number: its error approaches the constant's from
    above, however many labels it learns from, and a curve through such points would promise something by chance.

    Args:
        found: the skill with the labels that there are.
        compared: the rows that it was computed on.
        claim: the student. It is fitted again on subsets of its training rows, or a cheap one in its place.
        cache: folder in which frozen encoders keep features.
        seed: random seed of the subsets and of the resamples.
    """
    labels = claim.labels
    searched = LABELS_IN_SIGHT * labels
    nothing = LabelsNeeded(now=labels, articles=None, searched=searched, reason="")
    if found.interval is None:
        why = "the constant has no error" if not found.constant_mae else "there are too few labels to fit a curve to"
        return nothing.model_copy(update={"reason": why})
    if not _related(compared, seed):
        return nothing.model_copy(update={"reason": "the predictions are unrelated to the labels"})
    recipe = claim.recipe
    fit = refitter(recipe, seed=seed, cache=cache, tiny=claim.tiny)
    if fit is None:
        recipe = cheap_student(len(claim.train))
        fit = fitter(recipe, seed=seed)
    curves = _curves(claim.train.untargeted(), fit, claim.filter, seed)
    if curves is None:
        return nothing.model_copy(update={"reason": "there are too few labels to fit a curve to"})
    points = tuple(
        CurvePoint(rows=round(float(rows)), skill=round(float(skill), 6))
        for rows, skill in zip(curves.rows, 1 - curves.errors.mean(axis=0) / curves.constant, strict=True)
    )
    error = (found.interval.high - found.interval.low) / (2 * 1.96)
    ratio, rng = labels / len(claim.train), np.random.default_rng(seed)
    drawn_numbers = []
    for _ in range(_DRAWS):
        drawn = curves.errors[rng.integers(0, len(curves.errors), size=len(curves.errors))].mean(axis=0)
        # All subsets share their held-out rows, so the error of sampling these moves the whole curve.
        drawn = drawn + rng.normal(0, error) * curves.constant
        law = power_law(curves.rows, drawn)
        drawn_numbers.append(number_of_labels(law, curves.constant, error, labels, ratio))
    low, middle, high = np.quantile(drawn_numbers, [0.1, 0.5, 0.9], method="higher")
    made = nothing.model_copy(update={"student": recipe.name, "points": points})
    if not np.isfinite(middle):
        why = f"the learning curve stays too low up to {searched:,}"
        return made.model_copy(update={"reason": why})
    return made.model_copy(
        update={
            "articles": _rounded(middle),
            "low": _rounded(low),
            "high": _rounded(high) if np.isfinite(high) else None,
            "reason": "the learning curve gets there",
        }
    )


def number_of_labels(law: PowerLaw, constant: float, error: float, labels: int, ratio: float = 1.0) -> float:
    """Return the number of labels at which a skill is shown, or infinity if it is more than are searched.

    Args:
        law: the student's error by its number of training rows.
        constant: the constant's error.
        error: standard error of the skill that was measured with `labels` labels; it falls with their square root.
        labels: number of labels that there are.
        ratio: labels per training row.
    """
    sizes = np.geomspace(labels, LABELS_IN_SIGHT * labels, _STEPS)
    skill = 1 - np.array([law.at(size / ratio) for size in sizes]) / constant
    enough = np.flatnonzero(skill >= _Z_SHOWN * error * np.sqrt(labels / sizes))
    return float(sizes[enough[0]]) if enough.size else float("inf")


def _related(compared: Compared, seed: int) -> bool:
    """Return whether scores and labels have a positive rank correlation, averaged over dimensions, beyond chance."""
    rows = compared.rows
    shares = np.zeros(len(rows))
    for column in range(len(rows.dimensions)):
        known = np.isfinite(rows.scores[:, column])
        ours, theirs = (metrics.ranks(each[known, column]) for each in (compared.scores, rows.scores))
        if ours.std() > 0 and theirs.std() > 0:
            product = (ours - ours.mean()) / ours.std() * (theirs - theirs.mean()) / theirs.std()
            shares[known] += product / known.mean()
    low, _ = metrics.bootstrap_mean(shares[:, None], rows.clusters, seed=seed, level=1 - 2 * SIGNIFICANCE)
    return bool(low[0] > 0)


@dataclass(frozen=True, slots=True, eq=False)
class _Curves:
    """Subset sizes, shape (sizes,), errors on held-out rows by seed, shape (seeds, sizes), and the constant's error."""

    rows: FloatArray
    errors: FloatArray
    constant: float


def _curves(train: Examples, fit: Callable[[Examples], Student], filter_: Filter, seed: int) -> _Curves | None:
    """Fit the student to nested random subsets of whole clusters; None if the rows are too few."""
    names = np.unique(train.clusters)
    inside = min(len(names) - max(1, len(names) // _FOLDS), _MOST_FITTED)
    if inside < 2 * _SMALLEST:
        return None
    counts = np.unique(np.geomspace(max(_SMALLEST, inside / 8), inside, _SIZES).round().astype(int))
    repeats = 10 if inside <= 300 else 5 if inside <= 1000 else 3
    rows, errors, constants = [], [], []
    with steps_if_long("learning curve", repeats * len(counts)) as done:
        for one in range(repeats):
            order = np.random.default_rng(seed + one).permutation(names)
            held = train.take(np.isin(train.clusters, order[inside:]))
            parts = [train.take(np.isin(train.clusters, order[:count])) for count in counts.tolist()]
            if any(np.isnan(part.scores).all(axis=0).any() for part in parts):
                done(len(counts))
                continue
            line = []
            for part in parts:
                predicted = np.clip(fit(part).predict(held.frame), filter_.scale.min, filter_.scale.max)
                line.append(metrics.average(metrics.mae(predicted, held.scores)))
                done(1)
            rows.append([len(part) for part in parts])
            errors.append(line)
            fixed = np.broadcast_to(metrics.constant(parts[-1].scores), held.scores.shape)
            constants.append(metrics.average(metrics.mae(fixed, held.scores)))
    if len(errors) < 2 or not np.mean(constants) > 0:
        return None
    level = float(np.mean(constants))
    # Held-out rows differ between seeds, and the constant's error shows how hard they are.
    scaled = np.array(errors) * level / np.maximum(np.array(constants)[:, None], 1e-12)
    return _Curves(np.mean(rows, axis=0), scaled, level)


def _mean(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def _rounded(labels: float) -> int:
    """Round a number of labels up to two digits."""
    size: int = 10 ** max(0, math.floor(math.log10(labels)) - 1)
    return math.ceil(labels / size) * size
