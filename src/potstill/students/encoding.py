"""What every encoder has in common, whatever runs it: its facts, and how texts are put into batches.

In: facts of a backbone, lengths of texts. Out: settings that JSON can hold, and batches with little padding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, JsonValue, SerializerFunctionWrapHandler, model_serializer

from potstill.records import Part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from potstill.types import IntArray

Pooling = Literal["mean", "cls", "last", "attention"]
"""How the vectors of tokens become one: their mean, the first, the last, or means that learned queries weigh."""

Window = Literal["head", "head-tail"]
"""What is read of a text that is too long: its first tokens, or as many of its first as of its last."""

_LATER: dict[str, JsonValue] = {"later": True}
"""Marks, as `json_schema_extra`, a fact that is written only where it is set: it came after encoders had been made."""

TOKEN_BUDGET = 1024
"""Tokens in a batch on a CPU, padding included. Batches of 4,096 tokens took a sixth longer on two AVX2 cores, with
torch as with ONNX Runtime: what a layer computes no longer fits the processor's cache."""

GPU_TOKEN_BUDGET = 32_768
"""Tokens in a batch on a GPU, which small batches leave idle."""

_MOST = 1_000_000
"""No encoder has so many features, tokens or layers, nor so long a prefix."""


class EncoderFacts(Part):
    """What must be known of an encoder beside its weights and its tokenizer."""

    backbone: str
    """Name of the backbone it was made from."""
    backbone_sha256: str
    """Hash of that backbone's weights, as they were before any training."""
    width: int = Field(ge=1, le=_MOST)
    """Features per text, of all layers or queries together."""
    max_tokens: int = Field(ge=1, le=_MOST)
    """Longer texts are cut to this many tokens, special ones included; see `window`."""
    pooling: Pooling
    queries: int = Field(default=0, ge=0, le=_MOST, json_schema_extra=_LATER)
    """Learned queries of attention pooling; each gives a vector as wide as the network."""
    layers: tuple[Annotated[int, Field(ge=0, le=_MOST)], ...] = ()
    """Hidden layers that are read, 0 for the embeddings: their pooled states side by side, or the states mixed before
    they are pooled; the last alone where empty."""
    mixed: bool = Field(default=False, json_schema_extra=_LATER)
    """Whether `layers` are mixed, by learned weights."""
    bidirectional: bool = Field(default=False, json_schema_extra=_LATER)
    """Whether a decoder's tokens attend to those behind them too."""
    window: Window = Field(default="head", json_schema_extra=_LATER)
    """Which tokens of a longer text are read."""
    prefix: str = Field(default="", max_length=_MOST)
    """Put before every text, such as `query: ` for the E5 family, or a rubric."""
    pad_id: int = Field(default=0, ge=0, le=2**31 - 1)

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths of the layers' parts of the features, in order."""
        count = 1 if self.mixed else max(1, len(self.layers))
        return (self.width // count,) * count

    @property
    def learns(self) -> bool:
        """Whether pooling or mixing has parameters of its own."""
        return self.queries > 0 or self.mixed

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        fields = type(self).model_fields
        later = {name for name, field in fields.items() if field.json_schema_extra == _LATER}
        return {
            name: value
            for name, value in content.items()
            if name not in later or getattr(self, name) != fields[name].default
        }


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
