"""Heads that turn an encoder's features into scores, with numpy.

Input: features, shape (rows, width). Output: scores, shape (rows, dimensions). A fitted head is a few arrays;
`potstill.students.head_fitting` fits one in seconds on precomputed features. The features of frozen encoders share a
large common component and differ in length, so their heads begin with centring: scale to unit length, subtract the
training rows' mean, scale to unit length again. The mean is part of the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from potstill.errors import BundleError
from potstill.students.levels import Levels
from potstill.students.ordinal import OrdinalHead, kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from potstill.types import FloatArray, IntArray

_BLOCK = 1_000
"""Number of rows whose kernel is held in memory at once."""

_MEDIAN = "median-"
_LEVELS = {"levels", "level_counts"}


@dataclass(frozen=True)
class Centring:
    """Centres features: scales each encoder's part to unit length, subtracts `mean` (width,), scales again.

    `widths` are the widths of the parts if features of several encoders are joined; all parts have the same weight, and
    a whole row has length 1.
    """

    mean: FloatArray
    widths: IntArray

    @classmethod
    def of(cls, features: NDArray[Any], widths: Sequence[int]) -> Centring:
        """Compute the mean of training features, shape (rows, width)."""
        parts = np.asarray(widths, dtype=np.int64)
        nothing = cls(np.zeros(features.shape[1]), parts)
        return cls(np.concatenate([part.mean(axis=0) for part in nothing.unit_parts(features)]), parts)

    def unit_parts(self, features: NDArray[Any]) -> list[FloatArray]:
        """Return the features of each encoder, float64, with rows of length 1."""
        whole: FloatArray = features.astype(np.float64)
        return [_unit(part) for part in np.split(whole, np.cumsum(self.widths)[:-1], axis=1)]

    def apply(self, features: NDArray[Any]) -> FloatArray:
        """Return centred features, float64, same shape."""
        means = np.split(self.mean, np.cumsum(self.widths)[:-1])
        parts = [_unit(part - mean) for part, mean in zip(self.unit_parts(features), means, strict=True)]
        return np.asarray(np.concatenate(parts, axis=1) / np.sqrt(len(parts)))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the mean and the widths."""
        return {"mean": self.mean, "widths": self.widths}


@dataclass(frozen=True)
class LinearHead:
    """Features times `weights` (width, dimensions) plus `bias` (dimensions,), with centring if there is one."""

    weights: NDArray[Any]
    bias: NDArray[Any]
    centring: Centring | None = None
    kind: ClassVar[str] = "linear"

    @property
    def width(self) -> int:
        """Expected number of features."""
        return int(self.weights.shape[0])

    @property
    def outputs(self) -> int:
        """Number of scores per text."""
        return int(self.bias.size)

    def predict(self, features: NDArray[Any]) -> FloatArray:
        """Predict scores, shape (rows, dimensions), float64."""
        ready = features.astype(np.float64) if self.centring is None else self.centring.apply(features)
        return np.asarray(ready @ self.weights.astype(np.float64) + self.bias, dtype=np.float64)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays that define the head."""
        own: dict[str, NDArray[Any]] = {"weights": self.weights, "bias": self.bias}
        return own | (self.centring.arrays() if self.centring else {})


@dataclass(frozen=True)
class KernelRegressionHead:
    """RBF kernel regression: exp(-gamma |x - v|^2) times `dual` (vectors, dimensions), plus `bias`.

    `vectors` (vectors, width) are centred training rows; `gamma` has shape (1,).
    """

    centring: Centring
    vectors: NDArray[np.float32]
    dual: FloatArray
    bias: FloatArray
    gamma: FloatArray
    kind: ClassVar[str] = "support-vectors"

    @property
    def width(self) -> int:
        """Expected number of features."""
        return int(self.vectors.shape[1])

    @property
    def outputs(self) -> int:
        """Number of scores per text."""
        return int(self.bias.size)

    def predict(self, features: NDArray[Any]) -> FloatArray:
        """Predict scores, shape (rows, dimensions), float64."""
        scores = np.empty((features.shape[0], self.bias.size))
        vectors = self.vectors.astype(np.float64)
        for start in range(0, features.shape[0], _BLOCK):
            ready = self.centring.apply(features[start : start + _BLOCK])
            scores[start : start + _BLOCK] = rbf(ready, vectors, float(self.gamma[0])) @ self.dual + self.bias
        return scores

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays that define the head."""
        own: dict[str, NDArray[Any]] = {
            "vectors": self.vectors,
            "dual": self.dual,
            "bias": self.bias,
            "gamma": self.gamma,
        }
        return own | self.centring.arrays()


@dataclass(frozen=True)
class MedianHead:
    """Medians of predicted distributions: `base` predicts the probability of a score at most each level."""

    base: LinearHead | KernelRegressionHead
    levels: Levels

    @property
    def kind(self) -> str:
        """The kind of `base`, prefixed with `median-`."""
        return _MEDIAN + self.base.kind

    @property
    def width(self) -> int:
        """Expected number of features."""
        return self.base.width

    @property
    def outputs(self) -> int:
        """Number of scores per text."""
        return int(self.levels.counts.size)

    def predict(self, features: NDArray[Any]) -> FloatArray:
        """Predict scores, shape (rows, dimensions), float64; nearly all are levels that occur among the labels."""
        return self.levels.median(self.base.predict(features))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays that define the head."""
        return self.base.arrays() | self.levels.arrays()


AnyHead = LinearHead | KernelRegressionHead | MedianHead | OrdinalHead


def from_arrays(kind: str, arrays: Mapping[str, NDArray[Any]]) -> AnyHead:
    """Rebuild a head from its arrays.

    Raises:
        BundleError: the kind is unknown, an array is missing or unexpected, shapes do not match, or a number is not
            finite.
    """
    ordinal = kind_of(kind)
    if ordinal is None and not kind.startswith(_MEDIAN):
        return _plain_head(kind, arrays)
    own = {name: array for name, array in arrays.items() if name not in _LEVELS}
    if not set(arrays) >= _LEVELS or not np.isfinite(arrays["levels"]).all():
        raise BundleError(f"head: a {kind} head has finite levels, got {sorted(arrays)}")
    base = _plain_head("linear" if ordinal else kind.removeprefix(_MEDIAN), own)
    if ordinal is not None and isinstance(base, LinearHead):
        return OrdinalHead(base, Levels.from_arrays(arrays, base.outputs), *ordinal)
    return MedianHead(base, Levels.from_arrays(arrays, base.outputs))


def _plain_head(kind: str, arrays: Mapping[str, NDArray[Any]]) -> LinearHead | KernelRegressionHead:
    expected = {"linear": ({"weights", "bias"}, {"mean", "widths"}), "support-vectors": (
        {"vectors", "dual", "bias", "gamma", "mean", "widths"}, set())}  # fmt: skip
    if kind not in expected:
        raise BundleError(f"head: unknown kind {kind!r}; known: {', '.join(expected)}, each with or without {_MEDIAN}")
    needed, optional = expected[kind]
    present = set(arrays)
    if present not in (needed, needed | optional):
        raise BundleError(f"head: a {kind} head has the arrays {sorted(needed)}, got {sorted(present)}")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise BundleError(f"head: {name} holds a number that is not finite")
    centring = Centring(arrays["mean"], arrays["widths"]) if "mean" in present else None
    rows, outputs = ("weights", arrays["weights"]) if kind == "linear" else ("dual", arrays["dual"])
    width = arrays["weights"].shape[0] if kind == "linear" else arrays["vectors"].shape[1]
    if outputs.ndim != 2 or outputs.shape[1:] != arrays["bias"].shape:
        raise BundleError(f"head: {rows} {outputs.shape} and bias {arrays['bias'].shape} do not fit")
    if centring is not None and (centring.mean.shape != (width,) or int(centring.widths.sum()) != width):
        raise BundleError(f"head: mean {centring.mean.shape} and widths do not fit a width of {width}")
    if kind == "linear":
        return LinearHead(arrays["weights"], arrays["bias"], centring)
    if arrays["vectors"].shape[0] != arrays["dual"].shape[0] or arrays["gamma"].shape != (1,) or centring is None:
        raise BundleError("head: vectors, dual and gamma do not fit")
    return KernelRegressionHead(centring, arrays["vectors"], arrays["dual"], arrays["bias"], arrays["gamma"])


def _unit(rows: FloatArray) -> FloatArray:
    # An empty text can have features of length 0; these stay 0.
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(length > 0.0, length, 1.0))


def rbf(rows: FloatArray, vectors: FloatArray, gamma: float) -> FloatArray:
    """Compute exp(-gamma |row - vector|^2), shape (rows, vectors)."""
    distance = (rows**2).sum(axis=1)[:, None] + (vectors**2).sum(axis=1) - 2.0 * rows @ vectors.T
    # Rounding can make the distance of a row to itself slightly negative.
    return np.asarray(np.exp(-gamma * np.maximum(distance, 0.0)))
