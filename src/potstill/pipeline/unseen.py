"""Collect the signals of rows that trained nothing of a cheap student's signal, for the bound of a cascade.

Input: a calibrated student and its run's dataset. Output: signals of out-of-fold training rows, validation rows and
calibration rows: the weighted mean of raw scores and, where tiers are decided by it, the probability of any positive
tier. The rows that the calibration was fitted on get their probabilities from calibrations that were fitted without
their fold. Tier outputs of training rows come from tier heads that were fitted without the row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from potstill.bundle.deciding import decide_raw
from potstill.bundle.exporting import calibrate
from potstill.dataset import folds
from potstill.pipeline.held_out import held_out_scores
from potstill.prefilter import fold_all
from potstill.scorer.early import weighted_mean
from potstill.students import Outputs, outputs_of
from potstill.verdict import cap_hits, decide_rows

if TYPE_CHECKING:
    from potstill.calibration import Calibration
    from potstill.dataset import Dataset, Examples
    from potstill.filters import Filter
    from potstill.pipeline.bundle import CalibratedStudent
    from potstill.students import Student
    from potstill.types import BoolArray, FloatArray, IntArray

FOLDS = 5
"""Number of folds in which the rows of a calibration get probabilities from calibrations without them."""


@dataclass(frozen=True, slots=True, eq=False)
class Unseen:
    """Rows that were held out from the cheap student: signals, whether the oracle rates them positive, and clusters."""

    signals: FloatArray
    positive: BoolArray
    clusters: IntArray

    @property
    def trials(self) -> FloatArray:
        """Smallest signal of each cluster's positives in ascending order, shape (clusters with a positive,)."""
        clusters, signals = self.clusters[self.positive], self.signals[self.positive]
        return np.sort([signals[clusters == cluster].min() for cluster in np.unique(clusters)])

    def early(self, threshold: float, share: float | None = None) -> float:
        """Return the share of rows below a threshold; given `share`, for an input with that share of positives."""
        below = self.signals < threshold
        if share is None:
            return float(below.mean())
        negatives = ~self.positive
        rest = below[negatives].mean() if negatives.any() else 0.0
        return float(share * below[self.positive].mean() + (1 - share) * rest)


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutRows:
    """Rows with raw scores, and tier outputs if there are any, that were predicted without them."""

    rows: Examples
    raw: FloatArray
    outputs: FloatArray | None

    def probabilities(self, calibration: Calibration, filter_: Filter) -> FloatArray:
        """Return the probability of any positive tier, shape (rows,); NaN without one."""
        decided = decide_raw(Outputs(self.raw, self.outputs), fold_all(self.rows.texts), filter_, calibration)
        return np.full(len(self.rows), np.nan) if decided.positive is None else decided.positive[:, -1]

    def cross_fitted(self, filter_: Filter, origin: str, seed: int) -> FloatArray:
        """Return the same, for each row by a calibration that was fitted without the row's fold."""
        fold = folds(self.rows.clusters, self.rows.scores, FOLDS, seed)
        found = np.full(len(self.rows), np.nan)
        for number in range(FOLDS):
            inside, outside = self._take(fold != number), self._take(fold == number)
            calibration = calibrate(inside.raw, inside.rows, filter_, origin, tier_outputs=inside.outputs, seed=seed)
            found[fold == number] = outside.probabilities(calibration, filter_)
        return found

    def _take(self, keep: BoolArray) -> HeldOutRows:
        outputs = None if self.outputs is None else self.outputs[keep]
        return HeldOutRows(self.rows.take(keep), self.raw[keep], outputs)


def unseen_rows(
    fitted: CalibratedStudent, dataset: Dataset, student: Student, filter_: Filter, seed: int = 0
) -> tuple[Unseen, Unseen | None]:
    """Return the rows with the score as their signal, and with the probability; None if it decides no tier.

    A row whose probability is not known is never answered early: its signal is infinite.

    Args:
        fitted: the calibrated student.
        dataset: its run's dataset.
        student: the same student as it is stored in its bundle.
        filter_: the run's filter.
        seed: random seed of the folds.

    Raises:
        RunError: the student's folder is not complete, or it was trained on other rows.
    """
    parts, calibration = _parts(fitted, dataset, student), fitted.calibration
    score = weighted_mean(np.concatenate([part.raw for part in parts]), filter_)
    positive = np.concatenate([positives(part.rows, filter_) for part in parts])
    clusters = np.concatenate([part.rows.clusters for part in parts])
    # A fine-tuned student has out-of-fold predictions for only some of the training rows.
    known = np.isfinite(score)
    by_score = Unseen(score[known], positive[known], clusters[known])
    if calibration.decisions is None or calibration.decisions.by_score or not by_score.positive.any():
        return by_score, None
    # The calibration was fitted on the calibration part, the last one, or else on the training rows.
    own = parts[-1] if dataset.has_calibration_part else parts[0]
    found = [
        part.cross_fitted(filter_, calibration.origin, seed)
        if part is own
        else part.probabilities(calibration, filter_)
        for part in parts
    ]
    probability = np.concatenate(found)[known]
    return by_score, Unseen(np.where(np.isnan(probability), np.inf, probability), by_score.positive, by_score.clusters)


def _parts(fitted: CalibratedStudent, dataset: Dataset, student: Student) -> list[HeldOutRows]:
    """Return the training rows, the validation rows, and the calibration rows if there are any."""
    train, validation = dataset.part("train"), dataset.part("validation")
    held_out = held_out_scores(fitted.candidate.folder, train)
    held_out[train.targeted] = np.nan
    outputs = None
    if fitted.tier_outputs is not None:
        outputs = outputs_of(student, validation.frame).tiers
    parts = [
        HeldOutRows(train, held_out, fitted.tier_outputs),
        HeldOutRows(validation, fitted.candidate.validation, outputs),
    ]
    if dataset.has_calibration_part:
        rows = dataset.part("calibration")
        given = outputs_of(student, rows.frame)
        parts.append(HeldOutRows(rows, given.raw, given.tiers))
    return parts


def positives(rows: Examples, filter_: Filter) -> BoolArray:
    """Return which rows have a positive tier by the oracle's scores, shape (rows,).

    A row with a masked score has no positive tier.
    """
    tiers = decide_rows(rows.scores, filter_, cap_hits(rows.texts, filter_))["tier"]
    return np.asarray(tiers.is_in(filter_.positive_tiers).to_numpy(), dtype=np.bool_)
