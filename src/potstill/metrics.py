"""Metrics: agreement of predicted scores with the oracle's, one function per metric.

Input: predicted and labelled scores, float64 arrays of shape (rows, dimensions), NaN where a label is masked. Output:
one number per dimension, shape (dimensions,), unless a function says otherwise. Masked labels are ignored, whatever was
predicted for them; a dimension without any label gives NaN, never 0. Intervals come from resampling whole clusters,
since near-duplicates are not independent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from potstill.findings import FEWEST_POSITIVES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from potstill.types import BoolArray, FloatArray, IntArray

STEPS = (1.0, 0.5)
"""Step sizes of the scales on which oracles and raters answer."""

RESAMPLES = 1000
"""Default number of bootstrap resamples."""

BLOCK = 4_000_000
"""Number of resample cells processed at once, so that memory does not grow with clusters times resamples."""


class Bounds(NamedTuple):
    """Both ends of an interval; each has the shape of the statistic."""

    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, slots=True)
class Positives:
    """Counts of rows in the positive tiers.

    `actual`, `predicted` and `found` (both) are counts of rows. `recall` = found / actual and `precision` = found /
    predicted are None if their denominator is below `FEWEST_POSITIVES`.
    """

    actual: int
    predicted: int
    found: int

    @property
    def recall(self) -> float | None:
        """Share of the actual positives that were predicted, or None with fewer than `FEWEST_POSITIVES`."""
        return self.found / self.actual if self.actual >= FEWEST_POSITIVES else None

    @property
    def precision(self) -> float | None:
        """Share of the predicted positives that are actual ones, or None with too few of either.

        With too few actual positives, precision mostly reflects how rare they are.
        """
        enough = min(self.actual, self.predicted) >= FEWEST_POSITIVES
        return self.found / self.predicted if enough else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison of two students on the same rows: `difference` is the first's error minus the second's.

    `low` and `high` are the ends of its interval; `p` is the two-sided p-value for a difference of zero.
    """

    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True)
class Bands:
    """Mean error by band of the scale: `edges` (bands + 1,), `counts` and `bias` (bands, dimensions)."""

    edges: FloatArray
    counts: IntArray
    bias: FloatArray


# Errors per dimension


def mae(predicted: FloatArray, y: FloatArray) -> FloatArray:
    """Compute the mean absolute error."""
    return _mean(np.abs(predicted - y), y)


def rmse(predicted: FloatArray, y: FloatArray) -> FloatArray:
    """Compute the root mean squared error."""
    return np.sqrt(_mean((predicted - y) ** 2, y))


def bias(predicted: FloatArray, y: FloatArray) -> FloatArray:
    """Compute the mean of predicted minus labelled scores; above 0, the student scores too high."""
    return _mean(predicted - y, y)


def constant(y: FloatArray) -> FloatArray:
    """Compute each dimension's median: the constant with the least absolute error."""
    return _columns(lambda column, _: float(np.median(column)), y, y)


def step_of(y: FloatArray, low: float) -> float | None:
    """Return the coarsest of `STEPS` that all labels are multiples of, counted from `low`; None if there is none."""
    known = y[np.isfinite(y)]
    if not known.size:
        return None
    return next((step for step in STEPS if np.allclose(np.mod((known - low) / step + 0.5, 1), 0.5)), None)


def skill(error: ArrayLike, constant_error: ArrayLike) -> FloatArray:
    """Compute 1 - error / constant_error: 0 is no better than the constant, 1 is perfect; any shape.

    NaN if the constant has no error, since there is nothing left to explain.
    """
    error, base = np.asarray(error, dtype=np.float64), np.asarray(constant_error, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(base > 0, 1.0 - error / base, np.nan)


def r2(predicted: FloatArray, y: FloatArray) -> FloatArray:
    """Compute the share of the labels' variance that is explained (R²); NaN if the labels do not vary."""

    def one(p: FloatArray, t: FloatArray) -> float:
        spread = float(np.sum((t - t.mean()) ** 2))
        # Squares of tiny differences can underflow, so labels that vary can have zero variance.
        return 1.0 - float(np.sum((t - p) ** 2)) / spread if spread > 0 else float("nan")

    return _columns(one, predicted, y)


def spearman(predicted: FloatArray, y: FloatArray) -> FloatArray:
    """Compute Spearman's rank correlation, with mean ranks for ties; NaN if either side does not vary."""

    def one(p: FloatArray, t: FloatArray) -> float:
        if not (_varies(p) and _varies(t)):
            return float("nan")
        return float(np.corrcoef(ranks(p), ranks(t))[0, 1])

    return _columns(one, predicted, y)


def kendall(predicted: FloatArray, y: FloatArray) -> FloatArray:
    """Compute Kendall's tau-b in O(n log n) (Knight 1966); NaN if either side does not vary."""
    return _columns(_tau_b, predicted, y)


def average(values: ArrayLike) -> float:
    """Average a per-dimension metric over dimensions, ignoring NaN; NaN if all are NaN."""
    found = np.asarray(values, dtype=np.float64)
    found = found[np.isfinite(found)]
    return float(found.mean()) if found.size else float("nan")


def weighted(scores: FloatArray, weights: ArrayLike) -> FloatArray:
    """Compute the filter-weighted mean of each row, shape (rows,); NaN if any score is, as in a verdict.

    It is `overall` before gates and caps. As a single column (`weighted(...)[:, None]`) it can be passed to every
    function here.
    """
    shares = np.asarray(weights, dtype=np.float64)
    known = np.isfinite(scores)
    result: FloatArray = np.where(known, scores, 0.0) @ (shares / shares.sum())
    return np.where(known.all(axis=1), result, np.nan)


def with_overall(scores: FloatArray, weights: FloatArray) -> FloatArray:
    """Append the weighted mean as one more column, shape (rows, dimensions + 1).

    It is the overall score before gates and caps. It is masked if any dimension with a nonzero weight is masked.
    """
    counted = weights > 0
    return np.column_stack([scores, weighted(scores[:, counted], weights[counted])])


# Noise floor: the error that no student can beat


def repeat_difference(a: FloatArray, b: FloatArray) -> FloatArray:
    """Compute the mean absolute difference of two passes of one oracle over the same rows."""
    return _mean(np.abs(a - b), a + b)


def pairwise_difference(answers: FloatArray) -> FloatArray:
    """Compute the mean absolute difference over all pairs of one article's answers, shape (dimensions,).

    `answers` has shape (samples, dimensions), NaN where an answer lacks a dimension. NaN without a pair.
    """
    first, second = np.triu_indices(len(answers), k=1)
    gaps = np.abs(answers[first] - answers[second])
    known = np.isfinite(gaps)
    return share(np.where(known, gaps, 0.0).sum(axis=0), known.sum(axis=0))


def floor(difference: ArrayLike, samples: ArrayLike) -> FloatArray:
    """Compute the noise floor: the expected MAE of a perfect student against means of `samples` passes.

    It is d / sqrt(2K): with independent errors of equal spread, two single passes differ by sqrt(2) times the error of
    one pass, and a mean of K passes has 1 / sqrt(K) of that error. It only includes variation between passes, not a
    bias that all passes share.
    """
    return np.asarray(difference, dtype=np.float64) / np.sqrt(2.0 * np.asarray(samples, dtype=np.float64))


# Tiers


def confusion(y: Sequence[str], predicted: Sequence[str], names: Sequence[str]) -> IntArray:
    """Count rows by tier, shape (tiers, tiers): the oracle's tier by row, the student's by column, as in `names`.

    Raises:
        ValueError: a tier is not among `names`.
    """
    place = {name: i for i, name in enumerate(names)}
    unknown = sorted({*y, *predicted} - place.keys())
    if unknown:
        raise ValueError(f"unknown tier {unknown[0]!r}; known: {', '.join(names)}")
    table = np.zeros((len(names), len(names)), dtype=np.int64)
    pairs = np.array([[place[a] for a in y], [place[b] for b in predicted]], dtype=np.int64)
    np.add.at(table, (pairs[0], pairs[1]), 1)
    return table


def accuracy(table: IntArray) -> float:
    """Compute the share of rows in the right tier from a confusion table; NaN without rows."""
    total = int(table.sum())
    return float(np.trace(table)) / total if total else float("nan")


def kappa(table: IntArray) -> float:
    """Compute Cohen's kappa, the agreement beyond chance (Cohen 1960); NaN if chance alone always agrees."""
    total = int(table.sum())
    if not total:
        return float("nan")
    by_chance = float(table.sum(axis=1) @ table.sum(axis=0)) / total**2
    return (accuracy(table) - by_chance) / (1.0 - by_chance) if by_chance < 1 else float("nan")


def recall(table: IntArray) -> FloatArray:
    """Compute per tier the share of the oracle's rows that the student put there; NaN for a tier without rows."""
    return share(np.diag(table), table.sum(axis=1))


def precision(table: IntArray) -> FloatArray:
    """Compute per tier the share of the student's rows that the oracle put there; NaN for a tier without rows."""
    return share(np.diag(table), table.sum(axis=0))


def positives(y: BoolArray, predicted: BoolArray) -> Positives:
    """Count rows in the positive tiers; `y` and `predicted` are boolean, shape (rows,)."""
    return Positives(int(y.sum()), int(predicted.sum()), int((y & predicted).sum()))


def positive_intervals(
    y: BoolArray,
    predicted: BoolArray,
    clusters: IntArray,
    *,
    n: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[Bounds, Bounds]:
    """Compute bootstrap intervals of recall and precision of the positive tiers, each with ends of shape (1,)."""
    both = (y & predicted).astype(np.float64)[:, None]
    settings = {"n": n, "seed": seed, "level": level}
    return (
        bootstrap_ratio(both, y.astype(np.float64)[:, None], clusters, **settings),  # type: ignore[arg-type]
        bootstrap_ratio(both, predicted.astype(np.float64)[:, None], clusters, **settings),  # type: ignore[arg-type]
    )


# Errors by position on the scale


def band_bias(predicted: FloatArray, y: FloatArray, edges: ArrayLike, *, by: FloatArray | None = None) -> Bands:
    """Compute the mean of predicted minus labelled scores in each band of the scale.

    Args:
        predicted: scores, shape (rows, dimensions).
        y: labels, same shape.
        edges: ascending ends of the bands, shape (bands + 1,); a band includes its lower edge, and the last one also
            its upper edge.
        by: values that assign rows to bands, same shape as `y`; default: the labels. Grouped by label, an uncertain
            student is biased towards the middle: high bands come out below 0 and low ones above.
    """
    limits = np.asarray(edges, dtype=np.float64)
    place = y if by is None else by
    band = np.clip(np.searchsorted(limits, place, side="right") - 1, 0, len(limits) - 2)
    inside = np.isfinite(y) & (place >= limits[0]) & (place <= limits[-1])
    error = np.where(inside, predicted - y, 0.0)
    shape = (len(limits) - 1, y.shape[1])
    sums, counts = np.zeros(shape), np.zeros(shape, dtype=np.int64)
    for column in range(y.shape[1]):
        keep = inside[:, column]
        counts[:, column] = np.bincount(band[keep, column], minlength=shape[0])
        sums[:, column] = np.bincount(band[keep, column], weights=error[keep, column], minlength=shape[0])
    return Bands(limits, counts, share(sums, counts))


# Uncertainty: cluster bootstrap


def row_shares(errors: FloatArray) -> FloatArray:
    """Return each row's contribution to the mean MAE over dimensions, shape (rows, 1); their mean is that mean MAE."""
    labelled = np.isfinite(errors).sum(axis=0)
    weight = np.divide(len(errors), labelled, out=np.zeros(errors.shape[1]), where=labelled > 0)
    dimensions = max(1, int((labelled > 0).sum()))
    shares: FloatArray = np.nan_to_num(errors) @ weight / dimensions
    return shares[:, None]


def bootstrap(
    clusters: IntArray,
    statistic: Callable[[IntArray], ArrayLike],
    *,
    n: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Bounds:
    """Compute a percentile interval of a statistic by cluster bootstrap (Efron 1979; Davison & Hinkley 1997).

    Args:
        clusters: cluster of each row, shape (rows,).
        statistic: takes the indices of the sampled rows (a row appears as often as it was drawn) and returns a number
            or an array; resamples for which it is NaN are ignored.
        n: number of resamples.
        seed: random seed; the same seed gives the same interval.
        level: nominal coverage, between 0 and 1.
    """
    members = _members(clusters)
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(n):
        drawn = rng.integers(0, len(members), size=len(members))
        draws.append(np.asarray(statistic(np.concatenate([members[i] for i in drawn])), dtype=np.float64))
    return percentiles(np.array(draws), level)


def bootstrap_mean(
    values: FloatArray, clusters: IntArray, *, n: int = RESAMPLES, seed: int = 0, level: float = 0.95
) -> Bounds:
    """Compute a percentile interval of each column's mean, ignoring NaN; all resamples at once.

    With absolute errors as `values`, it is the interval of the MAE; ends have shape (columns,).
    """
    known = np.isfinite(values)
    return bootstrap_ratio(
        np.where(known, values, 0.0), known.astype(np.float64), clusters, n=n, seed=seed, level=level
    )


def bootstrap_ratio(
    numerator: FloatArray,
    denominator: FloatArray,
    clusters: IntArray,
    *,
    n: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Bounds:
    """Compute a percentile interval of sum(numerator) / sum(denominator) per column; all resamples at once.

    Both have shape (rows, columns) and are finite. Examples are recall (found over actual) and 1 - skill (the student's
    absolute errors over the constant's). Resamples with a zero denominator are ignored.
    """
    draws = resampled_ratios(numerator, denominator, clusters, n=n, seed=seed)
    return percentiles(draws, level)


def resampled_ratios(
    numerator: FloatArray, denominator: FloatArray, clusters: IntArray, *, n: int = RESAMPLES, seed: int = 0
) -> FloatArray:
    """Return the resampled ratios behind `bootstrap_ratio`, shape (n, columns); NaN where the denominator is zero."""
    index = _dense(clusters)
    size = int(index.max()) + 1
    above, below = _per_cluster(numerator, index, size), _per_cluster(denominator, index, size)
    rng = np.random.default_rng(seed)
    draws = np.empty((n, numerator.shape[1]))
    block = max(1, min(n, BLOCK // size))
    for start in range(0, n, block):
        count = min(block, n - start)
        times = rng.multinomial(size, np.full(size, 1.0 / size), size=count).astype(np.float64)
        draws[start : start + count] = share(times @ above, times @ below)
    return draws


def resampled_counts(clusters: IntArray, *, n: int = RESAMPLES, seed: int = 0) -> Iterator[FloatArray]:
    """Yield how often each row occurs in each resample of whole clusters, in blocks of shape (resamples, rows)."""
    index = _dense(clusters)
    size = int(index.max()) + 1
    rng = np.random.default_rng(seed)
    block = max(1, min(n, BLOCK // len(index)))
    for start in range(0, n, block):
        times = rng.multinomial(size, np.full(size, 1.0 / size), size=min(block, n - start))
        yield times[:, index].astype(np.float64)


def compare(
    errors: FloatArray,
    others: FloatArray,
    clusters: IntArray,
    *,
    n: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Comparison:
    """Test whether one student's errors differ from another's on the same rows: a paired cluster bootstrap.

    Args:
        errors: absolute errors of the first student, shape (rows,) or (rows, dimensions); a row's dimensions are
            averaged, ignoring NaN.
        others: absolute errors of the second student, same shape.
        clusters: cluster of each row, shape (rows,).
        n: number of resamples; `p` is never below 2 / (n + 1).
        seed: random seed.
        level: nominal coverage of the interval.

    Raises:
        ValueError: the shapes differ, or no row has both.
    """
    if errors.shape != others.shape:
        raise ValueError(f"errors have shapes {errors.shape} and {others.shape}; they must match")
    gap = errors - others
    rows = gap if gap.ndim == 1 else _row_mean(gap)
    known = np.isfinite(rows)
    if not known.any():
        raise ValueError("no row has an error on both sides")
    rows, clusters = rows[known], clusters[known]
    draws = resampled_ratios(rows[:, None], np.ones((len(rows), 1)), clusters, n=n, seed=seed)[:, 0]
    low, high = percentiles(draws, level)
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return Comparison(float(rows.mean()), float(low), float(high), min(1.0, 2.0 * (tail + 1) / (n + 1)))


# Proportions


def exact_interval(found: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Compute the exact interval of a proportion, with `found` successes in `n` trials (Clopper & Pearson 1934).

    Its coverage is at least `level` for any proportion, so it is conservative. (0, 1) without trials.

    Raises:
        ValueError: `found` is not from 0 to `n`.
    """
    if not 0 <= found <= n:
        raise ValueError(f"{found} of {n} is not a proportion")
    tail = (1 - level) / 2
    low = 0.0 if found == 0 else _crossing(lambda p: _at_least(found, n, p), tail)
    high = 1.0 if found == n else _crossing(lambda p: 1 - _at_least(found + 1, n, p), tail, falling=True)
    return low, high


def chance_of_at_most(found: int, n: int, p: float) -> float:
    """Compute the probability of at most `found` successes in `n` trials of probability `p`."""
    return 1.0 if found >= n else 1 - _at_least(found + 1, n, p)


# Formatting for records


def number(value: float) -> float | None:
    """Round a metric to six decimals for a record; None if it is not finite."""
    return round(float(value), 6) if math.isfinite(value) else None


# Helpers


def _at_least(found: int, n: int, p: float) -> float:
    """Compute the probability of at least `found` successes in `n` trials of probability `p`."""
    if p <= 0 or p >= 1:
        return float(p >= 1 or found <= 0)
    k = np.arange(found, n + 1)
    whole = math.lgamma(n + 1)
    ways = np.array([whole - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in k.tolist()])
    return float(np.exp(ways + k * math.log(p) + (n - k) * math.log1p(-p)).sum())


def _crossing(function: Callable[[float], float], level: float, *, falling: bool = False) -> float:
    """Find by bisection where a monotone function on (0, 1) crosses a level."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if (function(middle) > level) is not falling:
            high = middle
        else:
            low = middle
    return (low + high) / 2


def ranks(values: FloatArray) -> FloatArray:
    """Compute ranks from 1, with mean ranks for ties, shape (rows,)."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: FloatArray = last - (counts - 1) / 2.0
    return mean[inverse]


def _tau_b(p: FloatArray, t: FloatArray) -> float:
    if not (_varies(p) and _varies(t)):
        return float("nan")
    x, y = np.unique(p, return_inverse=True)[1], np.unique(t, return_inverse=True)[1]
    pairs = len(x) * (len(x) - 1) // 2
    tied_x, tied_y = _tied(x), _tied(y)
    tied_both = _tied(x * (int(y.max()) + 1) + y)
    # Sorted by x, and by y within ties of x, each inversion of y is one discordant pair.
    discordant = _inversions(y[np.lexsort((y, x))])
    concordant = pairs - tied_x - tied_y + tied_both - discordant
    return float(concordant - discordant) / float(np.sqrt(pairs - tied_x) * np.sqrt(pairs - tied_y))


def _tied(values: NDArray[np.intp]) -> int:
    counts = np.unique(values, return_counts=True)[1]
    return int((counts * (counts - 1) // 2).sum())


def _inversions(values: NDArray[np.intp]) -> int:
    """Count pairs i < j with values[i] > values[j], bit by bit from the highest, within equal higher bits."""
    total = 0
    for bit in range(int(values.max()).bit_length() - 1, -1, -1):
        one = (values >> bit) & 1
        before = np.cumsum(one) - one
        group = values >> (bit + 1)
        starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
        lengths = np.diff(np.r_[starts, len(values)])
        inside = before - np.repeat(before[starts], lengths)
        total += int(inside[one == 0].sum())
        values = values[np.argsort(values >> bit, kind="stable")]
    return total


def _columns(one: Callable[[FloatArray, FloatArray], float], predicted: FloatArray, y: FloatArray) -> FloatArray:
    """Apply `one` to each dimension's labelled rows; NaN for a dimension without any, or with a missing prediction."""
    result = np.full(y.shape[1], np.nan)
    for column in range(y.shape[1]):
        known = np.isfinite(y[:, column])
        if known.any() and np.isfinite(predicted[known, column]).all():
            result[column] = one(predicted[known, column], y[known, column])
    return result


def _mean(values: FloatArray, y: FloatArray) -> FloatArray:
    """Compute the mean of each column over the rows where `y` is known; NaN if there are none."""
    known = np.isfinite(y)
    return share(np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0))


def _row_mean(values: FloatArray) -> FloatArray:
    known = np.isfinite(values)
    return share(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1))


def share(above: ArrayLike, below: ArrayLike) -> FloatArray:
    """Divide above by below; NaN where below is zero."""
    top, bottom = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    shares: FloatArray = np.full(np.broadcast_shapes(top.shape, bottom.shape), np.nan)
    np.divide(top, bottom, out=shares, where=bottom != 0)
    return shares


def _varies(values: FloatArray) -> bool:
    return bool(values.size and (values != values[0]).any())


def _dense(clusters: IntArray) -> NDArray[np.intp]:
    return np.unique(clusters, return_inverse=True)[1]


def _members(clusters: IntArray) -> list[IntArray]:
    """Return the row indices of each cluster."""
    index = _dense(clusters)
    order = np.argsort(index, kind="stable")
    return np.split(order, np.cumsum(np.bincount(index))[:-1])


def _per_cluster(values: FloatArray, index: NDArray[np.intp], size: int) -> FloatArray:
    sums = np.zeros((size, values.shape[1]))
    np.add.at(sums, index, values)
    return sums


def percentiles(draws: FloatArray, level: float) -> Bounds:
    """Return both ends of the central `level` of the draws, ignoring NaN; NaN if nothing is left."""
    flat = draws.reshape(len(draws), -1)
    ends = np.full((2, flat.shape[1]), np.nan)
    for column in range(flat.shape[1]):
        known = flat[np.isfinite(flat[:, column]), column]
        if known.size:
            ends[:, column] = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    low, high = ends.reshape(2, *draws.shape[1:])
    return Bounds(low, high)
