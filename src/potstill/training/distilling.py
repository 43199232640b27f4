"""Distillation: builds training rows from labels and a teacher's scores.

Input: labelled rows, unlabelled articles, and a teacher's scores of both. Output: training rows. A label is one answer
of an oracle whose answers vary, and the teacher's held-out score of a row is a second estimate, so the target of a
labelled row is the mean of both. The target of an unlabelled article is the teacher's score. Near-duplicates of
evaluation rows are excluded, because the teacher's score of them would leak into training.
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
    """Return unlabelled articles that a student may learn from, and clusters of near-duplicates.

    Left out are articles of the dataset, articles without text or dropped by the prefilter (no student will score
    them), and direct or indirect near-duplicates of rows outside the training part.

    Args:
        articles: all articles of the run, columns id, title and content.
        dataset: the labelled articles.
        filter_: the filter whose text window and prefilter are used.

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
    # Rows that the dataset groups together stay together, whatever the reason for the grouping.
    first: dict[int, int] = {}
    links += [(first.setdefault(cluster, row), row) for row, cluster in enumerate(rows["cluster"].to_list())]
    found = joined(rows.height + frame.height, links)
    trains = (rows["split"] == "train").to_numpy()
    own = found[rows.height :]
    usable = ~np.isin(own, found[: rows.height][~trains])
    return frame.filter(pl.Series(usable)), np.concatenate([found[: rows.height][trains], own[usable]])


def distillation_rows(
    train: Examples,
    teacher_scores: FloatArray,
    unlabelled: pl.DataFrame | None = None,
    scores: FloatArray | None = None,
    clusters: IntArray | None = None,
) -> Examples:
    """Return training rows: the labelled ones first, in their order, then those without labels.

    Args:
        train: labelled rows.
        teacher_scores: the teacher's held-out scores of them, shape (rows, dimensions), NaN where there are none; only
            the label is used there.
        unlabelled: columns id and text; None for no unlabelled rows.
        scores: the teacher's scores of the unlabelled rows, shape (unlabelled rows, dimensions).
        clusters: clusters of all rows, shape (rows + unlabelled rows,); None for the labelled rows' own clusters.
    """
    both = np.where(np.isnan(teacher_scores), train.scores, (train.scores + teacher_scores) / 2)
    if unlabelled is None or scores is None or clusters is None:
        return Examples(train.ids, train.frame, both, train.clusters, train.dimensions)
    return Examples(
        ids=(*train.ids, *unlabelled["id"].to_list()),
        frame=pl.concat([train.frame, unlabelled], how="diagonal"),
        scores=np.concatenate([both, scores]),
        clusters=clusters,
        dimensions=train.dimensions,
    )
