"""From labels to parts that cannot leak: train, validation, calibration, test.

In: articles and the oracle's labels. Out: one row per labelled article with its window, its cluster of
near-duplicates and its part. Clusters (and sources, or time, if asked) stay whole, because a copy of a test
article in the training part would be remembered and not judged; within that, parts are filled score bin by
score bin, so that each holds low and high articles in like shares. The same seed gives the same parts.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import polars as pl
import regex
from pydantic import BaseModel, ConfigDict, Field, model_validator

from potstill.errors import DatasetError, require

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike

    from potstill.records import BoolArray, FloatArray, IntArray

PARTS = ("train", "validation", "calibration", "test")
"""The parts of a dataset, in the order of their use."""

SMALLEST_CALIBRATION = 100
"""Rows that a calibration part must have; with fewer, calibration is cross-fitted on other rows instead."""

SMALLEST_DATASET = 10
"""Rows below which three parts say nothing."""

Whole = Literal["source", "time"]
"""What else stays whole beside clusters: sources, or time (train on the past, test on what came after)."""


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Rows with labels, in one order: what a student learns from or is judged on.

    `frame` has the columns `id` and `text` (the window), and `source`, `language` and others where the
    articles had them. `scores` has shape (rows, dimensions), float64 on the filter's scale, NaN where a label
    is masked. `clusters` has shape (rows,): near-duplicates share a number.

    Raises:
        DatasetError: the parts differ in length, or `text` is missing.
    """

    ids: tuple[str, ...]
    frame: pl.DataFrame
    scores: FloatArray
    clusters: IntArray
    dimensions: tuple[str, ...]

    def __post_init__(self) -> None:
        if "text" not in self.frame.columns:
            raise DatasetError("examples need a column text")
        if self.scores.shape != (len(self.ids), len(self.dimensions)):
            raise DatasetError(
                f"scores have shape {self.scores.shape}, expected ({len(self.ids)}, {len(self.dimensions)})"
            )
        if not len(self.ids) == self.frame.height == self.clusters.shape[0]:
            raise DatasetError(
                f"{len(self.ids)} ids, {self.frame.height} rows and {self.clusters.shape[0]} clusters do not match"
            )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def texts(self) -> list[str]:
        """The windows, in order."""
        return self.frame["text"].to_list()

    def take(self, which: ArrayLike) -> Examples:
        """Some of the rows: a boolean mask of shape (rows,), or positions in the order wanted."""
        chosen = np.asarray(which)
        index = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen.astype(np.int64)
        return Examples(
            ids=tuple(self.ids[i] for i in index.tolist()),
            frame=self.frame[index.tolist()],
            scores=self.scores[index],
            clusters=self.clusters[index],
            dimensions=self.dimensions,
        )
