"""Evaluate the calibration of a bundle's tier probabilities, and the error rates of deferral to the oracle.

Input: tier probabilities on rows that were not used for calibration or model selection, the tiers of the oracle's
labels, and the training-set tier frequencies. Output: a reliability table, a Brier score compared with that of the
frequencies alone, and, for several target error rates, the share of articles that are kept and the observed error among
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from potstill import metrics
from potstill.calibration import SURE, cut_for, given_probability
from potstill.evaluation.records import AskedAbove, Odds, Said
from potstill.metrics import number
from potstill.records import Interval
from potstill.types import UNSCORED
from potstill.verdict import decide_rows

if TYPE_CHECKING:
    import polars as pl

    from potstill.bundle.deciding import Decided
    from potstill.calibration import Calibration
    from potstill.filters import Filter
    from potstill.types import BoolArray, FloatArray, IntArray

ERRORS = (0.05, 0.1, 0.2)
"""Target error rates for which deferral to the oracle is evaluated."""

BINS = 5
"""Number of equal bins of probability in the reliability table."""


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """One row per cluster; `said` and `came` have shape (rows, tiers), and `own` is the predicted tier's column."""

    said: FloatArray
    came: BoolArray
    own: FloatArray
    wrong: BoolArray


def judge_odds(
    calibration: Calibration,
    decided: Decided,
    labels: FloatArray,
    learned: FloatArray,
    clusters: IntArray,
    filter_: Filter,
    cap_hits: pl.DataFrame | None = None,
) -> Odds | None:
    """Compare a bundle's probabilities with labels; return None if it gives none or no row has both.

    Args:
        calibration: the bundle's calibration.
        decided: what the bundle decides, with tier probabilities, for rows that were not used for calibration or model
            selection.
        labels: labels of the same rows, shape (rows, dimensions), NaN where masked.
        learned: labels of the training rows; their tier frequencies are the baseline.
        clusters: cluster of each row, shape (rows,). Only the first row of a cluster is used.
        filter_: the filter that gives the verdicts.
        cap_hits: which caps apply to the rows.

    Returns:
        Brier scores, reliability tables, and the results of deferral.
    """
    rows = _rows(decided, labels, clusters, filter_, cap_hits)
    before = decide_rows(learned, filter_)["tier"]
    base = np.array([(before == name).sum() for name in filter_.tier_names], dtype=np.float64)
    if rows is None or not base.sum():
        return None
    positive = np.isin(filter_.tier_names, filter_.positive_tiers)
    brier = _brier(rows.said, rows.came)
    by_share = _brier(np.tile(base / base.sum(), (len(rows.said), 1)), rows.came)
    return Odds(
        rows=len(rows.said),
        brier=number(brier),
        brier_of_shares=number(by_share),
        brier_skill=number(1 - brier / by_share) if by_share else None,
        own=_bins(rows.own, ~rows.wrong),
        positive=_bins(rows.said[:, positive].sum(axis=1), rows.came[:, positive].sum(axis=1) > 0),
        sure=SURE,
        asked=tuple(_asked(calibration, error, rows) for error in ERRORS),
    )


def _rows(
    decided: Decided, labels: FloatArray, clusters: IntArray, filter_: Filter, cap_hits: pl.DataFrame | None
) -> _Rows | None:
    if decided.probabilities is None:
        return None
    said, given = decided.probabilities, np.array(decided.judged.tier_names)
    right = decide_rows(labels, filter_, cap_hits)["tier"].to_numpy()
    own = given_probability(said, filter_.tier_names, given)
    known = np.flatnonzero(np.isfinite(own) & (right != UNSCORED))
    if not known.size:
        return None
    first = known[np.unique(clusters[known], return_index=True)[1]]
    came = np.column_stack([right[first] == name for name in filter_.tier_names])
    return _Rows(said[first], came, own[first], given[first] != right[first])


def _brier(said: FloatArray, came: BoolArray) -> float:
    """Return the multi-class Brier score: squared error summed over tiers, mean over rows (Brier 1950)."""
    return float(((said - came) ** 2).sum(axis=1).mean())


def _bins(said: FloatArray, came: BoolArray) -> tuple[Said, ...]:
    place = np.minimum((said * BINS).astype(np.int64), BINS - 1)
    return tuple(
        Said(
            low=bin_ / BINS,
            high=(bin_ + 1) / BINS,
            rows=int(inside.sum()),
            said=number(said[inside].mean()) if inside.any() else None,
            came=number(came[inside].mean()) if inside.any() else None,
        )
        for bin_ in range(BINS)
        for inside in (place == bin_,)
    )


def _asked(calibration: Calibration, error: float, rows: _Rows) -> AskedAbove:
    cut = None if calibration.abstention is None else cut_for(calibration.abstention, error)
    if cut is None:
        return AskedAbove(error=error, rows=len(rows.own))
    keep = rows.own >= cut.probability
    kept, wrong = int(keep.sum()), int(rows.wrong[keep].sum())
    low, high = metrics.exact_interval(wrong, kept)
    return AskedAbove(
        error=error,
        rows=len(rows.own),
        probability=cut.probability,
        kept=kept,
        wrong=wrong,
        kept_share=number(kept / len(rows.own)),
        observed=number(wrong / kept) if kept else None,
        observed_interval=Interval(low=round(low, 6), high=round(high, 6)) if kept else None,
    )
