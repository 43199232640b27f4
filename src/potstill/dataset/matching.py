"""Match articles across several datasets, and make their splits consistent.

Input: the windows of two or more datasets, which may truncate articles at different lengths. Output: story numbers for
the rows of all datasets, and for one dataset the splits copied from another. Articles held out in one run must not be
used for training in another run; otherwise a student that is trained on both would be evaluated on articles it has
seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from potstill.dataset.duplicates import clusters_of, near_duplicates
from potstill.dataset.splitting import PARTS, SMALLEST_CALIBRATION, SMALLEST_DATASET, Fractions, split
from potstill.errors import DatasetError
from potstill.text import JOINT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from potstill.dataset.rows import Dataset
    from potstill.types import FloatArray, IntArray


def stories(datasets: Sequence[Sequence[str]]) -> list[IntArray]:
    """Return story numbers for each dataset's rows; near-duplicates within and across datasets share a number.

    If the windows differ in length, texts are also compared after truncation to the shortest window, so that an article
    is matched even if its other window contains twice as many words.

    Args:
        datasets: the windows of each dataset's rows.

    Returns:
        For each dataset an array of shape (rows,).
    """
    texts = [text for own in datasets for text in own]
    pairs = near_duplicates(texts)
    heads = [[text.split(JOINT)[0] for text in own] for own in datasets]
    longest = [max(map(len, own), default=0) for own in heads]
    if len(set(longest)) > 1:
        pairs += near_duplicates([head[: min(longest)] for own in heads for head in own])
    numbers = clusters_of(len(texts), pairs)
    return np.split(numbers, np.cumsum([len(own) for own in datasets])[:-1])


def parts_like(
    texts: Sequence[str],
    scores: FloatArray,
    other: Dataset,
    *,
    seed: int,
    fractions: Fractions,
    weights: FloatArray | None = None,
) -> tuple[pl.Series, int]:
    """Split a dataset consistently with another one: shared stories keep their split; all other rows are split.

    If a story lies in several splits of the other dataset, it gets the most protected of them. If the calibration split
    would have fewer than `SMALLEST_CALIBRATION` rows, there is none, and its rows are used for training.

    Args:
        texts: the windows of this dataset's rows.
        scores: labels, shape (rows, dimensions), NaN where masked.
        other: the dataset whose splits to copy.
        seed: random seed for the rows that are not in `other`.
        fractions: shares of the splits for these rows.
        weights: weights of the dimensions, shape (dimensions,); equal by default.

    Returns:
        The split of each row, and the number of rows that were assigned by the other dataset.

    Raises:
        DatasetError: a split would be empty.
    """
    own, theirs = stories([list(texts), other.frame["text"].to_list()])
    guarded = np.full(int(max(own.max(), theirs.max())) + 1, -1)
    np.maximum.at(guarded, theirs, [PARTS.index(part) for part in other.frame["split"]])
    places = guarded[own]
    known = places >= 0
    rest = ~known
    shares = fractions if other.has_calibration_part else fractions.without_calibration()
    if rest.sum() >= SMALLEST_DATASET:
        parts = split(scores[rest], own[rest], seed=seed, fractions=shares, weights=weights)
        places[rest] = [PARTS.index(part) for part in parts]
    else:
        places[rest] = PARTS.index("train")
    calibration = places == PARTS.index("calibration")
    if calibration.sum() < SMALLEST_CALIBRATION:
        places[calibration] = PARTS.index("train")
    counts = np.bincount(places, minlength=len(PARTS))
    empty = [name for name, count in zip(PARTS, counts, strict=True) if not count and name != "calibration"]
    if empty:
        raise DatasetError(f"no row belongs to the split {empty[0]!r} of the other run; split this run without --like")
    return pl.Series("split", [PARTS[place] for place in places], dtype=pl.String), int(known.sum())
