"""A target: a recorded figure, a bound, and what the bound is relative to.

In: `targets.yaml` and the figures of an evaluation as plain JSON. Out: one outcome per target. A target for a figure
that does not exist is an error; a target that a constant would meet is refused; a target that little skill would meet
is marked as weak.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError, model_validator

from potstill.errors import BadInput
from potstill.files import read_text
from potstill.filters.reading import line_of, read_yaml
from potstill.findings import WEAK_SKILL
from potstill.records import Part

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_BOUNDS = ("below", "at_most", "above", "at_least")
_KEYS = ("name", "by", "value", "k", "tier")
"""Fields by which an item of a list is found; all items with the same `by` go on to the next step."""

_TIMES_CHANCE = {
    "average_precision": 1,
    "precision": 1,
    "recall": 0,
    "f1": 0,
    "equal_volume/recall": 1,
    "twice_volume/recall": 2,
}
"""Figure of a positive tier -> the multiple of the tier's share of articles that it has without reading the text."""


class Target(Part):
    """One target of `targets.yaml`: a figure's path and exactly one bound, absolute or a multiple of another figure."""

    figure: str = Field(min_length=1)
    below: float | None = None
    at_most: float | None = None
    above: float | None = None
    at_least: float | None = None
    of: str | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> Target:
        if sum(getattr(self, name) is not None for name in _BOUNDS) != 1:
            raise ValueError(f"expected exactly one of {', '.join(_BOUNDS)}")
        return self

    @property
    def bound(self) -> tuple[str, float]:
        """The kind of bound and its number."""
        return next((name, value) for name in _BOUNDS if (value := getattr(self, name)) is not None)

    def met_by(self, value: float, limit: float) -> bool:
        """Whether a value is on the right side of a limit."""
        kind = self.bound[0]
        if kind in {"below", "at_most"}:
            return value < limit or (kind == "at_most" and value == limit)
        return value > limit or (kind == "at_least" and value == limit)

    def __str__(self) -> str:
        kind, number = self.bound
        return f"{kind.replace('_', ' ')} {number:g}" + (f" x {self.of}" if self.of else "")


class _File(Part):
    targets: tuple[Target, ...] = Field(min_length=1)


class Outcome(Part):
    """The outcome of one target. `value` is None if the figure is unknown in the evaluation; the target is then missed.

    `limit` is the bound as a number; `constant` is the constant's figure, if it is known.
    """

    figure: str
    wanted: str
    limit: float
    value: float | None
    constant: float | None
    met: bool
    weak: bool
    judged: Literal["recorded", "not recorded"]


@dataclass(frozen=True, slots=True)
class _Found:
    """A figure, its full path, and the objects on the path, the outermost first."""

    path: str
    value: float | None
    parents: tuple[tuple[str, Any], ...]


def read_targets(path: Path) -> tuple[Target, ...]:
    """Read targets from a `targets.yaml`.

    Raises:
        BadInput: the file is missing or not valid; the message names the line and the field.
    """
    content, root = read_yaml(read_text(path), str(path))
    try:
        return _File.model_validate_json(json.dumps(content), strict=True).targets
    except ValidationError as error:
        fault = error.errors()[0]
        place = " -> ".join(map(str, fault["loc"])) or "targets"
        said = (
            f"unknown key; valid keys: {', '.join(Target.model_fields)}"
            if fault["type"] == "extra_forbidden"
            else fault["msg"]
        )
        raise BadInput(f"{path}: line {line_of(root, fault['loc'])}: {place}: {said}") from None


def judge_targets(targets: Sequence[Target], record: Mapping[str, Any], where: str = "targets") -> tuple[Outcome, ...]:
    """Judge targets on the figures of an evaluation.

    Args:
        targets: the targets.
        record: the evaluation as JSON; it may contain a judgement of the incumbent on the same rows as `incumbent`.
        where: the source of the targets, for error messages.

    Raises:
        BadInput: a figure does not exist or is not a number, or a constant already meets the target; the message names
            the target and, for a path, the figures that exist.
    """
    return tuple(
        _outcome(target, found, record, f"{where}: {target.figure}")
        for target in targets
        for found in _find(target.figure, record, f"{where}: {target.figure}")
    )


def _outcome(target: Target, found: _Found, record: Mapping[str, Any], where: str) -> Outcome:
    _, number = target.bound
    limit = number if target.of is None else number * _reference(target.of, found, record, where)
    constant = _of_constant(found, record)
    if constant is not None and target.met_by(constant, limit):
        raise BadInput(
            f"{where}: {target} is vacuous: a constant, which does not read the text, has {constant:g}; set a "
            "stricter target"
        )
    weak = _weak_value(found, record)
    return Outcome(
        figure=found.path,
        wanted=str(target),
        limit=limit,
        value=found.value,
        constant=constant,
        met=found.value is not None and target.met_by(found.value, limit),
        weak=weak is not None and _met_with_less(target, weak, limit),
        judged="recorded" if found.value is not None else "not recorded",
    )


def _find(path: str, record: Mapping[str, Any], where: str) -> Iterator[_Found]:
    """All figures that a path names; `*` matches all keys or items at its place."""
    places: list[tuple[str, Any, tuple[tuple[str, Any], ...]]] = [("", record, ())]
    for step in path.strip("/").split("/"):
        going = [
            (f"{walked}/{name}".strip("/"), value, (*parents, (walked, thing)))
            for walked, thing, parents in places
            for name, value in _step(thing, step)
        ]
        if not going:
            walked, thing, _ = places[0]
            raise BadInput(f"{where}: no such figure; {walked or 'the evaluation'} contains {_offers(thing)}")
        places = going
    for walked, value, parents in places:
        if isinstance(value, bool) or not (value is None or isinstance(value, int | float)):
            raise BadInput(f"{where}: {walked} is not a number; it contains {_offers(value)}")
        yield _Found(walked, None if value is None else float(value), parents)


def _step(thing: Any, step: str) -> list[tuple[str, Any]]:  # noqa: ANN401 - whatever JSON held
    if isinstance(thing, dict):
        return list(thing.items()) if step == "*" else [(step, thing[step])] if step in thing else []
    if not isinstance(thing, list):
        return []
    if step == "*":
        return [(_name(item, place), item) for place, item in enumerate(thing)]
    for key in _KEYS:
        same = [item for item in thing if isinstance(item, dict) and str(item.get(key)) == step]
        if same:
            # Slices by the same field stay a list, in which the next step finds the value.
            return [(step, same)] if key == "by" else [(step, same[0])]
    return [(step, thing[int(step)])] if step.isdigit() and int(step) < len(thing) else []


def _name(item: Any, place: int) -> str:  # noqa: ANN401 - whatever JSON held
    keys = tuple(key for key in _KEYS if key != "by")
    return next((str(item[key]) for key in keys if isinstance(item, dict) and item.get(key) is not None), str(place))


def _offers(thing: Any) -> str:  # noqa: ANN401 - whatever JSON held
    if isinstance(thing, dict):
        return ", ".join(thing) or "nothing"
    if isinstance(thing, list):
        return ", ".join(dict.fromkeys(str(item.get("by", _name(item, i))) if isinstance(item, dict) else str(i)
                                       for i, item in enumerate(thing))) or "nothing"  # fmt: skip
    return "nothing"


def _reference(of: str, found: _Found, record: Mapping[str, Any], where: str) -> float:
    """The same figure of the constant, another candidate or the incumbent, on the same rows."""
    value = _of_constant(found, record) if of == "constant" else _of_other(of, found, record)
    if value is None:
        rungs = ", ".join(rung["name"] for rung in record.get("ladder", []))
        raise BadInput(
            f"{where}: {of} has no such figure; the figure must be in a judgement, and `of` must be constant, "
            f"incumbent (with --incumbent) or a candidate judged on the same rows: {rungs}"
        )
    return value


def _of_constant(found: _Found, record: Mapping[str, Any]) -> float | None:
    """The constant's figure, or None if it is not known."""
    last = found.path.rsplit("/", 1)[-1]
    beside = found.parents[-1][1]
    if isinstance(beside, dict) and "constant_mae" in beside:
        if last == "mae":
            return _number(beside["constant_mae"])
        if last == "skill":
            return 0.0
    if last in {"gap", "slope"} and "training" in found.path.split("/"):
        return 0.0
    other = _of_other("constant", found, record)
    return other if other is not None else _by_chance(found)


def _by_chance(found: _Found) -> float | None:
    """The figure of a positive tier for a random order of the articles, or for a model that names none."""
    for walked, thing in found.parents:
        if isinstance(thing, dict) and thing.get("by_chance") is not None:
            times = _TIMES_CHANCE.get(found.path.removeprefix(walked).strip("/"))
            return None if times is None else min(1.0, times * thing["by_chance"])
    return None


def _of_other(name: str, found: _Found, record: Mapping[str, Any]) -> float | None:
    """The same figure in another judgement of the same rows."""
    at = next(
        (
            (walked, thing)
            for walked, thing in found.parents
            if isinstance(thing, dict) and {"source", "tiers"} <= thing.keys()
        ),
        None,
    )
    if at is None:
        return None
    walked, judgement = at
    if name == "incumbent":
        other = record.get("incumbent")
        if other is None or other.get("source") != judgement["source"]:
            return None
    else:
        rung = next((rung for rung in record.get("ladder", []) if rung["name"] == name), None)
        if rung is None or judgement["source"] not in rung["judgements"]:
            return None
        other = rung["judgements"][judgement["source"]]
    thing: Any = other
    for step in found.path.removeprefix(walked).strip("/").split("/"):
        going = _step(thing, step)
        if not going:
            return None
        thing = going[0][1]
    return _number(thing)


def _weak_value(found: _Found, record: Mapping[str, Any]) -> float | None:
    """The figure of a student whose skill is just too low."""
    last = found.path.rsplit("/", 1)[-1]
    constant = _of_constant(found, record)
    if last == "skill":
        return WEAK_SKILL
    return constant * (1 - WEAK_SKILL) if last in {"mae", "rmse"} and constant else None


def _met_with_less(target: Target, weak: float, limit: float) -> bool:
    """Whether a value worse than `weak` meets the target."""
    return limit > weak + 1e-9 if target.bound[0] in {"below", "at_most"} else limit < weak - 1e-9


def _number(value: Any) -> float | None:  # noqa: ANN401 - whatever JSON held
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
