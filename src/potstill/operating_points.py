"""Operating points: what the cut on a tier's probability should achieve.

Input: the `decide` part of a filter, or a text such as `recall=0.9` from the command line. Output: an
`OperatingPoint`. The cut itself is chosen on labelled rows, in `calibration.decisions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, ValidationError, model_validator

from potstill.errors import BadInput
from potstill.records import Part, first_fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FORMS = "volume=match, volume=N (articles per 1,000), recall=R, precision=P, f1, cost=MISS/FALSE_ALARM or by-score"
"""The spellings of an operating point in one text."""

Share = Annotated[float, Field(gt=0, lt=1)]


class Cost(Part):
    """What an article costs that is missed, and one that is named without belonging to the tier; in any unit."""

    miss: float = Field(gt=0, allow_inf_nan=False)
    false_alarm: float = Field(gt=0, allow_inf_nan=False)


class OperatingPoint(Part):
    """What the cut on the probability of one tier should achieve; exactly one field is given.

    Attributes:
        volume: `match` names as many articles as the oracle would; a number is articles per 1,000.
        recall: share of the tier's articles to find, kept with 95% confidence.
        precision: share of the named articles that belong to the tier, kept with 95% confidence.
        f1: `best` takes the cut with the highest F1.
        cost: takes the cut with the lowest total cost of misses and false alarms.
        threshold: `by-score` applies the tier's condition to the scores and uses no probability.
    """

    volume: Literal["match"] | Annotated[float, Field(gt=0, le=1000)] | None = None
    recall: Share | None = None
    precision: Share | None = None
    f1: Literal["best"] | None = None
    cost: Cost | None = None
    threshold: Literal["by-score"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, content: object) -> object:
        if not isinstance(content, str):
            return content
        try:
            return _fields_of(content)
        except ValueError as error:
            raise ValueError(f"got {content!r}, expected {FORMS}") from error

    @model_validator(mode="after")
    def _one_goal(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"expected exactly one of {', '.join(GOALS)}, got {' and '.join(given) or 'none'}")
        return self

    @property
    def by_score(self) -> bool:
        """Whether the tier's condition is applied to the scores, as without an operating point."""
        return self.threshold is not None

    def __str__(self) -> str:
        if self.by_score:
            return "by score"
        if self.f1 is not None:
            return "the best F1"
        if self.cost is not None:
            return f"cost {self.cost.miss:g} per miss and {self.cost.false_alarm:g} per false alarm"
        if self.volume == "match":
            return "the oracle's volume"
        if self.volume is not None:
            return f"{self.volume:g} per 1,000 articles"
        return f"recall {self.recall:g}" if self.recall is not None else f"precision {self.precision:g}"


Decide: TypeAlias = "OperatingPoint | str | Mapping[str, Any]"
"""One operating point for every positive tier, or a mapping of tier -> operating point."""

GOALS: tuple[str, ...] = tuple(OperatingPoint.model_fields)
"""The names of the goals, as in `decide`."""

MATCH = OperatingPoint(volume="match")
"""The default: name as many articles as the oracle would."""


def for_each_tier(content: object, tiers: Sequence[str]) -> object:
    """Return the `decide` part of a filter as a mapping of tier -> operating point.

    A single operating point counts for every tier. Anything else is returned unchanged, to be validated.

    Args:
        content: what was given: an operating point as a text or a mapping, or one for each tier.
        tiers: names of the positive tiers.
    """
    single = isinstance(content, str | OperatingPoint) or (
        isinstance(content, dict) and bool(content) and set(content) <= set(GOALS)
    )
    return dict.fromkeys(tiers, content) if single else content


def parse_decide(texts: Iterable[str], tiers: Sequence[str]) -> dict[str, OperatingPoint]:
    """Parse operating points as the command line gives them: `recall=0.9` for every positive tier, `lead:recall=0.9`.

    A point with a tier's name overrides one without.

    Args:
        texts: the operating points.
        tiers: names of the positive tiers.

    Raises:
        BadInput: a text is no operating point, or names no positive tier.
    """
    every: dict[str, OperatingPoint] = {}
    named: dict[str, OperatingPoint] = {}
    for text in texts:
        tier, colon, rest = text.rpartition(":")
        if colon and tier not in tiers:
            raise BadInput(f"--decide {text}: {tier} is no positive tier; there are {', '.join(tiers) or 'none'}")
        try:
            point = OperatingPoint.model_validate(rest)
        except ValidationError as error:
            raise BadInput(f"--decide {text}: {first_fault(error)}") from None
        if colon:
            named[tier] = point
        else:
            every = dict.fromkeys(tiers, point)
    return every | named


def as_points(decide: Decide, tiers: Sequence[str]) -> dict[str, OperatingPoint]:
    """Return operating points by tier, from one for every positive tier or one for each.

    Args:
        decide: an operating point, as an object, a text or a dictionary, or a dictionary of tier -> operating point.
        tiers: names of the positive tiers.

    Raises:
        BadInput: it is not an operating point, or names no positive tier.
    """
    each = for_each_tier(decide, tiers)
    if not isinstance(each, Mapping):
        raise BadInput(f"decide: got {decide!r}, expected {FORMS}, or one for each positive tier")
    found = {}
    for tier, point in each.items():
        if tier not in tiers:
            raise BadInput(f"decide: {tier!r} is no positive tier; there are {', '.join(tiers) or 'none'}")
        try:
            found[tier] = OperatingPoint.model_validate(point)
        except ValidationError as error:
            raise BadInput(f"decide: {tier}: {first_fault(error)}") from None
    return found


def points_of(decide: Mapping[str, OperatingPoint], tiers: Sequence[str]) -> dict[str, OperatingPoint]:
    """Return the operating point of each positive tier; the default is `MATCH`."""
    return {tier: decide.get(tier, MATCH) for tier in tiers}


def _fields_of(text: str) -> dict[str, Any]:
    goal, equals, value = text.strip().partition("=")
    match goal, value:
        case "f1", "" if not equals:
            return {"f1": "best"}
        case "by-score", "" if not equals:
            return {"threshold": "by-score"}
        case "volume", "match":
            return {"volume": "match"}
        case "volume" | "recall" | "precision", _:
            return {goal: float(value)}
        case "cost", _:
            miss, false_alarm = value.split("/")
            return {"cost": {"miss": float(miss), "false_alarm": float(false_alarm)}}
    raise ValueError(goal)
