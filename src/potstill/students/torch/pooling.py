"""Pooling: one vector for a text from the vectors of its tokens.

In: a network's last hidden state and the attention mask. Out: features, in float32.
"""

from __future__ import annotations

from typing import Literal

import torch

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
