"""How unusual an article's distance to the training articles is, as a conformal p-value, and what follows from it.

Input: distances of articles of the training kind to training articles that are not they themselves. Output: a
`Familiarity`, which gives for any distance the p-value of the hypothesis that the article is of the same kind (Bates,
Candes, Lei, Romano & Sesia, Testing for outliers with conformal p-values, 2023), and a factor by which intervals and
the uncertainty of tiers are widened.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from potstill.findings import NOVEL
from potstill.records import Part

if TYPE_CHECKING:
    from potstill.types import FloatArray

MOST_DISTANCES = 500
"""Maximum number of distances that are kept, so that the smallest p-value is about 0.002."""

FEWEST_DISTANCES = 40
"""Minimum number of distances: with fewer, hardly any p-value is below 0.05."""

WIDEST = 3.0
"""Largest factor by which an interval is widened."""

Finite = Annotated[float, Field(allow_inf_nan=False, ge=0)]


class Familiarity(Part):
    """Sorted distances of `n` articles of the training kind; a sample of evenly spaced ranks if there are many."""

    n: int = Field(ge=1)
    distances: tuple[Finite, ...] = Field(min_length=1, max_length=MOST_DISTANCES)

    @model_validator(mode="after")
    def _sorted(self) -> Self:
        if (np.diff(self.distances) < 0).any():
            raise ValueError("distances must not decrease")
        return self

    @cached_property
    def _known(self) -> FloatArray:
        return np.array(self.distances)

    @cached_property
    def usual(self) -> float:
        """The distance that the share `NOVEL` of articles of the training kind exceed."""
        place = int(np.ceil((1 - NOVEL) * (len(self._known) + 1))) - 1
        return float(self._known[min(place, len(self._known) - 1)])

    def p_values(self, distances: FloatArray) -> FloatArray:
        """Return the share of articles of the training kind that are at least as far away, shape (rows,).

        The article itself counts as one of them, so the share is above 0. NaN for a distance that is not finite.
        """
        farther = len(self._known) - np.searchsorted(self._known, distances, side="left")
        return np.where(np.isfinite(distances), (1.0 + farther) / (1.0 + len(self._known)), np.nan)

    def widening(self, distances: FloatArray) -> FloatArray:
        """Return the factor by which intervals are widened, 1 to `WIDEST`, shape (rows,).

        It is the square of the distance in units of `usual`, so that only articles with a p-value below `NOVEL` have
        wider intervals, and 1 for a distance that is not finite.
        """
        known = np.where(np.isfinite(distances), distances, 0.0)
        ratio = (known / self.usual) ** 2 if self.usual else np.where(known > 0, WIDEST, 1.0)
        found: FloatArray = np.clip(ratio, 1.0, WIDEST)
        return found


def fit_familiarity(distances: FloatArray) -> Familiarity | None:
    """Keep the distances of articles of the training kind; None if there are fewer than `FEWEST_DISTANCES`.

    Args:
        distances: shape (rows,), each to training articles without the row's near-duplicates; NaN is left out.
    """
    known = np.sort(distances[np.isfinite(distances)])
    if len(known) < FEWEST_DISTANCES:
        return None
    n = len(known)
    if n > MOST_DISTANCES:
        known = known[np.round(np.linspace(0, n - 1, MOST_DISTANCES)).astype(np.int64)]
    return Familiarity(n=n, distances=tuple(np.round(known, 6).tolist()))
