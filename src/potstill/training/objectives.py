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
from potstill.students.levels import Levels
from potstill.students.ordinal import OrdinalHead, decoded, start_of

if TYPE_CHECKING:
    from potstill.students.heads import LinearHead
    from potstill.students.ordinal import Decode, TrainedLink
    from potstill.students.recipes import FineTunedRecipe
    from potstill.types import FloatArray

HUBER_DELTA = 1.0
"""Threshold of the Huber loss (Huber 1964), in points of the labels' scale: smaller errors are squared, larger ones
enter linearly."""


@dataclass(frozen=True, slots=True)
class Target:
    """Training target of a recipe's model, on labels of some dimensions.

    `levels` is set for objectives that learn distributions; the outputs of all others are scores.
    """

    objective: str
    dimensions: int
    levels: Levels | None = None
    link: TrainedLink | None = None
    decode: Decode = "median"

    @classmethod
    def of(cls, recipe: FineTunedRecipe, scores: FloatArray) -> Target:
        """Create a recipe's target from labels, shape (rows, dimensions), NaN masked; each dimension needs a label.

        Raises:
            RecipeError: the objective is a distribution, and all labels are equal.
        """
        if recipe.link is None:
            return cls(recipe.objective, scores.shape[1])
        levels = Levels.of(scores)
        if levels.outputs == 0:
            raise RecipeError(f"{recipe.name}: every dimension has one label alone; there is no distribution to learn")
        return cls(recipe.objective, scores.shape[1], levels, recipe.link, recipe.decode)

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

    def head(self, base: LinearHead) -> LinearHead | OrdinalHead:
        """Return the trained head in numpy form."""
        if self.levels is None or self.link is None:
            return base
        return OrdinalHead(base, self.levels, self.link, self.decode)

    def loss(self, outputs: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Compute the mean loss over the labels that are present; 0 if there are none.

        Args:
            outputs: raw outputs, shape (rows, outputs).
            scores: labels, shape (rows, dimensions); NaN is masked and has no gradient.
        """
        there = ~torch.isnan(scores)
        if not bool(there.any()):
            return (outputs * 0).sum()
        each = self._pointwise(outputs, scores, there) if self.levels is None else self._unlikely(outputs, scores)
        return (each * there.to(each.dtype)).sum() / there.sum()

    def _pointwise(self, outputs: torch.Tensor, scores: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        # A masked label is replaced by the detached output: its loss is 0, never NaN.
        wanted = torch.where(there, scores.to(outputs.dtype), outputs.detach())
        if self.objective == "mse":
            return functional.mse_loss(outputs, wanted, reduction="none")
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
            else:
                exceeds = (score > levels[:-1]).to(logits)
                # A task applies only to labels that exceed the previous level; the first applies to all labels.
                asked = torch.cat([torch.ones_like(exceeds[:, :1]), exceeds[:, :-1]], dim=1)
                lost = (_binary(logits, exceeds) * asked).sum(dim=1)
            each.append(torch.where(torch.isnan(score[:, 0]), torch.zeros_like(lost), lost))
        return torch.stack(each, dim=1)


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


def _binary(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")


def _log_softmax(logits: torch.Tensor) -> torch.Tensor:
    """Compute the log-softmax over all levels, the last of which has logit 0."""
    return torch.log_softmax(torch.cat([logits, torch.zeros_like(logits[:, :1])], dim=1), dim=1)
