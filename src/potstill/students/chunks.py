"""Reads long texts in chunks and averages the features, so that no text beyond an encoder's limit is lost.

Input: texts. Output: features of whole texts. A backbone reads about 512 tokens, and a text window may be much longer.
A text of at most `chars` characters is read in one chunk.
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
"""Number of characters in which white space is searched for; scripts without white space are split anywhere."""


class Chunks(Part):
    """How a text is split: into chunks of about equal length, with at most `chars` characters each.

    Of a text with more than `most` chunks, only the first `most` are read.
    """

    chars: int = Field(ge=2 * _LONGEST_WORD)
    most: int = Field(default=4, ge=2)

    def of(self, text: str) -> list[str]:
        """Return the text's chunks, in order; a short or empty text is one chunk."""
        # A chunk may start up to a word early, so the even share leaves room for one word.
        share = self.chars - _LONGEST_WORD
        if len(text) <= self.chars:
            return [text]
        text = text[: share * self.most]
        count = math.ceil(len(text) / share)
        edges = [0, *(_word_edge(text, round(len(text) * place / count)) for place in range(1, count)), len(text)]
        return [text[start:end].strip() for start, end in pairwise(edges)]


@dataclass(frozen=True)
class ChunkedEncoder:
    """An encoder that reads texts in chunks and returns the mean of their features, weighted by length."""

    encoder: Encoder
    chunks: Chunks

    @property
    def width(self) -> int:
        """Number of features per text."""
        return self.encoder.width

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the features, shape (texts, width), in input order."""
        divided = [self.chunks.of(text) for text in texts]
        each = self.encoder.encode([chunk for own in divided for chunk in own])
        features = np.zeros((len(texts), self.width), dtype=np.float32)
        start = 0
        for row, own in enumerate(divided):
            # An empty chunk keeps a small weight, so that an empty text gets the features of an empty text.
            weights = np.array([max(len(chunk), 1) for chunk in own], dtype=np.float32)
            features[row] = weights @ each[start : start + len(own)] / weights.sum()
            start += len(own)
        return features

    def truncated(self, texts: Sequence[str]) -> BoolArray:
        """Return which texts are not read completely: longer than all chunks together, or with an overlong chunk."""
        divided = [self.chunks.of(text) for text in texts]
        cut = self.encoder.truncated([chunk for own in divided for chunk in own])
        ends = np.cumsum([0, *(len(own) for own in divided)])
        beyond = (self.chunks.chars - _LONGEST_WORD) * self.chunks.most
        return np.array(
            [
                len(text) > max(beyond, self.chunks.chars) or bool(cut[start:end].any())
                for text, (start, end) in zip(texts, pairwise(ends), strict=True)
            ],
            dtype=np.bool_,
        )


def _word_edge(text: str, at: int) -> int:
    """Return the end of the last white space before `at`, or `at` itself if there is none nearby."""
    for place in range(at, max(at - _LONGEST_WORD, 0), -1):
        if text[place - 1].isspace():
            return place
    return at
