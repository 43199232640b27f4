"""Pooling: one vector for a text from the vectors of its tokens.

In: a network, or its hidden states, and the attention mask. Out: features, in float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

Pooling = Literal["mean", "cls", "last"]


def pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """One vector for each text, shape (texts, width), float32.

    Args:
        hidden: the network's output, shape (texts, tokens, width).
        mask: 1 for a token, 0 for padding, shape (texts, tokens); each row has at least one token.
        pooling: the mean over tokens, the first token, or the last one that is not padding.
    """
    hidden = hidden.float()
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "last":
        places = torch.arange(mask.shape[1], device=mask.device)
        last = (places * mask).argmax(dim=1)
        return hidden[torch.arange(hidden.shape[0], device=hidden.device), last]
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)


def read(
    model: Any,  # noqa: ANN401 - transformers' classes are untyped
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    pooling: Pooling,
    layers: Sequence[int] = (),
) -> torch.Tensor:
    """Features of texts, shape (texts, width), float32: the pooled states of hidden `layers` side by side.

    Layer 0 is the embeddings; where none is named the network's output is taken.
    """
    # A network that was cut down to its embeddings gives just these, and has no list of hidden states.
    if not layers or model.config.num_hidden_layers == 0:
        hidden = model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return pool(hidden, attention_mask, pooling)
    states = model(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True).hidden_states
    return torch.cat([pool(states[layer], attention_mask, pooling) for layer in layers], dim=1)
