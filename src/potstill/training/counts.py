"""Counts and checks trainable parameters: before the first step, after a resume and for the record.

Input: a model, or only a recipe (then on torch's meta device, without weights). Output: counts by part, or an error.
The counts that a recipe implies are computed from the backbone's layers, not from the model that training built, so
that each checks the other. This catches training with a frozen adapter, which once looked like a plateau.
"""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch import nn

from potstill.errors import TrainingError
from potstill.students.torch.backbones import architecture, empty_model
from potstill.students.torch.encoder import shallower
from potstill.students.torch.model import build_model, embedding_parameters, part_of, trainable, trim
from potstill.training.facts import Counts

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from potstill.students.recipes import FineTunedRecipe


def count_parameters(model: nn.Module) -> Counts:
    """Count a model's parameters by part, in total and trainable."""
    total: Counter[str] = Counter()
    training: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        part = part_of(name)
        total[part] += parameter.numel()
        if parameter.requires_grad:
            training[part] += parameter.numel()
    return Counts(
        base=total["base"],
        adapter=total["adapter"],
        head=total["head"],
        head_copy=total["head_copy"],
        trainable_base=training["base"],
        trainable_adapter=training["adapter"],
        # A trainable copy of the head is as wrong as a frozen head; the sum shows both.
        trainable_head=training["head"] + training["head_copy"],
    )


def implied_counts(backbone: nn.Module, width: int, outputs: int, recipe: FineTunedRecipe) -> Counts:
    """Compute which parameters a recipe implies, in total and trainable, from the unmodified backbone's layers.

    A LoRA pair on a linear layer (in, out) has rank * (in + out) parameters.
    """
    trim(backbone)
    base = sum(parameter.numel() for parameter in backbone.parameters())
    head = width * outputs + (outputs if recipe.head_bias else 0)
    if recipe.lora is None:
        frozen = sum(p.numel() for p in embedding_parameters(backbone)) if recipe.freeze_embeddings else 0
        return Counts(
            base=base,
            adapter=0,
            head=head,
            head_copy=0,
            trainable_base=base - frozen,
            trainable_adapter=0,
            trainable_head=head,
        )
    adapter = sum(
        recipe.lora.rank * (module.in_features + module.out_features)
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Linear) and name.rsplit(".", 1)[-1] in recipe.lora.targets
    )
    return Counts(
        base=base,
        adapter=adapter,
        head=head,
        head_copy=head,
        trainable_base=0,
        trainable_adapter=adapter,
        trainable_head=head,
    )


def check_trainable(model: nn.Module, implied: Counts, optimizer: torch.optim.Optimizer | None = None) -> Counts:
    """Check that the trainable parameters are those that the recipe implies, and that the optimizer holds just these.

    Raises:
        TrainingError: a part has too many or too few parameters or trainable parameters, or a trainable parameter is
            missing from the optimizer; the message names the part and both numbers.
    """
    counts = count_parameters(model)
    for name, wanted in implied.model_dump().items():
        found = getattr(counts, name)
        if found != wanted:
            what = name.replace("trainable_", "trainable ").replace("_", " ")
            raise TrainingError(
                f"{what}: {found:,} parameters, the recipe implies {wanted:,}; training does not go on like this"
            )
    if optimizer is not None:
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        wanted_ids = {id(parameter) for parameter in trainable(model).values()}
        if held != wanted_ids:
            raise TrainingError(
                f"the optimizer holds {len(held & wanted_ids)} of {len(wanted_ids)} tensors that train "
                f"and {len(held - wanted_ids)} others"
            )
    return counts


def params(recipe: FineTunedRecipe, dimensions: int = 8, levels: int = 11) -> Counts:
    """Count a recipe's parameters from its backbone's configuration alone, without reading weights.

    The model is built on torch's meta device by the code that training uses, and checked against the counts that the
    recipe implies. An ordinal head has one output fewer than the labels have `levels`, for each dimension.

    Raises:
        MissingModel: the backbone is neither known to potstill nor on this machine.
        RecipeError: the recipe does not match the backbone.
    """
    config = architecture(recipe.backbone)
    width = int(config.hidden_size)
    outputs = dimensions if recipe.link is None else dimensions * (levels - 1)
    implied = implied_counts(_empty(config, recipe), width, outputs, recipe)
    with torch.device("meta"):
        model = build_model(_empty(config, recipe), width, outputs, recipe)
    return check_trainable(model, implied)


def _empty(config: PreTrainedConfig, recipe: FineTunedRecipe) -> nn.Module:
    # Removing layers also changes the configuration, which belongs to the caller.
    model = empty_model(deepcopy(config))
    return model if recipe.keep_layers is None else shallower(model, recipe.keep_layers)
