"""What training makes small: the error of raw scores, over the labels that are there.

In: predictions and scores with NaN for missing labels. Out: one number to go down.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional

Objective = Literal["mse", "huber", "l1"]

HUBER_DELTA = 1.0
"""In points of the labels' scale: errors below are squared, errors above count as they are."""


def masked_loss(predictions: torch.Tensor, scores: torch.Tensor, objective: Objective) -> torch.Tensor:
    """The mean loss over labels that are there; 0 where there are none.

    Args:
        predictions: shape (rows, dimensions).
        scores: the same shape; NaN is masked and has no gradient.
        objective: squared error, absolute error, or Huber's (1964) between them with delta 1.
    """
    there = ~torch.isnan(scores)
    if not bool(there.any()):
        return (predictions * 0).sum()
    given, wanted = predictions[there], scores[there].to(predictions.dtype)
    if objective == "mse":
        return functional.mse_loss(given, wanted)
    if objective == "l1":
        return functional.l1_loss(given, wanted)
    return functional.huber_loss(given, wanted, delta=HUBER_DELTA)
