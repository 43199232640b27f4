"""Training objectives: losses on scores, or the negative log-likelihood of predicted distributions.

Input: a recipe and its training labels. Output: a `Target` with the number of outputs, the initial bias, the loss of
raw outputs, and the decoding of outputs to scores. Missing labels are NaN and are ignored.
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
"""Threshold of the Huber loss (Huber 1964), in points of the labels' scale: smaller errors are squared, larger ones
enter linearly."""

HEAVIEST = 10.0
"""Maximum weight of a rare label relative to the mean weight, so that one unusual label does not dominate a batch."""


@dataclass(frozen=True, slots=True)
class Target:
    """Training target of a recipe's model, on labels of some dimensions.

    `levels` is set for objectives that learn distributions; the outputs of all others are scores.
    """

    objective: str
    dimensions: int
    ranking_weight: float = 0.0
    levels: Levels | None = None
    link: Link | None = None
    decode: Decode = "median"

    @classmethod
    def of(cls, recipe: FineTunedRecipe, scores: FloatArray) -> Target:
        """Create a recipe's target from labels, shape (rows, dimensions), NaN masked; each dimension needs a label.

        Raises:
            RecipeError: the objective is a distribution, and all labels are equal.
        """
        if recipe.link is None:
            return cls(recipe.objective, scores.shape[1], recipe.ranking_weight)
        levels = Levels.of(scores)
        if levels.outputs == 0:
            raise RecipeError(f"{recipe.name}: every dimension has one label alone; there is no distribution to learn")
        return cls(recipe.objective, scores.shape[1], 0.0, levels, recipe.link, recipe.decode)

    @property
    def outputs(self) -> int:
        """Number of the model's outputs per text."""
        return self.dimensions if self.levels is None else self.levels.outputs

    def start(self, scores: FloatArray) -> FloatArray:
        """Return the initial bias of the head, shape (outputs,), so that training need not find the labels' level."""
        if self.levels is None or self.link is None:
            return np.asarray(np.nanmean(scores, axis=0))
        return start_of(scores, self.levels, self.link)

    def scores(self, outputs: FloatArray) -> FloatArray:
        """Decode raw outputs to scores, shape (rows, dimensions)."""
        if self.levels is None or self.link is None:
            return outputs
        return decoded(outputs, self.levels, self.link, self.decode)

    def head(self, base: LinearHead) -> LinearHead | GradedHead:
        """Return the trained head in numpy form."""
        if self.levels is None or self.link is None:
            return base
        return GradedHead(base, self.levels, self.link, self.decode)

    def loss(self, outputs: torch.Tensor, scores: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Compute the mean loss over the labels that are present; 0 if there are none.

        Args:
            outputs: raw outputs, shape (rows, outputs).
            scores: labels, shape (rows, dimensions); NaN is masked and has no gradient.
            weights: weight of each label, same shape as `scores`; all equal if not given.
        """
        there = ~torch.isnan(scores)
        if not bool(there.any()):
            return (outputs * 0).sum()
        each = self._pointwise(outputs, scores, there) if self.levels is None else self._unlikely(outputs, scores)
        counting = there.to(each.dtype) if weights is None else weights.to(each.dtype) * there
        loss = (each * counting).sum() / there.sum()
        return loss if not self.ranking_weight else loss + self.ranking_weight * listnet(outputs, scores)

    def _pointwise(self, outputs: torch.Tensor, scores: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        # A masked label is replaced by the detached output: its loss is 0, never NaN.
        wanted = torch.where(there, scores.to(outputs.dtype), outputs.detach())
        if self.objective == "mse":
            return functional.mse_loss(outputs, wanted, reduction="none")
        if self.objective == "l1":
            return functional.l1_loss(outputs, wanted, reduction="none")
        return functional.huber_loss(outputs, wanted, reduction="none", delta=HUBER_DELTA)

    def _unlikely(self, outputs: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Compute the negative log-likelihood of each label, shape (rows, dimensions); 0 where masked."""
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
                # A task applies only to labels that exceed the previous level; the first applies to all labels.
                asked = torch.cat([torch.ones_like(exceeds[:, :1]), exceeds[:, :-1]], dim=1)
                lost = (_binary(logits, exceeds) * asked).sum(dim=1)
            each.append(torch.where(torch.isnan(score[:, 0]), torch.zeros_like(lost), lost))
        return torch.stack(each, dim=1)


def listnet(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Compute the ListNet loss over the order of labels in a batch, mean over dimensions (Cao et al. 2007, top one).

    Both arguments have shape (rows, dimensions); NaN labels are left out. 0 if no dimension has two labels.
    """
    lost = []
    for column in range(labels.shape[1]):
        there = ~torch.isnan(labels[:, column])
        if int(there.sum()) > 1:
            wanted = torch.softmax(labels[there, column].to(scores.dtype), dim=0)
            given = torch.log_softmax(scores[there, column], dim=0)
            # The labels' entropy is subtracted, so that the right order with the right distances has loss 0.
            lost.append((wanted * (torch.log(wanted.clamp_min(1e-12)) - given)).sum())
    return torch.stack(lost).mean() if lost else (scores * 0).sum()


def near(scores: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """Interpolate each score linearly between the two levels around it: shape (rows, levels), rows sum to 1.

    Args:
        scores: shape (rows, 1); those outside the levels are moved to the outermost one.
        levels: increasing, shape (levels,).
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
    """Compute label weights, shape (rows, dimensions), with mean 1 over a dimension's labels; None if all are equal.

    With `rare_weight`, a label's weight is its frequency to the power of minus `rare_weight`; frequencies are counted
    per whole point of the scale, and weights are at most `HEAVIEST`. With `spread_weight`, a label gets less weight the
    more the oracle's own answers vary: 1 / (1 + (spread / typical spread)^2), which assumes that a label's error is the
    sum of a common spread and its own. A label from one answer has no spread, and gets the mean weight.

    Args:
        recipe: its `rare_weight` and `spread_weight` are used.
        scores: labels, NaN masked.
        spreads: standard deviations over the oracle's answers, same shape, NaN where there was only one answer.

    Raises:
        RecipeError: `spread_weight` is set, and no label has a spread.
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
    """Compute the log-softmax over all levels, the last of which has logit 0."""
    return torch.log_softmax(torch.cat([logits, torch.zeros_like(logits[:, :1])], dim=1), dim=1)
