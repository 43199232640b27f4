"""Fits heads on precomputed features, which takes seconds of linear algebra.

Input: features, scores and the part of a recipe that describes the head. Output: a fitted head. Open hyperparameters
are chosen by inner cross-validation, by the error of the scores that the head would predict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from potstill.errors import require
from potstill.students.heads import AnyHead, Centring, KernelRegressionHead, LinearHead, MedianHead, rbf
from potstill.students.levels import Levels
from potstill.students.ridge import choose, dual, primal, same_mask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from potstill.students.recipes import HeadRecipe, KernelHead, KernelRidgeHead, Learned, RidgeHead
    from potstill.types import FloatArray, IntArray

    Solve: TypeAlias = Callable[[FloatArray, FloatArray, float], tuple[FloatArray, FloatArray]]
    """(kernel, targets, penalty) -> coefficients, shape (rows, outputs), and bias."""

CHOICE_ROWS = 1_500
"""Maximum number of rows on which a kernel's parameters are chosen; with many more rows, this would take hours."""


@dataclass(frozen=True)
class Problem:
    """A fitting problem: centred features, targets, and the decoding of outputs to scores."""

    centring: Centring
    ready: FloatArray
    scores: FloatArray
    clusters: IntArray
    levels: Levels | None
    seed: int

    def targets(self) -> FloatArray:
        """Training targets of the head, shape (rows, outputs)."""
        return self.scores if self.levels is None else self.levels.targets(self.scores)

    def decoded(self, outputs: FloatArray) -> FloatArray:
        """Decode outputs to scores."""
        return outputs if self.levels is None else self.levels.median(outputs)


def fit_head(
    recipe: HeadRecipe,
    features: NDArray[Any],
    scores: FloatArray,
    clusters: IntArray,
    *,
    widths: Sequence[int] | None = None,
    learns: Learned = "score",
    seed: int = 0,
) -> AnyHead:
    """Fit the head that a recipe describes, on features (rows, width) and scores (rows, dimensions), NaN masked.

    Open hyperparameters are chosen by inner cross-validation that keeps clusters whole; a single candidate is used
    without selection. `widths` are the widths of the parts if several encoders or layers are joined. `learns` says
    whether the head predicts scores, or distributions whose medians are the scores.
    """
    centring = Centring.of(features, widths or [features.shape[1]])
    levels = Levels.of(scores) if learns == "distribution" else None
    problem = Problem(centring, centring.apply(features), scores, clusters, levels, seed)
    base = _fit(recipe, problem)
    return base if levels is None else MedianHead(base, levels)


def _fit(recipe: HeadRecipe, problem: Problem) -> LinearHead | KernelRegressionHead:
    match recipe.kind:
        case "ridge":
            return _fit_ridge(recipe, problem)
        case "rbf-ridge":
            return _fit_rbf_ridge(recipe, problem)
        case "support-vectors":
            return _fit_support_vectors(recipe, problem)


def _fit_ridge(recipe: RidgeHead, problem: Problem) -> LinearHead:
    ready, targets = problem.ready, problem.targets()

    def fit_predict(inside: IntArray, outside: IntArray, alpha: float) -> FloatArray:
        weights, bias = primal(ready[inside], targets[inside], alpha)
        return problem.decoded(ready[outside] @ weights + bias)

    alpha = choose(recipe.alphas, fit_predict, problem.scores, problem.clusters, problem.seed)
    weights, bias = primal(ready, targets, alpha)
    return LinearHead(weights, bias, problem.centring)


def _fit_support_vectors(recipe: KernelHead, problem: Problem) -> KernelRegressionHead:
    def solve(kernel: FloatArray, targets: FloatArray, penalty: float) -> tuple[FloatArray, FloatArray]:
        return _support_vectors(kernel, targets, penalty, recipe.epsilon)

    return _fit_kernel(solve, recipe.C, recipe.gamma, problem)


def _fit_rbf_ridge(recipe: KernelRidgeHead, problem: Problem) -> KernelRegressionHead:
    return _fit_kernel(dual, recipe.alphas, recipe.gamma, problem)


def _fit_kernel(
    solve: Solve, penalties: Sequence[float], gammas: Sequence[float], problem: Problem
) -> KernelRegressionHead:
    ready, targets = problem.ready, problem.targets()
    rows = _some(len(ready), problem.seed)
    kernels = {gamma: rbf(ready[rows], ready[rows], gamma) for gamma in gammas}

    def fit_predict(inside: IntArray, outside: IntArray, choice: tuple[float, float]) -> FloatArray:
        penalty, gamma = choice
        kernel = kernels[gamma]
        coefficients, bias = solve(kernel[np.ix_(inside, inside)], targets[rows[inside]], penalty)
        return problem.decoded(kernel[np.ix_(outside, inside)] @ coefficients + bias)

    choices = [(penalty, gamma) for penalty in penalties for gamma in gammas]
    penalty, gamma = choose(choices, fit_predict, problem.scores[rows], problem.clusters[rows], problem.seed)
    whole = kernels[gamma] if rows.size == len(ready) else rbf(ready, ready, gamma)
    kernels.clear()
    coefficients, bias = solve(whole, targets, penalty)
    used = np.flatnonzero((coefficients != 0).any(axis=1))
    vectors = ready[used].astype(np.float32)
    return KernelRegressionHead(problem.centring, vectors, coefficients[used], bias, np.array([gamma]))


def _some(count: int, seed: int) -> IntArray:
    """Return the rows on which a kernel's parameters are chosen: all, or a sample of `CHOICE_ROWS`."""
    if count <= CHOICE_ROWS:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).permutation(count)[:CHOICE_ROWS])


def _support_vectors(
    kernel: FloatArray, scores: FloatArray, penalty: float, epsilon: float
) -> tuple[FloatArray, FloatArray]:
    """Return dual coefficients (rows, dimensions), mostly 0 where a row fits within epsilon, and the bias."""
    machines = require("sklearn.svm", "train")
    dual = np.zeros(scores.shape)
    bias = np.empty(scores.shape[1])
    for known, columns in same_mask(scores):
        rows = np.flatnonzero(known)
        inner = kernel if rows.size == known.size else kernel[np.ix_(rows, rows)]
        for column in columns:
            machine = machines.SVR(kernel="precomputed", C=penalty, epsilon=epsilon).fit(inner, scores[rows, column])
            dual[rows[machine.support_], column] = machine.dual_coef_[0]
            bias[column] = machine.intercept_[0]
    return dual, bias
