"""Explain a filter in words, and warn about settings that are probably unintended."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from potstill.conditions import parse
from potstill.filters.model import Filter, Reach
from potstill.filters.packages import RUBRIC_NAME, untouched
from potstill.operating_points import points_of
from potstill.prefilter import TermRule, fold, fold_all, matcher

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from potstill.verdict import Cap, Gate, Tier


_COMPARED = 500
"""The longest list whose terms are compared with each other."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A valid but probably unintended setting of a filter, with its path."""

    path: str
    message: str


def lint(filter_: Filter) -> list[Finding]:
    """Return warnings about valid but probably unintended settings; empty if there are none."""
    return [Finding(path=path, message=message) for path, message in _findings(filter_)]


def _findings(filter_: Filter) -> Iterator[tuple[str, str]]:
    places = {"rubric": RUBRIC_NAME}
    for part in untouched(filter_):
        yield places.get(part, part), "is still the text of the template; edit it to describe what you look for"
    yield from _idle_dimensions(filter_)
    yield from _idle_limits(filter_)
    if not filter_.positive_tiers:
        yield "tiers", "no tier is positive, so recall will not be reported"
    elif len(filter_.positive_tiers) == len(filter_.tiers):
        yield "tiers", "all tiers are positive, so recall will always be 1"
    rules: list[tuple[str, Sequence[Any]]] = [("caps", filter_.caps), ("prefilter -> drop", filter_.prefilter.drop)]
    for key, parts in rules:
        for index, part in enumerate(parts):
            yield from _idle_terms(f"{key} -> {index}", part)
    for key, parts in [("gates", filter_.gates), *rules]:
        for index, part in enumerate(parts):
            if part.reason in {other.reason for other in parts[:index]}:
                yield (
                    f"{key} -> {index} -> reason",
                    f"{part.reason!r} is used more than once, and a verdict shows only the reason",
                )


def _idle_dimensions(filter_: Filter) -> Iterator[tuple[str, str]]:
    read: set[str] = set()
    parts: list[Gate | Cap | Tier] = [*filter_.gates, *filter_.caps, *filter_.tiers]
    for part in parts:
        if part.when is not None:
            read |= parse(part.when, filter_.condition_names).names
    for name, dimension in filter_.dimensions.items():
        if dimension.weight == 0 and name not in read:
            yield f"dimensions -> {name}", "has weight 0 and occurs in no condition, so it has no effect"
        if name not in filter_.rubric:
            yield f"dimensions -> {name}", f"is not mentioned in {RUBRIC_NAME}"


def _idle_limits(filter_: Filter) -> Iterator[tuple[str, str]]:
    reach = Reach(filter_)
    limits: list[tuple[str, Sequence[Gate | Cap]]] = [("gates", filter_.gates), ("caps", filter_.caps)]
    for key, parts in limits:
        for index, part in enumerate(parts):
            if part.when is None:
                continue
            fires = reach.before(part.when)
            if not reach.limit_fires(fires):
                yield f"{key} -> {index} -> when", "is never true, so it has no effect"
            elif not reach.limit_fires(~fires):
                yield f"{key} -> {index} -> when", "is always true"
    conditions: list[tuple[str, Sequence[Gate | Cap | Tier]]] = [*limits, ("tiers", filter_.tiers)]
    for key, all_parts in conditions:
        for index, one in enumerate(all_parts):
            if one.when is not None and parse(one.when, reach.names).operators & {"=", "!="}:
                yield (
                    f"{key} -> {index} -> when",
                    "compares with = or !=, but a student's scores are rarely whole numbers",
                )


def _idle_terms(path: str, rule: TermRule) -> Iterator[tuple[str, str]]:
    for key, terms in (("any", rule.any), ("unless", rule.unless)):
        for repeated in sorted(term for term, times in Counter(terms).items() if times > 1):
            yield f"{path} -> {key}", f"{repeated!r} occurs twice"
    if max(len(rule.any), len(rule.unless)) > _COMPARED:
        return
    for key, terms in (("any", rule.any), ("unless", rule.unless)):
        for wide, narrow in _pairs(terms, terms):
            # Of two equal terms, only the second is reported as redundant.
            if fold(wide) != fold(narrow) or terms.index(wide) < terms.index(narrow):
                yield f"{path} -> {key}", f"{narrow!r} is redundant, because {wide!r} matches the same texts"
    for wide, narrow in _pairs(rule.unless, rule.any):
        yield f"{path} -> any", f"{narrow!r} never has an effect, because it contains {wide!r}, which is under unless"


def _pairs(wide: Sequence[str], narrow: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of different terms such that every text with the second term also contains the first."""
    folded = pl.DataFrame({"folded": fold_all(narrow)})
    for one in wide:
        found = folded.select(matcher(TermRule(any=(one,)))).to_series()
        yield from ((one, narrow[place]) for place in found.arg_true() if narrow[place] != one or wide is not narrow)


def explain(filter_: Filter) -> str:
    """Describe a filter in words, on several lines."""
    scale = f"{filter_.scale.min:g} to {filter_.scale.max:g}"
    lines = [f"{filter_.name}, version {filter_.version}"]
    if filter_.description:
        lines.append(filter_.description)
    kept = "the first" if filter_.text.keep == "head" else "the head and the tail, together"
    lines += ["", f"Reads {kept} {filter_.text.max_chars} characters and scores from {scale}:"]
    width = max(map(len, filter_.dimensions))
    for name, dimension in filter_.dimensions.items():
        lines.append(f"  {name:<{width}}  {_percent(dimension.weight):>5}  {dimension.description}")
    lines += ["", "Overall is their weighted mean."]
    lines += [f"  at most {gate.cap:g}, {gate.reason}: where {gate.when}" for gate in filter_.gates]
    for cap in filter_.caps:
        condition = "" if cap.when is None else f"{cap.when} and "
        lines.append(f"  at most {cap.cap:g}, {cap.reason}: where {condition}the text has {_words(cap)}")
    lines += ["", "The first tier that matches:"]
    for tier in filter_.tiers:
        mark = " (positive)" if tier.positive else ""
        lines.append(f"  {tier.name}{mark}: {tier.when or 'all other articles'}")
    if filter_.positive_tiers:
        lines += ["", "A bundle names a positive tier if its probability is at least a cut, which is chosen for:"]
        points = points_of(filter_.decide, filter_.positive_tiers)
        lines += [
            f"  {tier}: {'nothing; its condition is applied to the scores' if point.by_score else point}"
            for tier, point in points.items()
        ]
    if filter_.prefilter.drop:
        lines += ["", "Dropped before scoring:"]
        lines += [f"  {rule.reason}: a text that has {_words(rule)}" for rule in filter_.prefilter.drop]
    lines += [
        "",
        (
            f"Label hash {filter_.oracle_hash[:12]} (if it changes, relabel). "
            f"Filter hash {filter_.content_hash[:12]} (if it changes, rebuild the bundle)."
        ),
    ]
    return "\n".join(lines)


def _percent(share: float) -> str:
    """Return a share as a percentage with at most one decimal: 25%, 12.5%."""
    return f"{round(100 * share, 1):g}%"


def _words(rule: TermRule) -> str:
    wanted = [*rule.any, *(f"/{pattern}/" for pattern in rule.patterns)]
    shown = f"any of: {', '.join(wanted)}" if len(wanted) > 1 else wanted[0]
    return f"{shown}; unless: {', '.join(rule.unless)}" if rule.unless else shown
