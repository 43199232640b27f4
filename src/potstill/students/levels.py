"""Ordinal targets: learn the probability of a score at most each level, and predict the median level.

Input: scores with few distinct values, such as integers from 0 to 10. Output: binary targets, one per level, and the
decoding of a student's outputs to scores. The mean absolute error is lowest at the median of the predictive
distribution. A student trained on the scores themselves learns their mean, or a smooth curve between them: if an
article is equally likely to score 0 or 5, it predicts about 2, which is never right. Learning P(score <= level) for
each level is ordinal regression by binary tasks (Frank & Hall 2001).
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
"""Maximum number of levels per dimension; labels with more distinct values are reduced to quantiles."""

EDGE = 0.02
"""Half-width, in probability, of the transition around 0.5 in which a score moves to the next level. With a step, the
last digit of a feature, which differs between processors, could move a score by a whole level."""


@dataclass(frozen=True)
class Levels:
    """Increasing levels of every dimension, concatenated in `values`; `counts` holds the number per dimension.

    A dimension of n levels has n - 1 outputs, since no score exceeds the last level.
    """

    values: FloatArray
    counts: IntArray

    @classmethod
    def of(cls, scores: FloatArray) -> Levels:
        """Find the levels of labels, shape (rows, dimensions), NaN masked; every dimension needs a label."""
        each = [_levels(column[~np.isnan(column)]) for column in scores.T]
        return cls(np.concatenate(each), np.array([own.size for own in each], dtype=np.int64))

    @property
    def outputs(self) -> int:
        """Number of outputs per article."""
        return int((self.counts - 1).sum())

    def targets(self, scores: FloatArray) -> FloatArray:
        """Return 1 where a score is at most the level, else 0, shape (rows, outputs); NaN where masked."""
        found = np.empty((scores.shape[0], self.outputs))
        for column, (own, place) in enumerate(self.each()):
            score = scores[:, column, None]
            found[:, place] = np.where(np.isnan(score), np.nan, score <= own[:-1])
        return found

    def median(self, outputs: FloatArray) -> FloatArray:
        """Return the lowest level whose cumulative probability reaches 0.5, shape (rows, dimensions).

        `outputs`, shape (rows, outputs), need not increase from level to level as cumulative probabilities do. They are
        replaced by the mean of the closest increasing curves from above and from below. Within `EDGE` of 0.5, the score
        moves linearly from level to level.
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
        """Return the mean of the levels under the distribution given by `outputs`, shape (rows, dimensions)."""
        scores = np.empty((outputs.shape[0], self.counts.size))
        for column, (own, place) in enumerate(self.each()):
            scores[:, column] = own[-1] - outputs[:, place] @ np.diff(own)
        return scores

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays that define the levels."""
        return {"levels": self.values, "level_counts": self.counts}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], outputs: int) -> Levels:
        """Rebuild the levels from `arrays`, for a student with the given number of outputs.

        Raises:
            BundleError: the arrays do not match each other or the number of outputs.
        """
        found = cls(arrays["levels"], arrays["level_counts"])
        fits = found.values.ndim == found.counts.ndim == 1 and (found.counts >= 1).all()
        if not fits or found.counts.sum() != found.values.size or found.outputs != outputs:
            raise BundleError(f"levels: {found.counts.tolist()} of them do not fit {outputs} outputs")
        if any((np.diff(own) <= 0).any() for own, _ in found.each()):
            raise BundleError("levels: they do not rise")
        return found

    def each(self) -> list[tuple[FloatArray, slice]]:
        """Return each dimension's levels, and the slice of its outputs."""
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
    # The quantiles are values of labels, so that a median level is one that was given.
    return np.unique(np.quantile(labels, np.linspace(0, 1, MOST_LEVELS), method="inverted_cdf"))
