"""Combines several students into one: the weighted mean of their scores, with weights chosen on held-out scores.

Input: fit functions of the members and training rows (a blend), or fitted members and rows that none of them was
trained on (an ensemble). Output: one student, and its scores of each row with weights that were not chosen on it.
Weights are found per dimension: those with the least error of the weighted mean of the held-out scores, shrunk towards
equal weights if there are few rows. A slightly lower error does not justify the cost of another encoder, so a member
with a negligible weight in every dimension is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

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


class Weights(NamedTuple):
    """Weights of the members that are kept."""

    kept: IntArray
    """Indices of these members."""
    weights: FloatArray
    """Shape (kept members, dimensions), with columns that sum to 1."""
    scores: FloatArray
    """The weighted mean of the rows' held-out scores, shape (rows, dimensions), with weights not chosen on the row."""

    def notes(self, names: Sequence[str], dimensions: Sequence[str]) -> tuple[str, ...]:
        """Describe the weights of members with these names in words."""
        left_out = [name for place, name in enumerate(names) if place not in self.kept]
        each = [
            f"{name} {', '.join(f'{weight:.2f}' for weight in column)}"
            for name, column in zip(dimensions, self.weights.T, strict=True)
        ]
        members = ", ".join(names[place] for place in self.kept)
        return (
            f"weights of {members}, in this order: {'; '.join(each)}",
            *([f"left out, with weights below {NEGLIGIBLE}: {', '.join(left_out)}"] if left_out else []),
        )


def fit_blend(
    recipe: BlendRecipe,
    fits: Sequence[Callable[[Examples], Blended]],
    train: Examples,
    *,
    seed: int = 0,
    k: int = FOLDS,
) -> tuple[BlendStudent, Weights]:
    """Fit the members, with and without each fold, and choose their weights.

    Args:
        recipe: the blend.
        fits: the fit function of each member, in the recipe's order.
        train: training rows.
        seed: random seed of the folds.
        k: number of folds, limited by the number of clusters; with fewer than two, weights are equal.

    Returns:
        The blend, and its weights; their scores are by members fitted without the row's fold, NaN where there are none.
    """
    fold = _folds(train, k, seed)
    held_out = np.full((len(fits), *train.scores.shape), np.nan)
    if fold.any():
        with steps(f"{recipe.name}: out of fold", len(np.unique(fold)) * len(fits)) as advance:
            for place, fit in enumerate(fits):
                held_out[place] = out_of_fold(fit, train, fold, done=advance)
    chosen = choose_weights(recipe.weights, held_out, train, seed=seed, k=k)
    return weighted_mean([fits[place](train) for place in chosen.kept], chosen.weights), chosen


def choose_weights(least: Weighing, held_out: FloatArray, rows: Examples, *, seed: int = 0, k: int = FOLDS) -> Weights:
    """Choose the members' weights on scores of rows that the members were not trained on.

    Args:
        least: error to minimize.
        held_out: the members' scores, shape (members, rows, dimensions); NaN where there are none.
        rows: the same rows, with their labels.
        seed: random seed of the folds.
        k: number of folds, of which each is scored with weights chosen on the others.
    """
    fold = _folds(rows, k, seed)
    scores = np.empty(rows.scores.shape)
    for number in np.unique(fold):
        own = fold == number
        kept, others = worth_keeping(blend_weights(least, held_out[:, ~own], rows.take(~own)))
        scores[own] = np.einsum("md,mrd->rd", others, held_out[kept][:, own])
    return Weights(*worth_keeping(blend_weights(least, held_out, rows)), scores)


def _folds(rows: Examples, k: int, seed: int) -> IntArray:
    """Return each row's fold, shape (rows,); all are 0 if there are too few clusters for two folds."""
    k = min(k, len(np.unique(rows.clusters)))
    return folds(rows.clusters, rows.scores, k, seed) if k >= 2 else np.zeros(len(rows), dtype=np.int64)


def worth_keeping(weights: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return the indices of members with a non-negligible weight in some dimension, and their new weights."""
    kept = np.flatnonzero(weights.max(axis=1) >= NEGLIGIBLE)
    return kept, weights[kept] / weights[kept].sum(axis=0)


def blend_weights(least: Weighing, held_out: FloatArray, rows: Examples) -> FloatArray:
    """Choose the members' weights, shape (members, dimensions): not negative, with columns that sum to 1.

    Args:
        least: error to minimize.
        held_out: the members' held-out scores, shape (members, rows, dimensions).
        rows: the same rows, with their labels.
    """
    members, _, dimensions = held_out.shape
    weights = np.full((members, dimensions), 1 / members)
    if least == "equal":
        return weights
    for column in range(dimensions):
        off = held_out[:, :, column].T - rows.scores[:, column, None]
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


def weighted_mean(students: Sequence[Blended | BlendStudent], weights: FloatArray) -> BlendStudent:
    """Combine fitted students into one; a blend among them adds its members, and equal frozen encoders are shared.

    Args:
        students: students with the same dimensions.
        weights: their weights, shape (students, dimensions), with columns that sum to 1.
    """
    alone = np.ones((1, len(students[0].dimensions)))
    members: list[Blended] = []
    each: list[FloatArray] = []
    for student, weight in zip(students, weights, strict=True):
        members += student.members if isinstance(student, BlendStudent) else (student,)
        each += list((student.weights if isinstance(student, BlendStudent) else alone) * weight)
    known: list[Encoder] = []
    shared: list[Blended] = []
    for member in members:
        if isinstance(member, NeuralStudent):
            parts = [_first(known, part) for part in parts_of(member.encoder)]
            shared.append(member.on(joined(parts)))
        else:
            shared.append(member)
    return BlendStudent(students[0].dimensions, tuple(shared), np.array(each))


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
