"""Blends: how much each member counts, chosen on scores of rows that it had not seen.

In: ways to fit the members, and training rows; or members that are fitted, and rows that none learned from. Out: a
blend, and its scores of each of the rows by members, and with weights, that had not seen it. Weights are found a
dimension at a time: the least error of all weighted means on scores out of fold, drawn towards equal weights where rows
are few. The last small error of a fit is not worth an encoder, so a member that counts for next to nothing in every
dimension is left out.
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
"""Folds of the members' unseen rows, where nobody says how many."""

SHRINK = 50
"""Clusters that equal weights count for, for each member beyond the first."""

NEGLIGIBLE = 0.05
"""A member that counts for less in every dimension is left out."""

_ROUNDS = 100
"""Of reweighting, until absolute error is least; each is a problem of a few unknowns."""


def fit_blend(
    recipe: BlendRecipe,
    fits: Sequence[Callable[[Examples], Blended]],
    train: Examples,
    *,
    seed: int = 0,
    k: int = FOLDS,
) -> tuple[BlendStudent, FloatArray]:
    """Fit the members, with and without each fold, and weigh them.

    Args:
        recipe: the blend.
        fits: how each member is fitted, in the recipe's order.
        train: rows to learn from.
        seed: of the folds.
        k: folds, as many as the clusters allow; fewer than two for equal weights.

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
    """How much each member counts, and what the weighted mean says of rows that the weights were not chosen on.

    Args:
        least: which error is to be least.
        unseen: the members' scores, shape (members, rows, dimensions), by students that had not seen the row.
        rows: the same rows, with their labels.
        fold: each row's fold, shape (rows,).

    Returns:
        Weights of all rows, shape (members, dimensions), and scores, shape (rows, dimensions), each by the weights of
        the other folds' rows.
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
    """How much students that are fitted count beside one another, chosen on rows that none of them learned from.

    Args:
        least: which error is to be least.
        said: their scores, shape (students, rows, dimensions).
        rows: the same rows, with their labels.
        seed: of the folds.

    Returns:
        Places of the students that are kept, what each counts, shape (kept, dimensions), and scores of the rows, shape
        (rows, dimensions), by weights that each row had no part in.
    """
    k = min(FOLDS, len(np.unique(rows.clusters)))
    fold = folds(rows.clusters, rows.scores, k, seed) if k >= 2 else np.zeros(len(rows), dtype=np.int64)
    weights, scores = weighed(least, said, rows, fold)
    return *worth_keeping(weights), scores


def worth_keeping(weights: FloatArray) -> tuple[IntArray, FloatArray]:
    """Places of the members that count for something in some dimension, and what each then counts."""
    kept = np.flatnonzero(weights.max(axis=1) >= NEGLIGIBLE)
    return kept, weights[kept] / weights[kept].sum(axis=0)


def blend_weights(least: Weighing, unseen: FloatArray, rows: Examples) -> FloatArray:
    """How much each member counts, shape (members, dimensions): not negative, each dimension's sum 1.

    Args:
        least: which error is to be least.
        unseen: the members' scores, shape (members, rows, dimensions), by students that had not seen the row.
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
    """The weights, shape (members,), not negative and of sum 1, of least error of the weighted mean.

    With a row of ones below `off` and the target 1 for it, least squares over weights that are not negative differ
    from those of sum 1 by a factor alone, so a standard solver does. Absolute error is least squares in which a row
    weighs as one over its error, again and again.

    Args:
        off: how far each member is off in each row, shape (rows, members).
        squared: whether squared error is to be least, or absolute.
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
        # A row that is met exactly would weigh without bound.
        rows = np.maximum(error, 1e-4 * error.mean() + 1e-12) ** -1.0
        rows /= rows.mean()
    return best


def ensemble(students: Sequence[Blended | BlendStudent], counts: FloatArray | None = None) -> BlendStudent:
    """Fitted students as one; a blend among them brings its members, and frozen encoders alike are one.

    Args:
        students: of the same dimensions.
        counts: how much each counts, shape (students, dimensions), each column's sum 1; all alike if it is not given.
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
    """The first encoder that gives the same features; one with trained weights is like no other."""
    if isinstance(part, DescribedEncoder):
        own = part.settings()
        if own.get("trained") is False:
            for other in known:
                if isinstance(other, DescribedEncoder) and other.settings() == own:
                    return other
    known.append(part)
    return part
