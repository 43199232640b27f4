"""What the constant student says out of fold, to stand beside the scores of `training.out_of_fold`.

In: labelled examples and a fold per row. Out: the constant's scores of each row, learned from the other folds.
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
    """What the constant student says in the same folds, shape (rows, dimensions + 1); see `constant_for`."""
    result = np.full((len(examples), len(examples.dimensions) + 1), np.nan)
    for learned, held_out in turns(examples, folds):
        result[held_out] = constant_for(examples.scores[learned], filter_, int(held_out.sum()))
    return result
