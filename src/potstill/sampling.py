"""Which articles the oracle should label next.

In: a pool of articles, and what is labelled already. Out: a part of the pool. Only a random sample says something
about the pool as a whole (a rate, an error, what a prefilter misses); the other ways spend money where a student has
most to learn, and what they choose must not be used to judge it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from potstill import metrics
from potstill.audit.suspects import cheap_student
from potstill.errors import BadInput, DatasetError, require
from potstill.students.constant import check_labelled
from potstill.terminal import track
from potstill.training import fitter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from potstill.dataset import Examples
    from potstill.filters import Filter
    from potstill.types import FloatArray, IntArray

How = Literal["random", "high", "uncertain", "diverse"]
"""`random`: each article alike. `high`: where a cheap student expects the highest overall. `uncertain`: where cheap
students that learned from different halves of the labels disagree most. `diverse`: each as unlike all others, and
what is labelled, as can be had."""

WAYS: tuple[How, ...] = ("random", "high", "uncertain", "diverse")

COMMITTEE = 5
"""Students whose disagreement is uncertainty."""

_BUCKETS = 2**18


def choose(
    pool: pl.DataFrame,
    n: int,
    how: How,
    filter_: Filter,
    known: Examples | None = None,
    *,
    seed: int = 0,
) -> pl.DataFrame:
    """At most `n` articles of the pool, in the order in which they are worth labelling.

    Articles that are labelled already are left out, and so are those whose window one of these, or an earlier article
    of the pool, has to the letter.

    Args:
        pool: columns id, title, content; further ones are passed through.
        n: how many.
        how: see `How`.
        filter_: whose window and weights count.
        known: what is labelled; needed for `high` and `uncertain`.
        seed: of everything random.

    Raises:
        BadInput: `n` is below 1, or `how` is unknown.
        DatasetError: `high` or `uncertain` without labels.
        MissingExtra: scikit-learn is not installed (`random` does without it).
    """
    if n < 1:
        raise BadInput(f"a sample of {n} articles; at least 1 is needed")
    if how not in WAYS:
        raise BadInput(f"no way {how!r} to choose articles; ways: {', '.join(WAYS)}")
    if how in {"high", "uncertain"} and known is None:
        raise DatasetError(f"choosing by {how!r} needs labels to learn from; start with a random sample")
    new, texts = _new(pool, filter_, known)
    if not texts:
        return new
    match how:
        case "random":
            order = at_random(new["id"].to_list(), seed)
        case "high":
            order = _descending(_overall(_committee(texts, known, 1, seed), filter_).mean(axis=0), seed)
        case "uncertain":
            order = _descending(_overall(_committee(texts, known, COMMITTEE, seed), filter_).std(axis=0), seed)
        case "diverse":
            order = far_apart(texts, [] if known is None else known.texts, n, seed)
    chosen: pl.DataFrame = new[order[:n].tolist()]
    return chosen


def at_random(ids: Sequence[str], seed: int = 0) -> IntArray:
    """An order of the ids that depends on each id and the seed alone.

    When a pool grows, what was drawn of it stays drawn unless a new article comes before it, so that a larger
    sample of the same pool holds the smaller one.
    """
    keys = [hashlib.sha256(f"{seed}\0{id_}".encode()).digest() for id_ in ids]
    return np.array(sorted(range(len(ids)), key=keys.__getitem__), dtype=np.int64)


def far_apart(texts: Sequence[str], known: Sequence[str], n: int, seed: int = 0) -> IntArray:
    """Positions of up to `n` texts, each the least like any text before it and any known one (Gonzalez 1985).

    Likeness is the cosine of words' hashed TF-IDF; without known texts the first is the one least like the mean.
    """
    text = require("sklearn.feature_extraction.text", "train")
    vectors = text.HashingVectorizer(n_features=_BUCKETS, alternate_sign=False, norm=None, ngram_range=(1, 1))
    weights = text.TfidfTransformer(sublinear_tf=True)
    rows = weights.fit_transform(vectors.transform([*texts, *known])).tocsr()
    pool, seen = rows[: len(texts)], rows[len(texts) :]
    tie = np.random.default_rng(seed).random(len(texts)) * 1e-9
    if len(known):
        nearest = np.zeros(len(texts))
        for start in range(0, len(known), 256):
            block = (pool @ seen[start : start + 256].T).max(axis=1).toarray().ravel()
            nearest = np.maximum(nearest, block)
    else:
        nearest = np.asarray(pool @ np.asarray(pool.mean(axis=0)).ravel())
    chosen: list[int] = []
    for _ in track(range(min(n, len(texts))), "choosing", min(n, len(texts))):
        row = int(np.argmin(nearest + tie))
        likeness = (pool @ pool[row].T).toarray().ravel()
        # With nothing known, the first choice replaces the likeness to the mean.
        nearest = likeness if not chosen and not len(known) else np.maximum(nearest, likeness)
        chosen.append(row)
        nearest[chosen] = np.inf
    return np.array(chosen, dtype=np.int64)


def _new(pool: pl.DataFrame, filter_: Filter, known: Examples | None) -> tuple[pl.DataFrame, list[str]]:
    """What is worth asking about, and its windows."""
    texts = [filter_.text.of(title, content) for title, content in pool.select("title", "content").iter_rows()]
    seen = set() if known is None else set(known.texts)
    labelled = set() if known is None else set(known.ids)
    keep = []
    for id_, text in zip(pool["id"].to_list(), texts, strict=True):
        keep.append(id_ not in labelled and text not in seen and bool(text.strip()))
        seen.add(text)
    return pool.filter(pl.Series(keep, dtype=pl.Boolean)), [
        text for text, kept in zip(texts, keep, strict=True) if kept
    ]


def _committee(texts: Sequence[str], known: Examples | None, members: int, seed: int) -> list[FloatArray]:
    """Scores by students that learned from random halves of the clusters; by one that learned from all."""
    if known is None:
        raise DatasetError("there are no labels to learn from")
    check_labelled(known)
    frame = pl.DataFrame({"text": list(texts)}, schema={"text": pl.String})
    rng = np.random.default_rng(seed)
    fit = fitter(cheap_student(len(known)), seed=seed)
    found = []
    for _ in track(range(members), "cheap students", members):
        clusters = np.unique(known.clusters)
        half = rng.permutation(clusters)[: max(2, len(clusters) // 2)]
        part = known if members == 1 else known.take(np.isin(known.clusters, half))
        if not np.isnan(part.scores).all(axis=0).any():
            found.append(fit(part).predict(frame))
    if len(found) < members:
        raise DatasetError("there are too few labels of some dimension for students to disagree")
    return found


def _overall(scores: Sequence[FloatArray], filter_: Filter) -> FloatArray:
    """Shape (students, articles)."""
    low, high = filter_.scale.min, filter_.scale.max
    return np.stack([metrics.weighted(np.clip(each, low, high), filter_.weights) for each in scores])


def _descending(values: FloatArray, seed: int) -> IntArray:
    """Positions by value, the highest first; ties by chance."""
    tie = np.random.default_rng(seed).random(len(values))
    return np.lexsort((tie, -values))
