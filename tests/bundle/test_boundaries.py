"""Tests of the boundary rows with which a filter's verdicts are checked: any change of a rule changes one of them."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from potstill.bundle.boundaries import NEAR, boundary_rows
from potstill.errors import PotstillError
from potstill.filters import Filter, builtin_filters, load_filter, parse_filter
from potstill.verdict import judge

INTRICATE = parse_filter(
    """
name: intricate
version: 1
dimensions:
  a: {weight: 0.3, description: x}
  b: {weight: 0.3, description: x}
  c: {weight: 0.2, description: x}
  d: {weight: 0.2, description: x}
  e: {weight: 0, description: x}
gates:
  - {when: a - b > 2.5 AND c BETWEEN 3 AND 4, cap: 2.0, reason: one}
  - {when: a / b >= 1.5 OR (a + b + c < 4 AND NOT d = 5), cap: 5.5, reason: two}
  - {when: overall * 2 > a + 12, cap: 6, reason: three}
  - {when: e >= 9 AND a >= 8 AND b >= 8 AND c >= 8 AND d >= 8, cap: 9, reason: four}
caps:
  - {any: [x], when: overall < 6 AND a != 3, cap: 1.0, reason: five}
  - {any: [y], cap: 4.5, reason: six}
tiers:
  - {name: first, when: overall >= 8 AND e > 2, positive: true}
  - {name: second, when: overall >= 5 AND (a > 6 OR b > 6)}
  - {name: third, when: d <= 1}
  - {name: fourth}
""",
    "Score.",
    "intricate",
)
FILTERS = {"intricate": INTRICATE} | {name: load_filter(name) for name in builtin_filters()}


def changed(filter_):
    """Yield filters with one change each: a number, a comparison, a logical operator, a cap, or a removed rule."""
    content = filter_.model_dump(mode="json")
    for kind in ("gates", "caps", "tiers"):
        for place, part in enumerate(content[kind]):
            if "cap" in part:
                yield from (with_part(content, kind, place, cap=part["cap"] + by) for by in (0.01, -0.01, 1, -1))
            yield from (with_part(content, kind, place, when=when) for when in changed_conditions(part["when"] or ""))
            yield without_part(content, kind, place)


def changed_conditions(when):
    others = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "=": "!=", "!=": "=", "AND": "OR", "OR": "AND", "NOT": ""}
    for found in re.finditer(r"<=|>=|!=|<|>|=|\bAND\b|\bOR\b|\bNOT\b", when):
        yield when[: found.start()] + others[found.group()] + when[found.end() :]
    for found in re.finditer(r"\b\d+(\.\d+)?\b", when):
        for by in (0.001, -0.001, 0.1, -0.1):
            yield f"{when[: found.start()]}{float(found.group()) + by!r}{when[found.end() :]}"


def with_part(content, kind, place, **change):
    parts = [part | change if at == place else part for at, part in enumerate(content[kind])]
    return content | {kind: parts}


def without_part(content, kind, place):
    return content | {kind: [part for at, part in enumerate(content[kind]) if at != place]}


def legal(content):
    try:
        return Filter.model_validate_json(json.dumps(content))
    except (ValidationError, PotstillError):
        return None


def said(filter_, scores, marks):
    """Return everything that a filter gives for rows, for comparison."""
    marks = np.pad(marks, ((0, 0), (0, len(filter_.caps))))[:, : len(filter_.caps)]
    judged = judge(scores, filter_, marks)
    rows = range(len(judged))
    return (
        np.nan_to_num(judged.overall, nan=-1.0).tolist(),
        judged.tier_names,
        [judged.gate_reasons(row) for row in rows],
        [judged.cap_reasons(row) for row in rows],
    )


@pytest.mark.parametrize("name", FILTERS)
def test_every_change_of_a_rule_changes_a_verdict(name):
    filter_ = FILTERS[name]
    scores, marks = boundary_rows(filter_)
    before = said(filter_, scores, marks)
    others = [other for content in changed(filter_) if (other := legal(content)) is not None]
    assert len(others) > 10
    unseen = [other for other in others if said(other, scores, marks) == before]
    assert [[part.when for part in (*other.gates, *other.caps, *other.tiers)] for other in unseen] == []


@pytest.mark.parametrize("name", FILTERS)
def test_rows_lie_at_a_bound_and_just_beside_it(name):
    filter_ = FILTERS[name]
    scores, marks = boundary_rows(filter_)
    assert len(scores) < 5000
    assert (scores >= filter_.scale.min).all()
    assert (scores <= filter_.scale.max).all()
    assert marks.shape == (len(scores), len(filter_.caps))
    for when in {part.when for part in (*filter_.gates, *filter_.caps, *filter_.tiers)}:
        for dimension, bound in re.findall(r"\b(\w+) *(?:<=|>=|<|>) *([\d.]+)", when or ""):
            if dimension not in filter_.dimension_names:
                continue
            column = scores[:, filter_.dimension_names.index(dimension)] - float(bound)
            assert (column == 0).any()
            beside = 2 * NEAR * (filter_.scale.max - filter_.scale.min)
            assert ((column < 0) & (column >= -beside)).any()


def test_the_same_filter_gives_the_same_rows():
    first, second = (boundary_rows(INTRICATE) for _ in range(2))
    assert first[0].tobytes() == second[0].tobytes()
    assert first[1].tobytes() == second[1].tobytes()


def test_a_filter_of_one_dimension_and_one_tier_has_rows():
    plain = parse_filter(
        "name: plain\nversion: 1\ndimensions: {a: {weight: 1, description: x}}\ntiers: [{name: all}]", "Score.", "plain"
    )
    scores, marks = boundary_rows(plain)
    assert scores.ravel().tolist() == [0.0, 5.0, 10.0]
    assert marks.shape == (3, 0)


@settings(max_examples=15)
@given(
    bound=st.floats(-4.75, 19.75).map(lambda number: round(number, 3)),
    cap=st.floats(-5, 19.9).map(lambda number: round(number, 2)),
    sign=st.sampled_from(["<", "<=", ">", ">="]),
)
def test_a_moved_bound_or_cap_shows_on_any_scale(bound, cap, sign):
    def made(bound, cap):
        return parse_filter(
            "name: any\nversion: 1\nscale: {min: -5, max: 20}\n"
            "dimensions: {a: {weight: 0.6, description: x}, b: {weight: 0.4, description: x}}\n"
            f"gates: [{{when: a {sign} {bound}, cap: {cap}, reason: gate}}]\ntiers: [{{name: all}}]",
            "Score.",
            "any",
        )

    rows = boundary_rows(made(bound, cap))
    before = said(made(bound, cap), *rows)
    assert said(made(bound + 0.001, cap), *rows) != before
    assert said(made(bound - 0.001, cap), *rows) != before
    highest = 20.0 if ">" in sign else 0.6 * bound + 0.4 * 20
    # If no score that the gate applies to is above the cap, a higher cap changes nothing.
    assert said(made(bound, cap + 0.05), *rows) != before or highest < cap + 0.06
