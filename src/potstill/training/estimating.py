"""How long a recipe will take here: a few texts are read by its backbone, and the rest is multiplication.

In: a recipe, the training and validation texts. Out: seconds, or nothing for students that read no backbone. It is an
estimate for a plan, not a measurement: it leaves out what is fitted after encoding, which takes seconds.
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
"""Texts that are read to see how long one takes, spread over all by length."""

STEP = 3.0
"""What a step of training costs beside reading alone: forward, backward by inputs, backward by weights."""


def estimate(
    recipe: Recipe,
    train: Sequence[str],
    validation: Sequence[str],
    *,
    device: str = "auto",
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds that a fit of this recipe will take on this machine; 0 where no backbone reads.

    Raises:
        MissingExtra, MissingModel: torch or the backbone is not there.
    """
    if isinstance(recipe, DistilledRecipe):
        # Articles without labels come on top; how many is not known before the teacher is there.
        recipe = recipe.pupil
    if isinstance(recipe, EnsembleRecipe):
        made = (estimate(one, train, validation, device=device, clock=clock) for one in recipe.made)
        return sum(made)
    with _as_trained(recipe, device):
        each = sum(probe(encoder, [*train, *validation], clock=clock) for encoder in _encoders(recipe, device))
    once = each * (len(train) + len(validation))
    if isinstance(recipe, FineTunedRecipe):
        if recipe.freeze_backbone:
            return once
        # Each epoch learns from the training texts, and reads both parts to be evaluated.
        return recipe.epochs * (STEP * each * len(train) + once)
    return once


def probe(encoder: Encoder, texts: Sequence[str], *, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds that one text takes on average, from `PROBED` of them."""
    by_length = sorted(texts, key=len)
    # From the middle of each of as many equal shares: neither the shortest nor the longest stands for all.
    places = ((np.arange(PROBED) + 0.5) / PROBED * len(by_length)).astype(int)
    chosen = [by_length[place] for place in places]
    encoder.encode(chosen[:2])
    start = clock()
    encoder.encode(chosen)
    return (clock() - start) / len(chosen)


def _as_trained(recipe: Recipe, device: str) -> AbstractContextManager[Any]:
    """A block in which networks run in the precision that a recipe trains in on this machine."""
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
    # How tokens are pooled costs nothing beside the network.
    return [TorchEncoder.open(recipe.backbone, max_tokens=recipe.max_tokens, device=where)]
