"""Heads: what turns an encoder's features into scores, in numpy.

In: features, shape (rows, width). Out: scores, shape (rows, dimensions). Fitting takes seconds on features that
were computed once; a fitted head is a few arrays. The features of frozen encoders share a large common part and
differ in length, so a head for them begins by centring: unit length, less the training rows' mean, unit length
again. That mean is part of the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from potstill.errors import BundleError, require
from potstill.students.ridge import choose, primal, same_mask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from potstill.records import FloatArray, IntArray
    from potstill.students.recipes import KernelHead, RidgeHead

_BLOCK = 1_000
"""Rows whose kernel is held in memory at once."""


@dataclass(frozen=True)
class Centring:
    """Makes features comparable: each encoder's part to unit length, less `mean` (width,), to unit length again.

    `widths` are the parts' widths where features of several encoders are joined; all parts weigh alike, and a
    whole row has length 1.
    """

    mean: FloatArray
    widths: IntArray

    @classmethod
    def of(cls, features: NDArray[Any], widths: Sequence[int]) -> Centring:
        """Learn the mean of training features, shape (rows, width)."""
        parts = np.asarray(widths, dtype=np.int64)
        nothing = cls(np.zeros(features.shape[1]), parts)
        return cls(np.concatenate([part.mean(axis=0) for part in nothing.unit_parts(features)]), parts)

    def unit_parts(self, features: NDArray[Any]) -> list[FloatArray]:
        """The features of each encoder, float64, rows of length 1."""
        whole: FloatArray = features.astype(np.float64)
        return [_unit(part) for part in np.split(whole, np.cumsum(self.widths)[:-1], axis=1)]

    def apply(self, features: NDArray[Any]) -> FloatArray:
        """Centred features, float64, same shape."""
        means = np.split(self.mean, np.cumsum(self.widths)[:-1])
        parts = [_unit(part - mean) for part, mean in zip(self.unit_parts(features), means, strict=True)]
        return np.asarray(np.concatenate(parts, axis=1) / np.sqrt(len(parts)))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The mean and the widths."""
        return {"mean": self.mean, "widths": self.widths}


@dataclass(frozen=True)
class LinearHead:
    """Features times `weights` (width, dimensions) plus `bias` (dimensions,), after centring where there is one."""

    weights: NDArray[Any]
    bias: NDArray[Any]
    centring: Centring | None = None
    kind: ClassVar[str] = "linear"

    @property
    def width(self) -> int:
        """Width of the features it was made for."""
        return int(self.weights.shape[0])

    def predict(self, features: NDArray[Any]) -> FloatArray:
        """Scores, shape (rows, dimensions), float64."""
        ready = features.astype(np.float64) if self.centring is None else self.centring.apply(features)
        return np.asarray(ready @ self.weights.astype(np.float64) + self.bias, dtype=np.float64)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that the head is."""
        own: dict[str, NDArray[Any]] = {"weights": self.weights, "bias": self.bias}
        return own | (self.centring.arrays() if self.centring else {})


@dataclass(frozen=True)
class KernelRegressionHead:
    """Sums of Gaussian bumps: exp(-gamma |x - v|^2) times `dual` (vectors, dimensions), plus `bias`.

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
        """Width of the features it was made for."""
        return int(self.vectors.shape[1])

    def predict(self, features: NDArray[Any]) -> FloatArray:
        """Scores, shape (rows, dimensions), float64."""
        scores = np.empty((features.shape[0], self.bias.size))
        vectors = self.vectors.astype(np.float64)
        for start in range(0, features.shape[0], _BLOCK):
            ready = self.centring.apply(features[start : start + _BLOCK])
            scores[start : start + _BLOCK] = rbf(ready, vectors, float(self.gamma[0])) @ self.dual + self.bias
        return scores

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that the head is."""
        own: dict[str, NDArray[Any]] = {
            "vectors": self.vectors,
            "dual": self.dual,
            "bias": self.bias,
            "gamma": self.gamma,
        }
        return own | self.centring.arrays()


AnyHead = LinearHead | KernelRegressionHead


def from_arrays(kind: str, arrays: Mapping[str, NDArray[Any]]) -> AnyHead:
    """The head that `arrays` came from.

    Raises:
        BundleError: the kind is unknown, an array is missing or not expected, shapes do not fit, or a number is
            not finite.
    """
    expected = {"linear": ({"weights", "bias"}, {"mean", "widths"}), "support-vectors": (
        {"vectors", "dual", "bias", "gamma", "mean", "widths"}, set())}  # fmt: skip
    if kind not in expected:
        raise BundleError(f"head: unknown kind {kind!r}; known: {', '.join(expected)}")
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


def fit_head(
    recipe: RidgeHead | KernelHead,
    features: NDArray[Any],
    scores: FloatArray,
    clusters: IntArray,
    *,
    widths: Sequence[int] | None = None,
    seed: int = 0,
) -> AnyHead:
    """Fit the head a recipe asks for, on features (rows, width) and scores (rows, dimensions), NaN masked.

    What the recipe leaves open is chosen by inner cross-validation with whole clusters; one value is taken as
    it is. `widths` are the encoders' widths where several are joined.
    """
    centring = Centring.of(features, widths or [features.shape[1]])
    ready = centring.apply(features)
    if recipe.kind == "ridge":
        return _fit_ridge(recipe, centring, ready, scores, clusters, seed)
    return _fit_support_vectors(recipe, centring, ready, scores, clusters, seed)


def _unit(rows: FloatArray) -> FloatArray:
    # An empty text can have features of length 0; it stays where it is.
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(length > 0.0, length, 1.0))


def rbf(rows: FloatArray, vectors: FloatArray, gamma: float) -> FloatArray:
    """exp(-gamma |row - vector|^2), shape (rows, vectors)."""
    distance = (rows**2).sum(axis=1)[:, None] + (vectors**2).sum(axis=1) - 2.0 * rows @ vectors.T
    # Rounding can make the distance of a row to itself a little negative.
    return np.asarray(np.exp(-gamma * np.maximum(distance, 0.0)))


def _fit_ridge(
    recipe: RidgeHead,
    centring: Centring,
    ready: FloatArray,
    scores: FloatArray,
    clusters: IntArray,
    seed: int,
) -> LinearHead:
    def fit_predict(inside: IntArray, outside: IntArray, alpha: float) -> FloatArray:
        weights, bias = primal(ready[inside], scores[inside], alpha)
        return ready[outside] @ weights + bias

    alpha = choose(recipe.alphas, fit_predict, scores, clusters, seed)
    weights, bias = primal(ready, scores, alpha)
    return LinearHead(weights, bias, centring)


def _fit_support_vectors(
    recipe: KernelHead,
    centring: Centring,
    ready: FloatArray,
    scores: FloatArray,
    clusters: IntArray,
    seed: int,
) -> KernelRegressionHead:
    kernels = {gamma: rbf(ready, ready, gamma) for gamma in recipe.gamma}

    def fit_predict(inside: IntArray, outside: IntArray, choice: tuple[float, float]) -> FloatArray:
        penalty, gamma = choice
        kernel = kernels[gamma]
        dual, bias = _support_vectors(kernel[np.ix_(inside, inside)], scores[inside], penalty, recipe.epsilon)
        return np.asarray(kernel[np.ix_(outside, inside)] @ dual + bias)

    choices = [(penalty, gamma) for penalty in recipe.C for gamma in recipe.gamma]
    penalty, gamma = choose(choices, fit_predict, scores, clusters, seed)
    dual, bias = _support_vectors(kernels[gamma], scores, penalty, recipe.epsilon)
    used = np.flatnonzero(np.abs(dual).max(axis=1) > 0)
    vectors = ready[used].astype(np.float32)
    return KernelRegressionHead(centring, vectors, dual[used], bias, np.array([gamma]))


def _support_vectors(
    kernel: FloatArray, scores: FloatArray, penalty: float, epsilon: float
) -> tuple[FloatArray, FloatArray]:
    """Dual coefficients (rows, dimensions), mostly 0 where a row fits within epsilon, and bias."""
    machines = require("sklearn.svm", "train")
    dual = np.zeros(scores.shape)
    bias = np.empty(scores.shape[1])
    for known, columns in same_mask(scores):
        rows = np.flatnonzero(known)
        inner = kernel if rows.size == known.size else kernel[np.ix_(rows, rows)]
        for column in columns:
            machine = machines.SVR(kernel="precomputed", C=penalty, epsilon=epsilon).fit(inner, scores[rows, column])
            dual[rows[machine.support_], column] = machine.dual_coef_[0]
            bias[column] = machine.intercept_[0]
    return dual, bias
