"""How far a text is from the training texts: what a student measures to tell that it does not know a kind of text.

Input: the features, or the words, of training texts. Output: a few arrays that give a distance for any text: for a
student with an encoder, how far the features are from those of the nearest training texts; for a student that counts
words, the share of words that no training text has. `calibration.familiarity` turns distances into p-values.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from potstill.errors import BundleError, require
from potstill.students.heads import Centring
from potstill.students.words import words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from potstill.types import FloatArray, IntArray

NOVELTY = "novelty."
"""Beginning of the names of its arrays among those of a student."""

COMPONENTS = 64
"""Number of principal components in which distances are measured."""

NEIGHBOURS = 5
"""Number of nearest training texts whose distances are averaged."""

MOST_VECTORS = 4_000
"""Maximum number of training texts that are kept, drawn at random; 64 components of them take 0.5 MB."""

_BLOCK = 256
"""Number of texts whose distances are held in memory at once."""


@dataclass(frozen=True)
class FeatureNovelty:
    """Distances of features to the nearest training texts.

    The features of each encoder are scaled to unit length, less their mean, and projected on principal components of
    the training texts. Unlike those of a head, they are not scaled again: texts of another kind are farther from the
    mean. The squared distance to a training text is measured in these components; what they leave out of a text is
    added, because a text of another kind may lie outside of them.

    `components` have shape (components, width), `vectors` (training texts, components); both are float16.
    """

    centring: Centring
    components: NDArray[np.float16]
    vectors: NDArray[np.float16]

    @classmethod
    def fit(cls, features: NDArray[Any], widths: Sequence[int], *, seed: int = 0) -> FeatureNovelty:
        """Find the principal components of training texts, and keep the texts' coordinates.

        Args:
            features: shape (rows, width), of at least `NEIGHBOURS` rows.
            widths: widths of the parts of the features, as in `Centring`.
            seed: random seed for sampling and for the decomposition (Halko, Martinsson & Tropp 2011).

        Raises:
            MissingExtra: scikit-learn is not installed.
        """
        extmath = require("sklearn.utils.extmath", "train")
        if len(features) > MOST_VECTORS:
            features = features[np.sort(np.random.default_rng(seed).choice(len(features), MOST_VECTORS, replace=False))]
        centring = Centring.of(features, widths)
        ready = _centred(centring, features)
        count = min(COMPONENTS, *ready.shape)
        _, _, components = extmath.randomized_svd(ready, n_components=count, random_state=seed)
        kept = components.astype(np.float16)
        return cls(centring, kept, (ready @ kept.T.astype(np.float64)).astype(np.float16))

    @property
    def width(self) -> int:
        """Expected number of features."""
        return int(self.components.shape[1])

    @cached_property
    def _ready(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """The components (width, components), the vectors (components, rows) and their squared lengths."""
        vectors = self.vectors.astype(np.float32)
        across = np.ascontiguousarray(self.components.astype(np.float32).T)
        return across, np.ascontiguousarray(vectors.T), np.asarray((vectors**2).sum(axis=1))

    def distances(self, features: NDArray[Any]) -> FloatArray:
        """Return the mean distance of each text to its nearest training texts, shape (rows,)."""
        components, vectors, lengths = self._ready
        nearest = min(NEIGHBOURS, len(lengths))
        found = np.empty(len(features))
        for start in range(0, len(features), _BLOCK):
            ready = _centred(self.centring, features[start : start + _BLOCK]).astype(np.float32)
            places = ready @ components
            own = (places**2).sum(axis=1)
            outside = np.maximum((ready**2).sum(axis=1) - own, 0)
            squared = lengths - 2 * (places @ vectors)
            few = squared if nearest == len(lengths) else np.partition(squared, nearest - 1, axis=1)[:, :nearest]
            found[start : start + _BLOCK] = np.sqrt(np.maximum(few + (own + outside)[:, None], 0)).mean(axis=1)
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays."""
        return {"components": self.components, "vectors": self.vectors} | self.centring.arrays()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> FeatureNovelty:
        """Rebuild it from `arrays`.

        Raises:
            BundleError: the arrays do not fit together.
        """
        components, vectors, mean, widths = (arrays[name] for name in ("components", "vectors", "mean", "widths"))
        fits = components.ndim == vectors.ndim == 2 and vectors.shape[1] == components.shape[0] and len(vectors)
        if not fits or mean.shape != (components.shape[1],) or widths.ndim != 1 or widths.sum() != mean.size:
            raise BundleError(
                f"novelty: components {components.shape}, vectors {vectors.shape}, mean {mean.shape} and widths "
                f"{widths.tolist()} do not fit together"
            )
        return cls(Centring(mean, widths), components, vectors)


@dataclass(frozen=True)
class WordNovelty:
    """Share of a text's different words that occur in no training text; `hashes` are sorted CRC-32 of known words.

    A language without spaces between words gives long runs of characters as words, most of which are unknown in any
    text, so that this distance tells little about it.
    """

    hashes: NDArray[np.uint32]

    @classmethod
    def fit(cls, texts: Iterable[str]) -> WordNovelty:
        """Collect the words of training texts."""
        known: set[int] = set()
        for text in texts:
            known.update(_hashes(text).tolist())
        return cls(np.array(sorted(known), dtype=np.uint32))

    def distances(self, texts: Iterable[str]) -> FloatArray:
        """Return the share of unknown words of each text, 0 to 1, shape (texts,); 1 for a text without words."""
        return np.array([self._share(text) for text in texts], dtype=np.float64)

    def _share(self, text: str) -> float:
        own = _hashes(text)
        if not own.size:
            return 1.0
        places = np.minimum(np.searchsorted(self.hashes, own), len(self.hashes) - 1)
        return float((self.hashes[places] != own).mean())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the hashes."""
        return {"hashes": self.hashes}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> WordNovelty:
        """Rebuild it from `arrays`.

        Raises:
            BundleError: these are not sorted hashes.
        """
        hashes = arrays["hashes"]
        sound = hashes.ndim == 1 and hashes.dtype == np.uint32 and hashes.size
        if not sound or (np.diff(hashes.astype(np.int64)) <= 0).any():
            raise BundleError("novelty: the hashes of known words are not sorted 32-bit numbers")
        return cls(hashes)


Novelty = FeatureNovelty | WordNovelty


def novelty_arrays(novelty: Novelty | None) -> dict[str, NDArray[Any]]:
    """Return its arrays with names that start with `NOVELTY`; none for None."""
    return {} if novelty is None else {NOVELTY + name: array for name, array in novelty.arrays().items()}


def novelty_from(arrays: Mapping[str, NDArray[Any]]) -> Novelty | None:
    """Rebuild it from a student's arrays; None if none of their names starts with `NOVELTY`.

    Raises:
        BundleError: the arrays are of neither class, or do not fit together.
    """
    own = {name.removeprefix(NOVELTY): array for name, array in arrays.items() if name.startswith(NOVELTY)}
    if not own:
        return None
    if set(own) == {"hashes"}:
        return WordNovelty.from_arrays(own)
    if set(own) == {"components", "vectors", "mean", "widths"}:
        return FeatureNovelty.from_arrays(own)
    raise BundleError(f"novelty: unknown arrays {', '.join(sorted(own))}")


def unseen_distances(count: int, fold: IntArray, distances: Callable[[IntArray, IntArray], FloatArray]) -> FloatArray:
    """Return the distance of each row to the rows of the other folds, shape (count,).

    Args:
        count: number of rows.
        fold: fold of each row, shape (count,).
        distances: gets the indices of the rows to fit on and of those to measure, and returns the latter's distances.
    """
    found = np.empty(count)
    for number in np.unique(fold):
        outside = np.flatnonzero(fold == number)
        found[outside] = distances(np.flatnonzero(fold != number), outside)
    return found


def _centred(centring: Centring, features: NDArray[Any]) -> FloatArray:
    """Return features of unit length per encoder, less their mean, shape (rows, width)."""
    found: FloatArray = np.concatenate(centring.unit_parts(features), axis=1) - centring.mean
    return found


def _hashes(text: str) -> NDArray[np.uint32]:
    words = {zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in words_of(text.lower())}
    return np.array(sorted(words), dtype=np.uint32)
