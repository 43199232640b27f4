"""Pooling: computes one vector per text from its token vectors.

Input: a network, or its hidden states, and the attention mask. Output: features in float32. Mean, first-token and
last-token pooling have no parameters; attention pooling learns queries, and layers may be mixed with learned weights.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from potstill.students.encoding import EncoderFacts, Pooling


class Learned(nn.Module):
    """Learned pooling parameters. Their initial values give the mean of all tokens and of all layers.

    `queries`, shape (queries, width), determine how much each token counts (attention pooling with one learned query
    per head, as in the Set Transformer of Lee et al. 2019; keys and values are the states themselves, since the linear
    head that follows would absorb a projection of either). The softmax of `mix`, shape (layers,), gives the weight of
    each layer (Peters et al. 2018).
    """

    def __init__(self, width: int, *, queries: int = 0, layers: int = 0) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.zeros(queries, width)) if queries else None
        self.mix = nn.Parameter(torch.zeros(layers)) if layers else None

    @classmethod
    def of(cls, facts: EncoderFacts) -> Learned | None:
        """Create the initial parameters for an encoder; None if its pooling has no parameters."""
        if not facts.learns:
            return None
        layers = len(facts.layers) if facts.mixed else 0
        return cls(facts.width // max(1, facts.queries), queries=facts.queries, layers=layers)


def pool(
    hidden: torch.Tensor, mask: torch.Tensor, pooling: Pooling, queries: torch.Tensor | None = None
) -> torch.Tensor:
    """Return one vector per text, shape (texts, width), float32; attention gives (texts, queries * width).

    Args:
        hidden: the network's output, shape (texts, tokens, width).
        mask: 1 for a token, 0 for padding, shape (texts, tokens); each row has at least one token.
        pooling: the mean over tokens, the first token, the last token that is not padding, or attention.
        queries: the queries of attention pooling, shape (queries, width).
    """
    hidden = hidden.float()
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "last":
        places = torch.arange(mask.shape[1], device=mask.device)
        last = (places * mask).argmax(dim=1)
        return hidden[torch.arange(hidden.shape[0], device=hidden.device), last]
    if pooling == "attention" and queries is not None:
        marks = hidden @ queries.T / math.sqrt(hidden.shape[-1])
        marks = marks.masked_fill(mask.unsqueeze(-1) == 0, torch.finfo(marks.dtype).min)
        shares = torch.softmax(marks, dim=1)
        return (shares.transpose(1, 2) @ hidden).flatten(1)
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)


def states(
    model: Any,  # noqa: ANN401 - transformers' classes are untyped
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    layers: Sequence[int] = (),
) -> tuple[torch.Tensor, ...]:
    """Return the states of hidden `layers`, each of shape (texts, tokens, width); layer 0 is the embeddings.

    If no layer is named, the network's output is returned.
    """
    # A network that was cut down to its embeddings returns only these, and has no list of hidden states.
    if not layers or model.config.num_hidden_layers == 0:
        return (model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state,)
    found = model(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True).hidden_states
    return tuple(found[layer] for layer in layers)


def features(
    hidden: Sequence[torch.Tensor], mask: torch.Tensor, pooling: Pooling, learned: Learned | None = None
) -> torch.Tensor:
    """Return features of texts from the states of their layers, shape (texts, features), float32.

    The layers are mixed if `learned` has a mix; otherwise their pooled states are concatenated.
    """
    queries = None if learned is None else learned.queries
    if learned is not None and learned.mix is not None:
        shares = torch.softmax(learned.mix, dim=0)
        mixed = torch.stack([layer.float() for layer in hidden], dim=-1) @ shares
        return pool(mixed, mask, pooling, queries)
    pooled = [pool(layer, mask, pooling, queries) for layer in hidden]
    return pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=1)
