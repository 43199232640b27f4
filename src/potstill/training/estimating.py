"""Estimates how long fitting a recipe will take on this machine by encoding a few texts.

Input: a recipe, the training and validation texts. Output: seconds, or 0 for students without a backbone. It is an
estimate for planning, not a measurement: it leaves out what is fitted after encoding, which takes seconds.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from potstill.students.recipes import DistilledRecipe, EnsembleRecipe, FineTunedRecipe
from potstill.training.fit import frozen_encoder, readers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from potstill.students import Encoder
    from potstill.students.recipes import Recipe

PROBED = 12
"""Number of texts encoded to time one text, spread evenly over all lengths."""

STEP = 3.0
"""Cost of a training step relative to encoding alone: forward, backward for inputs, backward for weights."""


def estimate(
    recipe: Recipe,
    train: Sequence[str],
    validation: Sequence[str],
    *,
    device: str = "auto",
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Estimate the seconds that fitting this recipe takes on this machine; 0 for a recipe without a backbone.

    Raises:
        MissingExtra, MissingModel: torch or the backbone is not installed.
    """
    if isinstance(recipe, DistilledRecipe):
        # Unlabelled articles take additional time; their number is unknown until the teacher exists.
        recipe = recipe.recipe
    if isinstance(recipe, EnsembleRecipe):
        made = (estimate(one, train, validation, device=device, clock=clock) for one in recipe.made)
        return sum(made)
    with _as_trained(recipe, device):
        each = sum(probe(encoder, [*train, *validation], clock=clock) for encoder in _encoders(recipe, device))
    once = each * (len(train) + len(validation))
    if isinstance(recipe, FineTunedRecipe):
        # Each epoch trains on the training texts and encodes both parts for evaluation.
        return recipe.epochs * (STEP * each * len(train) + once)
    return once


def probe(encoder: Encoder, texts: Sequence[str], *, clock: Callable[[], float] = time.perf_counter) -> float:
    """Measure the average seconds per text on `PROBED` of the texts."""
    by_length = sorted(texts, key=len)
    # Sampled from the middle of equal shares by length, so that neither the shortest nor the longest texts dominate.
    places = ((np.arange(PROBED) + 0.5) / PROBED * len(by_length)).astype(int)
    chosen = [by_length[place] for place in places]
    encoder.encode(chosen[:2])
    start = clock()
    encoder.encode(chosen)
    return (clock() - start) / len(chosen)


def _as_trained(recipe: Recipe, device: str) -> AbstractContextManager[Any]:
    """Return a context in which networks run in the precision that a recipe is trained in on this machine."""
    if not isinstance(recipe, FineTunedRecipe):
        return nullcontext()
    import torch

    from potstill.students.torch.encoder import pick_device
    from potstill.training.precision import used_precision

    where = pick_device(device)
    bf16 = used_precision(recipe.precision, str(where)) == "bf16"
    return torch.autocast(where.type, torch.bfloat16, enabled=bf16)


def _encoders(recipe: Recipe, device: str) -> list[Encoder]:
    if not isinstance(recipe, FineTunedRecipe):
        encoder = frozen_encoder(recipe)
        return [] if encoder is None else readers(recipe, encoder)
    from potstill.students.torch.encoder import TorchEncoder, pick_device

    where = str(pick_device(device))
    # Pooling takes negligible time compared with the network.
    return [TorchEncoder.open(recipe.backbone, max_tokens=recipe.max_tokens, device=where)]
