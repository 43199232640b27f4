"""Students: small local models that give the oracle's scores.

In: a frame of articles with their windows. Out: one raw score per article and dimension. A student neither
clips nor calibrates; the scorer does. The ladder runs from a constant to a fine-tuned encoder, a file a rung.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from potstill.types import BoolArray, FloatArray


@runtime_checkable
class Student(Protocol):
    """A fitted student."""

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the scores, in the order of their columns."""
        ...

    def predict(self, articles: pl.DataFrame) -> FloatArray:
        """Raw scores, shape (articles, dimensions), float64, on the labels' scale, unclipped.

        `articles` has a String column `text` (the window); some students read further columns, such as
        `source`.
        """
        ...


@runtime_checkable
class Encoder(Protocol):
    """A network that turns texts into features for a head; torch and ONNX Runtime each have one."""

    @property
    def width(self) -> int:
        """Features per text."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Features, shape (texts, width), in input order."""
        ...

    def truncated(self, texts: Sequence[str]) -> BoolArray:
        """Which texts the network cannot read whole."""
        ...


@runtime_checkable
class Head(Protocol):
    """What turns features into scores: a few arrays, applied with numpy."""

    @property
    def kind(self) -> str:
        """Which head it is, for the way back from its arrays."""
        ...

    def predict(self, features: NDArray[Any]) -> FloatArray:
        """Scores, shape (rows, dimensions)."""
        ...

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """All that the head is, for a safetensors file; `heads.from_arrays` is the way back."""
        ...
