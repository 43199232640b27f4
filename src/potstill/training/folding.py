"""Scores of every row by a student that never saw it: out-of-fold predictions.

In: labelled examples, a way to fit a student, and a fold per row. Out: one array of scores over all rows. With a few
hundred labels this uses all of them, where a test part of a tenth would leave a handful; clusters of near-duplicates
never straddle two folds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from potstill import dataset
from potstill.errors import DatasetError
from potstill.terminal import note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from potstill.dataset import Examples
    from potstill.students import Student
    from potstill.types import BoolArray, FloatArray, IntArray


def out_of_fold(
    fit: Callable[[Examples], Student],
    examples: Examples,
    folds: IntArray,
    *,
    done: Callable[[float], None] = lambda _: None,
) -> FloatArray:
    """Scores of each row by a student fitted on the other folds, shape (rows, dimensions), unclipped.

    NaN where the other folds have no label of some dimension.

    Args:
        fit: makes a student from examples; it is called once a fold and must take nothing from outside them.
        examples: all rows.
        folds: fold of each row, shape (rows,); see `dataset.folds`.
        done: told 1 after each fold.

    Raises:
        DatasetError: a cluster lies in two folds.
    """
    scores = np.full(examples.scores.shape, np.nan)
    for learned, held_out in turns(examples, folds):
        known = examples.take(learned)
        # Without a dimension's every label there is nothing to learn of it: these rows stay without a score.
        if not np.isnan(known.scores).all(axis=0).any():
            scores[held_out] = fit(known).predict(examples.frame.filter(held_out))
        done(1)
    return scores


def set_aside(train: Examples, share: float, seed: int) -> BoolArray:
    """Which rows to keep from training, shape (rows,): clusters whole, scores alike, about `share` of them.

    None where the rows have too few clusters to spare one.
    """
    if share <= 0:
        return np.zeros(len(train), dtype=np.bool_)
    parts = round(1 / share)
    if len(np.unique(train.clusters)) < 2 * parts:
        note(f"{len(train)} training rows are too few to set some aside; calibration will have none of this student")
        return np.zeros(len(train), dtype=np.bool_)
    aside: BoolArray = dataset.folds(train.clusters, train.scores, parts, seed) == 0
    return aside


def turns(examples: Examples, folds: IntArray) -> Iterator[tuple[BoolArray, BoolArray]]:
    """Per fold, which rows are learned from and which are held out, each of shape (rows,).

    Raises:
        DatasetError: a cluster lies in two folds.
    """
    pairs = np.unique(np.column_stack([examples.clusters, folds]), axis=0)
    straddling = np.flatnonzero(np.diff(pairs[:, 0]) == 0)
    if straddling.size:
        raise DatasetError(f"cluster {pairs[straddling[0], 0]} lies in two folds; clusters must stay whole")
    for fold in np.unique(folds):
        held_out = folds == fold
        yield ~held_out, held_out
