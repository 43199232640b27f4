"""The tier head: further outputs of a student's head that tell how likely the oracle's tier is a positive one.

Input: a neural student with a frozen encoder, its training rows, and for each positive tier whether the oracle's scores
gave it or a better one. Output: the same student with one more output per positive tier. The outputs are computed from
the features, or the kernel values, that the scores are computed from, so they cost next to nothing. They are fitted by
least squares on 0 and 1, which estimates a probability; `calibration.decisions` turns them into one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from potstill.errors import BundleError
from potstill.students.heads import KernelRegressionHead, LinearHead, MedianHead, rbf
from potstill.students.ordinal import OrdinalHead, decoded
from potstill.students.ridge import primal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from potstill.students.heads import AnyHead
    from potstill.types import FloatArray, IntArray

LINEAR_PENALTY = 1.0
"""Ridge penalty of a linear head's tier outputs, on centred unit features."""

KERNEL_PENALTY = 0.1
"""Ridge penalty of a kernel head's tier outputs."""


@dataclass(frozen=True)
class TierHead:
    """Coefficients of the tier outputs: `weights` (width or vectors, tiers) and `bias` (tiers,)."""

    weights: FloatArray
    bias: FloatArray

    @property
    def outputs(self) -> int:
        """Number of positive tiers."""
        return int(self.bias.size)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return both arrays."""
        return {"weights": self.weights, "bias": self.bias}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], head: AnyHead) -> TierHead:
        """Rebuild a tier head, for a student with the given head.

        Raises:
            BundleError: the arrays do not fit the head or hold a number that is not finite.
        """
        if set(arrays) != {"weights", "bias"}:
            raise BundleError(f"tier head: has the arrays weights and bias, got {sorted(arrays)}")
        weights, bias = arrays["weights"], arrays["bias"]
        if weights.ndim != 2 or weights.shape != (_inputs(base_of(head)), *bias.shape):
            raise BundleError(f"tier head: weights {weights.shape} and bias {bias.shape} do not fit the student's head")
        if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
            raise BundleError("tier head: holds a number that is not finite")
        return cls(weights, bias)


def base_of(head: AnyHead) -> LinearHead | KernelRegressionHead:
    """Return the part of a head that reads the features."""
    return head.base if isinstance(head, MedianHead | OrdinalHead) else head


def widened(head: AnyHead, tiers: TierHead) -> LinearHead | KernelRegressionHead:
    """Return the part of a head that reads the features, with the tier outputs after its own outputs."""
    base = base_of(head)
    bias = np.concatenate([base.bias, tiers.bias])
    if isinstance(base, LinearHead):
        return LinearHead(np.concatenate([base.weights, tiers.weights], axis=1), bias, base.centring)
    dual = np.concatenate([base.dual, tiers.weights], axis=1)
    return KernelRegressionHead(base.centring, base.vectors, dual, bias, base.gamma)


def scores_and_tiers(head: AnyHead, outputs: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Split what a widened head predicts into scores, shape (rows, dimensions), and tier outputs (rows, tiers)."""
    count = base_of(head).outputs
    own, further = outputs[:, :count], outputs[:, count:]
    if isinstance(head, MedianHead):
        return head.levels.median(own), further
    if isinstance(head, OrdinalHead):
        return decoded(own, head.levels, head.link, head.decode), further
    return own, further


def fit_tier_head(head: AnyHead, features: NDArray[Any], belongs: FloatArray) -> TierHead:
    """Fit the tier outputs by ridge regression on the inputs of a head.

    For a kernel head, the inputs are the kernel values of the head's vectors, with the kernel's own penalty (for a head
    whose vectors are all rows, this is kernel ridge regression).

    Args:
        head: the student's head, which stays as it is.
        features: shape (rows, width), of rows whose features no training has changed.
        belongs: 1 where the oracle's scores give this positive tier or a better one, else 0, shape (rows, tiers).
    """
    base = base_of(head)
    if isinstance(base, LinearHead):
        ready = features.astype(np.float64) if base.centring is None else base.centring.apply(features)
        return TierHead(*primal(ready, belongs, LINEAR_PENALTY))
    vectors = base.vectors.astype(np.float64)
    values = rbf(base.centring.apply(features), vectors, float(base.gamma[0]))
    mean = belongs.mean(axis=0)
    penalty = KERNEL_PENALTY * rbf(vectors, vectors, float(base.gamma[0]))
    penalty.flat[:: len(penalty) + 1] += 1e-9
    dual = np.linalg.solve(values.T @ values + penalty, values.T @ (belongs - mean))
    return TierHead(dual, mean)


def out_of_fold_tiers(head: AnyHead, features: NDArray[Any], belongs: FloatArray, folds: IntArray) -> FloatArray:
    """Return the tier outputs of each row by a head that was fitted without the row's fold, shape (rows, tiers)."""
    found = np.full(belongs.shape, np.nan)
    for fold in np.unique(folds):
        inside, outside = folds != fold, folds == fold
        fitted = fit_tier_head(head, features[inside], belongs[inside])
        found[outside] = scores_and_tiers(head, widened(head, fitted).predict(features[outside]))[1]
    return found


def _inputs(base: LinearHead | KernelRegressionHead) -> int:
    return base.width if isinstance(base, LinearHead) else len(base.vectors)
