"""Operating points: what the cut on a tier's probability should achieve.

Input: the `decide` part of a filter, or a text such as `recall=0.9` from the command line. Output: an
`OperatingPoint`. The cut itself is chosen on labelled rows, in `calibration.decisions`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from potstill.errors import BadInput
from potstill.records import Part, first_fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FORMS = "volume=match, volume=N (articles per 1,000), recall=R, precision=P, f1, cost=MISS/FALSE_ALARM or by-score"
"""The spellings of an operating point in one text."""

MOST = 1000
"""Maximum of a volume, in articles per 1,000."""

Share = Annotated[float, Field(gt=0, lt=1), BeforeValidator(lambda value: _number(value, 1))]
Price = Annotated[float, Field(gt=0), BeforeValidator(lambda value: _number(value, math.inf))]


class Cost(Part):
    """What an article costs that is missed, and one that is named without belonging to the tier; in any unit."""

    miss: Price
    false_alarm: Price


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

    volume: Literal["match"] | Annotated[float, Field(gt=0, le=MOST)] | None = None
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

    @field_validator("volume", mode="before")
    @classmethod
    def _match_or_number(cls, value: object) -> object:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value in (None, "match") or (number and 0 < value <= MOST):  # type: ignore[operator]  # it is a number
            return value
        raise ValueError(f"got {value!r}, expected match, or a number above 0 and up to 1,000 (articles per 1,000)")

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

    @property
    def spelling(self) -> str:
        """The operating point as the command line takes it, such as `recall=0.9`."""
        if self.by_score:
            return "by-score"
        if self.f1 is not None:
            return "f1"
        if self.cost is not None:
            return f"cost={self.cost.miss!r}/{self.cost.false_alarm!r}"
        goal = next(name for name in ("volume", "recall", "precision") if getattr(self, name) is not None)
        return f"{goal}={getattr(self, goal)}"

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
            return f"{self.volume:,g} per 1,000 articles"
        return f"recall {self.recall:g}" if self.recall is not None else f"precision {self.precision:g}"


Decide: TypeAlias = "OperatingPoint | str | Mapping[str, Any] | Sequence[str]"
"""One operating point for every positive tier, a mapping of tier -> operating point, or texts as for `parse_decide`."""

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
        if not tiers:
            raise BadInput(f"--decide {text}: the filter marks no tier as positive, so there is no cut to choose")
        tier, colon, rest = text.rpartition(":")
        if colon and tier not in tiers:
            raise BadInput(f"--decide {text}: {tier or repr(tier)} is no positive tier; there are {', '.join(tiers)}")
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
        decide: an operating point, as an object, a text or a dictionary, or a dictionary of tier -> operating point; or
            a list of texts as the command line gives them.
        tiers: names of the positive tiers.

    Raises:
        BadInput: it is not an operating point, or names no positive tier.
    """
    if isinstance(decide, list | tuple):
        return parse_decide(decide, tiers)
    each = for_each_tier(decide, tiers)
    if not isinstance(each, Mapping):
        raise BadInput(f"decide: got {decide!r}, expected {FORMS}, or one for each positive tier")
    found = {}
    for tier, point in each.items():
        if tier not in tiers:
            raise BadInput(f"decide: {tier!r} is no positive tier; there are {', '.join(tiers) or 'none'}")
        if not isinstance(point, str | Mapping | OperatingPoint):
            raise BadInput(f"decide: {tier}: got {point!r}, expected {FORMS}")
        try:
            found[tier] = OperatingPoint.model_validate(point)
        except ValidationError as error:
            raise BadInput(f"decide: {tier}: {first_fault(error)}") from None
    return found


def by_filter(decide: Decide, tiers: Sequence[Sequence[str]]) -> list[dict[str, OperatingPoint]]:
    """Return the operating points of each of several filters; a point for a tier counts in every filter that has it.

    Args:
        decide: as for `as_points`.
        tiers: names of the positive tiers of each filter.

    Raises:
        BadInput: it is not an operating point, or names a tier that is positive in no filter.
    """
    known = list(dict.fromkeys(tier for own in tiers for tier in own))
    if decide and not known:
        raise BadInput(f"decide: got {decide!r}, and no tier is positive, so there is no cut to choose")
    points = as_points(decide, known)
    return [{tier: point for tier, point in points.items() if tier in own} for own in tiers]


def points_of(decide: Mapping[str, OperatingPoint], tiers: Sequence[str]) -> dict[str, OperatingPoint]:
    """Return the operating point of each positive tier; the default is `MATCH`."""
    return {tier: decide.get(tier, MATCH) for tier in tiers}


def _fields_of(text: str) -> dict[str, Any]:
    goal, value = (part.strip() for part in text.partition("=")[::2])
    match goal, value:
        case ("f1", "best") | ("f1", "") if not text.rstrip().endswith("="):
            return {"f1": "best"}
        case ("threshold", "by-score") | ("by-score", "") if not text.rstrip().endswith("="):
            return {"threshold": "by-score"}
        case "volume", "match":
            return {"volume": "match"}
        case "volume" | "recall" | "precision", _:
            return {goal: float(value)}
        case "cost", _:
            miss, false_alarm = value.split("/")
            return {"cost": {"miss": float(miss), "false_alarm": float(false_alarm)}}
    raise ValueError(goal)


def _number(value: object, below: float) -> float:
    """Return a number above 0 and below another; the message names both."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < below:
        return value
    raise ValueError(f"got {value!r}, expected a number above 0{'' if math.isinf(below) else f' and below {below}'}")
