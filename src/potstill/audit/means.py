"""Compute means with bootstrap intervals, which most figures of an audit are.

Input: values by row, and the clusters of the rows. Output: a mean and a bootstrap interval over whole clusters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from potstill import metrics
from potstill.audit.records import LEVEL, interval
from potstill.metrics import number

if TYPE_CHECKING:
    from potstill.records import Interval
    from potstill.types import BoolArray, FloatArray, IntArray

Mean: TypeAlias = "tuple[float | None, Interval | None]"


@dataclass(frozen=True, slots=True, eq=False)
class Means:
    """Means over rows; their clusters, shape (rows,), are resampled as a whole."""

    clusters: IntArray
    seed: int = 0
    resamples: int = metrics.RESAMPLES

    def of(self, values: FloatArray) -> list[Mean]:
        """Return the mean of each column of `values`, shape (rows, columns); NaN is ignored."""
        known = np.isfinite(values)
        if not known.any():
            return [(None, None)] * values.shape[1]
        low, high = metrics.bootstrap_mean(values, self.clusters, n=self.resamples, seed=self.seed, level=LEVEL)
        return [
            (number(float(values[known[:, i], i].mean())), interval(low[i], high[i]))
            if known[:, i].any()
            else (None, None)
            for i in range(values.shape[1])
        ]

    def of_all(self, values: FloatArray) -> Mean:
        """Return the mean of the columns' means; columns have equal weight, whatever their number of known rows."""
        known = np.isfinite(values)
        counts = known.sum(axis=0)
        if not counts.any():
            return None, None
        weight = np.divide(len(values), counts, out=np.zeros(values.shape[1]), where=counts > 0)
        shares = np.where(known, values, 0.0) @ weight / int((counts > 0).sum())
        return self.of(shares[:, None])[0]

    def difference(self, values: FloatArray, here: BoolArray) -> Mean:
        """Return the mean of `values`, shape (rows,), where `here` minus that elsewhere; None if one side is empty."""
        known = np.isfinite(values)
        if not (here & known).any() or not (~here & known).any():
            return None, None

        def gap(index: IntArray) -> float:
            inside, outside = index[here[index] & known[index]], index[~here[index] & known[index]]
            return float(values[inside].mean() - values[outside].mean()) if inside.size and outside.size else np.nan

        low, high = metrics.bootstrap(self.clusters, gap, n=self.resamples, seed=self.seed, level=LEVEL)
        return number(gap(np.arange(len(values)))), interval(float(low), float(high))
