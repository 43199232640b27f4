"""Compare the oracle with itself: difference of repeated answers, noise floor, and share of signal.

Input: every article's answers. Output: `Repeats`, or None if no article was labelled twice. Noise is the variation
between answers to one prompt. A bias that all answers share looks like signal here; only another oracle or a person can
reveal it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from potstill import metrics
from potstill.audit.means import Means
from potstill.audit.records import LEVEL, Repeat, Repeats, interval
from potstill.metrics import number

if TYPE_CHECKING:
    from potstill.audit.labelled import Labelled
    from potstill.records import Interval
    from potstill.types import FloatArray, IntArray

REMINDER = (
    "Repeated answers to one prompt only show the variation between answers. A bias that all answers share, such as a "
    "rubric misread the same way each time, is not visible here: only another oracle or a person can find it."
)


def repeats_of(rows: Labelled, *, seed: int = 0, resamples: int = metrics.RESAMPLES) -> Repeats | None:
    """Estimate the repeat error of one oracle's answers.

    With d the mean absolute difference of two answers, the floor is d times the mean over labelled rows of 1 /
    sqrt(2K), where K is the number of answers behind a row's label. If all rows have K answers, this is d / sqrt(2K).
    The share of signal is 1 - noise / variance of the labels, where noise is the pooled variance within articles,
    divided by each row's K. The share is 0 if the noise is at least as large as the variance.
    """
    weights = rows.filter.weights
    wide = [metrics.with_overall(answer, weights) for answer in rows.answers]
    again = np.array([len(answer) > 1 for answer in wide])
    if not again.any():
        return None
    differences = np.full((len(wide), len(weights) + 1), np.nan)
    variances = np.full(differences.shape, np.nan)
    for row in np.flatnonzero(again):
        differences[row] = metrics.pairwise_difference(wide[row])
        variances[row] = _variance(wide[row])
    labels = metrics.with_overall(rows.scores, weights)
    shrink = float(np.mean(metrics.floor(1.0, rows.samples)))
    share = float(np.mean(1.0 / rows.samples))
    means = Means(rows.clusters, seed, resamples)
    difference = means.of(differences)
    signal = _Signal(labels, variances, share)
    low, high = metrics.bootstrap(rows.clusters, signal, n=resamples, seed=seed, level=LEVEL)
    found = signal(np.arange(len(labels)))
    noise = [_mean(column) for column in variances.T]
    columns = [
        Repeat(
            dimension=name,
            difference=difference[i][0],
            difference_interval=difference[i][1],
            floor=_times(difference[i][0], shrink),
            floor_interval=_both(difference[i][1], shrink),
            noise_sd=number(np.sqrt(noise[i])),
            signal=number(found[i]),
            signal_interval=interval(low[i], high[i]),
        )
        for i, name in enumerate((*rows.filter.dimension_names, "overall"))
    ]
    mean, ends = means.of_all(differences[:, :-1])
    return Repeats(
        articles=int(again.sum()),
        rows=len(wide),
        samples=round(float(rows.samples.mean()), 6),
        repeated_samples=round(float(rows.samples[again].mean()), 6),
        dimensions=tuple(columns[:-1]),
        overall=columns[-1],
        mean_difference=mean,
        mean_difference_interval=ends,
        mean_floor=_times(mean, shrink),
        mean_floor_interval=_both(ends, shrink),
        mean_signal=number(metrics.average(found[:-1])),
    )


class _Signal:
    """A function that computes the share of signal for a resample of rows, shape (dimensions + 1,)."""

    def __init__(self, labels: FloatArray, variances: FloatArray, share: float) -> None:
        self.labels, self.variances, self.share = labels, variances, share

    def __call__(self, index: IntArray) -> FloatArray:
        labels, variances = self.labels[index], self.variances[index]
        noise = np.array([_mean(column) for column in variances.T]) * self.share
        total = np.array([_spread(column) for column in labels.T])
        result: FloatArray = np.full(len(noise), np.nan)
        np.divide(noise, total, out=result, where=total > 0)
        # If the estimated noise exceeds the total variance, the share of signal is 0.
        return np.maximum(1.0 - result, 0.0)


def _variance(answers: FloatArray) -> FloatArray:
    """Return the unbiased variance of each dimension's answers; NaN with fewer than two."""
    known = np.isfinite(answers)
    count = known.sum(axis=0)
    filled = np.where(known, answers, 0.0)
    mean = np.divide(filled.sum(axis=0), count, out=np.zeros(answers.shape[1]), where=count > 0)
    squares = np.where(known, (answers - mean) ** 2, 0.0).sum(axis=0)
    result: FloatArray = np.divide(squares, count - 1, out=np.full(answers.shape[1], np.nan), where=count > 1)
    return result


def _spread(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.var(ddof=1)) if known.size > 1 else float("nan")


def _mean(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else number(value * factor)


def _both(ends: Interval | None, factor: float) -> Interval | None:
    return None if ends is None else interval(ends.low * factor, ends.high * factor)
