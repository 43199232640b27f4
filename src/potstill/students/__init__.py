"""Students: small local models that predict the oracle's scores.

Input: a frame of articles with their text windows. Output: one raw score per article and dimension. A student neither
clips nor calibrates its scores; the scorer does both. The candidates range from a constant to a fine-tuned encoder,
with one module for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from potstill.types import BoolArray, FloatArray


class Outputs(NamedTuple):
    """All that a student says about articles.

    `raw` are its scores, shape (articles, dimensions). `tiers` are its tier outputs, shape (articles, positive tiers),
    None without a tier head. `distances` from the training texts have shape (articles,), None if it measures none.
    """

    raw: FloatArray
    tiers: FloatArray | None = None
    distances: FloatArray | None = None


@runtime_checkable
class Student(Protocol):
    """A fitted student: a model that predicts raw scores from articles."""

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the scored dimensions, in column order."""
        ...

    def predict(self, articles: pl.DataFrame) -> FloatArray:
        """Predict raw scores, shape (articles, dimensions), float64, on the labels' scale and unclipped.

        `articles` has a String column `text` (the text window); some students read further columns, such as `source`.
        """
        ...


@runtime_checkable
class Encoder(Protocol):
    """A network that turns texts into features for a head; implemented with torch and with ONNX Runtime."""

    @property
    def width(self) -> int:
        """Number of features per text."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the features, shape (texts, width), in input order."""
        ...

    def truncated(self, texts: Sequence[str]) -> BoolArray:
        """Return which texts are too long for the network to read completely, shape (texts,)."""
        ...


@runtime_checkable
class Head(Protocol):
    """A small model that turns features into scores: a few arrays, applied with numpy."""

    @property
    def kind(self) -> str:
        """Name of the head type, used to rebuild the head from its arrays."""
        ...

    def predict(self, features: NDArray[Any]) -> FloatArray:
        """Predict scores, shape (rows, dimensions)."""
        ...

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return all arrays that define the head, for a safetensors file; `heads.from_arrays` rebuilds the head."""
        ...


@runtime_checkable
class FullStudent(Protocol):
    """A student that has more to say than its scores."""

    def outputs(self, articles: pl.DataFrame) -> Outputs:
        """Return its scores, tier outputs and distances, reading each article once."""
        ...


def outputs_of(student: Student, articles: pl.DataFrame) -> Outputs:
    """Return all that a student says about articles; of most kinds of students, only the scores."""
    return student.outputs(articles) if isinstance(student, FullStudent) else Outputs(student.predict(articles))
