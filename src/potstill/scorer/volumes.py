"""Compares a scored file with the articles that its bundle was built from.

Input: the cuts of a bundle and the counts of a scored file. Output: a `Drift` for each tier whose cut was chosen for a
volume and that names another number of articles than held-out articles make expect, and an `Unlike` if more articles
are unlike the training articles than would be by chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from potstill import metrics
from potstill.findings import NOVEL, NOVEL_FILE, VOLUME_DRIFT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from potstill.calibration import TierCut


@dataclass(frozen=True, slots=True)
class Drift:
    """A positive tier that `named` so many of the `articles` that were scored.

    `named` includes the articles of better tiers, and `better` says whether there are such tiers. `expected` articles
    were to be named for the `goal` of its cut; `p_value` is how likely such a difference is by chance.
    """

    tier: str
    better: bool
    goal: str
    articles: int
    named: int
    expected: float
    p_value: float

    def __str__(self) -> str:
        tier = f"{self.tier} or better" if self.better else self.tier
        return (
            f"{tier}: {self.named:,} of {self.articles:,} articles named, {self.expected:,.0f} expected at "
            f"{self.goal}: the articles differ from those that the cut was chosen on"
        )


@dataclass(frozen=True, slots=True)
class Unlike:
    """A file in which `count` of the scored `articles` are unlike the training articles.

    `significant` says whether these are more than would be so by chance.
    """

    articles: int
    count: int
    significant: bool

    def __str__(self) -> str:
        return (
            f"{self.count / self.articles:.0%} of these articles are unlike the training articles (p < {NOVEL:g}), "
            f"where {NOVEL:.0%} would be by chance: expect larger errors"
        )


def unlike(count: int, scored: int) -> Unlike | None:
    """Return how many articles are unlike the training articles; None if none was scored.

    The test is a one-sided binomial one.

    Args:
        count: number of scored articles whose novelty is below `NOVEL`.
        scored: number of articles with a score.
    """
    if not scored:
        return None
    p_value = 1 - metrics.chance_of_at_most(count - 1, scored, NOVEL) if count else 1.0
    return Unlike(scored, count, p_value < NOVEL_FILE)


def drifts(cuts: Sequence[TierCut], tiers: Mapping[str, int], scored: int) -> tuple[Drift, ...]:
    """Return the positive tiers that name significantly more or fewer articles than expected.

    The test is a binomial one that counts both numbers as chance (Przyborowski & Wilenski 1940): of all articles that
    are named, in the file and among the held-out ones, the file's share is that of its articles if both are alike.

    Args:
        cuts: the cut of each positive tier, in the filter's order.
        tiers: number of articles in each tier.
        scored: number of articles with a score.
    """
    found, named = [], 0
    for place, cut in enumerate(cuts):
        # A cut is on the probability of the tier or a better one.
        named += tiers.get(cut.tier, 0)
        if cut.point.volume is None or cut.probability is None or not scored or not cut.rows:
            continue
        p_value = _p_value(named, cut.named + named, scored / (scored + cut.rows))
        if p_value < VOLUME_DRIFT:
            expected = cut.named / cut.rows * scored
            found.append(Drift(cut.tier, place > 0, cut.goal, scored, named, round(expected, 1), p_value))
    return tuple(found)


def _p_value(found: int, n: int, p: float) -> float:
    """Return twice the smaller tail of a binomial distribution, at most 1."""
    at_most = metrics.chance_of_at_most(found, n, p)
    at_least = 1 - metrics.chance_of_at_most(found - 1, n, p) if found else 1.0
    return round(min(1.0, 2 * max(0.0, min(at_most, at_least))), 6)
