"""Caches features on disk, so that a frozen backbone reads each text once.

Input: hashes of texts, and their features. Output: the features of known texts. Each folder belongs to one encoder.
Each call that adds features writes a new safetensors file atomically; existing files are never changed. In a folder
that cannot be written, nothing is cached, and unknown features are computed again.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from potstill.files import replacing, writable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_DIGEST = 32


class FeatureCache:
    """Features with `width` values by a text's SHA-256, in `folder`."""

    def __init__(self, folder: Path, width: int) -> None:
        self.folder = folder
        self.width = width
        self._known: dict[bytes, NDArray[np.float32]] = {}
        self._read: set[str] = set()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """Return the features of known keys, each of shape (width,)."""
        self._refresh()
        return {key: self._known[key] for key in keys if key in self._known}

    def add(self, keys: Sequence[bytes], features: NDArray[np.float32]) -> None:
        """Cache features, shape (keys, width), if the folder can be written.

        Raises:
            BadInput: the disk is full.
        """
        if not writable(self.folder):
            return
        table = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, _DIGEST)
        # The name is a hash of the keys: two processes that encode the same texts write the same file.
        path = self.folder / f"{hashlib.sha256(table.tobytes()).hexdigest()[:32]}.safetensors"
        with replacing(path) as temporary:
            temporary.write_bytes(save({"keys": table.copy(), "features": np.ascontiguousarray(features)}))

    def _refresh(self) -> None:
        """Read files added since the last call, including those of other processes."""
        for path in sorted(self.folder.glob("*.safetensors")):
            if path.name in self._read:
                continue
            self._read.add(path.name)
            try:
                stored = load_file(path)
                rows, features = stored["keys"], stored["features"]
            except (SafetensorError, KeyError, OSError):
                # A broken file is ignored: its texts are encoded again.
                continue
            if features.shape != (rows.shape[0], self.width) or not np.isfinite(features).all():
                continue
            for row, feature in zip(rows, features, strict=True):
                self._known[row.tobytes()] = feature
