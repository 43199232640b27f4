"""The odds of each tier: what the oracle might have said, given how the student errs.

In: scores, and whole rows of residuals on articles that the student had not seen. Out: for each article the share of
the tiers that its scores would have, were they off by each of those residuals. Rows are kept whole because a student
that is too low on one dimension of an article is often too low on the others, and a tier hangs on all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from potstill import metrics
from potstill.records import Part
from potstill.verdict import decide_rows

if TYPE_CHECKING:
    import polars as pl

    from potstill.types import FloatArray
    from potstill.verdict import Rules

MOST_RESIDUALS = 256
"""Rows of residuals that a bundle carries: a probability is then known to about 0.03, in some 20 kB."""

_MOST_DRAWS = 200_000
"""Rows decided at a time, so that memory does not grow with the articles."""

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Residuals(Part):
    """Rows of residuals, label minus calibrated score, a number per dimension in the filter's order.

    They are a sample of `n`. `step` is the grid that the labels lie on, such as whole points; None for none.
    """

    n: int = Field(ge=1)
    step: Finite | None = Field(gt=0)
    rows: tuple[tuple[Finite, ...], ...] = Field(min_length=1, max_length=MOST_RESIDUALS)

    def tier_probabilities(
        self, scores: FloatArray, rules: Rules, cap_hits: pl.DataFrame | None = None, *, low: float, high: float
    ) -> FloatArray:
        """How likely the oracle's own scores have each tier, shape (rows, tiers); each row sums to 1.

        Every row of residuals is added to the scores, put on the labels' grid and clipped to the scale, as a label
        would be, and decided by the filter: weights, gates, the caps that the text touches, tiers.

        Args:
            scores: calibrated scores, shape (rows, dimensions); a row with one that is not finite gets NaN.
            rules: the filter.
            cap_hits: as in `verdict.decide`.
            low: lower end of the scale.
            high: upper end.
        """
        left = np.array(self.rows)
        names = [tier.name for tier in rules.tiers]
        found = np.full((len(scores), len(names)), np.nan)
        places = np.flatnonzero(np.isfinite(scores).all(axis=1))
        at_once = max(1, _MOST_DRAWS // len(left))
        for start in range(0, len(places), at_once):
            some = places[start : start + at_once]
            draws = (scores[some, None, :] + left).reshape(-1, left.shape[1])
            if self.step is not None:
                draws = low + np.round((draws - low) / self.step) * self.step
            hits = None if cap_hits is None or not cap_hits.width else cap_hits[np.repeat(some, len(left))]
            tiers = decide_rows(np.clip(draws, low, high), rules, hits)["tier"]
            shares = [(tiers == name).to_numpy().reshape(len(some), -1).mean(axis=1) for name in names]
            found[some] = np.column_stack(shares)
        # A draw on which a condition has no value, such as a division by 0, has no tier.
        total = found.sum(axis=1, keepdims=True)
        odds: FloatArray = np.divide(found, total, out=np.full(found.shape, np.nan), where=total > 0)
        return odds


def fit_residuals(
    held_out: FloatArray, labels: FloatArray, *, low: float, seed: int, most: int = MOST_RESIDUALS
) -> Residuals | None:
    """A sample of the rows that have every dimension, or None without one.

    Args:
        held_out: calibrated scores by curves that did not see the row, shape (rows, dimensions).
        labels: same shape, NaN where masked.
        low: lower end of the scale, where the labels' grid begins.
        seed: of the sample.
        most: rows that are kept.
    """
    residuals = labels - held_out
    residuals = residuals[np.isfinite(residuals).all(axis=1)]
    if not len(residuals):
        return None
    chosen = residuals
    if len(residuals) > most:
        chosen = residuals[np.sort(np.random.default_rng(seed).choice(len(residuals), most, replace=False))]
    # Adding 0 makes -0 a 0.
    rows = tuple(tuple(row) for row in (np.round(chosen, 4) + 0.0).tolist())
    return Residuals(n=len(residuals), step=metrics.step_of(labels, low), rows=rows)
