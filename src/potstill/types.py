"""Define the basic data types of potstill as frozen objects.

Single articles are handled as these objects; many articles are columns of a Polars data frame with the same names.
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
    """A text to judge; `extra` contains all other fields of its row, unread and unchanged."""

    id: str
    title: str
    content: str
    extra: Mapping[str, Any] = field(default_factory=dict)


Scores: TypeAlias = Mapping[str, float]
"""Dimension -> score on the filter's scale."""


@dataclass(frozen=True, slots=True)
class Label:
    """An oracle's label for one article: means over `samples` answers, per dimension.

    A dimension that is missing from `scores` is masked, never 0. `spread` is the standard deviation over the samples
    (0.0 with one sample).
    """

    article: str
    oracle: str
    scores: Scores
    spread: Scores
    samples: int
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The scorer's result for one article.

    `scores` and `intervals` (low, high) are on the filter's scale. They are empty if the article was not scored;
    `overall` is then None, and `tier` is `unscored` or `dropped`. `gates` and `caps` are the reasons of those that
    fired; `reason` is the prefilter's reason for a dropped article. `tier_probabilities` are the probabilities that the
    oracle's own scores fall in each tier, and `ask_oracle` says whether the tier is too uncertain to decide without the
    oracle; they are empty and None unless requested from the scorer. `answered_by` names the student that gave the
    scores if there are two, in a cascade.

    `novelty` is the p-value, above 0 and at most 1, of the hypothesis that the article is like the training articles.
    Below 0.05 it is farther from them than 95% of articles of their kind, and larger errors must be expected. It is
    None if the bundle's student measures no distances.

    If positive tiers are decided by their probability, `probability` is that of the verdict's tier or a better one (of
    any positive tier, if the verdict's is not positive), `cut` is what it was compared with, and `why` says both in
    words.
    """

    id: str
    tier: str
    overall: float | None
    scores: Scores
    intervals: Mapping[str, tuple[float, float]]
    gates: tuple[str, ...] = ()
    caps: tuple[str, ...] = ()
    reason: str | None = None
    novelty: float | None = None
    probability: float | None = None
    cut: float | None = None
    why: str | None = None
    tier_probabilities: Mapping[str, float] = field(default_factory=dict)
    ask_oracle: bool | None = None
    answered_by: str | None = None
