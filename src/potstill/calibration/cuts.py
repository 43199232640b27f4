"""Cuts on a tier's probability: how many articles each names, how many of those belong to the tier, and which to take.

Input: probabilities of held-out rows and whether the oracle's scores give the tier. Output: counts by cut
(`PrecisionRecall`), and the cut for an operating point with one-sided confidence bounds (`TierCut`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from potstill import metrics
from potstill.findings import FEWEST_TO_DECIDE
from potstill.operating_points import OperatingPoint  # noqa: TC001 - pydantic reads it
from potstill.records import Part

if TYPE_CHECKING:
    from potstill.types import BoolArray, FloatArray, IntArray

SURE = 0.95
"""Confidence of each bound, one-sided, over random draws of the rows on which the cut was chosen."""

MOST_CUTS = 300
"""Maximum number of cuts that are kept."""

STEP = 0.05
"""Step by which a precision is lowered until the rows support it."""

Probability = Annotated[float, Field(ge=0, le=1)]


class PrecisionRecall(Part):
    """Counts on `rows` held-out articles of which `positives` belong to the tier, at decreasing cuts.

    At each cut, `named` articles have at least this probability, and `found` of them belong to the tier.
    """

    rows: int = Field(ge=1)
    positives: int = Field(ge=0)
    cuts: tuple[Probability, ...] = Field(min_length=1)
    named: tuple[int, ...]
    found: tuple[int, ...]

    @model_validator(mode="after")
    def _nested(self) -> Self:
        if not len(self.cuts) == len(self.named) == len(self.found):
            raise ValueError("cuts, named and found need the same number of values")
        falls = (np.diff(self.cuts) < 0).all()
        rises = all((np.diff((0, *counts)) >= 0).all() for counts in (self.named, self.found))
        within = all(found <= min(named, self.positives) for named, found in zip(self.named, self.found, strict=True))
        if not (falls and rises and within and self.named[-1] <= self.rows):
            raise ValueError("cuts must decrease, counts must not, and found must not exceed named or positives")
        return self

    @property
    def share(self) -> float:
        """Share of the articles that belong to the tier."""
        return self.positives / self.rows

    @classmethod
    def of(cls, probabilities: FloatArray, belongs: BoolArray) -> PrecisionRecall:
        """Count at each cut.

        Args:
            probabilities: shape (rows,), from 0 to 1, at least one row.
            belongs: whether the oracle's scores give the tier, shape (rows,).
        """
        values, place = np.unique(-probabilities, return_inverse=True)
        named = np.cumsum(np.bincount(place))
        found = np.cumsum(np.bincount(place, weights=belongs)).astype(np.int64)
        # A cut halfway to the next probability does not depend on how a processor rounds.
        values = np.clip(-values, 0.0, 1.0)
        above = np.maximum((values[:-1] + values[1:]) / 2, np.nextafter(values[1:], 1.0))
        cuts = np.append(above, 0.0)
        keep = _worth_keeping(named, found, int(belongs.sum()))
        return cls(
            rows=len(probabilities),
            positives=int(belongs.sum()),
            cuts=tuple(cuts[keep].tolist()),
            named=tuple(named[keep].tolist()),
            found=tuple(found[keep].tolist()),
        )

    @property
    def average_precision(self) -> float | None:
        """Mean precision over the positives, each at the cut that finds it; None without a positive."""
        if not self.positives:
            return None
        gained = np.diff((0, *self.found))
        share = np.divide(self.found, self.named, out=np.zeros(len(self.named)), where=np.array(self.named) > 0)
        return float(gained @ share) / self.positives


class TierCut(Part):
    """The cut on the probability of `tier` for an operating point, and what it did on the rows that chose it.

    `probability` is None if the tier is decided by score. `recall_at_least` and `precision_at_least` are lower bounds
    with 95% confidence. `promise` is what the bound supports, and `note` says why if that is less than was asked for.
    `measured` means that the recall or precision of the cut was only measured on those rows: that asked for cannot be
    promised.
    """

    tier: str
    point: OperatingPoint
    probability: Probability | None
    rows: int = 0
    positives: int = 0
    named: int = 0
    found: int = 0
    recall_at_least: float | None = None
    precision_at_least: float | None = None
    promise: str | None = None
    note: str | None = None
    measured: bool = False

    @property
    def recall(self) -> float | None:
        """Share of the tier's articles that were named on the rows that chose the cut."""
        return self.found / self.positives if self.positives else None

    @property
    def precision(self) -> float | None:
        """Share of the named articles that belong to the tier on the rows that chose the cut."""
        return self.found / self.named if self.named else None

    @property
    def per_thousand(self) -> float | None:
        """Articles named per 1,000, on the rows that chose the cut."""
        return 1000 * self.named / self.rows if self.rows else None

    @property
    def goal(self) -> str:
        """What the cut was chosen for, in words: the operating point, or what took its place if that is not proven."""
        if not self.measured:
            return self.promise or str(self.point)
        name = "recall" if self.point.recall is not None else "precision"
        return f"a measured {name} of {getattr(self, name):.2f}"


def choose_cut(tier: str, curve: PrecisionRecall | None, point: OperatingPoint) -> TierCut:
    """Choose the cut on a tier's probability for an operating point.

    A promised recall comes from an order statistic: the number of positives to find depends only on how many there
    are, so its one-sided Clopper-Pearson bound (1934) holds for the cut that finds them. If the recall asked for cannot
    be proven without naming every positive, the cut reaches it on the rows at hand, and what is proven of that cut is
    promised. A promised precision is tested from the strictest cut on, and the first failure stops the search (fixed
    sequence testing, Angelopoulos et al., Learn then Test, 2021); one that the rows cannot support is lowered to the
    highest that they do. In both cases `note` says so. With fewer than `FEWEST_TO_DECIDE` positives the tier is decided
    by score.

    Args:
        tier: name of the tier.
        curve: counts on rows that trained nothing; None if there are none.
        point: the operating point.
    """
    if point.by_score:
        return TierCut(tier=tier, point=point, probability=None)
    positives = 0 if curve is None else curve.positives
    if curve is None or positives < FEWEST_TO_DECIDE:
        return TierCut(
            tier=tier,
            point=point,
            probability=None,
            rows=0 if curve is None else curve.rows,
            positives=positives,
            note=f"decided by score: {positives} held-out {'article' if positives == 1 else 'articles'} in {tier}, and "
            f"{FEWEST_TO_DECIDE} are needed",
        )
    place, promise, note = _place(curve, point)
    named, found = curve.named[place], curve.found[place]
    return TierCut(
        tier=tier,
        point=point,
        probability=curve.cuts[place],
        rows=curve.rows,
        positives=positives,
        named=named,
        found=found,
        recall_at_least=_lower(found, positives),
        precision_at_least=_lower(found, named),
        promise=promise,
        note=note,
        measured=note is not None and (point.recall is not None or promise is None),
    )


def _place(curve: PrecisionRecall, point: OperatingPoint) -> tuple[int, str | None, str | None]:
    """Return the index of the cut, what is promised, and why that is less than asked for."""
    named, found = np.array(curve.named), np.array(curve.found)
    if point.recall is not None:
        return _for_recall(curve, point.recall)
    if point.precision is not None:
        return _for_precision(curve, point.precision)
    if point.volume is not None:
        wanted = curve.positives if point.volume == "match" else point.volume * curve.rows / 1000
        return int(np.abs(named - wanted).argmin()), None, None
    if point.cost is not None:
        cost = point.cost.miss * (curve.positives - found) + point.cost.false_alarm * (named - found)
        return int(cost.argmin()), None, None
    return int((2 * found / (named + curve.positives)).argmax()), None, None


def _for_recall(curve: PrecisionRecall, wanted: float) -> tuple[int, str, str | None]:
    positives = curve.positives
    enough = math.ceil(wanted * positives)
    # A proof that needs every positive would cut at the smallest probability of any, wherever that happens to lie.
    proof = next((count for count in range(enough, positives) if _shows(count, positives, wanted)), None)
    if proof is not None:
        return _finds(curve, proof), f"recall {wanted:g}", None
    place = _finds(curve, enough)
    # Articles with equal probabilities may be found in addition; the proof is about those that had to be found.
    proven = math.floor(100 * (_lower(enough, positives) or 0.0)) / 100
    note = (
        f"recall {wanted:g} is not proven: {positives} positive articles prove {proven:g}; cut at the measured "
        f"{curve.found[place] / positives:.2f}"
    )
    return place, f"recall {proven:g}", note


def _finds(curve: PrecisionRecall, count: int) -> int:
    """Return the index of the first cut that finds at least `count` positives."""
    return next(place for place, found in enumerate(curve.found) if found >= count)


def _for_precision(curve: PrecisionRecall, wanted: float) -> tuple[int, str | None, str | None]:
    for goal in _lowered(wanted):
        # Stricter cuts name too few articles to show the precision unless nearly all of them belong to the tier.
        fewest = 2 * math.log(1 - SURE) / math.log(goal)
        chosen = None
        for place, (named, found) in enumerate(zip(curve.named, curve.found, strict=True)):
            if named < fewest:
                continue
            if not _shows(found, named, goal):
                break
            chosen = place
        if chosen is not None:
            note = f"the {curve.named[chosen]} articles named; lowered to {goal:g}"
            note = f"precision {wanted:g} is not supported by {note}"
            return chosen, f"precision {goal:g}", None if goal == wanted else note
    best = int(np.argmax([_lower(*pair) or 0.0 for pair in zip(curve.found, curve.named, strict=True)]))
    return best, None, f"precision {wanted:g} is not supported by {curve.positives} positive articles"


def _lowered(goal: float) -> list[float]:
    """Return the goal and lower ones, in multiples of `STEP`."""
    below = math.ceil(goal / STEP - 1e-9) - 1
    return [goal, *(round(step * STEP, 2) for step in range(below, 0, -1))]


def _shows(found: int, n: int, share: float) -> bool:
    """Return whether the lower bound of `found` in `n` is at least `share`, which one binomial test tells."""
    return found > 0 and metrics.chance_of_at_most(found - 1, n, share) >= SURE


def _lower(found: int, n: int) -> float | None:
    """Return the one-sided lower bound of a share (Clopper & Pearson 1934); None without trials."""
    return metrics.exact_interval(found, n, 2 * SURE - 1)[0] if n else None


def _worth_keeping(named: IntArray, found: IntArray, positives: int) -> IntArray:
    """Return the indices of the cuts that are kept: where a positive is found, and at equal and twice the volume."""
    steps = np.flatnonzero(np.diff(np.append(0, found)) > 0)
    if len(steps) > MOST_CUTS:
        steps = steps[np.linspace(0, len(steps) - 1, MOST_CUTS).astype(np.int64)]
    volumes = [int(np.abs(named - times * positives).argmin()) for times in (1, 2) if positives]
    return np.unique([*steps.tolist(), *volumes, len(found) - 1])
