"""Define the filter as frozen models, with checks of the filter as a whole.

Input: the fields of `filter.yaml` and the rubric. Output: a `Filter`, or the first fault with its path.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from potstill.conditions import KEYWORDS, Budget, Condition, any_of, can_hold, parse
from potstill.errors import ConditionError, FilterError
from potstill.files import digest
from potstill.operating_points import FORMS, OperatingPoint, for_each_tier
from potstill.prefilter import Prefilter
from potstill.records import Part, first_fault
from potstill.text import Window
from potstill.types import DROPPED, UNSCORED, FloatArray
from potstill.verdict import MOST_LIMITS, OVERALL, Cap, Gate, Tier

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from typing import Self

RESERVED = frozenset(
    {OVERALL, "id", "title", "content", "text", "extra", "tier", "gates", "caps", "reason"}
    | {word.lower() for word in KEYWORDS}
)
"""Names that no dimension may have, in any case: columns of a verdict and keywords of conditions."""

MOST_TIERS = 100
"""Maximum number of tiers of a filter."""

MOST_EXAMPLES = 100
"""Maximum number of examples of a filter."""

NAME = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
"""Pattern of a valid filter name."""

ONLY_TIER = "scored"
"""Name of the single tier of a filter that is built in code without tiers."""

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_MOST_DIMENSIONS = 64


class Scale(Part):
    """The range of every score, both ends included."""

    # A mean of larger numbers could not be rounded to nine decimals.
    min: float = Field(default=0.0, ge=-1e6, le=1e6)
    max: float = Field(default=10.0, ge=-1e6, le=1e6)

    @model_validator(mode="after")
    def _has_width(self) -> Scale:
        if self.min >= self.max:
            raise ValueError(f"min {self.min:g} is not below max {self.max:g}")
        return self


class Dimension(Part):
    """A dimension to score, with its weight in `overall`."""

    weight: float = Field(ge=0, le=1)
    description: str = Field(min_length=1)


class Example(Part):
    """An article with the scores it should get, shown to the oracle."""

    title: str = ""
    content: str = Field(min_length=1)
    scores: dict[str, float]
    evidence: str = ""


class Filter(Part):
    """What to judge: named dimensions on a scale, and the rules that turn scores into a verdict.

    A filter that is built in code needs only a name and dimensions. See docs/filters.md for each field.

    Args:
        name: lower-case letters, digits and hyphens.
        dimensions: names of the dimensions, or name -> description, or name -> `Dimension` with a weight. Dimensions
            without a weight have equal weights.
        scale: lowest and highest score.
        version: version of the filter, at least 1.
        tiers: tiers, of which the first that matches counts; by default a single tier, `scored`.
        rubric: instructions for the oracle; by default, a list of the dimensions.
        fields: further fields: description, text, gates, caps, decide, prefilter, examples.

    Raises:
        FilterError: a field is invalid; the message names the field, the value and what is valid.

    Example:
        >>> flt = Filter("essays", ["cohesion", "syntax"], scale=(1, 5))
        >>> flt.weights.tolist()
        [0.5, 0.5]
    """

    name: str = Field(pattern=f"^{NAME.pattern}$", max_length=100)
    version: int = Field(ge=1)
    description: str = ""
    scale: Scale = Scale()
    text: Window = Window()
    dimensions: dict[str, Dimension] = Field(min_length=1, max_length=_MOST_DIMENSIONS)
    gates: tuple[Gate, ...] = Field(default=(), max_length=MOST_LIMITS)
    caps: tuple[Cap, ...] = Field(default=(), max_length=MOST_LIMITS)
    tiers: tuple[Tier, ...] = Field(min_length=1, max_length=MOST_TIERS)
    decide: dict[str, OperatingPoint] = Field(default_factory=dict)
    prefilter: Prefilter = Prefilter()
    examples: tuple[Example, ...] = Field(default=(), max_length=MOST_EXAMPLES)
    rubric: str = Field(min_length=1)

    def __init__(
        self,
        name: str,
        dimensions: Sequence[str] | Mapping[str, Any],
        *,
        scale: Scale | tuple[float, float] = (0.0, 10.0),
        version: int = 1,
        tiers: Sequence[Tier] | None = None,
        rubric: str | None = None,
        **fields: Any,  # noqa: ANN401 - the model validates them
    ) -> None:
        found = _dimensions(dimensions)
        content = {
            "name": name,
            "version": version,
            "scale": scale if isinstance(scale, Scale) else {"min": float(scale[0]), "max": float(scale[1])},
            "dimensions": found,
            "tiers": (Tier(name=ONLY_TIER),) if tiers is None else tuple(tiers),
            "rubric": _rubric(found) if rubric is None else rubric,
            **fields,
        }
        try:
            self.__pydantic_validator__.validate_python(content, self_instance=self)
        except ValidationError as error:
            raise FilterError(f"filter {name}: {_fault(error)}") from None

    # A filter that is read from a file is validated as it is: nothing is filled in.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def load(cls, name_or_path: str | Path) -> Self:
        """Load a built-in filter by its name, or a filter from a folder with `filter.yaml` and `rubric.md`.

        Raises:
            FilterError: there is no such filter, or it is invalid; the message names the file, the line and the field.
        """
        from potstill.filters.packages import load_filter

        return load_filter(name_or_path)  # type: ignore[return-value]  # there are no subclasses

    def save(self, folder: str | Path) -> None:
        """Write the filter as a folder with `filter.yaml` and `rubric.md`, which `load` reads."""
        from potstill.filters.packages import save_filter

        save_filter(self, folder)

    @field_validator("decide", mode="before")
    @classmethod
    def _for_each_tier(cls, content: object, info: ValidationInfo) -> object:
        if "tiers" not in info.data:  # They are not valid, which is the fault that is reported.
            return {}
        tiers = [tier.name for tier in info.data["tiers"] if tier.positive]
        if content and not tiers:
            raise ValueError("no tier is positive, so there is no cut to choose")
        each = for_each_tier(content, tiers)
        if each is not None and not isinstance(each, dict):
            raise ValueError(f"got {each!r}, expected {FORMS}, or one for each positive tier")
        return each

    @property
    def dimension_names(self) -> tuple[str, ...]:
        """The names of the dimensions in the order of the YAML, which is the order of every array of scores."""
        return tuple(self.dimensions)

    @property
    def weights(self) -> FloatArray:
        """The weights of the dimensions, shape (dimensions,), in order; they sum to 1."""
        weights: FloatArray = np.array([part.weight for part in self.dimensions.values()], dtype=np.float64)
        weights /= weights.sum()
        return weights

    @property
    def tier_names(self) -> tuple[str, ...]:
        """The names of all tiers, in order."""
        return tuple(tier.name for tier in self.tiers)

    @property
    def positive_tiers(self) -> tuple[str, ...]:
        """The names of the tiers whose recall is measured, in order."""
        return tuple(tier.name for tier in self.tiers if tier.positive)

    @property
    def oracle_hash(self) -> str:
        """SHA-256 of everything that labels depend on; excludes weights, gates, caps, tiers and prefilter."""
        return digest(
            {
                "dimensions": [[name, part.description] for name, part in self.dimensions.items()],
                "scale": self.scale.model_dump(mode="json"),
                "window": self.text.model_dump(mode="json"),
                "rubric": self.rubric,
                "examples": [example.model_dump(mode="json") for example in self.examples],
            }
        )

    @property
    def content_hash(self) -> str:
        """SHA-256 of all meaningful content; ignores the YAML's comments and layout and the spelling of conditions."""
        # Filters without operating points keep the hash that they had before there were any.
        content = self.model_dump(mode="json", exclude=None if self.decide else {"decide"})
        content["dimensions"] = list(content["dimensions"].items())
        for key in ("gates", "caps", "tiers"):
            for part in content[key]:
                if part["when"] is not None:
                    part["when"] = str(parse(part["when"], self.condition_names))
        return digest(content)

    @property
    def condition_names(self) -> tuple[str, ...]:
        """The names that the conditions of the filter may use."""
        return (*self.dimensions, OVERALL)

    @model_validator(mode="after")
    def _is_whole(self) -> Filter:
        for check in (_check_dimensions, _check_limits, _check_tiers, _check_decide, _check_examples):
            check(self)
        return self


def _fault(error: ValidationError) -> str:
    """Return the first fault; one of the filter as a whole with its own path."""
    cause = error.errors(include_url=False)[0].get("ctx", {}).get("error")
    if not isinstance(cause, FaultError):
        return first_fault(error)
    return f"{' -> '.join(str(step) for step in cause.path)}: {cause}"


def _dimensions(dimensions: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Return dimensions with descriptions and weights, which are equal where none is given for any dimension."""
    if isinstance(dimensions, str):
        raise FilterError(f"dimensions: expected a list of names or a dict, got the text {dimensions!r}")
    given: dict[str, Any] = dict(dimensions) if isinstance(dimensions, Mapping) else dict.fromkeys(dimensions, "")
    equal = 1 / max(1, len(given))
    return {
        name: {"weight": equal, "description": value or name.replace("_", " ")} if isinstance(value, str) else value
        for name, value in given.items()
    }


def _rubric(dimensions: Mapping[str, Any]) -> str:
    """Return a rubric that lists the dimensions."""
    described = {
        name: value.description if isinstance(value, Dimension) else dict(value).get("description", name)
        for name, value in dimensions.items()
    }
    return "Score each dimension.\n\n" + "".join(f"- {name}: {text}\n" for name, text in described.items())


class FaultError(ValueError):
    """A fault of a filter as a whole, at a path inside it."""

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.path = path


def _check_dimensions(filter_: Filter) -> None:
    for name in filter_.dimensions:
        if not _IDENTIFIER.fullmatch(name):
            raise FaultError(
                ("dimensions", name),
                "not a valid name of a dimension; expected up to 64 of A-Z, a-z, 0-9 and _, starting with a letter",
            )
        if name.lower() in RESERVED:
            raise FaultError(
                ("dimensions", name), f"a reserved name; dimensions cannot be named: {', '.join(sorted(RESERVED))}"
            )
        base, _, end = name.rpartition("_")
        if end in {"low", "high"} and base in filter_.dimensions:
            raise FaultError(
                ("dimensions", name), f"the name of a column for the interval of {base}; choose another name"
            )
    total = math.fsum(dimension.weight for dimension in filter_.dimensions.values())
    if abs(total - 1) > 1e-6:
        shown = ", ".join(f"{name} {part.weight:g}" for name, part in filter_.dimensions.items())
        raise FaultError(("dimensions",), f"weights sum to {total:.6g}, expected 1 ({shown})")


def _check_limits(filter_: Filter) -> None:
    low, high = filter_.scale.min, filter_.scale.max
    limits: list[tuple[str, Sequence[Gate | Cap]]] = [("gates", filter_.gates), ("caps", filter_.caps)]
    for key, parts in limits:
        for index, part in enumerate(parts):
            if part.when is not None:
                _check_condition((key, index, "when"), part.when, filter_)
            if not low <= part.cap < high:
                raise FaultError(
                    (key, index, "cap"), f"got {part.cap:g}, expected a number from {low:g} to below {high:g}"
                )


def _check_condition(path: tuple[str | int, ...], text: str, filter_: Filter) -> None:
    try:
        parse(text, filter_.condition_names)
    except ConditionError as error:
        raise FaultError(path, str(error)) from None


def _check_tiers(filter_: Filter) -> None:
    seen: set[str] = set()
    for index, tier in enumerate(filter_.tiers):
        if tier.name in seen:
            raise FaultError(("tiers", index, "name"), f"the tier {tier.name} occurs twice")
        if tier.name in {UNSCORED, DROPPED}:
            raise FaultError(("tiers", index, "name"), f"{tier.name} is reserved for articles without scores")
        seen.add(tier.name)
        if tier.when is not None:
            _check_condition(("tiers", index, "when"), tier.when, filter_)
        elif index < len(filter_.tiers) - 1:
            raise FaultError(
                ("tiers", index),
                f"{tier.name} has no `when`, so the tiers after it can never match; only the last tier may omit it",
            )
    reach = Reach(filter_)
    conditions = [ALWAYS if tier.when is None else parse(tier.when, reach.names) for tier in filter_.tiers]
    for index, (tier, wanted) in enumerate(zip(filter_.tiers, conditions, strict=True)):
        if not reach.tier_matches(wanted, conditions[:index]):
            alone = reach.tier_matches(wanted, [])
            why = (
                "the tiers above it match all scores that would"
                if alone
                else "no scores within the scale and the limits match it"
            )
            raise FaultError(("tiers", index), f"{tier.name} can never match: {why}")
    if filter_.tiers[-1].when is not None and reach.tier_matches(ALWAYS, conditions):
        name = filter_.tiers[-1].name
        raise FaultError(
            ("tiers", len(conditions) - 1), f"some scores match no tier; remove `when` from {name}, the last tier"
        )


def _check_decide(filter_: Filter) -> None:
    for name in filter_.decide:
        if name not in filter_.positive_tiers:
            known = ", ".join(filter_.positive_tiers) or "none"
            raise FaultError(("decide", name), f"not a positive tier; positive tiers: {known}")


def _check_examples(filter_: Filter) -> None:
    low, high = filter_.scale.min, filter_.scale.max
    for index, example in enumerate(filter_.examples):
        if set(example.scores) != set(filter_.dimensions):
            odd = ", ".join(sorted(set(example.scores) ^ set(filter_.dimensions)))
            raise FaultError(("examples", index, "scores"), f"expected exactly one for each dimension; see {odd}")
        for name, score in example.scores.items():
            if not low <= score <= high:
                raise FaultError(
                    ("examples", index, "scores", name), f"got {score:g}, expected a number from {low:g} to {high:g}"
                )


class Reach:
    """The scores a filter can produce, given its scale, weighted mean, gates and caps.

    All checks share one computing budget. If a filter is so large that the budget is exhausted, all remaining
    conditions count as possible.
    """

    def __init__(self, filter_: Filter) -> None:
        self.names = filter_.condition_names
        self.scale = filter_.scale
        weights = zip(filter_.dimensions, filter_.weights.tolist(), strict=True)
        self.mean = " + ".join(f"{weight!r} * {name}" for name, weight in weights)
        self.budget = Budget()
        reached = [parse(f"{OVERALL} = {self.mean}", self.names)]
        self.limited = [parse(f"{OVERALL} <= {self.mean}", self.names)]
        limits: list[Gate | Cap] = [*filter_.gates, *filter_.caps]
        for limit in limits:
            fires = ALWAYS if limit.when is None else self.before(limit.when)
            reached.append(fires & parse(f"{OVERALL} = {limit.cap!r}", self.names))
            if isinstance(limit, Gate):
                self.limited.append(~fires | parse(f"{OVERALL} <= {limit.cap!r}", self.names))
        self.limited.append(any_of(reached))

    def before(self, when: str) -> Condition:
        """Parse a condition of a gate or a cap, which reads `overall` before any limit."""
        return parse(when, self.names).computing(OVERALL, self.mean, self.names)

    def limit_fires(self, fires: Condition) -> bool:
        """Return whether a gate's condition can hold; False only if it certainly cannot."""
        return can_hold(fires, [], self.scale.min, self.scale.max, budget=self.budget)

    def tier_matches(self, wanted: Condition, without: Iterable[Condition]) -> bool:
        """Return whether a tier's condition can hold where `without` do not; False only if it certainly cannot."""
        low, high = self.scale.min, self.scale.max
        return can_hold(wanted, list(without), low, high, given=self.limited, budget=self.budget)


ALWAYS = parse("0 = 0", ())
