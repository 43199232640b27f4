"""Choose which articles the oracle should label next.

Input: a pool of articles, and the labels so far. Output: a subset of the pool. Only a random sample allows statements
about the whole pool (a rate, an error, what a prefilter misses). The other methods select articles from which a student
learns most; such a selection must not be used for evaluation.
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
"""The sampling method.

`random`: uniform. `high`: highest `overall` predicted by a cheap student. `uncertain`: highest disagreement between
cheap students that were trained on different halves of the labels. `diverse`: as dissimilar as possible from each other
and from the labelled articles.
"""

WAYS: tuple[How, ...] = ("random", "high", "uncertain", "diverse")

COMMITTEE = 5
"""Number of students whose disagreement measures uncertainty."""

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
    """Choose at most `n` articles of the pool, ordered by priority for labelling.

    Articles that are already labelled are left out. So are articles whose window is identical to that of a labelled
    article or of an earlier article of the pool.

    Args:
        pool: columns id, title, content; other columns are passed through.
        n: maximum number of articles, at least 1.
        how: the sampling method, see `How`.
        filter_: the filter with the window and weights to use.
        known: the labelled articles; required for `high` and `uncertain`.
        seed: random seed.

    Returns:
        The chosen rows of the pool.

    Raises:
        BadInput: `n` is below 1, or `how` is unknown.
        DatasetError: `high` or `uncertain` is used without labels.
        MissingExtra: scikit-learn is not installed (not required for `random`).
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
    """Return a random order of the ids that depends only on each id and the seed.

    When a pool grows, its earlier sample stays selected unless a new article precedes it, so a larger sample of the
    same pool contains the smaller one.
    """
    keys = [hashlib.sha256(f"{seed}\0{id_}".encode()).digest() for id_ in ids]
    return np.array(sorted(range(len(ids)), key=keys.__getitem__), dtype=np.int64)


def far_apart(texts: Sequence[str], known: Sequence[str], n: int, seed: int = 0) -> IntArray:
    """Return the positions of up to `n` texts, each farthest from all texts before it and from the known texts.

    This is farthest-first traversal (Gonzalez 1985). Similarity is the cosine of hashed TF-IDF vectors of words.
    Without known texts, the first text is the one least similar to the mean.
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
        # Without known texts, similarity to the first choice replaces similarity to the mean.
        nearest = likeness if not chosen and not len(known) else np.maximum(nearest, likeness)
        chosen.append(row)
        nearest[chosen] = np.inf
    return np.array(chosen, dtype=np.int64)


def _new(pool: pl.DataFrame, filter_: Filter, known: Examples | None) -> tuple[pl.DataFrame, list[str]]:
    """Return the articles of the pool that are worth labelling, and their windows."""
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
    """Return scores by students trained on random halves of the clusters; a single student is trained on all."""
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
    """Return `overall` per student and article, shape (students, articles)."""
    low, high = filter_.scale.min, filter_.scale.max
    return np.stack([metrics.weighted(np.clip(each, low, high), filter_.weights) for each in scores])


def _descending(values: FloatArray, seed: int) -> IntArray:
    """Return positions sorted by value, highest first; ties are broken at random."""
    tie = np.random.default_rng(seed).random(len(values))
    return np.lexsort((tie, -values))
