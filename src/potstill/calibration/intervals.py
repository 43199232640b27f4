"""Prediction intervals whose reach below and above the prediction depends on the predicted score.

Input: held-out predictions of one dimension and their labels. Output: a `Spread`, which says how far labels lie below
and above a prediction at each level of the scale, and the factors by which it is multiplied for each level of coverage.
The spread is the local 5% and 95% quantile of the errors, as in conformalized quantile regression (Romano, Patterson &
Candes 2019); the factors are conformal quantiles of the errors in units of the spread, as in locally weighted conformal
prediction (Lei et al. 2018, section 5.2), so that the stated coverage holds for any spread. With few rows there is no
spread, and the factors are half-widths in points of the scale.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from potstill.records import Part

if TYPE_CHECKING:
    from potstill.types import FloatArray, IntArray

LEVELS: tuple[float, ...] = (*(round(percent / 100, 2) for percent in range(1, 100)), 0.995, 0.999)
"""Levels whose factors are stored; a level in between uses the factor of the next higher one."""

FEWEST_FOR_SPREAD = 100
"""Smallest number of independent rows for a spread; with fewer, all intervals of a dimension have the same width."""

WINDOW = 60
"""Number of rows, neighbours by predicted score, from which the spread at one knot is estimated."""

MOST_KNOTS = 12
"""Largest number of knots of a spread."""

TAIL = 0.05
"""Share of the errors beyond the spread on each side."""

LEAST_REACH = 0.01
"""Smallest reach of a spread on either side, as a share of the scale."""

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Spread(Part):
    """Errors (label minus middle of the interval) by predicted score, interpolated between knots.

    `x` are middles of intervals, increasing; `centre` is the median error there, and `below` and `above` are the
    distances from it to the 5% and the 95% quantile, all in points of the scale.
    """

    x: tuple[Finite, ...] = Field(min_length=1)
    centre: tuple[Finite, ...]
    below: tuple[Finite, ...]
    above: tuple[Finite, ...]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if {len(self.centre), len(self.below), len(self.above)} != {len(self.x)} or (np.diff(self.x) <= 0).any():
            raise ValueError("a spread needs increasing knots, each with centre, below and above")
        if min(*self.below, *self.above) <= 0:
            raise ValueError("a spread is above 0")
        return self

    def at(self, middle: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return `centre`, `below` and `above` at middles of intervals, each of shape (rows,). NaN stays NaN."""
        centre, below, above = (np.interp(middle, self.x, column) for column in (self.centre, self.below, self.above))
        return np.asarray(centre), np.asarray(below), np.asarray(above)


def ends_of(middle: FloatArray, spread: Spread | None, factor: float) -> tuple[FloatArray, FloatArray]:
    """Return both ends of intervals, each of shape (rows,), before clipping to the scale."""
    if spread is None:
        return middle - factor, middle + factor
    centre, below, above = spread.at(middle)
    return middle + centre - factor * below, middle + centre + factor * above


def factor_at(factors: tuple[float | None, ...], level: float) -> float:
    """Return the factor for a level of coverage; infinite if there were too few rows for it."""
    place = bisect_left(LEVELS, level - 1e-12)
    factor = factors[place] if place < len(LEVELS) else None
    return math.inf if factor is None else factor


def fit_intervals(
    middle: FloatArray, y: FloatArray, fold: IntArray | None, *, low: float, high: float
) -> tuple[Spread | None, tuple[float | None, ...]]:
    """Fit the spread of one dimension, and the factors at `LEVELS`.

    Args:
        middle: middles of intervals by curves that were fitted without the row, shape (rows,).
        y: labels, shape (rows,).
        fold: fold of each row, for cross-fitting, shape (rows,); None if there are too few rows for a spread.
        low: lower end of the scale.
        high: upper end of the scale.

    Returns:
        The spread, None without folds, and the factors. Without a spread, these are half-widths.
    """
    if fold is None:
        return None, conformal_widths(distances(middle, y, None, low=low, high=high))
    found = np.empty(len(y))
    for number in np.unique(fold):
        inside, outside = fold != number, fold == number
        spread = _spread(middle[inside], y[inside], low=low, high=high)
        found[outside] = distances(middle[outside], y[outside], spread, low=low, high=high)
    return _spread(middle, y, low=low, high=high), conformal_widths(np.maximum(found, 0.0))


def distances(middle: FloatArray, y: FloatArray, spread: Spread | None, *, low: float, high: float) -> FloatArray:
    """Return the factor that an interval needs to hold the label after clipping to the scale, shape (rows,)."""
    error = y - middle
    centre, below, above = (0.0, 1.0, 1.0) if spread is None else spread.at(middle)
    down, up = (centre - error) / below, (error - centre) / above
    # An interval entirely below the scale is clipped to the lower end, so it holds a label there; the same applies
    # above.
    down = np.where(y >= high, -np.inf, down)
    up = np.where(y <= low, -np.inf, up)
    found: FloatArray = np.maximum(np.maximum(down, up), 0.0)
    return found


def conformal_widths(values: FloatArray) -> tuple[float | None, ...]:
    """Return the ceil((n + 1) level)-th smallest of n values at each of `LEVELS`; None if n is too small."""
    ordered = np.sort(values)
    # Without rounding, 0.9 * 10 could be slightly more than 9.
    places = [math.ceil(round((len(ordered) + 1) * level, 9)) for level in LEVELS]
    return tuple(float(ordered[place - 1]) if place <= len(ordered) else None for place in places)


def _spread(middle: FloatArray, y: FloatArray, *, low: float, high: float) -> Spread:
    order = np.argsort(middle, kind="stable")
    x, error = middle[order], (y - middle)[order]
    # A label at the end of the scale is held by any interval that reaches beyond it.
    error = np.where(y[order] <= low, np.minimum(error, 0.0), error)
    error = np.where(y[order] >= high, np.maximum(error, 0.0), error)
    size = min(WINDOW, len(x))
    starts = np.linspace(0, len(x) - size, max(1, min(MOST_KNOTS, 2 * len(x) // size - 1))).astype(np.int64)
    knots: dict[float, tuple[float, float, float]] = {}
    least = LEAST_REACH * (high - low)
    for start in starts.tolist():
        window = error[start : start + size]
        lowest, centre, highest = np.quantile(window, [TAIL, 0.5, 1 - TAIL]).tolist()
        place = round(float(x[start : start + size].mean()), 6)
        knots[place] = (centre, max(centre - lowest, least), max(highest - centre, least))
    columns = list(zip(*(knots[place] for place in sorted(knots)), strict=True))
    centre_, below, above = (tuple(round(value, 6) for value in column) for column in columns)
    return Spread(x=tuple(sorted(knots)), centre=centre_, below=below, above=above)
