"""Hold labelled rows in a fixed order, for training or evaluating a student.

Input: windows, scores and clusters. Output: an `Examples`, whose rows can be selected by mask or index.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import polars as pl

from potstill.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from potstill.types import BoolArray, FloatArray, IntArray

SAMPLING = "sampling"
"""Column that says how an article was chosen for labelling; empty for a random sample."""

HIGH = "high"
"""Value of `SAMPLING` for an article chosen by its predicted overall score; by a dimension's: `high by NAME`."""

_TARGETED = rf"^{HIGH}( by .+)?$"


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Labelled rows in a fixed order, for training or evaluating a student.

    `frame` has the columns `id` and `text` (the window), and `source`, `language` and others if the articles had them.
    `scores` has shape (rows, dimensions), float64 on the filter's scale, NaN where a label is masked. `clusters` has
    shape (rows,); near-duplicates share a number.

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
    def targeted(self) -> BoolArray:
        """Which rows were chosen by a predicted score, shape (rows,); see `targeted_rows`."""
        return targeted_rows(self.frame)

    def untargeted(self) -> Examples:
        """Return the rows that may be used for measuring: those that were not chosen by a predicted score."""
        return self.take(~self.targeted)

    @property
    def texts(self) -> list[str]:
        """The windows, in order."""
        return self.frame["text"].to_list()

    @classmethod
    def concat(cls, parts: Sequence[Examples]) -> Self:
        """Join parts of one dataset, whose clusters have the same numbers; empty ones are allowed."""
        return cls(
            ids=tuple(id_ for part in parts for id_ in part.ids),
            frame=pl.concat([part.frame for part in parts], how="diagonal"),
            scores=np.concatenate([part.scores for part in parts]),
            clusters=np.concatenate([part.clusters for part in parts]),
            dimensions=parts[0].dimensions,
        )

    def take(self, which: ArrayLike) -> Examples:
        """Return the selected rows: by a boolean mask of shape (rows,), or by indices in the order wanted."""
        chosen = np.asarray(which)
        index = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen.astype(np.int64)
        return Examples(
            ids=tuple(self.ids[i] for i in index.tolist()),
            frame=self.frame[index.tolist()],
            scores=self.scores[index],
            clusters=self.clusters[index],
            dimensions=self.dimensions,
        )


def targeted_rows(articles: pl.DataFrame) -> BoolArray:
    """Return which articles were chosen for labelling because a model predicted high scores, shape (articles,).

    Such articles are used for training only. They score higher than the pool that they come from, so a rate, an error
    or a calibration that is measured on them does not hold for other articles.
    """
    if SAMPLING not in articles.columns:
        return np.zeros(articles.height, dtype=np.bool_)
    values = articles[SAMPLING].cast(pl.String).fill_null("")
    return np.asarray(values.str.contains(_TARGETED).to_numpy(), dtype=np.bool_)
