"""Compute out-of-fold predictions of the constant baseline, for comparison with `training.out_of_fold`.

Input: labelled examples and a fold per row. Output: the constant's predictions for each row, fitted on the other folds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from potstill.evaluation.judging import constant_for
from potstill.training.folding import turns

if TYPE_CHECKING:
    from potstill.dataset import Examples
    from potstill.filters import Filter
    from potstill.types import FloatArray, IntArray


def out_of_fold_constant(examples: Examples, folds: IntArray, filter_: Filter) -> FloatArray:
    """Return the constant's predictions for the same folds, shape (rows, dimensions + 1); see `constant_for`."""
    result = np.full((len(examples), len(examples.dimensions) + 1), np.nan)
    for learned, held_out in turns(examples, folds):
        result[held_out] = constant_for(examples.scores[learned], filter_, int(held_out.sum()))
    return result
