"""Compute the values of a tree as intervals.

Input: a value of a tree, and an interval for each name. Output: an interval that contains the value; it is never too
narrow, but may be wider than exact if arithmetic is involved.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from potstill.conditions.tree import DECIMALS, Arithmetic, Minus, Name, Number, Value, walk

if TYPE_CHECKING:
    from collections.abc import Mapping

# This is more than the rounding error of double arithmetic, but less than what is rounded away before comparisons.
_SLACK = 1e-12


class ValueRange(NamedTuple):
    """The possible values of an expression; an open end is excluded."""

    low: float
    high: float
    low_open: bool = False
    high_open: bool = False


_ANYTHING = ValueRange(-math.inf, math.inf)


def compared(node: Value, box: Mapping[str, ValueRange]) -> ValueRange:
    """Return the values of one side of a comparison, rounded as they are for the comparison of rows."""
    found = _interval(node, box)
    if not isinstance(node, Arithmetic | Minus):
        return found
    return ValueRange(round(found.low, DECIMALS), round(found.high, DECIMALS))


def constant(node: Value) -> float | None:
    """Return the value of an expression without names, rounded as for a comparison; None if it reads names."""
    if any(isinstance(part, Name) for part in walk(node)):
        return None
    found = compared(node, {})
    return found.low if found.low == found.high else None


def _interval(node: Value, box: Mapping[str, ValueRange]) -> ValueRange:
    match node:
        case Number(value):
            return ValueRange(value, value)
        case Name(name):
            return box[name]
        case Minus(value):
            inner = _interval(value, box)
            return ValueRange(-inner.high, -inner.low, inner.high_open, inner.low_open)
        case Arithmetic(operator, left, right):
            one, other = _interval(left, box), _interval(right, box)
            return _computed(operator, one, other)


def _computed(operator: str, one: ValueRange, other: ValueRange) -> ValueRange:
    """Return the closed hull of a computed value, widened by more than the rounding error."""
    if operator == "/" and other.low <= 0 <= other.high:
        return _ANYTHING
    match operator:
        case "+":
            low, high = one.low + other.low, one.high + other.high
        case "-":
            low, high = one.low - other.high, one.high - other.low
        case _:
            ends = [_calculate(operator, a, b) for a in (one.low, one.high) for b in (other.low, other.high)]
            low, high = (math.nan, math.nan) if any(map(math.isnan, ends)) else (min(ends), max(ends))
    if math.isnan(low) or math.isnan(high):
        return _ANYTHING
    slack = _SLACK * max(1.0, abs(low), abs(high))
    return ValueRange(low - slack, high + slack)


def _calculate(operator: str, one: float, other: float) -> float:
    return one * other if operator == "*" else one / other
