"""Torch: the backend of bundles that hold an adapter and a head, for bases too large to be carried along.

In: an adapter's tensors and the base's name and hash. Out: the base, checked, with the adapter added to its
weights: W + alpha / rank * B A (Hu et al. 2021), in fp32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from potstill.errors import BadInput, BundleError
from potstill.files import read_json
from potstill.students.torch.backbones import WEIGHTS, find_backbone
from potstill.students.torch.encoder import TorchEncoder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from potstill.students.encoding import EncoderFacts

DOWN, UP = "lora_A", "lora_B"
"""The two matrices of an adapted layer, shapes (rank, in) and (out, rank), named `<layer>.lora_A`."""


class AdapterFacts(BaseModel):
    """`adapter.json`: what the tensors alone do not say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(ge=1)
    alpha: float = Field(gt=0)
    layers: tuple[str, ...] = Field(min_length=1)
    """The adapted layers, by their names in the base."""


def open_adapter(tensors: Path, adapter: Path, facts: EncoderFacts, *, device: str = "auto") -> TorchEncoder:
    """Find the base, check that it is the one the adapter was trained on, and add the adapter to it.

    Args:
        tensors: `adapter.safetensors`.
        adapter: `adapter.json`.
        facts: what the encoder is; its `backbone_sha256` pins the base.
        device: where it runs: `auto`, `cpu`, `cuda`, `mps`.

    Raises:
        MissingModel: the base is not on this machine.
        BundleError: the base has other weights, or the adapter does not fit it; the message names the file.
    """
    backbone = find_backbone(facts.backbone)
    if backbone.sha256 != facts.backbone_sha256:
        raise BundleError(
            f"{backbone.folder / WEIGHTS}: SHA-256 is {backbone.sha256}; the adapter was trained on "
            f"{facts.backbone_sha256}"
        )
    model = backbone.load_model()
    try:
        add_adapter(model, load_file(tensors), AdapterFacts.model_validate(read_json(adapter)))
    except ValidationError as error:
        raise BundleError(f"{adapter}: {error.errors()[0]['msg']}") from None
    except SafetensorError as error:
        raise BundleError(f"{tensors}: not a whole safetensors file ({error})") from None
    except BadInput as error:
        raise BundleError(f"{tensors}: {error}") from None
    return TorchEncoder(model, backbone.load_tokenizer(), facts, trained=True, device=device)


def add_adapter(model: torch.nn.Module, tensors: Mapping[str, torch.Tensor], adapter: AdapterFacts) -> None:
    """Add an adapter to a base's weights, in place.

    Raises:
        BundleError: a tensor is missing, unknown or of another shape, or a layer is not in the base.
    """
    expected = {f"{layer}.{part}" for layer in adapter.layers for part in (DOWN, UP)}
    for name in sorted(expected ^ set(tensors)):
        raise BundleError(f"the tensor {name} is {'missing' if name in expected else 'unknown'}")
    layers: dict[str, Any] = dict(model.named_modules())
    with torch.no_grad():
        for layer in adapter.layers:
            if not isinstance(layers.get(layer), torch.nn.Linear):
                raise BundleError(f"the base has no linear layer {layer}")
            weight = layers[layer].weight
            down, up = (tensors[f"{layer}.{part}"].float() for part in (DOWN, UP))
            if down.shape != (adapter.rank, weight.shape[1]) or up.shape != (weight.shape[0], adapter.rank):
                raise BundleError(
                    f"{layer}: shapes {tuple(down.shape)} and {tuple(up.shape)} do not fit rank {adapter.rank} "
                    f"and the base's {tuple(weight.shape)}"
                )
            weight.add_((up @ down) * (adapter.alpha / adapter.rank))
