"""Select the articles for speed measurements and for the comparison of backends.

Input: a file of articles, or a run's labelled rows (see `pipeline.material`). Output: text windows, the oracle's labels
if there are any, and a description of their origin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from potstill.articles import read_articles

if TYPE_CHECKING:
    from pathlib import Path

    from potstill.filters import Filter
    from potstill.types import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Text windows: `frame` has columns id and text; `labels` has shape (rows, dimensions), NaN for missing labels."""

    frame: pl.DataFrame
    labels: FloatArray
    origin: str

    def __len__(self) -> int:
        return self.frame.height


def from_file(path: str | Path, filter_: Filter, limit: int) -> Material:
    """Return the first articles of a file that have a text, without labels.

    Raises:
        ArticleError: the file is missing or broken.
    """
    kept: list[pl.DataFrame] = []
    missing = limit
    for batch in read_articles(path, on_empty="keep"):
        texts = [filter_.text.of(title, content) for title, content in batch.select("title", "content").iter_rows()]
        frame = batch.select("id").with_columns(text=pl.Series(texts, dtype=pl.String)).filter(pl.col("text") != "")
        kept.append(frame.head(missing))
        missing -= kept[-1].height
        if not missing:
            break
    frame = pl.concat(kept) if kept else _no_articles()
    return Material(frame, _no_labels(frame.height, filter_), f"{frame.height:,} articles of {path}")


def no_material(filter_: Filter) -> Material:
    """Return a `Material` without articles."""
    return Material(_no_articles(), _no_labels(0, filter_), "no articles")


def _no_articles() -> pl.DataFrame:
    return pl.DataFrame(schema={"id": pl.String, "text": pl.String})


def _no_labels(rows: int, filter_: Filter) -> FloatArray:
    return np.full((rows, len(filter_.dimension_names)), np.nan)
