"""Scores as distributions: learn how likely each level is not exceeded, and give the level in the middle.

In: scores with few values, such as integers from 0 to 10. Out: yes-or-no targets, one for each level, and the way
back from a student's outputs to scores. Mean absolute error is least at the median of what may be true. A student of
the scores themselves learns their mean, or a smooth curve between them: where an article is worth 0 or 5 it says 2.
Learning P(score <= level) instead, level by level, is ordinal regression by binary tasks (Frank and Hall 2001).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from potstill.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from potstill.types import FloatArray, IntArray

MOST_LEVELS = 21
"""Levels of one dimension; labels that have more values are cut at their quantiles."""

EDGE = 0.02
"""How far from even odds a score begins to move to the next level. A step would let the last digit of a feature, which
differs between processors, move a score by a whole level."""


@dataclass(frozen=True)
class Levels:
    """The levels of every dimension, rising, one dimension after the other in `values`; `counts` says how many each.

    A dimension of n levels has n - 1 outputs, since no score exceeds the last.
    """

    values: FloatArray
    counts: IntArray

    @classmethod
    def of(cls, scores: FloatArray) -> Levels:
        """The levels that labels take, shape (rows, dimensions), NaN masked; every dimension has a label."""
        each = [_levels(column[~np.isnan(column)]) for column in scores.T]
        return cls(np.concatenate(each), np.array([own.size for own in each], dtype=np.int64))

    @property
    def outputs(self) -> int:
        """How many numbers a student gives for an article."""
        return int((self.counts - 1).sum())

    def targets(self, scores: FloatArray) -> FloatArray:
        """1 where a score is at most the level, else 0, shape (rows, outputs); NaN where masked."""
        found = np.empty((scores.shape[0], self.outputs))
        for column, (own, place) in enumerate(self.each()):
            score = scores[:, column, None]
            found[:, place] = np.where(np.isnan(score), np.nan, score <= own[:-1])
        return found

    def median(self, outputs: FloatArray) -> FloatArray:
        """The lowest level that is as likely reached as exceeded, shape (rows, dimensions).

        `outputs`, shape (rows, outputs), need not rise from level to level, as probabilities would: the mean of
        the nearest rising curves from above and from below stands in for them. Within `EDGE` of even odds the score
        moves evenly from level to level.
        """
        scores = np.empty((outputs.shape[0], self.counts.size))
        for column, (own, place) in enumerate(self.each()):
            share = outputs[:, place]
            above = np.maximum.accumulate(share, axis=1)
            below = np.minimum.accumulate(share[:, ::-1], axis=1)[:, ::-1]
            exceeded = np.clip((0.5 + EDGE - (above + below) / 2) / (2 * EDGE), 0.0, 1.0)
            scores[:, column] = own[0] + exceeded @ np.diff(own)
        return scores

    def mean(self, outputs: FloatArray) -> FloatArray:
        """The mean of the levels, each as likely as `outputs` say, shape (rows, dimensions)."""
        scores = np.empty((outputs.shape[0], self.counts.size))
        for column, (own, place) in enumerate(self.each()):
            scores[:, column] = own[-1] - outputs[:, place] @ np.diff(own)
        return scores

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that it is."""
        return {"levels": self.values, "level_counts": self.counts}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], outputs: int) -> Levels:
        """The way back from `arrays`, for a student of so many outputs.

        Raises:
            BundleError: the arrays do not fit each other or the outputs.
        """
        found = cls(arrays["levels"], arrays["level_counts"])
        fits = found.values.ndim == found.counts.ndim == 1 and (found.counts >= 1).all()
        if not fits or found.counts.sum() != found.values.size or found.outputs != outputs:
            raise BundleError(f"levels: {found.counts.tolist()} of them do not fit {outputs} outputs")
        if any((np.diff(own) <= 0).any() for own, _ in found.each()):
            raise BundleError("levels: they do not rise")
        return found

    def each(self) -> list[tuple[FloatArray, slice]]:
        """Each dimension's levels, and where its outputs stand."""
        ends = np.cumsum(self.counts)
        stops = np.cumsum(self.counts - 1)
        return [
            (self.values[end - count : end], slice(stop - count + 1, stop))
            for end, stop, count in zip(ends.tolist(), stops.tolist(), self.counts.tolist(), strict=True)
        ]


def _levels(labels: FloatArray) -> FloatArray:
    found = np.unique(labels)
    if found.size <= MOST_LEVELS:
        return found
    # Values of labels, not between them: the middle one of many is then one that was given.
    return np.unique(np.quantile(labels, np.linspace(0, 1, MOST_LEVELS), method="inverted_cdf"))
