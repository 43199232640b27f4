"""An encoder whose backbone was adapted: on disk it is the adapter alone, and the hash of what it adapts.

In: a trained adapter's tensors, or a folder that holds them. Out: an encoder that runs with the adapter merged
into the backbone, so that it is as fast as the backbone, and that saves tens of megabytes where the whole would
be gigabytes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from potstill.errors import BundleError
from potstill.files import replacing
from potstill.students.encoding import EncoderFacts
from potstill.students.recipes import Lora
from potstill.students.torch.backbones import find_backbone
from potstill.students.torch.encoder import TorchEncoder, as_read
from potstill.students.torch.model import ScoreModel, Tuned, merged, part_of, with_adapter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from potstill.students.torch.pooling import Learned

ADAPTER = "adapter.safetensors"
_KEPT = ("adapter", "pooling")
"""Parts of a model that an adapter's file holds."""


class AdaptedEncoder(TorchEncoder):
    """A `TorchEncoder` with a LoRA adapter merged in; `adapter` holds its tensors by name."""

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        facts: EncoderFacts,
        *,
        lora: Lora,
        adapter: Mapping[str, torch.Tensor],
        learned: Learned | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__(model, tokenizer, facts, trained=True, learned=learned, device=device)
        self.lora = lora
        self.adapter = adapter

    def settings(self) -> dict[str, Any]:
        """The facts, and the adapter's shape."""
        return super().settings() | {"adapter": self.lora.model_dump(mode="json")}

    def save(self, folder: Path) -> None:
        """Write the adapter, and what pooling learned; the backbone is found again by its name and its hash."""
        with replacing(folder / ADAPTER) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in self.adapter.items()}, temporary)

    @classmethod
    def restore(
        cls, settings: Mapping[str, Any], folder: Path, *, device: str = "cpu", cache: Path | None = None
    ) -> AdaptedEncoder:
        """Find the backbone and merge the adapter of `folder` into it.

        Raises:
            BundleError: the backbone found has other weights, or the adapter is missing, broken or does not fit.
            MissingModel: the backbone is not to be found.
        """
        del cache
        known = {name: value for name, value in settings.items() if name not in {"trained", "adapter"}}
        facts = EncoderFacts.model_validate_json(json.dumps(known))
        lora = Lora.model_validate_json(json.dumps(settings["adapter"]))
        backbone = find_backbone(facts.backbone)
        if backbone.sha256 != facts.backbone_sha256:
            raise BundleError(
                f"{backbone.folder}: the weights' SHA-256 is {backbone.sha256}; the adapter was made for "
                f"{facts.backbone_sha256}"
            )
        path = folder / ADAPTER
        try:
            adapter = load_file(path)
        except FileNotFoundError:
            raise BundleError(f"{path}: no such file") from None
        except SafetensorError as error:
            raise BundleError(f"{path}: not a whole safetensors file ({error})") from None
        tuned = merge_adapter(as_read(backbone.load_model(), facts), facts, lora, adapter, str(path))
        tokenizer = backbone.load_tokenizer()
        return cls(tuned.backbone, tokenizer, facts, lora=lora, adapter=adapter, learned=tuned.learned, device=device)


def adapter_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of a model's adapter and of what its pooling learns, by name, in float32 on the CPU."""
    return {
        name: parameter.detach().float().cpu().clone()
        for name, parameter in model.named_parameters()
        if part_of(name) in _KEPT
    }


def merge_adapter(
    backbone: nn.Module, facts: EncoderFacts, lora: Lora, adapter: Mapping[str, torch.Tensor], where: str
) -> Tuned:
    """The backbone with an adapter merged in, in float32, and what pooling learned beside it.

    Raises:
        BundleError: a tensor is missing, unknown or of another shape; `where` names the file.
    """
    # The head is not part of an encoder; one of a single score stands in its place while the adapter is put in.
    width = facts.width // max(1, facts.queries)
    layers = facts.layers if facts.mixed else ()
    bare = ScoreModel(backbone, width, 1, pooling=facts.pooling, bias=False, layers=layers, queries=facts.queries)
    model = with_adapter(bare, lora)
    places = {name: parameter for name, parameter in model.named_parameters() if part_of(name) in _KEPT}
    if set(places) != set(adapter):
        odd = sorted(set(places) ^ set(adapter))
        raise BundleError(f"{where}: {len(odd)} tensors are missing or unknown, such as {odd[0]}")
    with torch.no_grad():
        for name, parameter in places.items():
            if adapter[name].shape != parameter.shape:
                raise BundleError(f"{where}: {name} does not have the shape {tuple(parameter.shape)}")
            if not torch.isfinite(adapter[name]).all():
                raise BundleError(f"{where}: {name} holds a number that is not finite")
            parameter.copy_(adapter[name])
    return merged(model)
