"""Fits blends: the weight of each member is chosen on held-out scores.

Input: fit functions of the members and training rows; or fitted members and rows that none of them was trained on.
Output: a blend, and its scores of each row by members that were not trained on the row and weights that were not chosen
on it. Weights are found per dimension: those with the least error of the weighted mean of out-of-fold scores, shrunk
towards equal weights if there are few rows. A slightly lower error does not justify the cost of another encoder, so a
member with a negligible weight in every dimension is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from potstill.dataset import folds
from potstill.errors import require
from potstill.students.blend import Blended, BlendStudent
from potstill.students.neural import DescribedEncoder, NeuralStudent, joined, parts_of
from potstill.terminal import steps
from potstill.training.folding import out_of_fold

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from potstill.dataset import Examples
    from potstill.students import Encoder
    from potstill.students.recipes import BlendRecipe, Weighing
    from potstill.types import FloatArray, IntArray

FOLDS = 5
"""Default number of folds for the members' held-out scores."""

SHRINK = 50
"""Strength of the shrinkage towards equal weights: in clusters, for each member beyond the first."""

NEGLIGIBLE = 0.05
"""A member with a lower weight in every dimension is left out."""

_ROUNDS = 100
"""Maximum number of reweighting rounds for absolute error; each solves a problem with few unknowns."""


def fit_blend(
    recipe: BlendRecipe,
    fits: Sequence[Callable[[Examples], Blended]],
    train: Examples,
    *,
    seed: int = 0,
    k: int = FOLDS,
) -> tuple[BlendStudent, FloatArray]:
    """Fit the members, with and without each fold, and choose their weights.

    Args:
        recipe: the blend.
        fits: the fit function of each member, in the recipe's order.
        train: training rows.
        seed: random seed of the folds.
        k: number of folds, limited by the number of clusters; with fewer than two, weights are equal.

    Returns:
        The blend, and scores of each row, shape (rows, dimensions), by members fitted without its fold and weights
            chosen on the other folds' rows; NaN where there are none.
    """
    k = min(k, len(np.unique(train.clusters)))
    shape = (len(fits), *train.scores.shape)
    weights, held_out = np.full((shape[0], shape[2]), 1 / shape[0]), np.full(train.scores.shape, np.nan)
    if k >= 2:
        fold = folds(train.clusters, train.scores, k, seed)
        unseen = np.empty(shape)
        with steps(f"{recipe.name}: out of fold", k * len(fits)) as advance:
            for place, fit in enumerate(fits):
                unseen[place] = out_of_fold(fit, train, fold, done=advance)
        weights, held_out = weighed(recipe.weights, unseen, train, fold)
    kept, weights = worth_keeping(weights)
    return BlendStudent(tuple(train.dimensions), tuple(fits[place](train) for place in kept), weights), held_out


def weighed(least: Weighing, unseen: FloatArray, rows: Examples, fold: IntArray) -> tuple[FloatArray, FloatArray]:
    """Choose the members' weights, and compute the weighted mean with weights not chosen on the row.

    Args:
        least: error to minimize.
        unseen: the members' out-of-fold scores, shape (members, rows, dimensions).
        rows: the same rows, with their labels.
        fold: each row's fold, shape (rows,).

    Returns:
        Weights chosen on all rows, shape (members, dimensions), and scores, shape (rows, dimensions), each with weights
            chosen on the other folds' rows.
    """
    scores = np.empty(rows.scores.shape)
    for number in np.unique(fold):
        own = fold == number
        kept, others = worth_keeping(blend_weights(least, unseen[:, ~own], rows.take(~own)))
        scores[own] = np.einsum("md,mrd->rd", others, unseen[kept][:, own])
    return blend_weights(least, unseen, rows), scores


def weigh_fitted(
    least: Weighing, said: FloatArray, rows: Examples, *, seed: int = 0
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Choose weights for fitted students on rows that none of them was trained on.

    Args:
        least: error to minimize.
        said: the students' scores, shape (students, rows, dimensions).
        rows: the same rows, with their labels.
        seed: random seed of the folds.

    Returns:
        Indices of the students that are kept, their weights, shape (kept, dimensions), and scores of the rows, shape
            (rows, dimensions), with weights not chosen on the row.
    """
    k = min(FOLDS, len(np.unique(rows.clusters)))
    fold = folds(rows.clusters, rows.scores, k, seed) if k >= 2 else np.zeros(len(rows), dtype=np.int64)
    weights, scores = weighed(least, said, rows, fold)
    return *worth_keeping(weights), scores


def worth_keeping(weights: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return the indices of members with a non-negligible weight in some dimension, and their new weights."""
    kept = np.flatnonzero(weights.max(axis=1) >= NEGLIGIBLE)
    return kept, weights[kept] / weights[kept].sum(axis=0)


def blend_weights(least: Weighing, unseen: FloatArray, rows: Examples) -> FloatArray:
    """Choose the members' weights, shape (members, dimensions): not negative, with columns that sum to 1.

    Args:
        least: error to minimize.
        unseen: the members' held-out scores, shape (members, rows, dimensions).
        rows: the same rows, with their labels.
    """
    members, _, dimensions = unseen.shape
    weights = np.full((members, dimensions), 1 / members)
    if least == "equal":
        return weights
    for column in range(dimensions):
        off = unseen[:, :, column].T - rows.scores[:, column, None]
        known = np.asarray(np.isfinite(off).all(axis=1))
        if known.any():
            count = len(np.unique(rows.clusters[known]))
            share = count / (count + SHRINK * (members - 1))
            best = simplex_weights(off[known], squared=least == "squared-error")
            weights[:, column] = share * best + (1 - share) * weights[:, column]
    return weights


def simplex_weights(off: FloatArray, *, squared: bool) -> FloatArray:
    """Find non-negative weights with sum 1, shape (members,), that minimize the error of the weighted mean.

    With an additional row of ones below `off` and the target 1 for it, non-negative least squares gives the constrained
    solution up to a constant factor, so a standard solver can be used. Absolute error is minimized by iteratively
    reweighted least squares, in which a row's weight is the inverse of its error.

    Args:
        off: error of each member in each row, shape (rows, members).
        squared: whether to minimize squared or absolute error.
    """
    solve = require("scipy.optimize", "train").nnls
    wanted = np.append(np.zeros(off.shape[0]), 1.0)
    scaled = off / max(float(np.abs(off).max()), 1e-12) / np.sqrt(off.shape[0])
    rows = np.ones(off.shape[0])
    best, least = np.full(off.shape[1], 1 / off.shape[1]), np.inf
    for _ in range(1 if squared else _ROUNDS):
        found, _ = solve(np.vstack([scaled * np.sqrt(rows)[:, None], np.ones(off.shape[1])]), wanted)
        weights = found / found.sum()
        error = np.abs(off @ weights)
        if error.mean() < least:
            best, least = weights, float(error.mean())
        # A row that is fitted exactly would have infinite weight.
        rows = np.maximum(error, 1e-4 * error.mean() + 1e-12) ** -1.0
        rows /= rows.mean()
    return best


def ensemble(students: Sequence[Blended | BlendStudent], counts: FloatArray | None = None) -> BlendStudent:
    """Combine fitted students into one; a blend among them adds its members, and equal frozen encoders are shared.

    Args:
        students: students with the same dimensions.
        counts: weights, shape (students, dimensions), with columns that sum to 1; all equal if not given.
    """
    shape = (len(students), len(students[0].dimensions))
    members: list[Blended] = []
    weights: list[FloatArray] = []
    for student, count in zip(students, np.full(shape, 1 / shape[0]) if counts is None else counts, strict=True):
        own = student.members if isinstance(student, BlendStudent) else (student,)
        alone = np.ones((1, shape[1]))
        members += own
        weights += list((student.weights if isinstance(student, BlendStudent) else alone) * count)
    known: list[Encoder] = []
    shared: list[Blended] = []
    for member in members:
        if isinstance(member, NeuralStudent):
            parts = [_first(known, part) for part in parts_of(member.encoder)]
            shared.append(member.on(joined(parts)))
        else:
            shared.append(member)
    return BlendStudent(students[0].dimensions, tuple(shared), np.array(weights))


def _first(known: list[Encoder], part: Encoder) -> Encoder:
    """Return the first encoder with the same features; one with trained weights equals no other."""
    if isinstance(part, DescribedEncoder):
        own = part.settings()
        if own.get("trained") is False:
            for other in known:
                if isinstance(other, DescribedEncoder) and other.settings() == own:
                    return other
    known.append(part)
    return part
