"""Out-of-fold predictions: scores of every row by a student that was not trained on it.

Input: labelled examples, a fit function, and a fold per row. Output: one array of scores over all rows. With a few
hundred labels this uses all of them, where a test part of a tenth would leave only a handful. Clusters of
near-duplicates are never split between folds.
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
    """Return scores of each row by a student fitted on the other folds, shape (rows, dimensions), unclipped.

    NaN if the other folds have no label of some dimension.

    Args:
        fit: fits a student to examples; called once per fold, must not use any other data.
        examples: all rows.
        folds: fold of each row, shape (rows,); see `dataset.folds`.
        done: called with 1 after each fold.

    Raises:
        DatasetError: a cluster lies in two folds.
    """
    scores = np.full(examples.scores.shape, np.nan)
    for learned, held_out in turns(examples, folds):
        known = examples.take(learned)
        # If a dimension has no label in the other folds, no student can be fitted, and these rows get no score.
        if not np.isnan(known.scores).all(axis=0).any():
            scores[held_out] = fit(known).predict(examples.frame.filter(held_out))
        done(1)
    return scores


def set_aside(train: Examples, share: float, seed: int) -> BoolArray:
    """Select about a `share` of the rows to hold out, shape (rows,), keeping clusters whole and scores balanced.

    Nothing is selected if the rows have too few clusters.
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
    """Yield for each fold which rows are for training and which are held out, each of shape (rows,).

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
