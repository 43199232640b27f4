"""Keeps a moving average of the weights, which is evaluated and kept while training continues with the raw weights.

Input: a model after each step. Output: the exponential moving average of the trainable parameters, in float32, which
smooths the noise of the last steps (for weight averaging in general see Polyak & Juditsky 1992).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from potstill.students.torch.model import trainable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import nn


class Average:
    """Moving average of a model's trainable parameters; `tensors` holds the values by name."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: parameter.detach().float().clone() for name, parameter in trainable(model).items()}

    def update(self, model: nn.Module, step: int) -> None:
        """Update with the weights after a step, counted from 1; early steps weigh more, to forget the start quickly."""
        decay = min(self.decay, step / (10 + step))
        for name, parameter in trainable(model).items():
            self.tensors[name].lerp_(parameter.detach().float(), 1 - decay)

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Continue from a checkpoint's values, which have the names and shapes of the trainable parameters."""
        for name, kept in self.tensors.items():
            kept.copy_(tensors[name])

    @contextmanager
    def in_place(self, model: nn.Module) -> Iterator[None]:
        """Put the average in place of the model's weights until the end of the block."""
        own = {name: parameter.detach().clone() for name, parameter in trainable(model).items()}
        _put(model, self.tensors)
        try:
            yield
        finally:
            _put(model, own)


def _put(model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in trainable(model).items():
            parameter.copy_(tensors[name])
