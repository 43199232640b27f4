"""The model for fine-tuning: a backbone, pooling over its tokens, and a linear head named `score`.

Input: a loaded backbone (or one on the meta device, for counting) and a recipe. Output: one torch module whose
parameters each belong to a named part: base, adapter, head, or the frozen copy of the head that peft keeps. Which of
them are trainable is set only here, and checked by `potstill.training.counts`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from potstill.errors import RecipeError
from potstill.students.torch.pooling import features, states

if TYPE_CHECKING:
    from collections.abc import Iterator

    from potstill.students.encoding import Pooling
    from potstill.students.recipes import FineTunedRecipe, Lora
    from potstill.types import FloatArray

Part = Literal["base", "adapter", "head", "head_copy"]

HEAD = "score"
_PEFT = "base_model.model."


class ScoreModel(nn.Module):
    """Maps token ids to the head's outputs, shape (texts, outputs), float32: scores, or logits of levels."""

    def __init__(self, backbone: nn.Module, width: int, outputs: int, *, pooling: Pooling, bias: bool) -> None:
        super().__init__()
        self.backbone = trim(backbone)
        self.pooling: Pooling = pooling
        self.score = nn.Linear(width, outputs, bias=bias)

    def features(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return the head's input, shape (texts, features), float32."""
        hidden = states(self.backbone, input_ids, attention_mask)
        # bfloat16 is too coarse for weights of hundreds of tokens and for scores from 0 to 10.
        with torch.autocast(input_ids.device.type, enabled=False):
            return features(hidden, attention_mask, self.pooling)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return raw outputs."""
        features = self.features(input_ids, attention_mask)
        with torch.autocast(features.device.type, enabled=False):
            scores: torch.Tensor = self.score(features)
        return scores


def trim(backbone: nn.Module) -> nn.Module:
    """Remove what students do not use: BERT's pooler, and the cache that decoders use for generation."""
    bare: Any = backbone
    if getattr(bare, "pooler", None) is not None:
        bare.pooler = None
    config = getattr(bare, "config", None)
    if config is not None and getattr(config, "use_cache", None):
        config.use_cache = False
    return backbone


def build_model(
    backbone: nn.Module,
    width: int,
    outputs: int,
    recipe: FineTunedRecipe,
    *,
    start: FloatArray | None = None,
) -> nn.Module:
    """Build the module that a recipe trains, with the trainable parameters marked; random parts use torch's RNG.

    Args:
        backbone: a transformers encoder or decoder without a head; changed in place.
        width: its hidden size.
        outputs: number of outputs of the head.
        recipe: its adapter, frozen parts, pooling and head bias are used.
        start: initial value of the head's bias, shape (outputs,), so that training need not first find the level of the
            labels; ignored by a head without bias.

    Raises:
        RecipeError: the adapter's target layers are not in this backbone.
    """
    model = ScoreModel(backbone, width, outputs, pooling=recipe.pooling, bias=recipe.head_bias)
    if start is not None and recipe.head_bias:
        with torch.no_grad():
            model.score.bias.copy_(torch.from_numpy(start))
    if recipe.lora is not None:
        return with_adapter(model, recipe.lora)
    if recipe.freeze_embeddings:
        for parameter in embedding_parameters(backbone):
            parameter.requires_grad_(False)
    return model


def with_adapter(model: ScoreModel, lora: Lora) -> nn.Module:
    """Add a LoRA adapter to the backbone's target layers; only the adapter and the head are trainable.

    Raises:
        RecipeError: a target layer is not in this backbone.
    """
    linear = {
        name.rsplit(".", 1)[-1] for name, module in model.backbone.named_modules() if isinstance(module, nn.Linear)
    }
    missing = [target for target in lora.targets if target not in linear]
    if missing:
        raise RecipeError(
            f"lora -> targets: {', '.join(missing)}: no such layer here; there are {', '.join(sorted(linear))}"
        )
    meta = next(model.backbone.parameters()).device.type == "meta"
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # peft divides it by the rank; any number will do
        lora_dropout=lora.dropout,
        target_modules=rf"backbone\..*\.({'|'.join(lora.targets)})",
        modules_to_save=[HEAD],
        bias="none",
    )
    return get_peft_model(model, config, low_cpu_mem_usage=meta)


def embedding_parameters(backbone: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the parameters of the token, position and segment embedding tables."""
    for module in backbone.modules():
        if isinstance(module, nn.Embedding):
            yield from module.parameters(recurse=False)


def part_of(name: str) -> Part:
    """Return the part that a parameter belongs to, by its name in the model."""
    own = name.removeprefix(_PEFT)
    if own.startswith(f"{HEAD}.original_module."):
        return "head_copy"
    if own.startswith(f"{HEAD}."):
        return "head"
    return "adapter" if ".lora_" in own else "base"


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trainable parameters, by name, in the model's order."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def core(model: nn.Module) -> ScoreModel:
    """Return the `ScoreModel` inside what `build_model` made."""
    inner: Any = model.base_model.model if isinstance(model, PeftModel) else model
    if not isinstance(inner, ScoreModel):
        raise TypeError(f"{type(inner).__name__} is not a ScoreModel")
    return inner


@dataclass(frozen=True, slots=True)
class Tuned:
    """The parts of a trained model: the backbone with its adapter merged in, and the head."""

    backbone: nn.Module
    weights: torch.Tensor
    """Shape (outputs, width)."""
    bias: torch.Tensor
    """Shape (outputs,); zeros if the head has none."""


def merged(model: nn.Module) -> Tuned:
    """Merge the adapter into the backbone; `model` cannot be used afterwards.

    The merged weights are computed in float32, whatever the backbone's precision.
    """
    plain: Any = model.float()
    if isinstance(model, PeftModel):
        plain = plain.merge_and_unload()
    inner = core(plain)
    head = inner.score
    bias = head.bias if head.bias is not None else torch.zeros(head.out_features)
    backbone = inner.backbone.eval().requires_grad_(False)
    return Tuned(backbone, head.weight.detach().cpu(), bias.detach().cpu())
