"""The few nouns of potstill, frozen.

One article at a time they are these objects; in bulk they are columns of a Polars frame with the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]

UNSCORED = "unscored"
"""The tier of an article whose scores are missing or not finite."""

DROPPED = "dropped"
"""The tier of an article that the prefilter dropped."""


@dataclass(frozen=True, slots=True)
class Article:
    """One text to judge; `extra` holds every other field of its row, passed through unread."""

    id: str
    title: str
    content: str
    extra: Mapping[str, Any] = field(default_factory=dict)


Scores: TypeAlias = Mapping[str, float]
"""Dimension -> score on the filter's scale."""


@dataclass(frozen=True, slots=True)
class Label:
    """What an oracle said of one article: means over `samples` answers, dimension by dimension.

    A dimension that is missing from `scores` is masked, never 0. `spread` is the standard deviation over the
    samples (0.0 with one sample).
    """

    article: str
    oracle: str
    scores: Scores
    spread: Scores
    samples: int
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the scorer says of one article.

    `scores` and `intervals` (low, high) are on the filter's scale and empty when nothing was scored;
    `overall` is None then, and `tier` is `unscored` or `dropped`. `gates` and `caps` are the reasons of those
    that fired; `reason` is the prefilter's, for a dropped article. `tier_probabilities` say how likely the oracle's
    own scores have each tier, and `ask_oracle` whether the tier is too unsure to go without it; empty and None unless
    the scorer was asked for them. `answered_by` names the student that gave the scores where there are two, in a
    cascade.
    """

    id: str
    tier: str
    overall: float | None
    scores: Scores
    intervals: Mapping[str, tuple[float, float]]
    gates: tuple[str, ...] = ()
    caps: tuple[str, ...] = ()
    reason: str | None = None
    tier_probabilities: Mapping[str, float] = field(default_factory=dict)
    ask_oracle: bool | None = None
    answered_by: str | None = None
