"""Store the rows of a dataset in a file, with a record of their properties.

Input: labelled rows with their splits, or the file that contains them. Output: the examples of one split, or of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import polars as pl

from potstill.dataset.examples import SAMPLING, Examples
from potstill.dataset.reach import LabelReach  # noqa: TC001 - pydantic reads it
from potstill.dataset.splitting import PARTS
from potstill.errors import BadInput, DatasetError
from potstill.files import replacing
from potstill.parquet import read_parquet
from potstill.records import Part, Record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from potstill.types import FloatArray

FACTS = ("source", "language", "published", SAMPLING)
"""The optional metadata of an article; `sampling` says how it was chosen for labelling."""

GIVEN_SPLIT = "given_split"
"""Column of articles that were split by the user: the split of each."""


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Labelled rows and their splits.

    `frame` has one row per labelled article: id, title, text (the window), cut (whether the window lost some of the
    article), cluster, split, the article's source, language, published and sampling if any article has them, then per
    dimension `y_<name>` (label, null where masked), `s_<name>` (spread over the samples) and, if an oracle gave any,
    `d_<name>` (the distribution whose expected value the label is), and samples.
    """

    frame: pl.DataFrame
    dimensions: tuple[str, ...]

    @classmethod
    def load(cls, path: str | Path, dimensions: Sequence[str]) -> Self:
        """Read the rows that `build_dataset` wrote.

        Raises:
            DatasetError: there is no such file, it is not a Parquet file, or a column is missing.
        """
        try:
            frame = read_parquet(path)
        except BadInput as error:
            raise DatasetError(str(error)) from None
        needed = ["id", "text", "cluster", "split", *(f"y_{name}" for name in dimensions)]
        missing = [column for column in needed if column not in frame.columns]
        if missing:
            raise DatasetError(f"{path}: no column {missing[0]!r}; rebuild it with: potstill dataset")
        return cls(frame, tuple(dimensions))

    def save(self, path: Path) -> None:
        """Write the rows as Parquet, atomically."""
        with replacing(path) as temporary:
            self.frame.write_parquet(temporary)

    def all(self) -> Examples:
        """Return all rows, in the order of the articles."""
        return _examples(self.frame, self.dimensions)

    def part(self, name: str) -> Examples:
        """Return the rows of one split, which may be empty.

        Raises:
            DatasetError: there is no split of that name.
        """
        if name not in PARTS:
            raise DatasetError(f"no split {name!r}; splits: {', '.join(PARTS)}")
        return _examples(self.frame.filter(pl.col("split") == name), self.dimensions)

    @property
    def has_calibration_part(self) -> bool:
        """Whether there is a separate calibration split; if not, calibration is cross-fitted."""
        return bool((self.frame["split"] == "calibration").any())


class Pairs(Record):
    """The content of `pairs.json`: articles that are near-duplicates of each other."""

    fault = DatasetError
    made_by = "potstill dataset RUN"

    schema_version: int = 1
    threshold: float
    """Jaccard similarity from which two articles count as near-duplicates."""
    pairs: tuple[tuple[str, str, float], ...]
    """Two ids, and their similarity."""


class DatasetRecord(Part):
    """The composition of a dataset, for the manifest and the report."""

    rows: int
    clusters: int
    near_duplicates: int
    """Number of near-duplicate pairs."""
    parts: dict[str, int]
    """Number of rows of each non-empty split."""
    fractions: dict[str, float]
    """The requested shares of the splits."""
    calibration: Literal["part", "cross-fitted"]
    whole: Literal["clusters", "source", "time", "given"]
    """What is kept in one split; `given` if the user split the articles."""
    cut: int
    """Number of rows whose window lost some text."""
    masked: dict[str, int]
    """Number of rows without a label, by dimension."""
    unlabelled: int
    """Number of articles without any label, which are left out."""
    oracle: str
    seed: int
    notes: list[str]
    """Remarks for the reader: constant dimensions, a dominating cluster, rows left out."""
    reach: LabelReach | None = None
    """The part of the scale that the training labels reach; None in older records."""


def scores_of(frame: pl.DataFrame, dimensions: Sequence[str]) -> FloatArray:
    """Return the columns `y_<dimension>` as an array of shape (rows, dimensions), NaN where a label is masked."""
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
    )
