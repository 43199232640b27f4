"""Turns raw scores into verdicts: the steps after the student, shared by scoring and bundle verification.

Input: raw scores and the text windows they belong to. Output: calibrated scores, intervals and verdicts, as arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from potstill.verdict import Judged, cap_hits_of, judge_rows

if TYPE_CHECKING:
    import polars as pl

    from potstill.calibration import Calibration
    from potstill.filters import Filter
    from potstill.types import BoolArray, FloatArray

LEVEL = 0.9
"""Default nominal coverage of intervals."""


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """Scores, low and high, shape (rows, dimensions), NaN in a row without a verdict, and the verdicts in `judged`.

    `probabilities`, if asked for, has shape (rows, tiers), with NaN in the same rows.
    """

    scores: FloatArray
    low: FloatArray
    high: FloatArray
    judged: Judged
    probabilities: FloatArray | None = None

    @property
    def verdict(self) -> pl.DataFrame:
        """Return the columns of `verdict.decide`, one row per article."""
        return self.judged.frame


def decide_raw(
    raw: FloatArray,
    folded: pl.Series | None,
    filter_: Filter,
    calibration: Calibration,
    level: float = LEVEL,
    *,
    probabilities: bool = False,
) -> Decided:
    """Calibrate raw scores and decide the verdict of each row.

    Args:
        raw: the student's raw scores, shape (rows, dimensions); a row with a score that is not finite gets no verdict.
        folded: the rows' text windows as `prefilter.fold_all` returns them, for the words of the caps; not used if
            there are no caps.
        filter_: weights, gates, caps and tiers.
        calibration: maps raw scores to the scale and computes intervals.
        level: nominal coverage of the intervals, above 0 and below 1.
        probabilities: whether to compute tier probabilities, which takes as long as a few hundred verdicts per row.

    Raises:
        BadInput: probabilities are asked for and the calibration holds no residuals.
    """
    # A row in which one score is missing gets no scores at all.
    whole = np.where(np.isfinite(raw).all(axis=1, keepdims=True), raw, np.nan)
    scores, low, high = calibration.scores_and_intervals(whole, level)
    hits = cap_hits_of(folded, filter_) if filter_.caps and folded is not None else None
    odds = calibration.tier_probabilities(scores, filter_, hits) if probabilities else None
    return Decided(scores, low, high, judge_rows(scores, filter_, hits), odds)


def merged(these: Decided, others: Decided, which: BoolArray) -> Decided:
    """Return the rows of `these` where `which`, shape (rows,), is true, and those of `others` elsewhere."""
    rows = which[:, None]
    odds = None
    if these.probabilities is not None and others.probabilities is not None:
        odds = np.where(rows, these.probabilities, others.probabilities)
    return Decided(
        np.where(rows, these.scores, others.scores),
        np.where(rows, these.low, others.low),
        np.where(rows, these.high, others.high),
        these.judged.where(which, others.judged),
        odds,
    )
