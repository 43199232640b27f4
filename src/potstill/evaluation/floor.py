"""Estimate the noise floor: the error caused by the oracle's disagreement with itself, which no student can beat.

Input: the oracle's answers, several per article. Output: a `Floor`, or None if no article was labelled twice, because
single answers contain no information about noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from potstill import metrics
from potstill.evaluation.judging import number
from potstill.evaluation.records import Floor

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from potstill.types import FloatArray


def floor_of(answers: Iterable[FloatArray], dimensions: Sequence[str]) -> Floor | None:
    """Estimate the noise floor from repeated answers.

    The difference d of an article is the mean over all pairs of its answers. An article with K answers contributes d /
    sqrt(2K) to the floor, so more answers per article lower the floor as they lower the noise.

    Args:
        answers: for each article an array of shape (samples, dimensions), NaN where an answer lacks a dimension.
        dimensions: names of the dimensions, in order.

    Returns:
        The noise floor, or None if no article has two answers.
    """
    repeated = [answer for answer in answers if len(answer) > 1]
    if not repeated:
        return None
    differences = np.array([metrics.pairwise_difference(answer) for answer in repeated])
    samples = np.array([np.isfinite(answer).sum(axis=0) for answer in repeated])
    with np.errstate(divide="ignore", invalid="ignore"):
        floors = metrics.floor(differences, samples)
    difference = [metrics.average(column) for column in differences.T]
    floor = [metrics.average(column) for column in floors.T]
    if not np.isfinite(difference).all():
        return None
    return Floor(
        articles=len(repeated),
        samples=float(np.mean([len(answer) for answer in repeated])),
        difference={name: round(value, 6) for name, value in zip(dimensions, difference, strict=True)},
        floor={name: round(value, 6) for name, value in zip(dimensions, floor, strict=True)},
        mean_difference=number(float(np.mean(difference))) or 0.0,
        mean_floor=number(float(np.mean(floor))) or 0.0,
    )
