"""Torch, the backend of bundles that hold an adapter and a head, for bases too large to be part of a bundle.

Input: an adapter's tensors, and the base's name and hash. Output: an encoder that runs the base, verified by its hash,
with the adapter merged in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.errors import BadInput, BundleError
from potstill.files import read_json
from potstill.students.recipes import Lora
from potstill.students.torch.adapted import AdaptedEncoder

if TYPE_CHECKING:
    from pathlib import Path

    from potstill.students.encoding import EncoderFacts


def open_adapter(folder: Path, lora: Path, facts: EncoderFacts, *, device: str = "auto") -> AdaptedEncoder:
    """Find the base, check that it is the one the adapter was trained on, and merge the adapter into it.

    Args:
        folder: folder with the adapter's tensors, `adapter.safetensors`.
        lora: JSON file with the adapter's configuration.
        facts: description of the encoder; its `backbone_sha256` pins the base.
        device: where it runs: `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        MissingModel: the base is not on this machine.
        BundleError: the base has other weights, or the adapter does not match it; the message names the file.
    """
    try:
        content = read_json(lora)
    except BadInput as error:
        raise BundleError(str(error)) from None
    shape = Lora.validated(content, str(lora), error=BundleError)
    settings = facts.model_dump(mode="json") | {"trained": True, "adapter": shape.model_dump(mode="json")}
    return AdaptedEncoder.restore(settings, folder, device=device)
