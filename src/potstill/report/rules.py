"""The rules of a report: thresholds of `potstill.findings`, shown as facts with the ratings that they decide.

In: recorded figures. Out: a word for each (a rating, an epoch's status, a grade of suitability), or None if a figure
that the rule needs is not recorded. Text that mentions a threshold shows it from `RULES`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from potstill.files import digest
from potstill.findings import (
    FEW_ROWS,
    FEWEST_HIGH_ROWS,
    IMPROVING_EPOCH,
    MANY_TRUNCATED,
    RATED_EXCELLENT,
    RATED_FAIR,
    RATED_GOOD,
    SIGNIFICANCE,
    SUITED_HALF_WIDTH,
    SUITED_KAPPA,
    SUITED_RANK_CORRELATION,
    USABLE_HALF_WIDTH,
    USABLE_KAPPA,
    USABLE_RANK_CORRELATION,
    WIDE_GAP,
)
from potstill.report.facts import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

_THRESHOLDS: Final[dict[str, Any]] = {
    "rating": {"excellent": RATED_EXCELLENT, "good": RATED_GOOD, "fair": RATED_FAIR},
    "epoch": {"improving": IMPROVING_EPOCH},
    "gap": {"wide": WIDE_GAP},
    "tiers": {"suited": SUITED_KAPPA, "with care": USABLE_KAPPA},
    "ranking": {"suited": SUITED_RANK_CORRELATION, "with care": USABLE_RANK_CORRELATION},
    "exact": {"suited": SUITED_HALF_WIDTH, "with care": USABLE_HALF_WIDTH},
    "coverage": {"chance": SIGNIFICANCE},
    "rows": {"judged": FEW_ROWS, "high": FEWEST_HIGH_ROWS},
    "cut": {"many": MANY_TRUNCATED},
}

RULES = Record("rules", digest(_THRESHOLDS), _THRESHOLDS, _THRESHOLDS)
"""Every threshold, as a record with its own hash."""

RATINGS = ("excellent", "good", "fair", "weak", "unproven", "none")
"""From best to worst; `unproven`: better than the constant, but not significantly; `none`: not better than it."""


def threshold(*path: str) -> float:
    """The threshold of a rule."""
    return float(RULES.at(*path).value)


def rate(
    mae: float | None, constant: float | None, floor: float | None, lowest_skill: float | None = None
) -> str | None:
    """Rate how much of the avoidable error the student removes: a word of `RATINGS`.

    Args:
        mae: the student's mean absolute error.
        constant: the constant's error on the same rows.
        floor: the noise floor; taken as 0 if it is unknown, which gives a lower rating.
        lowest_skill: the lower end of the interval of skill; if it is 0 or less, the rating is `unproven`.
    """
    if mae is None or constant is None or constant <= 0:
        return None
    if mae >= constant:
        return "none"
    if lowest_skill is not None and lowest_skill <= 0:
        return "unproven"
    least = floor or 0.0
    # If the constant is below the floor, there is no avoidable error.
    share = 1.0 if constant <= least else (constant - mae) / (constant - least)
    return next((name for name in RATINGS[:3] if share >= threshold("rating", name)), "weak")


def epoch_status(errors: Sequence[float | None], place: int, kept: int | None = None) -> str | None:
    """The status of an epoch, from the validation errors up to it.

    `first`; `improving` (a new best by at least the rule's share); `slightly better` (a new best by less); `plateau`
    (no new best, but within that share of it); `worse`. The status of the shipped epoch, at place `kept`, starts with
    `best`.
    """
    now = errors[place]
    before = [error for error in errors[:place] if error is not None]
    if now is None:
        return None
    word = "first" if not before else _progress(now, min(before))
    return f"best, {word}" if kept == place else word


def _progress(now: float, best: float) -> str:
    step = threshold("epoch", "improving") * best
    if now < best:
        return "improving" if best - now >= step else "slightly better"
    return "plateau" if now - best <= step else "worse"


def holds(share: float | None, rows: int | None, level: float | None, looks: int = 1) -> bool | None:
    """Whether intervals that cover a share of `rows` labels are consistent with their nominal coverage, `level`.

    They are not if a binomial variable would be so low less often than the rule allows, divided by the number of
    dimensions, `looks` (Bonferroni). Higher coverage than nominal is accepted.
    """
    if share is None or level is None or not rows or not 0 < level < 1:
        return None
    held = round(share * rows)
    logs = (
        math.lgamma(rows + 1) - math.lgamma(k + 1) - math.lgamma(rows - k + 1)
        + k * math.log(level) + (rows - k) * math.log1p(-level)
        for k in range(held + 1)
    )  # fmt: skip
    return sum(map(math.exp, logs)) >= threshold("coverage", "chance") / looks


def grade(rule: str, value: float | None) -> str | None:
    """`suited`, `with care` or `not suited`, by a rule of `RULES`; `exact` has upper bounds, others lower."""
    if value is None:
        return None
    fits = value.__le__ if rule == "exact" else value.__ge__
    return next((word for word in ("suited", "with care") if fits(threshold(rule, word))), "not suited")
