"""The trained artefact on disk: a declared layout, the hash of every file, and golden texts with their scores.

In: a fitted student, its filter and a calibration. Out: a folder that proves itself whenever it is loaded and
never changes. Nothing in it can run code: safetensors, JSON, ONNX and tokenizer files only. Two kinds: a
self-contained one, which any CPU scores without torch, and an adapter with a head, pinned to its base by hash.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from potstill.bundle.layout import BUNDLE_LAYOUT, Kind
from potstill.bundle.reading import Bundle, Verification, load_bundle, verify_bundle

if TYPE_CHECKING:
    from potstill.bundle.building import build_bundle, choose_for_all
    from potstill.bundle.writing import EncoderFiles, write_bundle

_WRITING = {
    "build_bundle": "building",
    "choose_for_all": "building",
    "EncoderFiles": "writing",
    "write_bundle": "writing",
}
"""What only making a bundle needs, and the module it is in: imported when it is asked for, since scoring never does."""

__all__ = [
    "BUNDLE_LAYOUT",
    "Bundle",
    "EncoderFiles",
    "Kind",
    "Verification",
    "build_bundle",
    "choose_for_all",
    "load_bundle",
    "verify_bundle",
    "write_bundle",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the module holds under the name
    if name not in _WRITING:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WRITING[name]}"), name)
