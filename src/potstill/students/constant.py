"""The constant student: each dimension's median, for every text.

Input: examples. Output: the baseline for all other students; an error is only meaningful relative to the constant's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from potstill.errors import BundleError, DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl
    from numpy.typing import NDArray

    from potstill.dataset import Examples
    from potstill.students.recipes import ConstantRecipe
    from potstill.types import FloatArray


@dataclass(frozen=True)
class ConstantStudent:
    """Predicts `values`, shape (dimensions,), for every article."""

    dimensions: tuple[str, ...]
    values: FloatArray
    kind: ClassVar[str] = "constant"

    def predict(self, articles: pl.DataFrame) -> FloatArray:
        """Predict the same scores for each article, shape (articles, dimensions)."""
        return np.tile(self.values, (articles.height, 1))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays for `student.safetensors`."""
        return {"values": self.values}

    def settings(self) -> dict[str, Any]:
        """Return the settings for `student.json`: none."""
        return {}

    @classmethod
    def restore(
        cls, dimensions: tuple[str, ...], arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]
    ) -> ConstantStudent:
        """Rebuild the student from `arrays` and `settings`."""
        del settings
        check_shape("values", arrays["values"], (len(dimensions),))
        return cls(dimensions, arrays["values"])


def fit_constant(recipe: ConstantRecipe, train: Examples, *, seed: int = 0) -> ConstantStudent:
    """Fit each dimension's median, which is the constant with the least absolute error.

    Raises:
        DatasetError: a dimension has no label.
    """
    del recipe, seed
    rows = baseline_rows(train)
    check_labelled(rows)
    return ConstantStudent(tuple(rows.dimensions), np.nanmedian(rows.scores, axis=0))


def baseline_rows(train: Examples) -> Examples:
    """Return the rows that a baseline learns from: those that were not chosen by a predicted score, if there are any.

    The medians of the others are not those of new articles, and against a worse baseline every student would look
    better.
    """
    untargeted = train.untargeted()
    return untargeted if len(untargeted) else train


def check_shape(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Check that a stored array holds real numbers and has the expected shape.

    Raises:
        BundleError: it does not; the message names the array.
    """
    if array.dtype.kind not in "fiu" or array.shape != shape:
        raise BundleError(
            f"student: {name} has type {array.dtype} and shape {array.shape}, expected numbers of shape {shape}"
        )


def check_labelled(train: Examples) -> None:
    """Check that each dimension has at least one label.

    Raises:
        DatasetError: a dimension has none; the message names it.
    """
    for name, column in zip(train.dimensions, train.scores.T, strict=True):
        if np.isnan(column).all():
            raise DatasetError(f"dimension {name}: none of {len(train)} training rows has a label for it")
