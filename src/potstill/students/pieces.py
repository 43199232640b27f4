"""Reading a long text in pieces: what an encoder has no room for is read after all, and the features are averaged.

In: texts. Out: features of whole texts. A backbone has room for some 512 tokens, a window may hold many more; a
text within `chars` is read as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from potstill.records import Part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from potstill.students import Encoder
    from potstill.types import BoolArray

_LONGEST_WORD = 60
"""Characters within which white space is looked for; scripts without any are cut where they are."""


class Pieces(Part):
    """How a text is divided: into pieces of about equal length, at most `chars` characters each.

    A text of more than `most` pieces is read up to the last of them.
    """

    chars: int = Field(ge=2 * _LONGEST_WORD)
    most: int = Field(default=4, ge=2)

    def of(self, text: str) -> list[str]:
        """The text's pieces, in order; one for a text that is short or empty."""
        # A piece may begin up to a word early, so its even share leaves room for one.
        share = self.chars - _LONGEST_WORD
        if len(text) <= self.chars:
            return [text]
        text = text[: share * self.most]
        count = math.ceil(len(text) / share)
        edges = [0, *(_word_edge(text, round(len(text) * place / count)) for place in range(1, count)), len(text)]
        return [text[start:end].strip() for start, end in pairwise(edges)]


@dataclass(frozen=True)
class PiecewiseEncoder:
    """An encoder that reads texts in pieces: the mean of their features, weighted by length."""

    encoder: Encoder
    pieces: Pieces

    @property
    def width(self) -> int:
        """Features per text."""
        return self.encoder.width

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Features, shape (texts, width), in input order."""
        divided = [self.pieces.of(text) for text in texts]
        each = self.encoder.encode([piece for own in divided for piece in own])
        features = np.zeros((len(texts), self.width), dtype=np.float32)
        start = 0
        for row, own in enumerate(divided):
            # An empty piece still counts a little, so that an empty text has the features of an empty text.
            weights = np.array([max(len(piece), 1) for piece in own], dtype=np.float32)
            features[row] = weights @ each[start : start + len(own)] / weights.sum()
            start += len(own)
        return features

    def truncated(self, texts: Sequence[str]) -> BoolArray:
        """Which texts are not read whole: longer than all pieces together, or with a piece that is too long."""
        divided = [self.pieces.of(text) for text in texts]
        cut = self.encoder.truncated([piece for own in divided for piece in own])
        ends = np.cumsum([0, *(len(own) for own in divided)])
        beyond = (self.pieces.chars - _LONGEST_WORD) * self.pieces.most
        return np.array(
            [
                len(text) > max(beyond, self.pieces.chars) or bool(cut[start:end].any())
                for text, (start, end) in zip(texts, pairwise(ends), strict=True)
            ],
            dtype=np.bool_,
        )


def _word_edge(text: str, at: int) -> int:
    """The end of the last white space before `at`, or `at` itself where there is none near."""
    for place in range(at, max(at - _LONGEST_WORD, 0), -1):
        if text[place - 1].isspace():
            return place
    return at
