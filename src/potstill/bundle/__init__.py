"""The trained artefact on disk: a declared layout, the hash of every file, and golden texts with their scores.

In: a fitted student, its filter and a calibration. Out: a folder that proves itself whenever it is loaded and
never changes. Nothing in it can run code: safetensors, JSON, ONNX and tokenizer files only. Two kinds: a
self-contained one, which any CPU scores without torch, and an adapter with a head, pinned to its base by hash.
"""

from potstill.bundle.building import build_bundle, choose_for_all
from potstill.bundle.layout import BUNDLE_LAYOUT, Kind
from potstill.bundle.reading import Bundle, Verification, load_bundle, verify_bundle
from potstill.bundle.writing import EncoderFiles, write_bundle

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
