"""Bundles: the trained model on disk, with the hash of every file and golden texts with their scores.

Input: a fitted student, its filter and a calibration. Output: a folder that is verified whenever it is loaded and never
changes. It contains no executable code: only safetensors, JSON, ONNX and tokenizer files. There are two kinds: a
self-contained bundle, which any CPU can score with without torch, and an adapter with a head, pinned to its base by
hash.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from potstill.bundle.layout import BUNDLE_LAYOUT, Kind
from potstill.bundle.reading import Bundle, Verification, load_bundle, verify_bundle

if TYPE_CHECKING:
    from potstill.bundle.writing import EncoderFiles, write_bundle

_WRITING = {
    "EncoderFiles": "writing",
    "write_bundle": "writing",
}
"""Names needed only for making a bundle, and their modules; imported on first use, since scoring never needs them."""

__all__ = [
    "BUNDLE_LAYOUT",
    "Bundle",
    "EncoderFiles",
    "Kind",
    "Verification",
    "load_bundle",
    "verify_bundle",
    "write_bundle",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the module holds under the name
    if name not in _WRITING:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WRITING[name]}"), name)
