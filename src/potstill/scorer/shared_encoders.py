"""Shared encoders: an encoder that several bundles use is opened once, and reads each text of a pass once.

Input: bundles' manifests, which hold the hash of every graph and tokenizer. Output: encoders. Two bundles whose
encoders have the same files share one. For two encoders that share only a tokenizer, texts are tokenized once.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from potstill.backends.graph import GraphEncoder
from potstill.backends.plan import open_variant
from potstill.bundle.layout import file_name
from potstill.bundle.reading import open_encoder
from potstill.files import digest
from potstill.students.neural import JoinedEncoder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from potstill.backends.plan import Variant
    from potstill.bundle.layout import Manifest
    from potstill.students import Encoder
    from potstill.types import BoolArray

_ORIGIN_FACTS = {"backbone", "backbone_sha256"}
"""Facts of an encoder that describe its origin and do not affect what its graph computes."""

_NETWORK_FACTS = {"width", "pooling", "layers", "queries", "mixed", "bidirectional"}
"""Facts that describe how tokens are processed, and do not affect which tokens are read."""


class SharedEncoders:
    """The encoders of several bundles; `open` is an opener for `load_bundle`."""

    def __init__(self) -> None:
        self._encoders: dict[str, SharedEncoder] = {}
        self._tokens: dict[str, _SharedTokens] = {}
        self._lock = threading.RLock()

    @property
    def names(self) -> frozenset[str]:
        """Names of the open encoders."""
        return frozenset(self._encoders)

    def keep(self, names: frozenset[str]) -> None:
        """Close all other encoders."""
        self._encoders = {name: encoder for name, encoder in self._encoders.items() if name in names}

    def open(self, folder: Path, manifest: Manifest, variant: Variant, device: str = "auto") -> Encoder | None:
        """Open a bundle's encoder, as `bundle.reading.open_encoder` does, but reuse encoders that are already open.

        Raises:
            BundleError, MissingExtra, MissingModel: as `load_bundle`.
        """
        keys = encoder_keys(manifest)
        if not keys:
            return None
        parts = tuple(self._part(folder, manifest, index, key, variant, device) for index, key in enumerate(keys))
        return parts[0] if len(parts) == 1 else JoinedEncoder(parts)

    @contextmanager
    def one_pass(self) -> Iterator[None]:
        """Open a context in which each encoder reads a text only once; one pass at a time if there are any encoders."""
        with self._lock if self._encoders else nullcontext():
            try:
                yield
            finally:
                for encoder in self._encoders.values():
                    encoder.forget()
                for tokens in self._tokens.values():
                    tokens.forget()

    def _part(
        self, folder: Path, manifest: Manifest, index: int, key: str, variant: Variant, device: str
    ) -> SharedEncoder:
        name = digest([key, variant.model_dump(mode="json"), device])
        if name not in self._encoders:
            if manifest.kind == "adapter":
                encoder = open_encoder(folder, manifest, variant, device)
            else:
                model, tokenizer = (folder / file_name(file, index) for file in ("model", "tokenizer"))
                encoder = open_variant(variant, model, tokenizer, manifest.encoders[index])
            if encoder is None:
                raise TypeError(f"{folder}: a manifest with encoders opened none")
            self._encoders[name] = SharedEncoder(encoder, self._tokens_of(manifest, index))
        return self._encoders[name]

    def _tokens_of(self, manifest: Manifest, index: int) -> _SharedTokens | None:
        """Return the token cache of encoders that read the same tokens; None for an adapter, which torch tokenizes."""
        if manifest.kind == "adapter":
            return None
        facts = manifest.encoders[index].model_dump(mode="json", exclude=_ORIGIN_FACTS | _NETWORK_FACTS)
        key = digest([manifest.files[file_name("tokenizer", index)], facts])
        tokens = self._tokens.setdefault(key, _SharedTokens())
        tokens.readers += 1
        return tokens


class SharedEncoder:
    """An encoder that several students use: within a pass each text is encoded once.

    `encoded` counts the texts that it has read.
    """

    def __init__(self, encoder: Encoder, tokens: _SharedTokens | None = None) -> None:
        self._encoder = encoder
        self._tokens = tokens
        self._features: dict[str, NDArray[np.float32]] = {}
        self.width = encoder.width
        self.widths: tuple[int, ...] = getattr(encoder, "widths", (encoder.width,))
        self.encoded = 0

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the features, shape (texts, width), in input order."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._features]
        if missing:
            self._features.update(zip(missing, self._read(missing), strict=True))
            self.encoded += len(missing)
        if not texts:
            return np.zeros((0, self.width), dtype=np.float32)
        return np.stack([self._features[text] for text in texts])

    def truncated(self, texts: Sequence[str]) -> BoolArray:
        """Return which texts are too long for the encoder."""
        return self._encoder.truncated(texts)

    def forget(self) -> None:
        """End a pass and clear the cached features."""
        self._features.clear()

    def _read(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self._tokens is None or self._tokens.readers == 1 or not isinstance(self._encoder, GraphEncoder):
            return self._encoder.encode(texts)
        return self._encoder.features(self._tokens.of(self._encoder, texts))


class _SharedTokens:
    """Tokens of a pass's texts, for `readers` encoders with the same tokenizer and maximum length."""

    def __init__(self) -> None:
        self.readers = 0
        self._known: dict[str, list[int]] = {}

    def of(self, encoder: GraphEncoder, texts: Sequence[str]) -> list[list[int]]:
        missing = [text for text in texts if text not in self._known]
        self._known.update(zip(missing, encoder.tokens(missing), strict=True))
        return [self._known[text] for text in texts]

    def forget(self) -> None:
        self._known.clear()


def encoder_keys(manifest: Manifest) -> list[str]:
    """Return a key for each of a bundle's encoders, in order; equal keys mean equal features."""
    names = ("adapter", "lora") if manifest.kind == "adapter" else ("model", "tokenizer")
    # An adapter's base is identified only by its hash; a graph contains all its weights.
    left_out = {"backbone"} if manifest.kind == "adapter" else _ORIGIN_FACTS
    keys = []
    for index, facts in enumerate(manifest.encoders):
        files: list[Any] = [manifest.files[file_name(name, index)] for name in names]
        keys.append(digest([manifest.kind, *files, facts.model_dump(mode="json", exclude=left_out)]))
    return keys
