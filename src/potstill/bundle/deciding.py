"""From raw scores to a verdict: the steps after the student, the same in scoring and in a bundle's proof.

In: raw scores and the windows they were given for. Out: calibrated scores, intervals and verdicts, as arrays.
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
"""The share of labels that an interval is meant to hold."""


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """Scores, low and high of shape (rows, dimensions), NaN in a row that has no verdict, and `judged`.

    `probabilities`, if asked for, has shape (rows, tiers), NaN likewise.
    """

    scores: FloatArray
    low: FloatArray
    high: FloatArray
    judged: Judged
    probabilities: FloatArray | None = None

    @property
    def verdict(self) -> pl.DataFrame:
        """The columns of `verdict.decide`, one row for each."""
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
    """Calibrate raw scores and give each row its verdict.

    Args:
        raw: what the student said, shape (rows, dimensions); a row with a score that is not finite is unscored.
        folded: the rows' windows as `prefilter.fold_all` gives them, for the words of the caps; not read where there
            are no caps.
        filter_: weights, gates, caps and tiers.
        calibration: what maps raw scores to the scale, and gives intervals.
        level: of the intervals.
        probabilities: whether to work out each tier's; it takes as long as a few hundred verdicts a row.

    Raises:
        BadInput: probabilities are asked for and the calibration holds no residuals.
    """
    # A row without one of its scores has none at all.
    whole = np.where(np.isfinite(raw).all(axis=1, keepdims=True), raw, np.nan)
    scores, low, high = calibration.scores_and_intervals(whole, level)
    hits = cap_hits_of(folded, filter_) if filter_.caps and folded is not None else None
    odds = calibration.tier_probabilities(scores, filter_, hits) if probabilities else None
    return Decided(scores, low, high, judge_rows(scores, filter_, hits), odds)


def merged(these: Decided, others: Decided, which: BoolArray) -> Decided:
    """The rows of `these` where `which` says so, shape (rows,), and else those of `others`."""
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
