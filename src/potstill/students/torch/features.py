"""Caches features on disk, so that a frozen backbone reads each text once.

Input: hashes of texts, and their features. Output: the features of known texts. Each folder belongs to one encoder.
Each call that adds features writes a new safetensors file atomically; existing files are never changed. In a folder
that cannot be written, nothing is cached, and unknown features are computed again.

All runs share one cache in potstill's cache folder. It is kept below a size by removing the files that were not used
for the longest time; another process that reads such a file computes its features again.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from potstill.errors import BadInput
from potstill.files import replacing, writable
from potstill.students.storage import feature_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SIZE_VARIABLE = "POTSTILL_FEATURES_GB"
"""Environment variable with the maximum size of the shared cache in gigabytes."""

DEFAULT_GIGABYTES = 2.0
"""Its default: features of 1.3 million texts with 384 values each."""

_DIGEST = 32


def most_bytes() -> int:
    """Return the maximum size of the shared cache in bytes.

    Raises:
        BadInput: the environment variable is not a number of gigabytes.
    """
    text = os.environ.get(SIZE_VARIABLE) or str(DEFAULT_GIGABYTES)
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = math.nan
    if not 0 <= gigabytes < math.inf:
        raise BadInput(f"{SIZE_VARIABLE}: got {text!r}, expected a number of gigabytes of 0 or more")
    return int(gigabytes * 1e9)


class FeatureCache:
    """Features with `width` values by a text's SHA-256.

    Features are added to `folder`. They are read from it and from the folder of the same name in the shared cache.
    """

    def __init__(self, folder: Path, width: int) -> None:
        self.folder = folder
        self.width = width
        self._places: dict[bytes, tuple[Path, int]] = {}
        self._read: set[Path] = set()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """Return the features of known keys, each of shape (width,)."""
        self._refresh()
        wanted: dict[Path, list[tuple[bytes, int]]] = {}
        for key in keys:
            if key in self._places:
                path, row = self._places[key]
                wanted.setdefault(path, []).append((key, row))
        found: dict[bytes, NDArray[np.float32]] = {}
        for path, rows in wanted.items():
            features = self._features(path)
            if features is None:
                # The file is broken, or another process has removed it.
                for key, _ in rows:
                    self._places.pop(key, None)
                continue
            found.update({key: features[row] for key, row in rows})
        return found

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
        if self.folder.parent == feature_folder():
            remove_oldest(self.folder.parent, most_bytes())

    def _features(self, path: Path) -> NDArray[np.float32] | None:
        """Return the features in a file, and mark it as used; None if it cannot be used."""
        try:
            stored = load_file(path)
            rows, features = stored["keys"], stored["features"]
        except (SafetensorError, KeyError, OSError):
            return None
        if features.shape != (rows.shape[0], self.width) or not np.isfinite(features).all():
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return features

    def _refresh(self) -> None:
        """Find the texts in files added since the last call, including those of other processes."""
        for folder in dict.fromkeys((feature_folder() / self.folder.name, self.folder)):
            for path in sorted(folder.glob("*.safetensors")):
                if path in self._read:
                    continue
                self._read.add(path)
                try:
                    with safe_open(path, framework="numpy") as stored:
                        rows = stored.get_tensor("keys")
                except (SafetensorError, OSError):
                    # A broken file is ignored: its texts are encoded again.
                    continue
                self._places.update({row.tobytes(): (path, place) for place, row in enumerate(rows)})


def remove_oldest(root: Path, most: int) -> None:
    """Remove the files that were not used for the longest time, until the cache has at most so many bytes."""
    files: list[tuple[float, int, Path]] = []
    for path in root.glob("*/*.safetensors"):
        # Another process may be removing files, too.
        with contextlib.suppress(FileNotFoundError):
            facts = path.stat()
            files.append((facts.st_mtime, facts.st_size, path))
    size = sum(one[1] for one in files)
    for _, bytes_, path in sorted(files):
        if size <= most:
            return
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        size -= bytes_
