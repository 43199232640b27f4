"""A running mean of the weights is what is evaluated and kept; training itself goes on with the weights as they are.

In: a model after each step. Out: the mean of what trains, in float32, in which the last steps' wavering is smoothed
(exponential moving average; Polyak and Juditsky 1992 for averaging at all).
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
    """The running mean of what trains in a model; `tensors` are its values by name."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: parameter.detach().float().clone() for name, parameter in trainable(model).items()}

    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after a step, from 1; the first steps count more, or the start would stay for long."""
        decay = min(self.decay, step / (10 + step))
        for name, parameter in trainable(model).items():
            self.tensors[name].lerp_(parameter.detach().float(), 1 - decay)

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Go on from a checkpoint's values, whose names and shapes are those of what trains."""
        for name, kept in self.tensors.items():
            kept.copy_(tensors[name])

    @contextmanager
    def in_place(self, model: nn.Module) -> Iterator[None]:
        """The mean in the model's place, until the end of the block."""
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
