"""Split rows without leakage into train, validation, calibration and test, and into folds.

Input: scores and clusters. Output: a split, or a fold, per row. Clusters (and groups, or time, if requested) are never
divided. Within this constraint, the splits are stratified by score, so that each contains low and high scores in
similar shares.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
from pydantic import Field, ValidationError, model_validator

from potstill.dataset.duplicates import joined
from potstill.errors import DatasetError
from potstill.records import Part, first_fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from potstill.types import FloatArray, IntArray

PARTS = ("train", "validation", "calibration", "test")
"""The splits of a dataset, in the order of their use."""

_CALIBRATION = PARTS.index("calibration")

SMALLEST_CALIBRATION = 100
"""Minimum number of rows of a calibration split; with fewer, calibration is cross-fitted on other rows."""

SMALLEST_DATASET = 10
"""Minimum number of rows of a dataset; with fewer, three splits are not meaningful."""


class Fractions(Part):
    """Shares of the splits; they sum to 1."""

    train: float = Field(gt=0, lt=1)
    validation: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)
    calibration: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        total = self.train + self.validation + self.test + self.calibration
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            raise ValueError(f"they sum to {total:g}, expected 1")
        return self

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `train/validation/test` or `train/validation/calibration/test`, as shares or percent: `70/10/10/10`.

        Raises:
            DatasetError: the text has another form, or the shares do not sum to 1 (or 100).
        """
        pieces = text.split("/")
        try:
            numbers = [float(piece) for piece in pieces]
        except ValueError:
            numbers = []
        if len(numbers) not in {3, 4}:
            raise DatasetError(f"fractions {text!r}: expected three or four numbers such as 80/10/10 or 70/10/10/10")
        if sum(numbers) > 2:
            numbers = [number / 100 for number in numbers]
        names = ("train", "validation", "test") if len(numbers) == 3 else PARTS
        try:
            return cls(**dict(zip(names, numbers, strict=True)))
        except ValidationError as error:
            raise DatasetError(f"fractions {text!r}: {first_fault(error)}") from None

    def without_calibration(self) -> Fractions:
        """Return the same shares with the calibration share added to training."""
        # 0.7 + 0.1 is slightly less than 0.8 in binary; the record must contain 0.8.
        train = round(self.train + self.calibration, 12)
        return Fractions(train=train, validation=self.validation, test=self.test)

    def for_rows(self, rows: int) -> Fractions:
        """Return the same shares, without a calibration split if it would be too small."""
        if self.calibration and round(self.calibration * rows) < SMALLEST_CALIBRATION:
            return self.without_calibration()
        return self


DEFAULT_FRACTIONS = Fractions(train=0.7, validation=0.1, calibration=0.1, test=0.1)
"""70/10/10/10, which becomes 80/10/10 below 1,000 rows."""


def split(
    scores: FloatArray,
    clusters: IntArray,
    *,
    seed: int,
    fractions: Fractions = DEFAULT_FRACTIONS,
    groups: Sequence[str | None] | pl.Series | None = None,
    times: FloatArray | None = None,
    weights: FloatArray | None = None,
) -> pl.Series:
    """Assign each row to 'train', 'validation', 'calibration' or 'test'.

    Clusters are never divided. Rows are ordered by their weighted mean score and cut into up to ten bins, and each bin
    is divided by the fractions, so that rare high scores reach every split. If the calibration split would have fewer
    than `SMALLEST_CALIBRATION` rows, there is none: its share is used for training, and calibration is cross-fitted
    later.

    Args:
        scores: labels, shape (rows, dimensions), NaN where masked.
        clusters: cluster numbers, shape (rows,).
        seed: random seed; the same seed gives the same splits.
        fractions: shares of the splits.
        groups: a name per row, such as its source, or None; rows of the same name stay together, with the clusters of
            all of them.
        times: seconds per row, shape (rows,), finite. The earliest rows are used for training, the latest for testing.
            A cluster counts as its latest row, so that no training row is newer than the start of the test split. The
            seed then has no effect.
        weights: weights of the dimensions, shape (dimensions,); equal by default.

    Returns:
        The split of each row, as a String Series.

    Raises:
        DatasetError: there are too few rows, clusters or groups to fill every split, both `groups` and `times` are
            given, or a time is missing.
    """
    rows = len(clusters)
    if rows < SMALLEST_DATASET:
        raise DatasetError(f"{rows} labelled rows are too few to split; at least {SMALLEST_DATASET} are needed")
    if groups is not None and times is not None:
        raise DatasetError("a split can keep either sources or time whole, not both")
    blocks = clusters if groups is None else with_groups(clusters, groups)

    def dealt(shares: Fractions) -> tuple[IntArray, FloatArray]:
        wanted = np.array([getattr(shares, part) for part in PARTS])
        if times is not None:
            return _by_time(blocks, times, wanted), wanted
        return _assign_blocks(blocks, _level(scores, weights), wanted, np.random.default_rng(seed)), wanted

    shares = fractions.for_rows(rows)
    part, wanted = dealt(shares)
    # Large blocks can leave the calibration split below its minimum size for any share.
    if shares.calibration and int((part == _CALIBRATION).sum()) < SMALLEST_CALIBRATION:
        part, wanted = dealt(shares.without_calibration())
    for name, share, count in zip(PARTS, wanted, np.bincount(part, minlength=len(PARTS)), strict=True):
        if share and not count:
            what = "times" if times is not None else "clusters" if groups is None else "sources"
            raise DatasetError(f"{rows} rows have too few distinct {what} to fill the split {name!r}")
    return pl.Series("split", [PARTS[i] for i in part.tolist()], dtype=pl.String)


def folds(clusters: IntArray, scores: FloatArray, k: int, seed: int, weights: FloatArray | None = None) -> IntArray:
    """Assign each row to a fold from 0 to k - 1, shape (rows,), with whole clusters and similar scores per fold.

    Raises:
        DatasetError: there are fewer clusters than folds, or k is below 2.
    """
    found = len(np.unique(clusters))
    if k < 2 or found < k:
        raise DatasetError(f"{found} clusters cannot be divided into {k} folds; 2 to {max(found, 2)} are possible")
    return _assign_blocks(clusters, _level(scores, weights), np.full(k, 1.0 / k), np.random.default_rng(seed))


def _level(scores: FloatArray, weights: FloatArray | None) -> FloatArray:
    """Return the weighted mean of each row's known scores, shape (rows,); NaN for a row without scores."""
    share = np.ones(scores.shape[1]) if weights is None or not np.any(weights) else np.asarray(weights)
    known = np.isfinite(scores)
    # A row whose weighted dimensions are all masked is placed by its other dimensions.
    share = np.where((known * share).sum(axis=1, keepdims=True) > 0, share, 1.0)
    total = (known * share).sum(axis=1)
    summed = (np.where(known, scores, 0.0) * share).sum(axis=1)
    level: FloatArray = np.divide(summed, total, out=np.full(len(scores), np.nan), where=total > 0)
    return level


def with_groups(clusters: IntArray, groups: Sequence[str | None] | pl.Series) -> IntArray:
    """Merge clusters and named groups: rows linked by either share a number; unnamed rows keep their cluster."""
    first: dict[tuple[str, Any], int] = {}
    links: list[tuple[int, int]] = []
    for row, (cluster, group) in enumerate(zip(clusters.tolist(), groups, strict=True)):
        links.append((first.setdefault(("cluster", cluster), row), row))
        if group is not None:
            links.append((first.setdefault(("group", group), row), row))
    return joined(len(clusters), links)


def _assign_blocks(blocks: IntArray, level: FloatArray, shares: FloatArray, rng: np.random.Generator) -> IntArray:
    """Assign whole blocks, each to the split that lacks most of its share so far; return the split per row."""
    names, index = np.unique(blocks, return_inverse=True)
    sizes = np.bincount(index)
    known = np.isfinite(level)
    summed = np.bincount(index, weights=np.where(known, level, 0.0))
    counted = np.bincount(index, weights=known.astype(np.float64))
    overall = level[known].mean() if known.any() else 0.0
    height = np.divide(summed, counted, out=np.full(len(names), overall), where=counted > 0)

    part = np.zeros(len(names), dtype=np.int64)
    filled = np.zeros(len(shares))
    # Blocks that are large relative to the smallest split are assigned first, in descending size. If assigned late, one
    # of them could overfill a split that is already full.
    large = 2 * sizes > max(2.0, float(shares[shares > 0].min()) * len(blocks))
    order = rng.permutation(len(names))
    for block in sorted(order[large[order]].tolist(), key=lambda b: -sizes[b]):
        part[block] = _neediest(shares * len(blocks) - filled, shares)
        filled[part[block]] += sizes[block]

    left = np.maximum(shares * len(blocks) - filled, 0.0)
    small = order[~large[order]]
    small = small[np.argsort(height[small], kind="stable")]
    if small.size:
        rest = left / left.sum() if left.sum() else shares
        dealt, given = 0, np.zeros(len(shares))
        for stratum in np.array_split(small, min(10, small.size)):
            for block in rng.permutation(stratum).tolist():
                dealt += int(sizes[block])
                part[block] = _neediest(rest * dealt - given, shares)
                given[part[block]] += sizes[block]
    _fill_empty(part, sizes, shares)
    return part[index]


def _neediest(lack: FloatArray, shares: FloatArray) -> int:
    return int(np.argmax(np.where(shares > 0, lack, -np.inf)))


def _fill_empty(part: IntArray, sizes: IntArray, shares: FloatArray) -> None:
    """Give an empty split the smallest block of the split with the most blocks, if that split can spare it."""
    for empty in np.flatnonzero((shares > 0) & (np.bincount(part, minlength=len(shares)) == 0)):
        counts = np.bincount(part, minlength=len(shares))
        donor = np.flatnonzero(part == np.argmax(counts))
        if donor.size > 1:
            part[donor[np.argmin(sizes[donor])]] = empty


def _by_time(blocks: IntArray, times: FloatArray, shares: FloatArray) -> IntArray:
    """Assign the splits in order of time, earliest first; rows of the same time stay together."""
    if not np.isfinite(times).all():
        raise DatasetError(f"row {int(np.flatnonzero(~np.isfinite(times))[0])}: no time to split by")
    index = np.unique(blocks, return_inverse=True)[1]
    latest = np.full(int(index.max()) + 1, -np.inf)
    np.maximum.at(latest, index, times)
    moment = np.unique(latest[index], return_inverse=True)[1]
    ends = np.cumsum(np.bincount(moment))
    middle = np.concatenate([[0], ends[:-1]]) / 2 + ends / 2
    used = np.flatnonzero(shares > 0)
    edges = np.cumsum(shares[used])[:-1] * len(blocks)
    return used[np.searchsorted(edges, middle, side="right")][moment]
