"""What training makes small: the error of scores, or how unlikely a distribution finds the labels.

In: a recipe and the labels it learns from. Out: a `Target`: how many outputs the model has, where its bias begins, the
loss of raw outputs, and the way from outputs to scores. Labels that are missing are NaN and have no part in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from potstill.errors import RecipeError
from potstill.students.graded import GradedHead, decoded, start_of
from potstill.students.levels import Levels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from potstill.students.graded import Decode, Link
    from potstill.students.heads import LinearHead
    from potstill.students.recipes import FineTunedRecipe
    from potstill.types import FloatArray

HUBER_DELTA = 1.0
"""In points of the labels' scale: errors below are squared, errors above count as they are."""

HEAVIEST = 10.0
"""The most that a rare label counts, in labels of mean weight: one odd label must not be most of a batch."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a recipe's model is trained towards, on labels of some dimensions.

    `levels` is there for the objectives that learn distributions; the others' outputs are scores.
    """

    objective: str
    dimensions: int
    ranking_weight: float = 0.0
    levels: Levels | None = None
    link: Link | None = None
    decode: Decode = "median"

    @classmethod
    def of(cls, recipe: FineTunedRecipe, scores: FloatArray) -> Target:
        """A recipe's target on training labels, shape (rows, dimensions), NaN masked; each dimension has a label.

        Raises:
            RecipeError: a distribution is to be learnt of labels that are all alike.
        """
        if recipe.link is None:
            return cls(recipe.objective, scores.shape[1], recipe.ranking_weight)
        levels = Levels.of(scores)
        if levels.outputs == 0:
            raise RecipeError(f"{recipe.name}: every dimension has one label alone; there is no distribution to learn")
        return cls(recipe.objective, scores.shape[1], 0.0, levels, recipe.link, recipe.decode)

    @property
    def outputs(self) -> int:
        """How many numbers the model gives a text."""
        return self.dimensions if self.levels is None else self.levels.outputs

    def start(self, scores: FloatArray) -> FloatArray:
        """Where the head's bias begins, shape (outputs,), so that training need not find the labels' level."""
        if self.levels is None or self.link is None:
            return np.asarray(np.nanmean(scores, axis=0))
        return start_of(scores, self.levels, self.link)

    def scores(self, outputs: FloatArray) -> FloatArray:
        """Scores, shape (rows, dimensions), from raw outputs."""
        if self.levels is None or self.link is None:
            return outputs
        return decoded(outputs, self.levels, self.link, self.decode)

    def head(self, base: LinearHead) -> LinearHead | GradedHead:
        """The head that says in numpy what the model learnt."""
        if self.levels is None or self.link is None:
            return base
        return GradedHead(base, self.levels, self.link, self.decode)

    def loss(self, outputs: torch.Tensor, scores: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """The mean loss over labels that are there; 0 where there are none.

        Args:
            outputs: raw, shape (rows, outputs).
            scores: labels, shape (rows, dimensions); NaN is masked and has no gradient.
            weights: how much each label counts, same shape as `scores`; all alike where not given.
        """
        there = ~torch.isnan(scores)
        if not bool(there.any()):
            return (outputs * 0).sum()
        each = self._pointwise(outputs, scores, there) if self.levels is None else self._unlikely(outputs, scores)
        counting = there.to(each.dtype) if weights is None else weights.to(each.dtype) * there
        loss = (each * counting).sum() / there.sum()
        return loss if not self.ranking_weight else loss + self.ranking_weight * listnet(outputs, scores)

    def _pointwise(self, outputs: torch.Tensor, scores: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        # A masked label becomes the output itself, cut off from its gradient: its loss is 0, never NaN.
        wanted = torch.where(there, scores.to(outputs.dtype), outputs.detach())
        if self.objective == "mse":
            return functional.mse_loss(outputs, wanted, reduction="none")
        if self.objective == "l1":
            return functional.l1_loss(outputs, wanted, reduction="none")
        return functional.huber_loss(outputs, wanted, reduction="none", delta=HUBER_DELTA)

    def _unlikely(self, outputs: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Minus the log likelihood of each label, shape (rows, dimensions); 0 where masked."""
        each = []
        for column, (own, place) in enumerate(self.levels.each() if self.levels is not None else ()):
            score = scores[:, column, None]
            levels = torch.from_numpy(own).to(scores)
            logits = outputs[:, place]
            if self.link == "distribution":
                lost = -(near(score, levels) * _log_softmax(logits)).sum(dim=1)
            elif self.link == "ordinal":
                lost = _binary(logits, (score <= levels[:-1]).to(logits)).sum(dim=1)
            else:
                exceeds = (score > levels[:-1]).to(logits)
                # A task is asked only of labels that exceed the level before: all of them at the first.
                asked = torch.cat([torch.ones_like(exceeds[:, :1]), exceeds[:, :-1]], dim=1)
                lost = (_binary(logits, exceeds) * asked).sum(dim=1)
            each.append(torch.where(torch.isnan(score[:, 0]), torch.zeros_like(lost), lost))
        return torch.stack(each, dim=1)


def listnet(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """How unlikely the scores find the labels' order within a batch, mean over dimensions (Cao et al. 2007, top one).

    Both of shape (rows, dimensions); NaN labels are left out. 0 where no dimension has two labels.
    """
    lost = []
    for column in range(labels.shape[1]):
        there = ~torch.isnan(labels[:, column])
        if int(there.sum()) > 1:
            wanted = torch.softmax(labels[there, column].to(scores.dtype), dim=0)
            given = torch.log_softmax(scores[there, column], dim=0)
            # Less the labels' own entropy, so that the right order with the right distances costs 0.
            lost.append((wanted * (torch.log(wanted.clamp_min(1e-12)) - given)).sum())
    return torch.stack(lost).mean() if lost else (scores * 0).sum()


def near(scores: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """Each score shared between the two levels around it, by nearness: shape (rows, levels), rows of sum 1.

    Args:
        scores: shape (rows, 1); those beyond the levels are at the outermost.
        levels: rising, shape (levels,).
    """
    if len(levels) == 1:
        return torch.ones_like(scores)
    bounded = scores.clamp(levels[0], levels[-1]).nan_to_num(float(levels[0]))
    above = torch.searchsorted(levels, bounded.contiguous()).clamp(1, len(levels) - 1)
    low, high = levels[above - 1], levels[above]
    part = (bounded - low) / (high - low)
    shared = torch.zeros(len(scores), len(levels), dtype=scores.dtype, device=scores.device)
    return shared.scatter(1, above, part).scatter(1, above - 1, 1 - part)


def label_weights(recipe: FineTunedRecipe, scores: FloatArray, spreads: FloatArray | None) -> FloatArray | None:
    """How much each label counts, shape (rows, dimensions), mean 1 over a dimension's labels; None: all alike.

    With `rare_weight` a label counts as its frequency to the power of minus that, frequencies by whole points of the
    scale and at most `HEAVIEST`. With `spread_weight` a label counts less the further the oracle's own answers lay
    apart: 1 / (1 + (spread / typical spread)^2), as if a label's error were the sum of a spread that all share and
    its own. A label from one answer has no spread, and counts as the mean does.

    Args:
        recipe: both weights are read.
        scores: labels, NaN masked.
        spreads: standard deviations over the oracle's answers, same shape, NaN where there was one answer.

    Raises:
        RecipeError: spreads are asked for, and no label has one.
    """
    if not recipe.rare_weight and not recipe.spread_weight:
        return None
    weights = np.ones_like(scores)
    if recipe.spread_weight:
        if spreads is None or not np.isfinite(spreads).any():
            raise RecipeError(
                f"{recipe.name}: spread_weight needs labels with several answers each; ask again with: potstill label "
                "--samples 3"
            )
        weights *= np.column_stack([_certain(column) for column in spreads.T])
    if recipe.rare_weight:
        weights *= np.column_stack([_rare(column, recipe.rare_weight) for column in scores.T])
    weights[np.isnan(scores)] = np.nan
    weights = np.asarray(weights / np.nanmean(weights, axis=0))
    return np.nan_to_num(weights, nan=0.0)


def _certain(spreads: NDArray[np.float64]) -> NDArray[np.float64]:
    known = spreads[np.isfinite(spreads)]
    typical = float(np.sqrt(np.mean(known**2))) if known.size else 0.0
    if typical == 0.0:
        return np.ones_like(spreads)
    weights = 1.0 / (1.0 + (spreads / typical) ** 2)
    return np.where(np.isnan(weights), np.nanmean(weights), weights)


def _rare(scores: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    known = ~np.isnan(scores)
    _, which, counts = np.unique(np.rint(scores[known]), return_inverse=True, return_counts=True)
    weights = (counts[which] / known.sum()) ** -power
    found = np.ones_like(scores)
    found[known] = np.minimum(weights / weights.mean(), HEAVIEST)
    return found


def _binary(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")


def _log_softmax(logits: torch.Tensor) -> torch.Tensor:
    """Of all levels, the last of which has logit 0."""
    return torch.log_softmax(torch.cat([logits, torch.zeros_like(logits[:, :1])], dim=1), dim=1)
