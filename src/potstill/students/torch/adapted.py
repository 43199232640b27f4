"""An encoder with a LoRA adapter: only the adapter and the hash of its backbone are stored on disk.

Input: a trained adapter's tensors, or a folder that holds them. Output: an encoder with the adapter merged into the
backbone. It is as fast as the backbone, and takes tens of megabytes on disk where the whole network would take
gigabytes.
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
from potstill.students.torch.model import ScoreModel, merged, part_of, with_adapter
from potstill.students.torch.pooling import Learned

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn
    from transformers import PreTrainedTokenizerBase

ADAPTER = "adapter.safetensors"
_POOLING = "base_model.model.learned."
"""Prefix of learned pooling parameters in an adapter's file, which students of earlier versions may have."""


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
        """Return the facts, and the adapter's configuration."""
        return super().settings() | {"adapter": self.lora.model_dump(mode="json")}

    def save(self, folder: Path) -> None:
        """Write the adapter; the backbone is found by its name and hash."""
        with replacing(folder / ADAPTER) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in self.adapter.items()}, temporary)

    @classmethod
    def restore(
        cls, settings: Mapping[str, Any], folder: Path, *, device: str = "cpu", cache: Path | None = None
    ) -> AdaptedEncoder:
        """Find the backbone and merge the adapter in `folder` into it.

        Raises:
            BundleError: the backbone found has other weights, or the adapter is missing, broken or does not match.
            MissingModel: the backbone was not found.
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
        network, learned = merge_adapter(as_read(backbone.load_model(), facts), facts, lora, adapter, str(path))
        tokenizer = backbone.load_tokenizer()
        return cls(network, tokenizer, facts, lora=lora, adapter=adapter, learned=learned, device=device)


def adapter_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the tensors of a model's adapter, by name, in float32 on the CPU."""
    return {
        name: parameter.detach().float().cpu().clone()
        for name, parameter in model.named_parameters()
        if part_of(name) == "adapter"
    }


def merge_adapter(
    backbone: nn.Module, facts: EncoderFacts, lora: Lora, adapter: Mapping[str, torch.Tensor], where: str
) -> tuple[nn.Module, Learned | None]:
    """Return the backbone with an adapter merged in, in float32, and the learned pooling parameters.

    Raises:
        BundleError: a tensor is missing, unknown or has another shape; `where` names the file.
    """
    # The head is not part of an encoder, so a head with one score is a placeholder while the adapter is loaded.
    model = with_adapter(ScoreModel(backbone, facts.width, 1, pooling=facts.pooling, bias=False), lora)
    learned = Learned.of(facts)
    places = {name: parameter for name, parameter in model.named_parameters() if part_of(name) == "adapter"}
    if learned is not None:
        places |= {_POOLING + name: parameter for name, parameter in learned.named_parameters()}
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
    return merged(model).backbone, learned
