"""Define the input of an audit: articles, and the answers of one or more oracles for them.

Input: articles and answers by oracle, from a run's ledger or a file. Output: a `Labelled` for the oracle whose labels
are audited, and the scores of all oracles on one list of articles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from potstill.dataset import Examples, check_labels, clusters_of, near_duplicates
from potstill.dataset.rows import FACTS
from potstill.errors import DatasetError
from potstill.labelling.ledger import HUMAN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from potstill.filters import Filter
    from potstill.types import BoolArray, FloatArray, IntArray

FEWEST_ROWS = 10
"""Minimum number of labelled rows; with fewer, an audit is not meaningful."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """An oracle's answers for one article: scores of shape (samples, dimensions), NaN where masked."""

    scores: FloatArray
    evidence: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """One oracle's labelled articles, in a fixed order.

    `articles` has the columns id, title, content, source, language and published (null if unknown). `texts` are the
    windows, which are empty if the articles came without text. `scores` are means over samples, shape (rows,
    dimensions). `answers` has each row's samples. `pairs` are near-duplicates as (row, row, jaccard).
    """

    filter: Filter
    oracle: str
    articles: pl.DataFrame
    texts: tuple[str, ...]
    scores: FloatArray
    answers: tuple[FloatArray, ...]
    evidence: tuple[str, ...]
    clusters: IntArray
    pairs: tuple[tuple[int, int, float], ...]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def ids(self) -> tuple[str, ...]:
        """The articles' ids, in order."""
        return tuple(self.articles["id"].to_list())

    @property
    def has_text(self) -> bool:
        """Whether there is any text."""
        return any(self.texts)

    @property
    def samples(self) -> IntArray:
        """Number of answers of each row, shape (rows,)."""
        return np.array([len(answer) for answer in self.answers], dtype=np.int64)

    def names(self, fact: str) -> list[str]:
        """Return each row's source or language, or an empty string where it is unknown."""
        return self.articles[fact].fill_null("").to_list()

    def examples(self) -> Examples:
        """Return the rows as training examples for a student."""
        facts = [name for name in FACTS if name in self.articles.columns]
        frame = self.articles.select("id", "title", pl.Series("text", self.texts, dtype=pl.String), *facts)
        return Examples(self.ids, frame, self.scores, self.clusters, self.filter.dimension_names)


def labelled(
    articles: pl.DataFrame, oracles: Mapping[str, Mapping[str, Answer]], filter_: Filter, oracle: str | None = None
) -> Labelled:
    """Return the rows that one oracle has labelled, in the order of the articles.

    Args:
        articles: columns id, title, content, and source, language and published if known.
        oracles: answers by oracle and article.
        filter_: the filter with the window, scale and dimensions.
        oracle: name of the oracle. Default: the one with the most labels.

    Returns:
        The labelled rows.

    Raises:
        DatasetError: there is no such oracle, or too few of its articles have a label.
        LabelError: a label is off the scale.
    """
    if not oracles:
        raise DatasetError("no labels; get some with: potstill label")
    # A reviewer's labels accompany an oracle's, so they are audited on their own only if requested.
    chosen = oracle or max(oracles, key=lambda name: (not name.startswith(HUMAN), len(oracles[name])))
    if chosen not in oracles:
        listed = ", ".join(f"{name} ({len(answers)})" for name, answers in oracles.items())
        raise DatasetError(f"no labels of oracle {chosen!r}; available: {listed}")
    scores = means(articles["id"].to_list(), oracles[chosen], len(filter_.dimension_names))
    known: BoolArray = np.any(np.isfinite(scores), axis=1)
    if known.sum() < FEWEST_ROWS:
        raise DatasetError(
            f"{int(known.sum())} labelled articles of {chosen} are too few; at least {FEWEST_ROWS} are needed"
        )
    rows, scores = articles.filter(pl.Series(known)), scores[known]
    ids = rows["id"].to_list()
    check_labels(scores, ids, filter_.dimension_names, filter_.scale.min, filter_.scale.max)
    answers = [oracles[chosen][id_] for id_ in ids]
    texts = [filter_.text.of(title, content) for title, content in rows.select("title", "content").iter_rows()]
    pairs = near_duplicates(texts) if any(texts) else []
    return Labelled(
        filter_,
        chosen,
        rows,
        tuple(texts),
        scores,
        tuple(answer.scores for answer in answers),
        tuple(answer.evidence for answer in answers),
        clusters_of(len(texts), pairs),
        tuple(pairs),
    )


def means(ids: list[str], answers: Mapping[str, Answer], dimensions: int) -> FloatArray:
    """Return the mean scores of the articles, shape (ids, dimensions), NaN where there is no answer."""
    scores = np.full((len(ids), dimensions), np.nan)
    for row, id_ in enumerate(ids):
        if id_ in answers:
            found = answers[id_].scores
            known = np.isfinite(found)
            total = np.where(known, found, 0.0).sum(axis=0)
            np.divide(total, known.sum(axis=0), out=scores[row], where=known.any(axis=0))
    return scores
