"""Define the tree of a condition: its nodes, and operations on any tree.

Input: nodes, from `parsing`. Output: the nodes below a node, the tree with a name replaced, and its canonical form.
Trees are evaluated in `computing` for columns of scores and in `intervals` for ranges of scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

DECIMALS = 9
"""Number of decimals to which computed values are rounded before comparison, so that 0.1 + 0.2 equals 0.3."""

Operator: TypeAlias = Literal["<", "<=", ">", ">=", "=", "!="]

_TIGHTNESS = {"+": 1, "-": 1, "*": 2, "/": 2}


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was written."""

    value: float


@dataclass(frozen=True, slots=True)
class Name:
    """A name, which represents a row's score."""

    name: str


@dataclass(frozen=True, slots=True)
class Minus:
    """A value with its sign reversed."""

    value: Value


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """An arithmetic operation on two values."""

    operator: Literal["+", "-", "*", "/"]
    left: Value
    right: Value


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison of two values."""

    operator: Operator
    left: Value
    right: Value


@dataclass(frozen=True, slots=True)
class Not:
    """The negation of its part."""

    part: Truth


@dataclass(frozen=True, slots=True)
class And:
    """The conjunction of its parts."""

    parts: tuple[Truth, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """The disjunction of its parts."""

    parts: tuple[Truth, ...]


Value: TypeAlias = Number | Name | Minus | Arithmetic
Truth: TypeAlias = Comparison | Not | And | Or
Node: TypeAlias = Value | Truth


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and all nodes below it, from left to right."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        match node:
            case Minus(part) | Not(part):
                waiting.append(part)
            case Arithmetic(_, left, right) | Comparison(_, left, right):
                waiting += (right, left)
            case And(parts) | Or(parts):
                waiting += reversed(parts)
            case _:
                pass


def negated(truth: Truth) -> Truth:
    """Return the negation of `truth`; a double negation is removed."""
    return truth.part if isinstance(truth, Not) else Not(truth)


def replace(node: Truth, name: str, value: Value) -> Truth:
    """Return the tree with `name` replaced by `value`."""
    match node:
        case Not(part):
            return Not(replace(part, name, value))
        case And(parts):
            return And(tuple(replace(part, name, value) for part in parts))
        case Or(parts):
            return Or(tuple(replace(part, name, value) for part in parts))
        case Comparison(operator, left, right):
            return Comparison(operator, _replace_in(left, name, value), _replace_in(right, name, value))


def _replace_in(node: Value, name: str, value: Value) -> Value:
    match node:
        case Number():
            return node
        case Name(found):
            return value if found == name else node
        case Minus(inner):
            return Minus(_replace_in(inner, name, value))
        case Arithmetic(operator, left, right):
            return Arithmetic(operator, _replace_in(left, name, value), _replace_in(right, name, value))


def spell(node: Node) -> str:  # noqa: PLR0911 - one for each kind of node
    """Return the canonical form of a tree, with no more brackets than necessary; it parses back to the same tree."""
    match node:
        case Number(value):
            return f"{value:.12g}" if float(f"{value:.12g}") == value else repr(value)
        case Name(name):
            return name
        case Minus(value):
            return f"-{_bracketed(value, 3)}"
        case Arithmetic(operator, left, right):
            tight = _TIGHTNESS[operator]
            return f"{_bracketed(left, tight)} {operator} {_bracketed(right, tight + 1)}"
        case Comparison(operator, left, right):
            return f"{spell(left)} {operator} {spell(right)}"
        case Not(part):
            return f"NOT ({spell(part)})"
        case And(parts):
            return " AND ".join(_grouped(part, (Comparison, Not)) for part in parts)
        case Or(parts):
            return " OR ".join(_grouped(part, (Comparison, Not, And)) for part in parts)


def _grouped(node: Truth, bare: tuple[type, ...]) -> str:
    return spell(node) if isinstance(node, bare) else f"({spell(node)})"


def _bracketed(node: Value, tight: int) -> str:
    loose = isinstance(node, Arithmetic) and _TIGHTNESS[node.operator] < tight
    # -2 is one number, but -2 after an operator is easier to read in brackets.
    signed = isinstance(node, Minus) or (isinstance(node, Number) and node.value < 0)
    return f"({spell(node)})" if loose or signed else spell(node)
