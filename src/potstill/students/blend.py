"""The blend: several students read a text, and the weighted mean of what they say is the score.

In: fitted students and weights. Out: one student. Encoders that members share are one object, and each text is read
once by each of them, however many heads then look at its features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

from potstill.errors import BundleError
from potstill.students.constant import ConstantStudent
from potstill.students.neural import DescribedEncoder, NeuralStudent, joined, parts_of, reading
from potstill.students.tfidf import TfidfStudent

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl
    from numpy.typing import NDArray

    from potstill.students import Encoder
    from potstill.students.pieces import Pieces
    from potstill.types import FloatArray

    Features: TypeAlias = dict[tuple[int, Pieces | None], NDArray[np.float32]]
    """By the encoder's place among the blend's, and how it reads long texts."""

Blended = ConstantStudent | TfidfStudent | NeuralStudent
"""What a blend may hold."""


@dataclass(frozen=True)
class BlendStudent:
    """Members, and how much each counts: `weights`, shape (members, dimensions), not negative, each column's sum 1."""

    dimensions: tuple[str, ...]
    members: tuple[Blended, ...]
    weights: FloatArray
    kind: ClassVar[str] = "blend"

    @cached_property
    def parts(self) -> tuple[Encoder, ...]:
        """The encoders that members read with, each once."""
        found: list[Encoder] = []
        for member in self.members:
            if isinstance(member, NeuralStudent):
                found += [part for part in parts_of(member.encoder) if all(part is not known for known in found)]
        return tuple(found)

    @property
    def encoder(self) -> Encoder | None:
        """The encoders side by side; None where no member has one."""
        return joined(self.parts) if self.parts else None

    def on(self, encoder: Encoder) -> BlendStudent:
        """The same blend reading with other encoders, such as ONNX Runtime's, in the order of `parts`."""
        parts = parts_of(encoder)
        return replace(
            self,
            members=tuple(
                member.on(joined([parts[place] for place in self.places(member)]))
                if isinstance(member, NeuralStudent)
                else member
                for member in self.members
            ),
        )

    def places(self, member: NeuralStudent) -> list[int]:
        """Where the encoders of a member stand in `parts`."""
        return [
            next(place for place, known in enumerate(self.parts) if known is part) for part in parts_of(member.encoder)
        ]

    def predict(self, articles: pl.DataFrame) -> FloatArray:
        """Scores by the column `text`, shape (articles, dimensions)."""
        texts = [text or "" for text in articles["text"]]
        features: Features = {}
        scores = np.zeros((articles.height, len(self.dimensions)))
        for member, weights in zip(self.members, self.weights, strict=True):
            own = self._read(member, texts, features) if isinstance(member, NeuralStudent) else member.predict(articles)
            scores += weights * own
        return scores

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The weights, and the members' arrays, with a member's place before their names."""
        stored: dict[str, NDArray[Any]] = {"weights": self.weights}
        for place, member in enumerate(self.members):
            stored |= {f"{place}.{name}": array for name, array in member.arrays().items()}
        return stored

    def settings(self) -> dict[str, Any]:
        """The members' kinds and settings, with the places of their encoders; the encoders' own settings come once."""
        members = []
        for member in self.members:
            own = member.settings()
            if isinstance(member, NeuralStudent):
                own["encoder"] = self.places(member)
            members.append({"kind": member.kind, "settings": own})
        known: dict[str, Any] = self.encoder.settings() if isinstance(self.encoder, DescribedEncoder) else {}
        return {"members": members} | ({"encoder": known} if self.parts else {})

    def _read(self, member: NeuralStudent, texts: Sequence[str], features: Features) -> FloatArray:
        for place in self.places(member):
            if (place, member.pieces) not in features:
                features[place, member.pieces] = reading(self.parts[place], member.pieces).encode(texts)
        own = [features[place, member.pieces] for place in self.places(member)]
        return member.head.predict(np.concatenate(own, axis=1))


def encoder_of(student: object) -> Encoder | None:
    """What a student reads with: its encoder, those of a blend's members side by side, or None."""
    return student.encoder if isinstance(student, NeuralStudent | BlendStudent) else None


def check_weights(weights: FloatArray, members: int, dimensions: int) -> None:
    """See that weights are those of means.

    Raises:
        BundleError: their shape is another, one is negative or not finite, or a dimension's do not add up to 1.
    """
    if weights.shape != (members, dimensions):
        raise BundleError(f"blend: weights {weights.shape} for {members} members and {dimensions} dimensions")
    # Written so that NaN is refused as well.
    if not ((weights >= 0).all() and (np.abs(weights.sum(axis=0) - 1.0) <= 1e-6).all()):
        raise BundleError("blend: weights that are not those of a mean")
