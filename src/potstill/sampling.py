"""Choose which articles the oracle should label next.

Input: a pool of articles, and the labels so far. Output: a subset of the pool. Only a random sample allows statements
about the whole pool (a rate, an error, what a prefilter misses). A sample of expected high scorers is marked in the
column `sampling`, by which a dataset knows that its rows may be used for training only.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from potstill import metrics
from potstill.audit.suspects import cheap_student
from potstill.dataset import HIGH, SAMPLING
from potstill.errors import BadInput, DatasetError
from potstill.students.constant import check_labelled
from potstill.training import fitter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from potstill.dataset import Examples
    from potstill.filters import Filter
    from potstill.types import FloatArray, IntArray

How = Literal["random", "high"]
"""The sampling method: `random` is uniform; `high` takes the highest scores predicted by a cheap student."""

METHODS: tuple[How, ...] = ("random", "high")

REMOVED = {
    "uncertain": "articles on which students disagree did not lower the error (MAE 1.240, at random 1.230)",
    "diverse": "articles unlike the labelled ones did not lower the error (MAE 1.232, at random 1.230)",
}
"""Methods of earlier versions, and why they were removed; measured by `benchmarks/sampling.py`."""


def choose(
    pool: pl.DataFrame,
    n: int,
    how: How,
    filter_: Filter,
    known: Examples | None = None,
    *,
    dimension: str | None = None,
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
        known: the labelled articles; required for `high`.
        dimension: the dimension whose predicted scores `high` compares; `overall` if it is None.
        seed: random seed.

    Returns:
        The chosen rows of the pool; those chosen by `high` are marked in the column `sampling`.

    Raises:
        BadInput: `n` is below 1, `how` is unknown or was removed, `dimension` is unknown or given for `random`, or the
            pool's column `sampling` is not text.
        DatasetError: `high` is used without labels.
        MissingExtra: scikit-learn is not installed (not required for `random`).
    """
    if n < 1:
        raise BadInput(f"a sample of {n} articles; at least 1 is needed")
    if how in REMOVED:
        raise BadInput(f"sampling method {how!r} was removed: {REMOVED[how]}; use {' or '.join(METHODS)}")
    if how not in METHODS:
        raise BadInput(f"unknown sampling method {how!r}; methods: {', '.join(METHODS)}")
    if dimension is not None:
        _check_dimension(dimension, how, filter_)
    if how == "high" and pool.schema.get(SAMPLING, pl.Null) not in {pl.String, pl.Null}:
        raise BadInput(
            f"column {SAMPLING} of the articles has the type {pool.schema[SAMPLING]}, but the sampling method is "
            "recorded there as text; rename the column"
        )
    new, texts = _new(pool, filter_, known)
    if how == "random":
        order = at_random(new["id"].to_list(), seed)
    elif known is None:
        raise DatasetError(f"sampling by {how!r} needs labels to learn from; start with a random sample")
    else:
        order = _descending(_predicted(texts, known, filter_, dimension, seed), seed)
    chosen: pl.DataFrame = new[order[:n].tolist()]
    if how == "random":
        return chosen
    name = HIGH if dimension is None else f"{HIGH} by {dimension}"
    return chosen.with_columns(pl.lit(name).alias(SAMPLING))


def at_random(ids: Sequence[str], seed: int = 0) -> IntArray:
    """Return a random order of the ids that depends only on each id and the seed.

    When a pool grows, its earlier sample stays selected unless a new article precedes it, so a larger sample of the
    same pool contains the smaller one.
    """
    keys = [hashlib.sha256(f"{seed}\0{id_}".encode()).digest() for id_ in ids]
    return np.array(sorted(range(len(ids)), key=keys.__getitem__), dtype=np.int64)


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


def _check_dimension(dimension: str, how: How, filter_: Filter) -> None:
    """Check that the filter has the dimension and that the sampling method uses it."""
    if how != "high":
        raise BadInput(f"a dimension ({dimension!r}) is used by the sampling method 'high' only; the method is {how!r}")
    if dimension not in filter_.dimension_names:
        names = ", ".join(filter_.dimension_names)
        raise BadInput(f"unknown dimension {dimension!r}; the dimensions of {filter_.name} are {names}")


def _predicted(texts: Sequence[str], known: Examples, filter_: Filter, dimension: str | None, seed: int) -> FloatArray:
    """Return the score that a cheap student predicts for each text, shape (texts,): a dimension's, or `overall`."""
    check_labelled(known)
    frame = pl.DataFrame({"text": list(texts)}, schema={"text": pl.String})
    scores = fitter(cheap_student(len(known)), seed=seed)(known).predict(frame)
    if dimension is not None:
        column: FloatArray = scores[:, known.dimensions.index(dimension)]
        return column
    return metrics.weighted(np.clip(scores, filter_.scale.min, filter_.scale.max), filter_.weights)


def _descending(values: FloatArray, seed: int) -> IntArray:
    """Return positions sorted by value, highest first; ties are broken at random."""
    tie = np.random.default_rng(seed).random(len(values))
    return np.lexsort((tie, -values))
