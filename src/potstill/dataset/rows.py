"""The rows of a dataset as a file, and what is recorded of them.

In: labelled rows with their parts, or the file that holds them. Out: the examples of a part, or of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import polars as pl

from potstill.dataset.examples import Examples
from potstill.dataset.splitting import PARTS
from potstill.errors import BadInput, DatasetError
from potstill.files import replacing
from potstill.parquet import read_parquet
from potstill.records import Part, Record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from potstill.types import FloatArray

FACTS = ("source", "language", "published")
"""What is known of an article beside its text, where it is."""


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Labelled rows and their parts.

    `frame` has one row per labelled article: id, title, text (the window), cut (the window lost some of the
    article), cluster, split, the article's source, language and published where any has them, then per
    dimension `y_<name>` (label, null where masked) and `s_<name>` (spread over the samples), and samples.
    """

    frame: pl.DataFrame
    dimensions: tuple[str, ...]

    @classmethod
    def load(cls, path: str | Path, dimensions: Sequence[str]) -> Self:
        """Read the rows that `build_dataset` wrote.

        Raises:
            DatasetError: there is no such file, it is no Parquet file, or a column is missing.
        """
        try:
            frame = read_parquet(path)
        except BadInput as error:
            raise DatasetError(str(error)) from None
        needed = ["id", "text", "cluster", "split", *(f"y_{name}" for name in dimensions)]
        missing = [column for column in needed if column not in frame.columns]
        if missing:
            raise DatasetError(f"{path}: no column {missing[0]!r}; build it again with: potstill dataset")
        return cls(frame, tuple(dimensions))

    def save(self, path: Path) -> None:
        """Write the rows as Parquet, whole or not at all."""
        with replacing(path) as temporary:
            self.frame.write_parquet(temporary)

    def all(self) -> Examples:
        """Every row, in the order of the articles."""
        return _examples(self.frame, self.dimensions)

    def part(self, name: str) -> Examples:
        """The rows of one part, which may be none.

        Raises:
            DatasetError: there is no part of that name.
        """
        if name not in PARTS:
            raise DatasetError(f"no part {name!r}; parts: {', '.join(PARTS)}")
        return _examples(self.frame.filter(pl.col("split") == name), self.dimensions)

    @property
    def has_calibration_part(self) -> bool:
        """Whether calibration has rows of its own; else it is cross-fitted."""
        return bool((self.frame["split"] == "calibration").any())


class Pairs(Record):
    """`pairs.json`: articles that are near-duplicates of each other."""

    fault = DatasetError
    made_by = "potstill dataset RUN"

    schema_version: int = 1
    threshold: float
    """Jaccard similarity from which two articles count as near-duplicates."""
    pairs: tuple[tuple[str, str, float], ...]
    """Two ids, and their similarity."""


class DatasetRecord(Part):
    """What a dataset is made of, for the manifest and the report."""

    rows: int
    clusters: int
    near_duplicates: int
    """Pairs found."""
    parts: dict[str, int]
    """Rows of each part that has any."""
    fractions: dict[str, float]
    """The shares aimed at."""
    calibration: Literal["part", "cross-fitted"]
    whole: Literal["clusters", "source", "time"]
    cut: int
    """Rows of which the window lost some text."""
    masked: dict[str, int]
    """Rows without a label, by dimension."""
    unlabelled: int
    """Articles without any label, left out."""
    oracle: str
    seed: int
    notes: list[str]
    """What a reader should know: constant dimensions, a dominating cluster, rows left out."""


def scores_of(frame: pl.DataFrame, dimensions: Sequence[str]) -> FloatArray:
    """The columns `y_<dimension>` as an array of shape (rows, dimensions), NaN where a label is masked."""
    columns = [frame[f"y_{name}"].cast(pl.Float64).fill_null(float("nan")).to_numpy() for name in dimensions]
    return np.column_stack(columns).astype(np.float64)


def _examples(frame: pl.DataFrame, dimensions: tuple[str, ...]) -> Examples:
    kept = [name for name in ("id", "title", "text", *FACTS) if name in frame.columns]
    return Examples(
        ids=tuple(frame["id"].to_list()),
        frame=frame.select(kept),
        scores=scores_of(frame, dimensions),
        clusters=frame["cluster"].to_numpy().astype(np.int64),
        dimensions=dimensions,
        spreads=_spreads_of(frame, dimensions),
    )


def _spreads_of(frame: pl.DataFrame, dimensions: Sequence[str]) -> FloatArray | None:
    names = [f"s_{name}" for name in dimensions]
    if not {"samples", *names} <= set(frame.columns):
        return None
    # One answer has a spread of 0 in the file, which says nothing of how sure it was.
    repeated = frame.select(pl.when(pl.col("samples") > 1).then(pl.col(name)).alias(name) for name in names)
    return repeated.cast(pl.Float64).fill_null(float("nan")).to_numpy()
