"""Backends: what runs a student's encoder when it scores, a file each, behind one Protocol.

In: texts. Out: features, in input order, the same whatever stands beside a text in its batch. What every
backend must know of the encoder it runs is `EncoderFacts`; how texts are put into batches is `token_batches`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from potstill.students import Encoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from potstill.records import IntArray

TOKEN_BUDGET = 4096
"""Tokens in a batch, padding included. On a CPU larger batches buy nothing; smaller ones waste a little."""


class EncoderFacts(BaseModel):
    """What a backend must know of an encoder beside its weights and its tokenizer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: str
    """Name of the backbone it was made from."""
    backbone_sha256: str
    """Hash of that backbone's weights, as they were before any training."""
    width: int = Field(ge=1)
    max_tokens: int = Field(ge=1)
    """Longer texts are cut to this many tokens, special ones included."""
    pooling: Literal["mean", "cls", "last"]
    prefix: str = ""
    """Put before every text, such as `query: ` for the E5 family."""
    pad_id: int = Field(default=0, ge=0)


@runtime_checkable
class Backend(Encoder, Protocol):
    """An encoder that scores: what `students.Encoder` asks, and what it is called in reports."""

    name: str
    facts: EncoderFacts


def token_batches(lengths: IntArray, budget: int = TOKEN_BUDGET) -> Iterator[IntArray]:
    """Indices of texts, batch by batch, such that a batch padded to its longest stays within `budget` tokens.

    Texts of like length come together, the longest first, so that little is padding and a text that is too
    large for memory fails at once. Each index comes exactly once; a text longer than the budget stands alone.

    Args:
        lengths: tokens of each text, shape (texts,).
        budget: tokens of a batch.
    """
    order = np.argsort(-lengths, kind="stable").astype(np.int64)
    start = 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        end = start + max(1, budget // longest)
        yield order[start:end]
        start = end
