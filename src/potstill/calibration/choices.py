"""Shows what each cut on a tier's probability would do, so that a person can choose an operating point.

Input: `Decisions`. Output: for each positive tier how its probability is computed, some points of its precision-recall
curve, the chosen cut, and what a higher recall costs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from potstill.calibration.cuts import TierCut  # noqa: TC001 - pydantic reads it
from potstill.calibration.decisions import Signal  # noqa: TC001 - pydantic reads it
from potstill.findings import FEWEST_TO_DECIDE
from potstill.records import Part
from potstill.verdict import positive_places

if TYPE_CHECKING:
    from potstill.calibration.curves import Calibration
    from potstill.calibration.cuts import PrecisionRecall
    from potstill.calibration.decisions import Decisions
    from potstill.verdict import Rules

RECALLS = 10
"""Number of equal steps of recall at which a cut is shown."""


class CutPoint(Part):
    """What one cut did on the held-out rows: articles named per 1,000, recall and precision."""

    cut: float
    named: int
    found: int
    per_thousand: float
    recall: float
    precision: float
    chosen: bool


class MoreRecall(Part):
    """What a higher recall costs: articles named per 1,000 beyond those of the chosen cut, and the precision then."""

    recall: float
    instead_of: float
    more_per_thousand: float
    precision: float


class TierChoices(Part):
    """What a person needs to choose the operating point of one positive tier.

    `points` runs from the strictest to the loosest useful cut; it is empty if the tier has too few held-out articles.
    `next_recall` is None if the chosen cut finds every article, or none is chosen.
    """

    tier: str
    signal: Signal
    cut: TierCut
    rows: int
    positives: int
    average_precision: float | None
    points: tuple[CutPoint, ...]
    next_recall: MoreRecall | None


def choices_of(decisions: Decisions) -> tuple[TierChoices, ...]:
    """Return the choices for each positive tier, in order."""
    each = zip(decisions.signals, decisions.curves, decisions.cuts, strict=True)
    return tuple(_choices(signal, curve, cut) for signal, curve, cut in each)


def why_by_score(calibration: Calibration, rules: Rules) -> str | None:
    """Return why no tier can be decided by its probability; None if one can."""
    if calibration.decisions is not None:
        return None
    if not positive_places(rules):
        return "the filter marks no tier as positive"
    return (
        "the bundle holds no probabilities of tiers that were counted on held-out articles: it was built by an earlier "
        "version of potstill, or from too few articles"
    )


def _choices(signal: Signal, curve: PrecisionRecall, cut: TierCut) -> TierChoices:
    chosen = next((place for place, own in enumerate(curve.cuts) if own == cut.probability), None)
    return TierChoices(
        tier=cut.tier,
        signal=signal,
        cut=cut,
        rows=curve.rows,
        positives=curve.positives,
        average_precision=None if curve.average_precision is None else round(curve.average_precision, 6),
        points=_points(curve, chosen) if curve.positives >= FEWEST_TO_DECIDE else (),
        next_recall=None if chosen is None else _next_recall(curve, chosen),
    )


def _points(curve: PrecisionRecall, chosen: int | None) -> tuple[CutPoint, ...]:
    """Return the strictest cut of each step of recall, and the chosen one."""
    steps = [_strictest(curve, math.ceil(step * curve.positives / RECALLS)) for step in range(1, RECALLS + 1)]
    places = sorted({*steps, *([] if chosen is None else [chosen])})
    return tuple(
        CutPoint(
            cut=curve.cuts[place],
            named=curve.named[place],
            found=curve.found[place],
            per_thousand=round(_per_thousand(curve, place), 3),
            recall=round(curve.found[place] / curve.positives, 6),
            precision=round(_precision(curve, place), 6),
            chosen=place == chosen,
        )
        for place in places
    )


def _next_recall(curve: PrecisionRecall, chosen: int) -> MoreRecall | None:
    """Return what the next step of recall costs; None if every article is found."""
    now = curve.found[chosen]
    if now == curve.positives:
        return None
    step = now * RECALLS // curve.positives + 1
    place = _strictest(curve, math.ceil(step * curve.positives / RECALLS))
    return MoreRecall(
        recall=round(curve.found[place] / curve.positives, 6),
        instead_of=round(now / curve.positives, 6),
        more_per_thousand=round(_per_thousand(curve, place) - _per_thousand(curve, chosen), 3),
        precision=round(_precision(curve, place), 6),
    )


def _strictest(curve: PrecisionRecall, found: int) -> int:
    """Return the index of the strictest cut that finds so many articles."""
    return next(place for place, count in enumerate(curve.found) if count >= found)


def _per_thousand(curve: PrecisionRecall, place: int) -> float:
    return 1000 * curve.named[place] / curve.rows


def _precision(curve: PrecisionRecall, place: int) -> float:
    return curve.found[place] / curve.named[place] if curve.named[place] else 0.0
