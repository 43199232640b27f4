"""Backends: what runs a student's encoder when it scores, a file each, behind one Protocol.

In: texts. Out: features, in input order, the same whatever stands beside a text in its batch. What every
backend must know of the encoder it runs is `EncoderFacts`; how texts are put into batches is `token_batches`.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from potstill.students import Encoder
from potstill.students.encoding import TOKEN_BUDGET, EncoderFacts, token_batches

__all__ = ["TOKEN_BUDGET", "Backend", "EncoderFacts", "token_batches"]


@runtime_checkable
class Backend(Encoder, Protocol):
    """An encoder that scores: what `students.Encoder` asks, and what it is called in reports."""

    name: str
    facts: EncoderFacts
