"""Properties shared by encoders of all backends: their facts, and how texts are batched.

Input: facts of a backbone, lengths of texts. Output: settings that can be stored as JSON, and batches with little
padding.
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
"""How token vectors are pooled: their mean, the first, the last, or means weighted by learned queries."""

Window = Literal["head", "head-tail"]
"""Which tokens of a text that is too long are read: its first, or equally many from start and end."""

_LATER: dict[str, JsonValue] = {"later": True}
"""Marks (as `json_schema_extra`) a fact that was added later and is written only if it is set."""

TOKEN_BUDGET = 1024
"""Tokens per batch on a CPU, padding included. Batches of 4,096 tokens took a sixth longer on two AVX2 cores, with
torch and with ONNX Runtime, because the activations of a layer no longer fit the processor's cache."""

GPU_TOKEN_BUDGET = 32_768
"""Tokens per batch on a GPU, which small batches would leave underused."""

_MOST = 1_000_000
"""Upper limit for an encoder's features, tokens, layers and prefix length; no encoder comes near it."""


class EncoderFacts(Part):
    """Description of an encoder, without its weights and its tokenizer."""

    backbone: str
    """Name of the backbone it was made from."""
    backbone_sha256: str
    """SHA-256 of that backbone's original weights, before any training."""
    width: int = Field(ge=1, le=_MOST)
    """Features per text, over all layers or queries."""
    max_tokens: int = Field(ge=1, le=_MOST)
    """Maximum number of tokens, including special tokens; longer texts are truncated as `window` says."""
    pooling: Pooling
    queries: int = Field(default=0, ge=0, le=_MOST, json_schema_extra=_LATER)
    """Number of learned queries of attention pooling; each gives a vector as wide as the network."""
    layers: tuple[Annotated[int, Field(ge=0, le=_MOST)], ...] = ()
    """Hidden layers that are read, 0 for the embeddings: their pooled states are concatenated, or the states are mixed
    before pooling. Empty: only the last."""
    mixed: bool = Field(default=False, json_schema_extra=_LATER)
    """Whether `layers` are mixed, by learned weights."""
    bidirectional: bool = Field(default=False, json_schema_extra=_LATER)
    """Whether a decoder's tokens also attend to later tokens."""
    window: Window = Field(default="head", json_schema_extra=_LATER)
    """Which tokens of a longer text are read."""
    prefix: str = Field(default="", max_length=_MOST)
    """Prepended to every text, such as `query: ` for the E5 family, or a rubric."""
    pad_id: int = Field(default=0, ge=0, le=2**31 - 1)

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the features of each layer, in order."""
        count = 1 if self.mixed else max(1, len(self.layers))
        return (self.width // count,) * count

    @property
    def learns(self) -> bool:
        """Whether pooling or layer mixing has learned parameters."""
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
    """Yield indices of texts in batches that, padded to their longest text, stay within `budget` tokens.

    Texts of similar length are batched together, the longest first, so that there is little padding and a text that is
    too large for memory fails at once. Each index appears exactly once; a text longer than the budget is a batch by
    itself.

    Args:
        lengths: tokens of each text, shape (texts,).
        budget: maximum tokens per batch.
    """
    order = np.argsort(-lengths, kind="stable").astype(np.int64)
    start = 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        end = start + max(1, budget // longest)
        yield order[start:end]
        start = end
