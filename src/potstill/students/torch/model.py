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
from potstill.students.torch.pooling import Learned, features, states

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from potstill.students.encoding import Pooling
    from potstill.students.recipes import FineTunedRecipe, Lora
    from potstill.types import FloatArray

Part = Literal["base", "adapter", "pooling", "head", "head_copy"]

HEAD = "score"
_POOLING = "learned"
_PEFT = "base_model.model."


class ScoreModel(nn.Module):
    """Maps token ids to the head's outputs, shape (texts, outputs), float32: scores, or logits of levels."""

    def __init__(
        self,
        backbone: nn.Module,
        width: int,
        outputs: int,
        *,
        pooling: Pooling,
        bias: bool,
        layers: Sequence[int] = (),
        queries: int = 0,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = trim(backbone)
        self.pooling: Pooling = pooling
        self.layers = tuple(layers)
        self.frozen = frozen
        learns = bool(queries or layers)
        self.learned = Learned(width, queries=queries, layers=len(self.layers)) if learns else None
        self.score = nn.Linear(width * max(1, queries), outputs, bias=bias)
        self._read: dict[bytes, torch.Tensor] = {}
        if frozen:
            backbone.requires_grad_(False)
            backbone.eval()

    def train(self, mode: bool = True) -> ScoreModel:  # noqa: FBT001, FBT002 - torch's signature
        """Set training or evaluation mode; a frozen backbone has no dropout in either."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def remember(self, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Encode texts once and keep the results, so that a frozen backbone does not run on them in every epoch.

        Args:
            batches: token ids and attention masks, padded right, on the backbone's device.
        """
        with torch.no_grad():
            for ids, mask in batches:
                found = torch.stack(states(self.backbone, ids, mask, self.layers), dim=1).float().cpu()
                for row, key in enumerate(_keys(ids, mask)):
                    self._read[key] = found[row, :, : int(mask[row].sum())].clone()

    def features(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return the head's input, shape (texts, features), float32."""
        hidden = self._remembered(input_ids, attention_mask)
        if hidden is None:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
                hidden = states(self.backbone, input_ids, attention_mask, self.layers)
        # bfloat16 is too coarse for weights of hundreds of tokens and for scores from 0 to 10.
        with torch.autocast(input_ids.device.type, enabled=False):
            return features(hidden, attention_mask, self.pooling, self.learned)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return raw outputs."""
        features = self.features(input_ids, attention_mask)
        with torch.autocast(features.device.type, enabled=False):
            scores: torch.Tensor = self.score(features)
        return scores

    def _remembered(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, ...] | None:
        """Return the layers' states if all texts are cached, else None."""
        known = [self._read.get(key) for key in _keys(ids, mask)] if self._read else [None]
        rows = [row for row in known if row is not None]
        if len(rows) < len(known):
            return None
        # Cached texts are padded to the batch's length; the padding is masked.
        hidden = rows[0].new_zeros(len(rows), rows[0].shape[0], ids.shape[1], rows[0].shape[2])
        for place, row in enumerate(rows):
            hidden[place, :, : row.shape[1]] = row
        return hidden.to(ids.device).unbind(dim=1)


def _keys(ids: torch.Tensor, mask: torch.Tensor) -> list[bytes]:
    """Return each text's tokens as bytes, without the padding on the right."""
    lengths = mask.sum(dim=1).tolist()
    return [row[:length].tobytes() for row, length in zip(ids.cpu().numpy(), lengths, strict=True)]


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
    layers: Sequence[int] | None = None,
) -> nn.Module:
    """Build the module that a recipe trains, with the trainable parameters marked; random parts use torch's RNG.

    Args:
        backbone: a transformers encoder or decoder without a head; changed in place.
        width: its hidden size.
        outputs: number of outputs of the head.
        recipe: its adapter, frozen parts, pooling and head bias are used.
        start: initial value of the head's bias, shape (outputs,), so that training need not first find the level of the
            labels; ignored by a head without bias.
        layers: the hidden layers that are mixed, by their indices from the embeddings; default: as the recipe names
            them.

    Raises:
        RecipeError: the adapter's target layers are not in this backbone.
    """
    model = ScoreModel(
        backbone,
        width,
        outputs,
        pooling=recipe.pooling,
        bias=recipe.head_bias,
        layers=recipe.layers if layers is None else layers,
        queries=recipe.learned_queries,
        frozen=recipe.freeze_backbone,
    )
    if start is not None and recipe.head_bias:
        with torch.no_grad():
            model.score.bias.copy_(torch.from_numpy(start))
    if recipe.lora is not None:
        return with_adapter(model, recipe.lora)
    if recipe.freeze_embeddings and not recipe.freeze_backbone:
        for parameter in embedding_parameters(backbone):
            parameter.requires_grad_(False)
    return model


def with_adapter(model: ScoreModel, lora: Lora) -> nn.Module:
    """Add a LoRA adapter to the backbone's target layers; only adapter, learned pooling and head are trainable.

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
    adapted: nn.Module = get_peft_model(model, config, low_cpu_mem_usage=meta)
    if model.learned is not None:
        model.learned.requires_grad_(True)
    return adapted


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
    if own.startswith(f"{_POOLING}."):
        return "pooling"
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
    learned: Learned | None
    """Learned pooling parameters."""


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
    return Tuned(backbone, head.weight.detach().cpu(), bias.detach().cpu(), inner.learned)
