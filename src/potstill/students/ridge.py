"""Ridge regression in closed form, with an unpenalized intercept and masked labels.

Input: features or their Gram matrix, and scores with NaN where masked. Output: weights and bias, or dual coefficients.
Both forms solve the same problem: the primal one is cheap for few features, the dual one for few rows (TF-IDF has
100,000 features and some thousand rows).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from potstill.types import BoolArray, FloatArray, IntArray

Choice = TypeVar("Choice")
FitPredict: TypeAlias = Callable[["IntArray", "IntArray", Choice], "FloatArray"]
"""(rows to fit, rows to predict, choice) -> predictions, shape (rows to predict, dimensions)."""

INNER_FOLDS = 5


def primal(features: NDArray[Any], scores: FloatArray, alpha: float) -> tuple[FloatArray, FloatArray]:
    """Compute weights (width, dimensions) and bias (dimensions,) that minimize |Xw + b - y|^2 + alpha |w|^2."""
    weights = np.empty((features.shape[1], scores.shape[1]))
    bias = np.empty(scores.shape[1])
    for rows, columns in same_mask(scores):
        x = features[rows].astype(np.float64)
        y = scores[np.ix_(rows, columns)]
        middle, target = x.mean(axis=0), y.mean(axis=0)
        x -= middle
        gram = x.T @ x
        gram.flat[:: gram.shape[0] + 1] += alpha
        solved = np.linalg.solve(gram, x.T @ (y - target))
        weights[:, columns] = solved
        bias[columns] = target - middle @ solved
    return weights, bias


def dual(gram: FloatArray, scores: FloatArray, alpha: float) -> tuple[FloatArray, FloatArray]:
    """Solve `primal` from the Gram matrix (rows, rows): coefficients (rows, dimensions), 0 where masked; bias.

    The weights are the transposed features times the coefficients. The score of a new row is its dot products with the
    fitted rows, times the coefficients, plus the bias.
    """
    coefficients = np.zeros(scores.shape)
    bias = np.empty(scores.shape[1])
    for rows, columns in same_mask(scores):
        whole = bool(rows.all())
        inner = gram if whole else gram[np.ix_(rows, rows)]
        y = scores[np.ix_(rows, columns)]
        target = y.mean(axis=0)
        means = inner.mean(axis=0)
        centred = inner - means - means[:, None] + means.mean()
        centred.flat[:: centred.shape[0] + 1] += alpha
        solved = np.linalg.solve(centred, y - target)
        coefficients[np.ix_(rows, columns)] = solved
        bias[columns] = target - means @ solved
    return coefficients, bias


def same_mask(scores: FloatArray) -> Iterator[tuple[BoolArray, IntArray]]:
    """Yield groups of dimensions with the same mask, with their unmasked rows; each group is one linear system."""
    known = ~np.isnan(scores)
    groups: dict[bytes, list[int]] = {}
    for column in range(known.shape[1]):
        groups.setdefault(known[:, column].tobytes(), []).append(column)
    for columns in groups.values():
        yield known[:, columns[0]], np.array(columns, dtype=np.int64)


def choose(
    choices: Sequence[Choice], fit_predict: FitPredict[Choice], scores: FloatArray, clusters: IntArray, seed: int
) -> Choice:
    """Select the choice with the least mean absolute error in inner cross-validation that keeps clusters whole.

    A single choice is returned without fitting; with fewer than two clusters nothing can be held out, and the middle
    choice is returned.
    """
    from potstill.dataset import folds

    count = min(INNER_FOLDS, len(np.unique(clusters)))
    if len(choices) == 1 or count < 2:
        return choices[len(choices) // 2]
    fold = folds(clusters, scores, count, seed)
    errors = np.full((len(choices), *scores.shape), np.nan)
    for number in range(count):
        inside, outside = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        # A rare dimension may have no labels left outside a fold; it is evaluated on the other folds.
        learnable = ~np.isnan(scores[inside]).all(axis=0)
        if not outside.size or not learnable.all():
            continue
        for place, choice in enumerate(choices):
            errors[place, outside] = np.abs(fit_predict(inside, outside, choice) - scores[outside])
    if np.isnan(errors).all():
        return choices[len(choices) // 2]
    # All dimensions have the same weight, however many of their labels are masked.
    judged = ~np.isnan(errors).all(axis=(0, 1))
    means = np.nanmean(errors[:, :, judged], axis=1).mean(axis=1)
    return choices[int(np.argmin(means))]
