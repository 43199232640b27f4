"""Evaluate the tree of a condition.

Input: a tree, and an array of scores for each name it reads, one number or a million. Output: arrays that say whether
it is true and whether all computed values are finite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from potstill.conditions.tree import (
    DECIMALS,
    And,
    Arithmetic,
    Comparison,
    Minus,
    Name,
    Not,
    Number,
    Or,
    Truth,
    Value,
    walk,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from potstill.types import BoolArray, FloatArray

    Columns: TypeAlias = Mapping[str, FloatArray]
    """The scores of all rows by name, shape (rows,); NaN where a score is missing."""

_COMPARED = {
    "<": np.less, "<=": np.less_equal, ">": np.greater,
    ">=": np.greater_equal, "=": np.equal, "!=": np.not_equal,
}  # fmt: skip
_COMPUTED = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}

_SCALE = 10.0**DECIMALS
_WHOLE = 2.0**52
"""From this value on, a double has no decimals that could be rounded."""


def truth_of(node: Truth, columns: Columns) -> BoolArray:
    """Return whether the tree is true for each row; valid where all inputs and computed values are finite.

    The shape is that of the columns, or that of a single number if the tree reads none.
    """
    match node:
        case Not(part):
            return np.logical_not(truth_of(part, columns))
        case And(parts):
            found = truth_of(parts[0], columns)
            for part in parts[1:]:
                found = np.logical_and(found, truth_of(part, columns))
            return found
        case Or(parts):
            found = truth_of(parts[0], columns)
            for part in parts[1:]:
                found = np.logical_or(found, truth_of(part, columns))
            return found
        case Comparison(operator, left, right):
            compared: BoolArray = _COMPARED[operator](_side(left, columns), _side(right, columns))
            return compared


def may_fail_in(tree: Truth) -> tuple[Arithmetic, ...]:
    """Return the values in a tree that finite inputs may leave undefined, such as a quotient."""
    return tuple(node for node in walk(tree) if isinstance(node, Arithmetic) and _may_fail(node))


def is_finite(node: Value, columns: Columns) -> BoolArray:
    """Return whether a value is finite for each row."""
    return np.isfinite(_value(node, columns))


def rounded(values: FloatArray) -> FloatArray:
    """Return values rounded to `DECIMALS` decimals, halves to even."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = values * _SCALE
        return np.where(np.abs(scaled) < _WHOLE, np.rint(scaled) / _SCALE, values)


def _side(node: Value, columns: Columns) -> FloatArray:
    value = _value(node, columns)
    return rounded(value) if isinstance(node, Arithmetic | Minus) else value


def _value(node: Value, columns: Columns) -> FloatArray:
    match node:
        case Number(value):
            return np.float64(value)  # type: ignore[return-value]  # it works with arrays of any shape
        case Name(name):
            return columns[name]
        case Minus(value):
            return np.negative(_value(value, columns))
        case Arithmetic(operator, left, right):
            with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
                computed: FloatArray = _COMPUTED[operator](_value(left, columns), _value(right, columns))
            return computed


def _may_fail(node: Arithmetic) -> bool:
    """Return whether finite inputs can give a non-finite value; sums, and a name times a number, cannot."""
    if node.operator in {"+", "-"}:
        return False
    leaves = isinstance(node.left, Name | Number) and isinstance(node.right, Name | Number)
    scaled = isinstance(node.right, Number) or (node.operator == "*" and isinstance(node.left, Number))
    return not (leaves and scaled)
