"""Calibration that must earn its place, and intervals that hold what they promise.

In: raw predictions for rows that the student never saw (a calibration part, or out-of-fold predictions) and
their labels. Out: per dimension either nothing or a rising curve from raw to calibrated score, and the widths
of its intervals; and the errors that are left, for the odds of tiers (`odds`). One JSON record. A curve is kept
only where the error on rows that did not fit it falls by more than chance would explain, because a calibration
that merely fits its own rows makes a student worse on all others.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from potstill import metrics
from potstill.calibration.abstention import Abstention, fit_abstention
from potstill.calibration.odds import Residuals, fit_residuals
from potstill.errors import BadInput, BundleError, DatasetError
from potstill.records import Part, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import polars as pl

    from potstill.types import FloatArray, IntArray
    from potstill.verdict import Rules

SCHEMA_VERSION: Final = 3
"""The widths of earlier versions lay around the calibrated score."""

LEVELS: tuple[float, ...] = (*(round(percent / 100, 2) for percent in range(1, 100)), 0.995, 0.999)
"""The levels whose interval widths are kept; one between two of them gets the next higher one's."""

FEWEST_CLUSTERS = 30
"""Independent rows below which no curve is tried: its noise could not be told from its gain."""

SIGNIFICANCE = 0.05
"""Chance of keeping any useless curve at all, shared among the curves tried (Bonferroni)."""

UNORDERED = 0.001
"""Chance of taking predictions without any relation to the labels for ordered ones, per dimension."""

_FOLDS = 5
_SMALLEST_GROUP = 5
_MOST_GROUPS = 200

Method = Literal["none", "linear", "isotonic"]
Finite = Annotated[float, Field(allow_inf_nan=False)]
_Knots = tuple["FloatArray", "FloatArray"]


class Curve(Part):
    """What is done to one dimension's raw scores.

    `x` and `y` are the knots of the curve, both rising, applied with `numpy.interp`; empty for `none`.
    `before` and `after` are held-out MAE without and with the curve (clipped to the scale both times; equal
    for `none`; None without a single row), `n` the rows they come from, `reason` says why in words. `widths`
    are how far intervals reach to both sides of their middle (`middle`) at `LEVELS`, None where `n` is too small
    for the level: the interval is the whole scale then.
    """

    dimension: str
    method: Method
    x: tuple[Finite, ...] = ()
    y: tuple[Finite, ...] = ()
    n: int = Field(ge=0)
    before: Finite | None
    after: Finite | None
    reason: str
    widths: tuple[Finite | None, ...] = Field(min_length=len(LEVELS), max_length=len(LEVELS))

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if len(self.x) != len(self.y) or bool(self.x) != (self.method != "none") or len(self.x) == 1:
            raise ValueError("x and y need the same number of knots: two or more, or none for the method none")
        if (np.diff(self.x) <= 0).any() or (np.diff(self.y) < 0).any():
            raise ValueError("knots must rise: x strictly, y without falling")
        return self

    @cached_property
    def _knots(self) -> _Knots | None:
        return (np.array(self.x), np.array(self.y)) if self.x else None

    @cached_property
    def _points(self) -> _Knots | None:
        return None if self._knots is None else _level_centres(self._knots)

    def apply(self, raw: FloatArray) -> FloatArray:
        """The curve's values, shape (rows,); the raw scores where there is no curve. NaN stays NaN."""
        return raw if self._knots is None else np.asarray(np.interp(raw, *self._knots))

    def middle(self, raw: FloatArray) -> FloatArray:
        """The middle of intervals, shape (rows,): the curve without its level pieces and without the scale's ends."""
        return _beyond(raw, self._points)


class Calibration(Record):
    """A curve per dimension, in the filter's order, on the scale from `low` to `high`.

    `origin` says which rows it was fitted on. `residuals` are None without a row that has every dimension,
    `abstention` where no filter was given or the rows were too few.
    """

    fault = BundleError
    made_by = "potstill bundle RUN"
    oldest = 3

    schema_version: int = 3
    low: Finite
    high: Finite
    origin: str = ""
    seed: int = 0
    curves: tuple[Curve, ...] = Field(min_length=1)
    residuals: Residuals | None = None
    abstention: Abstention | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.residuals and any(len(row) != len(self.curves) for row in self.residuals.rows):
            raise ValueError("a residual needs a number for every dimension")
        return self

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The dimensions, in the order of the columns."""
        return tuple(curve.dimension for curve in self.curves)

    def apply(self, predicted: FloatArray) -> FloatArray:
        """Calibrated scores, clipped to the scale; what is not finite becomes NaN, never an end of the scale.

        Args:
            predicted: raw scores, shape (rows, dimensions).

        Raises:
            ValueError: the number of columns is not that of the dimensions.
        """
        raw = np.asarray(predicted, dtype=np.float64)
        if raw.ndim != 2 or raw.shape[1] != len(self.curves):
            raise ValueError(f"predictions have shape {raw.shape}, expected (rows, {len(self.curves)})")
        scores = np.where(np.isfinite(raw), raw, np.nan)
        for column, curve in enumerate(self.curves):
            scores[:, column] = curve.apply(scores[:, column])
        return np.clip(scores, self.low, self.high)

    def intervals(self, predicted: FloatArray, level: float = 0.9) -> tuple[FloatArray, FloatArray]:
        """Both ends of an interval that holds the label with probability `level`, each of `predicted`'s shape.

        Around `Curve.middle`, clipped to the scale, and never without the calibrated score; the whole scale where
        too few rows were there to promise the level (`Curve.widths`). NaN where the prediction is not finite.

        Raises:
            ValueError: `level` is not above 0 and below 1, or the shape is wrong.
        """
        _, low, high = self.scores_and_intervals(predicted, level)
        return low, high

    def scores_and_intervals(self, predicted: FloatArray, level: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """What `apply` and `intervals` give, the former computed once.

        Raises:
            ValueError: as these.
        """
        scores = self.apply(predicted)
        if not 0 < level < 1:
            raise ValueError(f"level {level} is not between 0 and 1")
        raw = np.where(np.isnan(scores), np.nan, predicted)
        middle = np.column_stack([curve.middle(raw[:, column]) for column, curve in enumerate(self.curves)])
        reach = np.array([_reach(curve, level) for curve in self.curves])
        # NaN + inf is NaN: an unscored row gets no interval.
        low, high = (np.clip(end, self.low, self.high) for end in (middle - reach, middle + reach))
        return scores, np.minimum(low, scores), np.maximum(high, scores)

    def width(self, dimension: str, level: float) -> float:
        """How far a dimension's interval reaches to both sides before clipping; infinite for the whole scale."""
        return _reach(self.curves[self.dimensions.index(dimension)], level)

    def tier_probabilities(self, scores: FloatArray, rules: Rules, cap_hits: pl.DataFrame | None = None) -> FloatArray:
        """How likely the oracle's own scores have each of the filter's tiers, shape (rows, tiers).

        Args:
            scores: calibrated scores, as `apply` gives them.
            rules: the filter.
            cap_hits: as in `verdict.decide`.

        Raises:
            BadInput: the calibration holds no residuals.
        """
        if self.residuals is None:
            raise BadInput("the bundle knows no errors of its student, so no tier has a probability; build it anew")
        return self.residuals.tier_probabilities(scores, rules, cap_hits, low=self.low, high=self.high)

    def caution(self, level: float = 0.9) -> str | None:
        """A sentence on the dimensions whose intervals are the whole scale for want of rows, or None."""
        wide = [name for name in self.dimensions if math.isinf(self.width(name, level))]
        if not wide:
            return None
        fewest = min(self.curves[self.dimensions.index(name)].n for name in wide)
        return (
            f"{fewest} rows are too few to promise {level:.0%}; the interval is the whole scale for: {', '.join(wide)}"
        )


def no_calibration(dimensions: Sequence[str], *, low: float = 0.0, high: float = 10.0) -> Calibration:
    """Clipping alone, with the whole scale for every interval: what is left where there are no rows."""
    unknown = Curve(
        dimension="", method="none", n=0, before=None, after=None, reason="no rows", widths=(None,) * len(LEVELS)
    )
    curves = tuple(unknown.model_copy(update={"dimension": name}) for name in dimensions)
    return Calibration(low=low, high=high, origin="nothing", curves=curves)


def fit_calibration(
    predictions: FloatArray,
    scores: FloatArray,
    clusters: IntArray,
    seed: int = 0,
    *,
    dimensions: Sequence[str],
    low: float = 0.0,
    high: float = 10.0,
    origin: str = "",
    rules: Rules | None = None,
    cap_hits: pl.DataFrame | None = None,
) -> Calibration:
    """Fit, judge and keep or drop a curve per dimension, and measure the intervals' widths and what errs together.

    Two curves are tried: a rising line fitted to the absolute error, and isotonic regression to the median
    (pool adjacent violators, Robertson & Wright 1980). Each is cross-fitted by cluster, so that every row's
    error comes from a curve fitted without it. A curve is kept where its mean gain in absolute error is above
    zero in a one-sided paired test: gain over its standard error, clusters being the independent units (Liang &
    Zeger 1986), against the normal quantile at `SIGNIFICANCE` divided by all curves tried. The isotonic curve
    must beat a kept line by the same measure, since it has many more ways to be wrong. Predictions without rank
    correlation to the labels get no curve: all it could do is turn the student into a constant, and hide that
    the student learnt nothing.

    The intervals are conformal (Vovk et al. 2005; Lei et al. 2018): they reach as far as the ceil((n + 1) level)-th
    smallest distance of a label from their middle. That is the curve without its level pieces: labels are often
    integers, and so are the steps of a curve fitted to them; distances from a step would come in few sizes, and the
    next larger one would hold far more than was asked. The distances are cross-fitted anew around the whole
    procedure: fold by fold, the curve is chosen and fitted on the other folds, so no row has had a say in the curve
    that it measures (cross-conformal, Vovk 2015). The guarantee is for rows like these, over all rows together. What
    the same folds leave of the labels, whole rows of it, makes the odds of tiers.

    Args:
        predictions: raw scores, shape (rows, dimensions), by models that never saw the row; rows of NaN are
            skipped. None of the rows may have chosen an epoch or a recipe.
        scores: labels, same shape, NaN where masked.
        clusters: shape (rows,).
        seed: of the folds.
        dimensions: names, in the order of the columns.
        low: lower end of the scale.
        high: upper end.
        origin: which rows these are, for the record.
        rules: the filter, for when to ask the oracle; without it nothing is recorded of that.
        cap_hits: of the same rows, as in `verdict.decide`.

    Raises:
        DatasetError: the shapes do not fit each other.
    """
    if predictions.shape != scores.shape or scores.shape != (len(clusters), len(dimensions)):
        raise DatasetError(
            f"calibration got predictions of shape {predictions.shape}, labels {scores.shape} and "
            f"{len(clusters)} clusters for {len(dimensions)} dimensions"
        )
    least = NormalDist().inv_cdf(1 - SIGNIFICANCE / (len(_FITS) * len(dimensions)))
    curves = []
    held_out = np.full(scores.shape, np.nan)
    for column, name in enumerate(dimensions):
        known = np.isfinite(predictions[:, column]) & np.isfinite(scores[:, column])
        rows = _Rows(predictions[known, column], scores[known, column], clusters[known], low, high)
        choice = _choose(rows, least, seed)
        unseen = _unseen(rows, least, seed)
        held_out[known, column] = unseen.scores
        curves.append(
            Curve(
                dimension=name,
                method=choice.method,
                x=tuple(choice.knots[0].tolist()) if choice.knots else (),
                y=tuple(choice.knots[1].tolist()) if choice.knots else (),
                n=len(rows),
                before=choice.before,
                after=choice.after,
                reason=choice.reason,
                widths=conformal_widths(unseen.distances),
            )
        )
    left = fit_residuals(held_out, scores, low=low, seed=seed)
    abstention = None
    if left is not None and rules is not None:
        abstention = fit_abstention(held_out, scores, clusters, rules, cap_hits, low=low, high=high, seed=seed)
    return Calibration(
        low=low,
        high=high,
        origin=origin,
        seed=seed,
        curves=tuple(curves),
        residuals=left,
        abstention=abstention,
    )


def conformal_widths(distances: FloatArray) -> tuple[float | None, ...]:
    """The ceil((n + 1) level)-th smallest of n distances at each of `LEVELS`; None where n is too small."""
    ordered = np.sort(distances)
    # Rounding keeps 0.9 * 10 from becoming a little more than 9.
    places = [math.ceil(round((len(ordered) + 1) * level, 9)) for level in LEVELS]
    return tuple(float(ordered[place - 1]) if place <= len(ordered) else None for place in places)


@dataclass(frozen=True, slots=True)
class _Rows:
    """One dimension's known rows."""

    raw: FloatArray
    y: FloatArray
    clusters: IntArray
    low: float
    high: float

    def __len__(self) -> int:
        return len(self.y)

    def take(self, keep: FloatArray) -> _Rows:
        return _Rows(self.raw[keep], self.y[keep], self.clusters[keep], self.low, self.high)

    def scores(self, knots: _Knots | None) -> FloatArray:
        """Scores with a curve, or without."""
        return np.clip(self.raw if knots is None else np.interp(self.raw, *knots), self.low, self.high)

    def errors(self, knots: _Knots | None) -> FloatArray:
        """Absolute errors with a curve, or without."""
        return np.abs(self.y - self.scores(knots))

    def distances(self, knots: _Knots | None) -> FloatArray:
        """How far an interval must reach from its middle to hold the label once it is clipped to the scale."""
        off = self.y - _middle(self.raw, knots)
        # An interval that ends below the scale is clipped to its lower end, and holds a label there; so above.
        off = np.where(self.y <= self.low, np.minimum(off, 0.0), off)
        return np.abs(np.where(self.y >= self.high, np.maximum(off, 0.0), off))

    def folds(self, seed: int) -> IntArray:
        from potstill.dataset import folds

        return folds(self.clusters, self.y[:, None], _FOLDS, seed)


@dataclass(frozen=True, slots=True)
class _Choice:
    method: Method
    knots: _Knots | None
    before: float | None
    after: float | None
    reason: str


def _choose(rows: _Rows, least: float, seed: int) -> _Choice:
    """Which curve, if any, has earned its place on these rows."""
    if not len(rows):
        return _Choice("none", None, None, None, "no rows")
    plain = rows.errors(None)
    before = float(plain.mean())

    def without(reason: str) -> _Choice:
        return _Choice("none", None, before, before, reason)

    independent = len(np.unique(rows.clusters))
    if independent < FEWEST_CLUSTERS:
        return without(f"{independent} independent rows are too few to judge a curve; {FEWEST_CLUSTERS} are needed")
    order = float(metrics.spearman(rows.raw[:, None], rows.y[:, None])[0])
    # Without any relation the rank correlation has a standard deviation of 1 / sqrt(n - 1).
    if not order * math.sqrt(independent - 1) > NormalDist().inv_cdf(1 - UNORDERED):
        return without(f"the predictions do not order the labels (rank correlation {_shown(order)})")
    fold = rows.folds(seed)
    held_out = {name: _cross_fitted(rows, fold, fit) for name, fit in _FITS.items()}
    chosen, errors, told = None, plain, []
    for name, found in held_out.items():
        gain, noise = _gain(errors, found, rows.clusters)
        against = chosen or "none"
        told.append(f"{name} against {against}: {gain:+.4f} +- {noise:.4f}")
        if gain > least * noise:
            chosen, errors = name, found
    evidence = "; ".join(told) + f" fall of the held-out MAE, {least:.2f} standard errors needed"
    if chosen is None:
        return without(f"no curve lowers the error by more than noise: {evidence}")
    # Fitted on folds, it can still fail on all rows together only where these do not vary; they do.
    return _Choice(chosen, _FITS[chosen](rows), before, float(errors.mean()), evidence)


def _cross_fitted(rows: _Rows, fold: IntArray, fit: Callable[[_Rows], _Knots | None]) -> FloatArray:
    """Absolute errors, each with the curve fitted on the other folds."""
    found = np.empty(len(rows))
    for k in range(_FOLDS):
        found[fold == k] = rows.take(fold == k).errors(fit(rows.take(fold != k)))
    return found


@dataclass(frozen=True, slots=True)
class _Unseen:
    """Scores and distances, shape (rows,), by curves that had not seen the row."""

    scores: FloatArray
    distances: FloatArray


def _unseen(rows: _Rows, least: float, seed: int) -> _Unseen:
    """What the whole procedure, choice included, makes of rows of other folds."""
    if len(np.unique(rows.clusters)) < _FOLDS:
        return _Unseen(rows.scores(None), rows.distances(None))
    fold, found = rows.folds(seed), _Unseen(np.empty(len(rows)), np.empty(len(rows)))
    for k in range(_FOLDS):
        knots = _choose(rows.take(fold != k), least, seed).knots
        part = rows.take(fold == k)
        found.scores[fold == k], found.distances[fold == k] = part.scores(knots), part.distances(knots)
    return found


def _reach(curve: Curve, level: float) -> float:
    place = bisect_left(LEVELS, level - 1e-12)
    half = curve.widths[place] if place < len(LEVELS) else None
    return math.inf if half is None else half


def _middle(raw: FloatArray, knots: _Knots | None) -> FloatArray:
    """A curve whose level pieces are points at their centres, and that goes on with slope 1 beyond its ends."""
    return _beyond(raw, None if knots is None else _level_centres(knots))


def _level_centres(knots: _Knots) -> _Knots:
    """The centre of each piece on which the curve is level, and its value."""
    x, y = knots
    values, first, count = np.unique(y, return_index=True, return_counts=True)
    return (x[first] + x[first + count - 1]) / 2, values


def _beyond(raw: FloatArray, points: _Knots | None) -> FloatArray:
    if points is None:
        return raw
    centres, values = points
    within = np.clip(raw, centres[0], centres[-1])
    middle: FloatArray = np.interp(within, centres, values) + (raw - within)
    return middle


def _gain(before: FloatArray, after: FloatArray, clusters: IntArray) -> tuple[float, float]:
    """Mean fall of the error and its standard error, with clusters as the independent units."""
    falls = before - after
    index = np.unique(clusters, return_inverse=True)[1]
    count = int(index.max()) + 1
    sums = np.bincount(index, weights=falls - falls.mean())
    noise = math.sqrt(float((sums**2).sum()) * count / (count - 1)) / len(falls)
    return float(falls.mean()), noise


def _line(rows: _Rows) -> _Knots | None:
    """The rising line of least absolute error, as its two knots at the ends of the scale.

    Iteratively reweighted least squares (Schlossmacher 1973). None where no line rises.
    """
    x, y = rows.raw, rows.y
    slope, offset = 1.0, float(np.median(y - x))
    for _ in range(50):
        # The bound on the weights is a thousandth of the scale: below it a residual is as good as none.
        weight = 1.0 / np.maximum(np.abs(y - offset - slope * x), (rows.high - rows.low) / 1000)
        weight /= weight.sum()
        centre_x, centre_y = float(weight @ x), float(weight @ y)
        spread = float(weight @ (x - centre_x) ** 2)
        if spread <= 1e-12:
            return None
        before = slope, offset
        slope = float(weight @ ((x - centre_x) * (y - centre_y))) / spread
        offset = centre_y - slope * centre_x
        if math.isclose(slope, before[0], rel_tol=1e-6) and math.isclose(offset, before[1], abs_tol=1e-6):
            break
    if slope < 1e-3:
        return None
    # Beyond these two knots the line has left the scale, and interp stays at its end as clipping would.
    return (np.array([rows.low, rows.high]) - offset) / slope, np.array([rows.low, rows.high])


def _staircase(rows: _Rows) -> _Knots | None:
    """Isotonic regression to the median: steps of pooled groups, joined by straight pieces.

    Rows are first grouped by quantiles of the prediction, five or more to a group and up to 200 groups. None
    where a single step is left, which would be a constant.
    """
    order = np.argsort(rows.raw, kind="stable")
    x, y = rows.raw[order], rows.y[order]
    groups = max(1, min(_MOST_GROUPS, len(x) // _SMALLEST_GROUP))
    starts = np.unique(np.searchsorted(x, x[np.arange(groups) * len(x) // groups]))  # equal x, one group
    blocks: list[tuple[int, int, float]] = []
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(x)], strict=True):
        block = (start, end, float(np.median(y[start:end])))
        while blocks and blocks[-1][2] >= block[2]:
            start_before = blocks.pop()[0]
            block = (start_before, end, float(np.median(y[start_before:end])))
        blocks.append(block)
    if len(blocks) == 1:
        return None
    knots: list[tuple[float, float]] = []
    for start, end, value in blocks:
        knots.append((float(x[start]), value))
        if x[end - 1] > x[start]:
            knots.append((float(x[end - 1]), value))
    return np.array([knot[0] for knot in knots]), np.array([knot[1] for knot in knots])


_FITS: dict[Method, Callable[[_Rows], _Knots | None]] = {"linear": _line, "isotonic": _staircase}


def _shown(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.2f}"
