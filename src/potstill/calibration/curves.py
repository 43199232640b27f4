"""Fits calibration curves that are kept only if they help significantly, and conformal prediction intervals.

Input: raw predictions for rows that the student was not trained on (a calibration part, or out-of-fold predictions) and
their labels. Output: one JSON record with, per dimension, either no curve or an increasing curve from raw to calibrated
score, the widths of its intervals, and the residuals from which tier probabilities are computed (`odds`). A curve is
kept only if it lowers the held-out error by more than chance would explain, because a calibration that only fits its
own rows makes a student worse on all others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from potstill import metrics
from potstill.calibration.abstention import Abstention, fit_abstention
from potstill.calibration.decisions import (
    FEWEST_FOR_FOLDS,
    Decisions,
    HeldOut,
    cross_fitted_odds,
    fit_decisions,
)
from potstill.calibration.familiarity import Familiarity, fit_familiarity
from potstill.calibration.intervals import FEWEST_FOR_SPREAD, LEVELS, Spread, ends_of, factor_at, fit_intervals
from potstill.calibration.odds import Residuals, fit_residuals
from potstill.errors import BadInput, BundleError, DatasetError
from potstill.records import Part, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import polars as pl

    from potstill.operating_points import OperatingPoint
    from potstill.types import FloatArray, IntArray
    from potstill.verdict import Rules

USUAL_LEVEL = 0.9
"""Level of the intervals whose typical width is recorded."""

FEWEST_CLUSTERS = 30
"""Minimum number of independent rows to try a curve; with fewer, its gain cannot be distinguished from noise."""

SIGNIFICANCE = 0.05
"""Probability of keeping any useless curve, divided among the curves tried (Bonferroni correction)."""

UNORDERED = 0.001
"""Probability, per dimension, of accepting predictions that are unrelated to the labels as ordered."""

_FOLDS = 5
_SMALLEST_GROUP = 5
_MOST_GROUPS = 200

Method = Literal["none", "linear", "isotonic"]
Finite = Annotated[float, Field(allow_inf_nan=False)]
_Knots = tuple["FloatArray", "FloatArray"]


class Curve(Part):
    """Calibration of one dimension's raw scores.

    `x` and `y` are the knots of the curve, both increasing, applied with `numpy.interp`; empty for `none`. `before` and
    `after` are held-out MAE without and with the curve (both clipped to the scale; equal for `none`; None without any
    row), `n` is the number of rows behind them, and `reason` explains the choice in words. `spread` says how far labels
    lie from the middle (`middle`) of intervals, and `widths` are the factors by which it is multiplied at `LEVELS`;
    None if `n` is too small for the level, in which case the interval is the whole scale. Without a spread, `widths`
    are half-widths of intervals around their middle. `half_width` is the median half-width of the 90% intervals of the
    rows behind it, clipped to the scale; None in older records.
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
    spread: Spread | None = None
    half_width: Finite | None = None

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if len(self.x) != len(self.y) or bool(self.x) != (self.method != "none") or len(self.x) == 1:
            raise ValueError("x and y need the same number of knots: two or more, or none for the method none")
        if (np.diff(self.x) <= 0).any() or (np.diff(self.y) < 0).any():
            raise ValueError("x must be strictly increasing, and y must not decrease")
        return self

    @cached_property
    def _knots(self) -> _Knots | None:
        return (np.array(self.x), np.array(self.y)) if self.x else None

    @cached_property
    def _points(self) -> _Knots | None:
        return None if self._knots is None else _level_centres(self._knots)

    def apply(self, raw: FloatArray) -> FloatArray:
        """Return the curve's values, shape (rows,), or the raw scores if there is no curve. NaN stays NaN."""
        return raw if self._knots is None else np.asarray(np.interp(raw, *self._knots))

    def middle(self, raw: FloatArray) -> FloatArray:
        """Return the middle of intervals, shape (rows,): the curve without flat segments and without clipping."""
        return _extended(raw, self._points)

    def ends(self, raw: FloatArray, level: float) -> tuple[FloatArray, FloatArray]:
        """Return both ends of intervals, each of shape (rows,), before clipping to the scale."""
        return ends_of(self.middle(raw), self.spread, factor_at(self.widths, level))


class Calibration(Record):
    """One curve per dimension, in the filter's order, on the scale from `low` to `high`.

    `origin` says which rows it was fitted on. `residuals` is None if no row has a score in every dimension;
    `abstention` is None if no filter was given or there were too few rows. `decisions` is None in a bundle whose tiers
    are all decided by score: without a positive tier, without rows, or made by an older version. `familiarity` is None
    if the student measures no distances from its training texts.
    """

    fault = BundleError
    made_by = "potstill bundle RUN"
    oldest = 3

    schema_version: int = 5
    low: Finite
    high: Finite
    origin: str = ""
    seed: int = 0
    curves: tuple[Curve, ...] = Field(min_length=1)
    residuals: Residuals | None = None
    abstention: Abstention | None = None
    decisions: Decisions | None = None
    familiarity: Familiarity | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.decisions:
            inputs = len(self.curves) + 1 + self.decisions.outputs
            if any(len(signal.weights) not in {0, inputs} for signal in self.decisions.signals):
                raise ValueError(f"a tier's probability needs {inputs} weights")
            if self.residuals is None:
                raise ValueError("decisions need residuals")
        if self.residuals and any(len(row) != len(self.curves) for row in self.residuals.rows):
            raise ValueError("a residual needs a number for every dimension")
        return self

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the dimensions, in column order."""
        return tuple(curve.dimension for curve in self.curves)

    def apply(self, predicted: FloatArray) -> FloatArray:
        """Return calibrated scores, clipped to the scale; NaN and infinity become NaN, never an end of the scale.

        Args:
            predicted: raw scores, shape (rows, dimensions).

        Raises:
            ValueError: the number of columns is not the number of dimensions.
        """
        raw = np.asarray(predicted, dtype=np.float64)
        if raw.ndim != 2 or raw.shape[1] != len(self.curves):
            raise ValueError(f"predictions have shape {raw.shape}, expected (rows, {len(self.curves)})")
        scores = np.where(np.isfinite(raw), raw, np.nan)
        for column, curve in enumerate(self.curves):
            scores[:, column] = curve.apply(scores[:, column])
        return np.clip(scores, self.low, self.high)

    def intervals(self, predicted: FloatArray, level: float = 0.9) -> tuple[FloatArray, FloatArray]:
        """Return both ends of intervals that hold the label with probability `level`, each of `predicted`'s shape.

        Intervals reach below and above `Curve.middle` as far as labels of similar predictions do, are clipped to the
        scale, and are extended to include the calibrated score.
        They are the whole scale if there were too few rows for the level (`Curve.widths`), and NaN if the prediction is
        not finite.

        Raises:
            ValueError: `level` is not above 0 and below 1, or the shape is wrong.
        """
        _, low, high = self.scores_and_intervals(predicted, level)
        return low, high

    def scores_and_intervals(
        self, predicted: FloatArray, level: float, widening: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the results of `apply` and `intervals`, computing the scores once.

        Args:
            predicted: raw scores, shape (rows, dimensions).
            level: as for `intervals`.
            widening: factor by which both ends of a row's intervals are moved away from its scores, shape (rows,).

        Raises:
            ValueError: as `apply` and `intervals`.
        """
        scores = self.apply(predicted)
        if not 0 < level < 1:
            raise ValueError(f"level {level} is not between 0 and 1")
        raw = np.where(np.isnan(scores), np.nan, predicted)
        ends = [curve.ends(raw[:, column], level) for column, curve in enumerate(self.curves)]
        # NaN + inf is NaN, so a row without a score gets no interval.
        low, high = (np.column_stack(end) for end in zip(*ends, strict=True))
        if widening is not None:
            low, high = (scores + widening[:, None] * (end - scores) for end in (low, high))
        low, high = (np.clip(end, self.low, self.high) for end in (low, high))
        return scores, np.minimum(low, scores), np.maximum(high, scores)

    def width(self, dimension: str, level: float) -> float:
        """Return the factor of a dimension's intervals at a level; infinite for the whole scale."""
        return factor_at(self.curves[self.dimensions.index(dimension)].widths, level)

    def tier_odds(
        self,
        scores: FloatArray,
        rules: Rules,
        cap_hits: pl.DataFrame | None = None,
        widening: FloatArray | None = None,
    ) -> FloatArray:
        """Return the probability of each tier as the residuals give it, shape (rows, tiers).

        Args:
            scores: calibrated scores, as `apply` returns them.
            rules: the filter.
            cap_hits: as in `verdict.decide`.
            widening: factor by which a row's residuals are multiplied, shape (rows,).

        Raises:
            BadInput: the calibration holds no residuals.
        """
        if self.residuals is None:
            raise BadInput(
                "the bundle contains no residuals of its student, so it has no tier probabilities; rebuild it "
                "with: potstill bundle"
            )
        return self.residuals.tier_probabilities(
            scores, rules, cap_hits, low=self.low, high=self.high, widening=widening
        )

    def caution(self, level: float = 0.9) -> str | None:
        """Return a sentence on the dimensions whose interval is the whole scale for lack of rows, or None."""
        wide = [name for name in self.dimensions if math.isinf(self.width(name, level))]
        if not wide:
            return None
        fewest = min(self.curves[self.dimensions.index(name)].n for name in wide)
        return (
            f"{fewest} rows are too few for intervals of {level:.0%}; the interval is the whole scale for: "
            f"{', '.join(wide)}"
        )


def no_calibration(dimensions: Sequence[str], *, low: float = 0.0, high: float = 10.0) -> Calibration:
    """Return a calibration that only clips, with the whole scale as every interval; for use without rows."""
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
    tier_outputs: FloatArray | None = None,
    decide: Mapping[str, OperatingPoint] | None = None,
    distances: FloatArray | None = None,
) -> Calibration:
    """Fit a curve per dimension, keep it if it helps, and compute interval widths and joint residuals.

    Two curves are tried: an increasing line fitted to the absolute error, and isotonic regression to the median (pool
    adjacent violators, Robertson & Wright 1980). Each is cross-fitted by cluster, so that every row's error comes from
    a curve fitted without it. A curve is kept if its mean gain in absolute error is above zero in a one-sided paired
    test: the gain divided by its standard error, with clusters as the independent units (Liang & Zeger 1986), is
    compared with the normal quantile at `SIGNIFICANCE` divided by the number of curves tried. The isotonic curve must
    beat a kept line by the same test, since it is more flexible. Predictions without rank correlation to the labels get
    no curve: it could only turn the student into a constant and hide that the student learned nothing.

    The intervals are conformal (Vovk et al. 2005; Lei et al. 2018): their half-width is the ceil((n + 1) level)-th
    smallest distance of a label from the interval's middle. The middle is the curve without its flat segments. Labels
    are often integers, and so are the steps of a curve fitted to them; distances from a step would take few values, and
    the next larger one would cover far more than the nominal level. The distances are cross-fitted around the whole
    procedure: for each fold, the curve is chosen and fitted on the other folds, so no row influences the curve that it
    evaluates (cross-conformal, Vovk 2015). The guarantee is for rows of the same distribution, on average over all
    rows. The residuals of the same folds, kept as whole rows, give the tier probabilities.

    Args:
        predictions: raw scores, shape (rows, dimensions), by models that were not trained on the row; rows of NaN are
            skipped. None of the rows may have been used to select an epoch or a recipe.
        scores: labels, same shape, NaN where masked.
        clusters: cluster of each row, shape (rows,).
        seed: random seed of the folds.
        dimensions: names, in column order.
        low: lower end of the scale.
        high: upper end of the scale.
        origin: description of the rows, for the record.
        rules: the filter, needed for the decisions and the deferral table; without it none are recorded.
        cap_hits: of the same rows, as in `verdict.decide`.
        tier_outputs: the student's tier outputs, shape (rows, positive tiers), by models that were not trained on the
            row; None if it has none.
        decide: operating point by positive tier; the default names as many articles as the oracle.
        distances: distances of articles of the training kind from training articles that they are not among, shape
            (any,); None if the student measures none.

    Raises:
        DatasetError: the shapes do not match.
    """
    if predictions.shape != scores.shape or scores.shape != (len(clusters), len(dimensions)):
        raise DatasetError(
            f"the shapes do not match: predictions of shape {predictions.shape}, labels {scores.shape} and "
            f"{len(clusters)} clusters for {len(dimensions)} dimensions"
        )
    least = _least(len(dimensions))
    curves = []
    held_out = np.full(scores.shape, np.nan)
    for column, name in enumerate(dimensions):
        known = np.isfinite(predictions[:, column]) & np.isfinite(scores[:, column])
        rows = _Rows(predictions[known, column], scores[known, column], clusters[known], low, high)
        choice = _choose(rows, least, seed)
        unseen = _held_out(rows, least, seed)
        held_out[known, column] = unseen.scores
        enough = len(np.unique(rows.clusters)) >= FEWEST_FOR_SPREAD
        spread, factors = fit_intervals(
            unseen.middles, rows.y, rows.folds(seed) if enough else None, low=low, high=high
        )
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
                widths=factors,
                spread=spread,
                half_width=_typical_half_width(rows, choice.knots, spread, factor_at(factors, USUAL_LEVEL)),
            )
        )
    left = fit_residuals(held_out, scores, low=low, seed=seed)
    decisions = abstention = None
    if left is not None and rules is not None:
        unseen_rows = HeldOut.of(held_out, scores, clusters, rules, cap_hits, tier_outputs)
        if unseen_rows.clusters_count >= FEWEST_FOR_FOLDS:
            odds = cross_fitted_odds(unseen_rows, rules, low=low, high=high, seed=seed)
            fitted = fit_decisions(unseen_rows, odds, rules, decide or {}, low=low, high=high, seed=seed)
            decisions = None if fitted is None else fitted.decisions
            abstention = fit_abstention(unseen_rows, odds, fitted, rules)
    return Calibration(
        low=low,
        high=high,
        origin=origin,
        seed=seed,
        curves=tuple(curves),
        residuals=left,
        abstention=abstention,
        decisions=decisions,
        familiarity=None if distances is None else fit_familiarity(distances),
    )


def cross_fitted(
    predictions: FloatArray, scores: FloatArray, clusters: IntArray, seed: int = 0, *, low: float, high: float
) -> FloatArray:
    """Return calibrated scores, shape (rows, dimensions), each by curves chosen and fitted without the row's fold.

    They are the scores by which `fit_calibration` judges its whole procedure. Where a row has no label or no
    prediction, the score is NaN.

    Args:
        predictions: as for `fit_calibration`.
        scores: as for `fit_calibration`.
        clusters: as for `fit_calibration`.
        seed: random seed of the folds.
        low: lower end of the scale.
        high: upper end of the scale.
    """
    found = np.full(scores.shape, np.nan)
    for column in range(scores.shape[1]):
        known = np.isfinite(predictions[:, column]) & np.isfinite(scores[:, column])
        rows = _Rows(predictions[known, column], scores[known, column], clusters[known], low, high)
        found[known, column] = _held_out(rows, _least(scores.shape[1]), seed).scores
    return found


def _least(dimensions: int) -> float:
    """Return the normal quantile that the gain of a curve must exceed, with that many dimensions."""
    return NormalDist().inv_cdf(1 - SIGNIFICANCE / (len(_FITS) * dimensions))


@dataclass(frozen=True, slots=True)
class _Rows:
    """One dimension's rows that have both a prediction and a label."""

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
        """Return clipped scores, with or without a curve."""
        return np.clip(self.raw if knots is None else np.interp(self.raw, *knots), self.low, self.high)

    def errors(self, knots: _Knots | None) -> FloatArray:
        """Return absolute errors, with or without a curve."""
        return np.abs(self.y - self.scores(knots))

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
    """Select the curve, if any, that helps significantly on these rows."""
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
    # For unrelated data, the rank correlation has a standard deviation of 1 / sqrt(n - 1).
    if not order * math.sqrt(independent - 1) > NormalDist().inv_cdf(1 - UNORDERED):
        return without(f"the predictions do not rank the labels (rank correlation {_shown(order)})")
    fold = rows.folds(seed)
    held_out = {name: _cross_fitted(rows, fold, fit) for name, fit in _FITS.items()}
    chosen, errors, comparisons = None, plain, []
    for name, found in held_out.items():
        gain, noise = _gain(errors, found, rows.clusters)
        against = chosen or "none"
        comparisons.append(f"{name} against {against}: {gain:+.4f} +- {noise:.4f}")
        if gain > least * noise:
            chosen, errors = name, found
    evidence = "; ".join(comparisons) + f" decrease of the held-out MAE, {least:.2f} standard errors needed"
    if chosen is None:
        return without(f"no curve lowers the error by more than noise: {evidence}")
    # A curve that could be fitted on the folds fails on all rows only if these do not vary, which is excluded here.
    return _Choice(chosen, _FITS[chosen](rows), before, float(errors.mean()), evidence)


def _cross_fitted(rows: _Rows, fold: IntArray, fit: Callable[[_Rows], _Knots | None]) -> FloatArray:
    """Return absolute errors, each with the curve fitted on the other folds."""
    found = np.empty(len(rows))
    for k in range(_FOLDS):
        found[fold == k] = rows.take(fold == k).errors(fit(rows.take(fold != k)))
    return found


@dataclass(frozen=True, slots=True)
class _HeldOut:
    """Scores and middles of intervals, shape (rows,), by curves fitted without the row."""

    scores: FloatArray
    middles: FloatArray


def _held_out(rows: _Rows, least: float, seed: int) -> _HeldOut:
    """Cross-fit the whole procedure, including the choice of the curve."""
    if len(np.unique(rows.clusters)) < _FOLDS:
        return _HeldOut(rows.scores(None), _middle(rows.raw, None))
    fold, found = rows.folds(seed), _HeldOut(np.empty(len(rows)), np.empty(len(rows)))
    for k in range(_FOLDS):
        knots = _choose(rows.take(fold != k), least, seed).knots
        part = rows.take(fold == k)
        found.scores[fold == k], found.middles[fold == k] = part.scores(knots), _middle(part.raw, knots)
    return found


def _typical_half_width(rows: _Rows, knots: _Knots | None, spread: Spread | None, factor: float) -> float | None:
    if math.isinf(factor):
        return None
    low, high = (np.clip(end, rows.low, rows.high) for end in ends_of(_middle(rows.raw, knots), spread, factor))
    return round(float(np.median(high - low)) / 2, 6)


def _middle(raw: FloatArray, knots: _Knots | None) -> FloatArray:
    """Evaluate a curve whose flat segments are replaced by their centres, extended with slope 1 beyond its ends."""
    return _extended(raw, None if knots is None else _level_centres(knots))


def _level_centres(knots: _Knots) -> _Knots:
    """Return the centre of each flat segment of the curve, and its value."""
    x, y = knots
    values, first, count = np.unique(y, return_index=True, return_counts=True)
    return (x[first] + x[first + count - 1]) / 2, values


def _extended(raw: FloatArray, points: _Knots | None) -> FloatArray:
    if points is None:
        return raw
    centres, values = points
    within = np.clip(raw, centres[0], centres[-1])
    middle: FloatArray = np.interp(within, centres, values) + (raw - within)
    return middle


def _gain(before: FloatArray, after: FloatArray, clusters: IntArray) -> tuple[float, float]:
    """Return the mean decrease of the error and its standard error, with clusters as the independent units."""
    falls = before - after
    index = np.unique(clusters, return_inverse=True)[1]
    count = int(index.max()) + 1
    sums = np.bincount(index, weights=falls - falls.mean())
    noise = math.sqrt(float((sums**2).sum()) * count / (count - 1)) / len(falls)
    return float(falls.mean()), noise


def _line(rows: _Rows) -> _Knots | None:
    """Fit the increasing line of least absolute error; return its two knots at the ends of the scale.

    Uses iteratively reweighted least squares (Schlossmacher 1973). None if the fitted line does not increase.
    """
    x, y = rows.raw, rows.y
    slope, offset = 1.0, float(np.median(y - x))
    for _ in range(50):
        # Residuals below a thousandth of the scale are treated as equal, to bound the weights.
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
    # Beyond these two knots the line leaves the scale, and interp returns the end value, as clipping would.
    return (np.array([rows.low, rows.high]) - offset) / slope, np.array([rows.low, rows.high])


def _isotonic(rows: _Rows) -> _Knots | None:
    """Fit isotonic regression to the median: steps of pooled groups, joined by straight segments.

    Rows are first grouped by quantiles of the prediction, with at least five rows per group and at most 200 groups.
    None if only one step is left, which would be a constant.
    """
    order = np.argsort(rows.raw, kind="stable")
    x, y = rows.raw[order], rows.y[order]
    groups = max(1, min(_MOST_GROUPS, len(x) // _SMALLEST_GROUP))
    starts = np.unique(np.searchsorted(x, x[np.arange(groups) * len(x) // groups]))  # keeps equal x together
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


_FITS: dict[Method, Callable[[_Rows], _Knots | None]] = {"linear": _line, "isotonic": _isotonic}


def _shown(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.2f}"
