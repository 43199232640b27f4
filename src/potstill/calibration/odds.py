"""Tier probabilities: the distribution of the oracle's tiers, given the student's errors.

Input: scores, and whole rows of residuals on held-out articles. Output: for each article the share of each tier among
the tiers that its scores would have if each of those residuals were added. Rows are kept whole because a student whose
score is too low on one dimension of an article is often too low on the others, and a tier depends on all dimensions.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from potstill import metrics
from potstill.records import Part
from potstill.verdict import marks_of, tiers_of

if TYPE_CHECKING:
    import polars as pl

    from potstill.types import FloatArray
    from potstill.verdict import Rules

MOST_RESIDUALS = 256
"""Maximum number of residual rows in a bundle: gives a probability to about 0.03 in about 20 kB."""

_MOST_DRAWS = 200_000
"""Number of rows decided at a time, so that memory does not grow with the number of articles."""

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Residuals(Part):
    """Rows of residuals (label minus calibrated score), with one number per dimension in the filter's order.

    They are a sample of `n` rows. `step` is the step size of the labels, such as whole points; None if there is none.
    """

    n: int = Field(ge=1)
    step: Finite | None = Field(gt=0)
    rows: tuple[tuple[Finite, ...], ...] = Field(min_length=1, max_length=MOST_RESIDUALS)

    @cached_property
    def _array(self) -> FloatArray:
        """The residuals, shape (dimensions, rows)."""
        return np.ascontiguousarray(np.array(self.rows, dtype=np.float64).T)

    def tier_probabilities(
        self,
        scores: FloatArray,
        rules: Rules,
        cap_hits: pl.DataFrame | None = None,
        *,
        low: float,
        high: float,
        widening: FloatArray | None = None,
    ) -> FloatArray:
        """Return the probability of each tier under the oracle's own scores, shape (rows, tiers); each row sums to 1.

        Every row of residuals is added to the scores, rounded to the labels' step size, clipped to the scale as a label
        would be, and decided by the filter: weights, gates, the caps that match the text, tiers.

        Args:
            scores: calibrated scores, shape (rows, dimensions); a row with a score that is not finite gets NaN.
            rules: the filter.
            cap_hits: as in `verdict.decide`.
            low: lower end of the scale.
            high: upper end of the scale.
            widening: factor by which the residuals are multiplied for a row, shape (rows,).
        """
        left, tiers = self._array, len(rules.tiers)
        found = np.full((len(scores), tiers), np.nan)
        known, hits = np.isfinite(scores).all(axis=1), None
        if cap_hits is not None and cap_hits.width:
            hits, marked = marks_of(cap_hits, rules, len(scores))
            known &= marked
        places = np.flatnonzero(known)
        at_once = max(1, _MOST_DRAWS // left.shape[1])
        for start in range(0, len(places), at_once):
            some = places[start : start + at_once]
            # One row per dimension, so that each dimension's draws are contiguous.
            added = left[:, None, :] if widening is None else widening[None, some, None] * left[:, None, :]
            draws = (scores[some].T[:, :, None] + added).reshape(len(left), -1)
            if self.step is not None:
                draws = low + np.round((draws - low) / self.step) * self.step
            draws = np.minimum(np.maximum(draws, low), high)
            marks = None if hits is None else np.repeat(hits[some], left.shape[1], axis=0)
            of_draws = tiers_of(draws.T, rules, marks).reshape(len(some), -1)
            # A draw without a tier, -1, is counted in the first column, which is left out.
            cells = of_draws + 1 + np.arange(0, len(some) * (tiers + 1), tiers + 1)[:, None]
            counts = np.bincount(cells.ravel(), minlength=len(some) * (tiers + 1))
            found[some] = counts.reshape(len(some), -1)[:, 1:] / left.shape[1]
        # A draw for which a condition is undefined, such as a division by 0, has no tier.
        total = found.sum(axis=1, keepdims=True)
        odds: FloatArray = np.divide(found, total, out=np.full(found.shape, np.nan), where=total > 0)
        return odds


def fit_residuals(
    held_out: FloatArray, labels: FloatArray, *, low: float, seed: int, most: int = MOST_RESIDUALS
) -> Residuals | None:
    """Sample residuals of the rows that have every dimension; None if there are none.

    Args:
        held_out: calibrated scores by curves fitted without the row, shape (rows, dimensions).
        labels: same shape, NaN where masked.
        low: lower end of the scale, from which the labels' steps are counted.
        seed: random seed for sampling.
        most: maximum number of rows that are kept.
    """
    residuals = labels - held_out
    residuals = residuals[np.isfinite(residuals).all(axis=1)]
    if not len(residuals):
        return None
    chosen = residuals
    if len(residuals) > most:
        chosen = residuals[np.sort(np.random.default_rng(seed).choice(len(residuals), most, replace=False))]
    # Adding 0 turns -0 into 0.
    rows = tuple(tuple(row) for row in (np.round(chosen, 4) + 0.0).tolist())
    return Residuals(n=len(residuals), step=metrics.step_of(labels, low), rows=rows)
