"""What every encoder has in common, whatever runs it: its facts, and how texts are put into batches.

In: facts of a backbone, lengths of texts. Out: settings that JSON can hold, and batches with little padding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from potstill.records import IntArray

TOKEN_BUDGET = 4096
"""Tokens in a batch, padding included. On a CPU larger batches buy nothing; smaller ones waste a little."""


class EncoderFacts(BaseModel):
    """What must be known of an encoder beside its weights and its tokenizer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: str
    """Name of the backbone it was made from."""
    backbone_sha256: str
    """Hash of that backbone's weights, as they were before any training."""
    width: int = Field(ge=1)
    """Features per text, of all layers together."""
    max_tokens: int = Field(ge=1)
    """Longer texts are cut to this many tokens, special ones included."""
    pooling: Literal["mean", "cls", "last"]
    layers: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Hidden layers whose pooled states stand side by side, 0 for the embeddings; the last alone where empty."""
    prefix: str = ""
    """Put before every text, such as `query: ` for the E5 family."""
    pad_id: int = Field(default=0, ge=0)

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths of the layers' parts of the features, in order."""
        count = max(1, len(self.layers))
        return (self.width // count,) * count


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
