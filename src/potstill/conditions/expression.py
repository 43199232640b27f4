"""Tree to Polars.

In: a tree. Out: expressions over Float64 columns with the names it reads: whether it is true, and whether all
that it computes is a finite number.
"""

from __future__ import annotations

import polars as pl

from potstill.conditions.tree import (
    DECIMALS,
    And,
    Arithmetic,
    Comparison,
    Minus,
    Name,
    Not,
    Number,
    Operator,
    Or,
    Truth,
    Value,
    walk,
)


def truth_of(node: Truth) -> pl.Expr:
    """A Boolean expression, right where all that it reads and computes is a finite number."""
    match node:
        case Not(part):
            return ~truth_of(part)
        case And(parts):
            return pl.all_horizontal(truth_of(part) for part in parts)
        case Or(parts):
            return pl.any_horizontal(truth_of(part) for part in parts)
        case Comparison(operator, left, right):
            one, other = _side(left), _side(right)
            compared: dict[Operator, pl.Expr] = {
                "<": one < other, "<=": one <= other, ">": one > other,
                ">=": one >= other, "=": one == other, "!=": one != other,
            }  # fmt: skip
            return compared[operator]


def computed_in(tree: Truth) -> list[pl.Expr]:
    """For each value that finite inputs may leave undefined, such as a quotient, whether it is finite."""
    return [is_finite(_value(node)) for node in walk(tree) if isinstance(node, Arithmetic) and _may_fail(node)]


def is_finite(value: pl.Expr) -> pl.Expr:
    """Whether a value is there and finite; never null."""
    return value.cast(pl.Float64).is_finite().fill_null(False)


def _side(node: Value) -> pl.Expr:
    value = _value(node)
    return value.round(DECIMALS) if isinstance(node, Arithmetic | Minus) else value


def _value(node: Value) -> pl.Expr:
    match node:
        case Number(value):
            return pl.lit(value, dtype=pl.Float64)
        case Name(name):
            return pl.col(name).cast(pl.Float64)
        case Minus(value):
            return -_value(value)
        case Arithmetic(operator, left, right):
            one, other = _value(left), _value(right)
            computed: dict[str, pl.Expr] = {
                "+": one + other, "-": one - other, "*": one * other, "/": one / other,
            }  # fmt: skip
            return computed[operator]


def _may_fail(node: Arithmetic) -> bool:
    """Whether finite inputs can give something that is not finite; sums, and a name times a number, can't."""
    if node.operator in {"+", "-"}:
        return False
    leaves = isinstance(node.left, Name | Number) and isinstance(node.right, Name | Number)
    scaled = isinstance(node.right, Number) or (node.operator == "*" and isinstance(node.left, Number))
    return not (leaves and scaled)
