"""Deferral thresholds: how probable a tier must be so that few of the tiers that are kept are wrong.

Input: held-out tiers of articles, their probabilities, and whether the oracle's scores give the same tier. Output:
counts at several thresholds, from which the lowest threshold that guarantees a given error rate is chosen, or None if
the rows cannot support any.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
from pydantic import Field, model_validator

from potstill import metrics
from potstill.calibration.decisions import of_each_tier
from potstill.records import Part
from potstill.verdict import judge_rows, with_named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from potstill.calibration.decisions import Fitted, HeldOut
    from potstill.types import BoolArray, FloatArray
    from potstill.verdict import Rules

SURE = 0.95
"""Confidence that the error rate is kept, over random draws of the rows on which the threshold was chosen."""

STEPS = 20
"""Number of thresholds tried: those that keep one twentieth of the rows, two twentieths, and so on."""

Share = Annotated[float, Field(ge=0, le=1)]


class Abstention(Part):
    """Of `rows` articles, one per cluster: how many are kept at each threshold, and how many of these are wrong.

    `probabilities` are the thresholds, decreasing, on the probability of the verdict's tier.
    """

    rows: int = Field(ge=1)
    probabilities: tuple[Share, ...] = Field(min_length=1)
    kept: tuple[int, ...]
    wrong: tuple[int, ...]

    @model_validator(mode="after")
    def _nested(self) -> Self:
        steps = len(self.probabilities)
        falls = (np.diff(self.probabilities) < 0).all()
        rises = all((np.diff((0, *counts)) >= 0).all() for counts in (self.kept, self.wrong))
        if len(self.kept) != steps or len(self.wrong) != steps or not falls or not rises:
            raise ValueError("thresholds must decrease, and the counts of kept and of wrong rows must not")
        if any(wrong > kept for wrong, kept in zip(self.wrong, self.kept, strict=True)) or self.kept[-1] > self.rows:
            raise ValueError("wrong must not exceed kept, and kept must not exceed rows")
        return self


@dataclass(frozen=True, slots=True)
class Cut:
    """A threshold on a tier's probability: on the rows that chose it, `kept` of `rows`, of which `wrong` were wrong.

    `at_most` is the upper confidence bound on the error rate of those kept.
    """

    probability: float
    rows: int
    kept: int
    wrong: int
    at_most: float


def cut_for(abstention: Abstention, error: float, *, sure: float = SURE) -> Cut | None:
    """Find the threshold that keeps most articles with at most `error` of their tiers wrong; None if there is none.

    Thresholds are tried from the strictest on. At each one, an exact binomial test must reject the hypothesis that more
    than `error` of the kept tiers are wrong; the first failure stops the search. Because the order is fixed and every
    test has confidence `sure`, the probability of choosing a threshold that does not keep the rate is at most 1 -
    `sure` (Angelopoulos, Bates, Candes, Jordan & Lei, Learn then Test, 2021). The order begins at a quarter of the
    rows, or at twice as many rows as would be needed without any error: stricter thresholds keep too few rows to be
    informative.

    Args:
        abstention: counts on rows that were not used for any selection.
        error: allowed share of wrong tiers among those kept, above 0 and below 1.
        sure: confidence that it is kept, above 0 and below 1.

    Raises:
        ValueError: `error` is not above 0 and below 1.
    """
    if not 0 < error < 1:
        raise ValueError(f"error rate {error} is not between 0 and 1")
    flawless = math.log(1 - sure) / math.log(1 - error)
    first = min(max(2 * flawless, abstention.rows / 4), abstention.kept[-1])
    found = None
    for probability, kept, wrong in zip(abstention.probabilities, abstention.kept, abstention.wrong, strict=True):
        if kept < first:
            continue
        if metrics.chance_of_at_most(wrong, kept, error) > 1 - sure:
            break
        found = probability, kept, wrong
    if found is None:
        return None
    probability, kept, wrong = found
    return Cut(probability, abstention.rows, kept, wrong, metrics.exact_interval(wrong, kept, 2 * sure - 1)[1])


def least_error(abstention: Abstention, *, sure: float = SURE) -> float | None:
    """Return the lowest error rate, in whole percent, for which there is a threshold; None if there is none."""
    rates = (percent / 100 for percent in range(1, 100))
    return next((rate for rate in rates if cut_for(abstention, rate, sure=sure) is not None), None)


def fit_abstention(rows: HeldOut, odds: FloatArray, fitted: Fitted | None, rules: Rules) -> Abstention:
    """Count wrong tiers at each threshold.

    A row's tier and its probability come from scores, residuals and signals of other folds. Of near-duplicates only the
    first one counts, since their errors are not independent.

    Args:
        rows: held-out rows, at least one.
        odds: the probability of each tier by the residuals of other folds, shape (rows, tiers).
        fitted: how positive tiers are decided; None if all tiers are decided by score.
        rules: the filter.
    """
    names = [tier.name for tier in rules.tiers]
    judged, each = rows.judged, odds
    if fitted is not None:
        judged = with_named(judged, rows.scores, fitted.decisions.named(fitted.positive, judged))
        each = of_each_tier(odds, fitted.positive, rules)
    given = np.array(judged.tier_names)
    right = np.array(judge_rows(rows.labels, rules, rows.cap_hits).tier_names)
    sure, first = given_probability(each, names, given), rows.one_each
    return _counted(sure[first], (given != right)[first])


def given_probability(odds: FloatArray, names: Sequence[str], given: NDArray[Any]) -> FloatArray:
    """Return the probability of each row's own tier, shape (rows,); NaN if it has none."""
    found = np.full(len(odds), np.nan)
    for place, name in enumerate(names):
        found[given == name] = odds[given == name, place]
    return found


def _counted(sure: FloatArray, wrong: BoolArray) -> Abstention:
    ordered = np.sort(sure)[::-1]
    places = {-(-len(sure) * step // STEPS) - 1 for step in range(1, STEPS + 1)}
    thresholds = np.unique(ordered[sorted(places)])[::-1]
    return Abstention(
        rows=len(sure),
        probabilities=tuple(thresholds.tolist()),
        kept=tuple(int((sure >= threshold).sum()) for threshold in thresholds),
        wrong=tuple(int(wrong[sure >= threshold].sum()) for threshold in thresholds),
    )
