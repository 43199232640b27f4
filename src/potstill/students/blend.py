"""Blends: several students score a text, and the weighted mean of their scores is the result.

Input: fitted students and weights. Output: one student. Encoders that members share are one object, and each encoder
reads a text once, however many heads use its features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

from potstill.errors import BundleError
from potstill.students import Outputs
from potstill.students.constant import ConstantStudent
from potstill.students.neural import DescribedEncoder, NeuralStudent, joined, parts_of, reading
from potstill.students.novelty import FeatureNovelty, Novelty, WordNovelty, novelty_arrays
from potstill.students.tfidf import TfidfStudent

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl
    from numpy.typing import NDArray

    from potstill.students import Encoder
    from potstill.students.chunks import Chunks
    from potstill.types import FloatArray

    Features: TypeAlias = dict[tuple[int, Chunks | None], NDArray[np.float32]]
    """Features by the index of the encoder in the blend and the way it splits long texts."""

Blended = ConstantStudent | TfidfStudent | NeuralStudent
"""Types of students that a blend can hold."""


@dataclass(frozen=True)
class BlendStudent:
    """Members and their `weights`, shape (members, dimensions): not negative, with columns that sum to 1.

    `novelty` measures distances by the features of the first member with an encoder, or by words if there is none.
    """

    dimensions: tuple[str, ...]
    members: tuple[Blended, ...]
    weights: FloatArray
    novelty: Novelty | None = None
    kind: ClassVar[str] = "blend"

    @cached_property
    def parts(self) -> tuple[Encoder, ...]:
        """The distinct encoders of all members."""
        found: list[Encoder] = []
        for member in self.members:
            if isinstance(member, NeuralStudent):
                found += [part for part in parts_of(member.encoder) if all(part is not known for known in found)]
        return tuple(found)

    @property
    def encoder(self) -> Encoder | None:
        """All encoders, joined; None if no member has one."""
        return joined(self.parts) if self.parts else None

    def on(self, encoder: Encoder) -> BlendStudent:
        """Return the same blend with other encoders, such as those of ONNX Runtime, in the order of `parts`."""
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
        """Return the indices of a member's encoders in `parts`."""
        return [
            next(place for place, known in enumerate(self.parts) if known is part) for part in parts_of(member.encoder)
        ]

    def predict(self, articles: pl.DataFrame) -> FloatArray:
        """Predict scores from the column `text`, shape (articles, dimensions)."""
        return self.outputs(articles).raw

    def outputs(self, articles: pl.DataFrame) -> Outputs:
        """Return the scores, and the distances from the training texts if the blend measures them."""
        texts = [text or "" for text in articles["text"]]
        features: Features = {}
        scores = np.zeros((articles.height, len(self.dimensions)))
        for member, weights in zip(self.members, self.weights, strict=True):
            own = self._read(member, texts, features) if isinstance(member, NeuralStudent) else member.predict(articles)
            scores += weights * own
        if isinstance(self.novelty, FeatureNovelty) and self.reader is not None:
            return Outputs(scores, None, self.novelty.distances(self._features(self.reader, texts, features)))
        return Outputs(scores, None, self.novelty.distances(texts) if isinstance(self.novelty, WordNovelty) else None)

    @property
    def reader(self) -> NeuralStudent | None:
        """The first member with an encoder; None if there is none."""
        return next((member for member in self.members if isinstance(member, NeuralStudent)), None)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the weights and the members' arrays; the latter are prefixed with the member's index."""
        stored: dict[str, NDArray[Any]] = {"weights": self.weights}
        for place, member in enumerate(self.members):
            stored |= {f"{place}.{name}": array for name, array in member.arrays().items()}
        return stored | novelty_arrays(self.novelty)

    def settings(self) -> dict[str, Any]:
        """Return the members' types and settings with the indices of their encoders; encoder settings appear once."""
        members = []
        for member in self.members:
            own = member.settings()
            if isinstance(member, NeuralStudent):
                own["encoder"] = self.places(member)
            members.append({"kind": member.kind, "settings": own})
        known: dict[str, Any] = self.encoder.settings() if isinstance(self.encoder, DescribedEncoder) else {}
        return {"members": members} | ({"encoder": known} if self.parts else {})

    def _read(self, member: NeuralStudent, texts: Sequence[str], features: Features) -> FloatArray:
        return member.head.predict(self._features(member, texts, features))

    def _features(self, member: NeuralStudent, texts: Sequence[str], features: Features) -> NDArray[np.float32]:
        for place in self.places(member):
            if (place, member.chunks) not in features:
                features[place, member.chunks] = reading(self.parts[place], member.chunks).encode(texts)
        own = [features[place, member.chunks] for place in self.places(member)]
        return np.concatenate(own, axis=1)


def encoder_of(student: object) -> Encoder | None:
    """Return a student's encoder, the joined encoders of a blend's members, or None."""
    return student.encoder if isinstance(student, NeuralStudent | BlendStudent) else None


def check_weights(weights: FloatArray, members: int, dimensions: int) -> None:
    """Check that weights define a weighted mean per dimension.

    Raises:
        BundleError: the shape is wrong, a weight is negative or not finite, or a dimension's weights do not sum to 1.
    """
    if weights.shape != (members, dimensions):
        raise BundleError(f"blend: weights {weights.shape} for {members} members and {dimensions} dimensions")
    # Written so that NaN is rejected as well.
    if not ((weights >= 0).all() and (np.abs(weights.sum(axis=0) - 1.0) <= 1e-6).all()):
        raise BundleError("blend: weights that are not those of a mean")
