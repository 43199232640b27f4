"""Distillation: a student learns from a stronger one's scores besides the labels.

In: labelled rows, articles without labels, and what a teacher says of both. Out: rows to learn from. A label is one
answer of an oracle that would not give it twice; the teacher's score of a row that it had not seen is a second opinion,
so that labelled rows are learned as the mean of both. Articles without labels are learned as the teacher scores them,
but none that is a near-duplicate of a row that judges: the teacher's score of it would give that row away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from potstill.dataset import Examples, near_duplicates
from potstill.dataset.duplicates import joined
from potstill.prefilter import fold_all

if TYPE_CHECKING:
    from potstill.dataset import Dataset
    from potstill.filters import Filter
    from potstill.types import FloatArray, IntArray


def unlabelled_rows(articles: pl.DataFrame, dataset: Dataset, filter_: Filter) -> tuple[pl.DataFrame, IntArray]:
    """Articles that a student may learn from without a label, and clusters of near-duplicates.

    Left out are articles of the dataset, those without text or dropped by the prefilter, as no student will score
    them, and near-duplicates, by whatever chain, of rows that are not in the training part.

    Args:
        articles: all of the run's, columns id, title and content.
        dataset: the labelled ones.
        filter_: whose window and prefilter count.

    Returns:
        Columns id and text, and clusters of the training rows followed by these, shape (training rows + rows,).
    """
    others = articles.filter(~pl.col("id").is_in(dataset.frame["id"].to_list()))
    titles, contents = others["title"].fill_null("").to_list(), others["content"].fill_null("").to_list()
    texts = [filter_.text.of(title, content) for title, content in zip(titles, contents, strict=True)]
    frame = pl.DataFrame({"id": others["id"], "text": texts}, schema={"id": pl.String, "text": pl.String})
    frame = frame.filter(
        filter_.prefilter.reasons(fold_all(frame["text"])).is_null(), pl.col("text").str.strip_chars() != ""
    )
    rows = dataset.frame
    links = [(i, j) for i, j, _ in near_duplicates([*rows["text"].to_list(), *frame["text"].to_list()])]
    # Rows that the dataset keeps together stay together, for whatever reason it had.
    first: dict[int, int] = {}
    links += [(first.setdefault(cluster, row), row) for row, cluster in enumerate(rows["cluster"].to_list())]
    found = joined(rows.height + frame.height, links)
    trains = (rows["split"] == "train").to_numpy()
    own = found[rows.height :]
    usable = ~np.isin(own, found[: rows.height][~trains])
    return frame.filter(pl.Series(usable)), np.concatenate([found[: rows.height][trains], own[usable]])


def lessons(
    train: Examples,
    opinion: FloatArray,
    unlabelled: pl.DataFrame | None = None,
    scores: FloatArray | None = None,
    clusters: IntArray | None = None,
) -> Examples:
    """Rows to learn from: the labelled ones first, in their order, then those without labels.

    Args:
        train: labelled rows.
        opinion: the teacher's scores of them, shape (rows, dimensions), NaN where it had seen the row; there the label
            stands alone.
        unlabelled: columns id and text; none where it is None.
        scores: the teacher's scores of these, shape (unlabelled rows, dimensions).
        clusters: of all rows, shape (rows + unlabelled rows,); the labelled rows' own where it is None.
    """
    both = np.where(np.isnan(opinion), train.scores, (train.scores + opinion) / 2)
    if unlabelled is None or scores is None or clusters is None:
        return Examples(train.ids, train.frame, both, train.clusters, train.dimensions, train.spreads)
    spreads = None if train.spreads is None else np.concatenate([train.spreads, np.full(scores.shape, np.nan)])
    return Examples(
        ids=(*train.ids, *unlabelled["id"].to_list()),
        frame=pl.concat([train.frame, unlabelled], how="diagonal"),
        scores=np.concatenate([both, scores]),
        clusters=clusters,
        dimensions=train.dimensions,
        spreads=spreads,
    )
