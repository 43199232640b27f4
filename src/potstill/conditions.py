# ruff: noqa: RET503 - each match covers its whole union; mypy proves it
"""Conditions: a small language over scores, checked before anything runs.

In: text such as `collective_benefit < 5 AND NOT (wonder >= 7)` and the names it may use. Out: a checked tree,
which can be compiled to one vectorised Polars expression, printed in one spelling, and reasoned about
(`can_hold`). The text never reaches an engine of its own: whatever is not in the list below is an error.

    condition   = and { OR and }
    and         = not { AND not }
    not         = NOT not | comparison
    comparison  = sum ( < | <= | > | >= | = | != ) sum | sum [ NOT ] BETWEEN sum AND sum | ( condition )
    sum         = product { ( + | - ) product }
    product     = signed { ( * | / ) signed }
    signed      = - signed | NUMBER | NAME | ( sum )

A condition fails closed: it is false for a row in which an input is missing or not finite, also under NOT.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NoReturn, TypeAlias

import polars as pl

from potstill.errors import ConditionError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

KEYWORDS = frozenset({"AND", "OR", "NOT", "BETWEEN"})
"""Words of the language, in any case; none may be a name."""

DECIMALS = 9
"""Computed values are compared after rounding to this many decimals, so that 0.1 + 0.2 reaches 0.3."""

Operator: TypeAlias = Literal["<", "<=", ">", ">=", "=", "!="]

_LONGEST = 10_000
_MOST_TOKENS = 500
_DEEPEST = 60
# Sums of numbers up to this size can't overflow.
_LARGEST = 1e12
_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
      | (?P<name>[^\W\d]\w*)
      | (?P<operator><=|>=|<>|!=|==|[<>=()+*/-])""",
    re.VERBOSE | re.ASCII,
)
_SYNONYMS: Mapping[str, Operator] = {"==": "=", "<>": "!="}
_COMPARISONS: Mapping[str, Operator] = {
    "<": "<", "<=": "<=", ">": ">", ">=": ">=", "=": "=", "!=": "!=", **_SYNONYMS,
}  # fmt: skip


# -- the tree ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Number:
    value: float


@dataclass(frozen=True, slots=True)
class _Name:
    name: str


@dataclass(frozen=True, slots=True)
class _Minus:
    value: _Value


@dataclass(frozen=True, slots=True)
class _Arithmetic:
    operator: Literal["+", "-", "*", "/"]
    left: _Value
    right: _Value


@dataclass(frozen=True, slots=True)
class _Comparison:
    operator: Operator
    left: _Value
    right: _Value


@dataclass(frozen=True, slots=True)
class _Not:
    part: _Truth


@dataclass(frozen=True, slots=True)
class _All:
    parts: tuple[_Truth, ...]


@dataclass(frozen=True, slots=True)
class _Any:
    parts: tuple[_Truth, ...]


_Value: TypeAlias = _Number | _Name | _Minus | _Arithmetic
_Truth: TypeAlias = _Comparison | _Not | _All | _Any
_Node: TypeAlias = _Value | _Truth


@dataclass(frozen=True, slots=True)
class Condition:
    """A checked condition; make one with `parse`. `str` gives its one spelling."""

    tree: _Truth

    @property
    def names(self) -> frozenset[str]:
        """The names that the condition reads."""
        return frozenset(node.name for node in _walk(self.tree) if isinstance(node, _Name))

    @property
    def operators(self) -> frozenset[str]:
        """The comparisons that the condition makes."""
        return frozenset(node.operator for node in _walk(self.tree) if isinstance(node, _Comparison))

    def expr(self) -> pl.Expr:
        """A Boolean Polars expression over columns with the condition's names; never null.

        False where `defined` is false.
        """
        return self.defined() & self.truth().fill_null(False)

    def defined(self) -> pl.Expr:
        """Whether a row has all that the condition reads: inputs there and finite, no division by zero."""
        inputs = [_is_finite(pl.col(name)) for name in sorted(self.names)]
        return pl.all_horizontal(pl.lit(True), *inputs, *self.computed())

    def computed(self) -> list[pl.Expr]:
        """For each value that finite inputs may leave undefined, such as a quotient, whether it is finite."""
        return [
            _is_finite(_value(node)) for node in _walk(self.tree) if isinstance(node, _Arithmetic) and _may_fail(node)
        ]

    def truth(self) -> pl.Expr:
        """As `expr`, and right only where `defined` is true: for callers that have checked the inputs."""
        return _truth(self.tree)

    def computing(self, name: str, text: str, names: Collection[str]) -> Condition:
        """The same condition with `name` replaced by a sum over `names`, which it is computed from.

        Raises:
            ConditionError: the text is not a sum over `names`.
        """
        comparison = parse(f"0 = {text}", names).tree
        if not isinstance(comparison, _Comparison):
            raise ConditionError(f"{text!r} is not a sum")
        return Condition(_replace(self.tree, name, comparison.right))

    def __and__(self, other: Condition) -> Condition:
        return Condition(_All((self.tree, other.tree)))

    def __or__(self, other: Condition) -> Condition:
        return Condition(_Any((self.tree, other.tree)))

    def __invert__(self) -> Condition:
        return Condition(_negated(self.tree))

    def __str__(self) -> str:
        return _spell(self.tree)


def parse(text: str, names: Collection[str]) -> Condition:
    """Read a condition that may use `names`.

    Raises:
        ConditionError: the text is not in the language, or uses a name that is not in `names`; the message
            says where, what came and what was legal.
    """
    return _parse(text, tuple(names))


@lru_cache(maxsize=1024)
def _parse(text: str, names: tuple[str, ...]) -> Condition:
    return Condition(_Parser(text, names).condition())


# -- text to tree --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Token:
    kind: Literal["number", "name", "operator", "keyword", "end"]
    text: str
    at: int


class _Parser:
    def __init__(self, text: str, names: tuple[str, ...]) -> None:
        self.text = text
        self.names = names
        self.depth = 0
        self.position = 0
        if len(text) > _LONGEST:
            self._fail(f"is {len(text)} characters long, at most {_LONGEST} are read", None)
        self.tokens = list(self._tokens())
        if len(self.tokens) > _MOST_TOKENS:
            self._fail(f"has more than {_MOST_TOKENS} words and signs", None)

    def condition(self) -> _Truth:
        if len(self.tokens) == 1:
            self._fail("is empty, expected a comparison such as overall >= 7", None)
        tree = self._or()
        if self.position < len(self.tokens) - 1:
            self._unexpected("AND, OR or the end")
        return self._truth(tree, self.tokens[0])

    # A level of precedence each, loosest first. Truths and values share the brackets, so the kind of a part is
    # checked where it is used.

    def _or(self) -> _Node:
        self.depth += 1
        if self.depth > _DEEPEST:
            self._fail(f"is nested more than {_DEEPEST} deep", self._now)
        parts = [(self._now, self._and())]
        while self._takes("OR"):
            parts.append((self._now, self._and()))
        self.depth -= 1
        if len(parts) == 1:
            return parts[0][1]
        return _Any(tuple(self._truth(part, start) for start, part in parts))

    def _and(self) -> _Node:
        parts = [(self._now, self._not())]
        while self._takes("AND"):
            parts.append((self._now, self._not()))
        if len(parts) == 1:
            return parts[0][1]
        return _All(tuple(self._truth(part, start) for start, part in parts))

    def _not(self) -> _Node:
        turns = 0
        while self._takes("NOT"):
            turns += 1
        start = self._now
        node = self._comparison()
        if not turns:
            return node
        truth = self._truth(node, start)
        return _negated(truth) if turns % 2 else truth

    def _comparison(self) -> _Node:
        start = self._now
        left = self._sum()
        negated = self._now.text.upper() == "NOT" and self._next.text.upper() == "BETWEEN"
        if negated:
            self.position += 1
        if self._takes("BETWEEN"):
            return self._between(self._value(left, start), negated=negated)
        operator = _COMPARISONS.get(self._now.text)
        if operator is None:
            return left
        self.position += 1
        here = self._now
        right = self._value(self._sum(), here)
        if self._now.text in _COMPARISONS:
            self._fail("compares twice in a row; write BETWEEN, or two comparisons with AND", self._now)
        return _Comparison(operator, self._value(left, start), right)

    def _between(self, value: _Value, *, negated: bool) -> _Truth:
        here = self._now
        low = self._value(self._sum(), here)
        if not self._takes("AND"):
            self._unexpected("the AND of BETWEEN")
        here = self._now
        high = self._value(self._sum(), here)
        inside = _All((_Comparison(">=", value, low), _Comparison("<=", value, high)))
        return _negated(inside) if negated else inside

    def _sum(self) -> _Node:
        start = self._now
        left = self._product()
        while self._now.text in {"+", "-"}:
            operator: Literal["+", "-"] = "+" if self._now.text == "+" else "-"
            self.position += 1
            here = self._now
            left = _Arithmetic(operator, self._value(left, start), self._value(self._product(), here))
        return left

    def _product(self) -> _Node:
        start = self._now
        left = self._signed()
        while self._now.text in {"*", "/"}:
            operator: Literal["*", "/"] = "*" if self._now.text == "*" else "/"
            self.position += 1
            here = self._now
            right = self._value(self._signed(), here)
            if operator == "/" and _constant(right) == 0:
                self._fail("divides by zero", here)
            left = _Arithmetic(operator, self._value(left, start), right)
        return left

    def _signed(self) -> _Node:
        turns = 0
        while self._now.text == "-":
            turns += 1
            self.position += 1
        start = self._now
        node = self._primary()
        if not turns:
            return node
        value = self._value(node, start)
        if isinstance(value, _Number):
            return _Number(-value.value if turns % 2 else value.value)
        return _Minus(value) if turns % 2 else value

    def _primary(self) -> _Node:
        token = self._now
        self.position += 1
        if token.kind == "number":
            value = float(token.text)
            if value > _LARGEST:
                self._fail(f"holds {token.text}, which is not a number up to {_LARGEST:g}", token)
            return _Number(value)
        if token.kind == "name":
            if self._now.text == "(":
                self._fail(f"calls {token.text}(...); functions are not part of conditions", token)
            if token.text not in self.names:
                self._fail(f"uses unknown name {token.text!r}; known: {', '.join(self.names)}", token)
            return _Name(token.text)
        if token.text == "(":
            node = self._or()
            if self._now.text != ")":
                self._unexpected(")")
            self.position += 1
            return node
        self.position -= 1
        self._unexpected("a dimension, overall, a number or (")

    # -- helpers

    @property
    def _now(self) -> _Token:
        return self.tokens[self.position]

    @property
    def _next(self) -> _Token:
        return self.tokens[min(self.position + 1, len(self.tokens) - 1)]

    def _takes(self, keyword: str) -> bool:
        if self._now.kind == "keyword" and self._now.text == keyword:
            self.position += 1
            return True
        return False

    def _truth(self, node: _Node, at: _Token) -> _Truth:
        if isinstance(node, _Comparison | _Not | _All | _Any):
            return node
        self._fail(f"has the number {_spell(node)} where a comparison was expected", at)

    def _value(self, node: _Node, at: _Token) -> _Value:
        if isinstance(node, _Number | _Name | _Minus | _Arithmetic):
            return node
        self._fail(f"has the comparison {_spell(node)} where a number was expected", at)

    def _unexpected(self, wanted: str) -> NoReturn:
        token = self._now
        found = "ends" if token.kind == "end" else f"has {token.text!r}"
        self._fail(f"{found} where {wanted} was expected", token)

    def _fail(self, what: str, at: _Token | None) -> NoReturn:
        place = "" if at is None else f" (at character {at.at + 1})"
        shown = self.text if len(self.text) <= 200 else self.text[:200] + "..."
        raise ConditionError(f"condition {shown!r} {what}{place}")

    def _tokens(self) -> Iterator[_Token]:
        at = 0
        while at < len(self.text):
            match = _TOKEN.match(self.text, at)
            if match is None:
                here = _Token("operator", self.text[at], at)
                if self.text[at] in "'\"`":
                    self._fail("holds a string or a quoted name; neither is part of conditions", here)
                self._fail(f"holds {self.text[at]!r}, which is not part of conditions", here)
            word, kind = match.group(), match.lastgroup
            if kind == "number":
                yield _Token("number", word, at)
            elif kind == "name" and word.upper() in KEYWORDS:
                yield _Token("keyword", word.upper(), at)
            elif kind == "name":
                yield _Token("name", word, at)
            elif kind == "operator":
                yield _Token("operator", word, at)
            at = match.end()
        yield _Token("end", "", at)


def _negated(truth: _Truth) -> _Truth:
    return truth.part if isinstance(truth, _Not) else _Not(truth)


# -- tree to Polars ------------------------------------------------------------------------------------------


def _truth(node: _Truth) -> pl.Expr:
    match node:
        case _Not(part):
            return ~_truth(part)
        case _All(parts):
            return pl.all_horizontal(_truth(part) for part in parts)
        case _Any(parts):
            return pl.any_horizontal(_truth(part) for part in parts)
        case _Comparison(operator, left, right):
            one, other = _side(left), _side(right)
            compared: dict[Operator, pl.Expr] = {
                "<": one < other, "<=": one <= other, ">": one > other,
                ">=": one >= other, "=": one == other, "!=": one != other,
            }  # fmt: skip
            return compared[operator]


def _is_finite(value: pl.Expr) -> pl.Expr:
    return value.cast(pl.Float64).is_finite().fill_null(False)


def _side(node: _Value) -> pl.Expr:
    value = _value(node)
    return value.round(DECIMALS) if isinstance(node, _Arithmetic | _Minus) else value


def _value(node: _Value) -> pl.Expr:
    match node:
        case _Number(value):
            return pl.lit(value, dtype=pl.Float64)
        case _Name(name):
            return pl.col(name).cast(pl.Float64)
        case _Minus(value):
            return -_value(value)
        case _Arithmetic(operator, left, right):
            one, other = _value(left), _value(right)
            computed: dict[str, pl.Expr] = {
                "+": one + other, "-": one - other, "*": one * other, "/": one / other,
            }  # fmt: skip
            return computed[operator]


def _may_fail(node: _Arithmetic) -> bool:
    """Whether finite inputs can give something that is not finite; sums, and a name times a number, can't."""
    if node.operator in {"+", "-"}:
        return False
    leaves = isinstance(node.left, _Name | _Number) and isinstance(node.right, _Name | _Number)
    scaled = isinstance(node.right, _Number) or (node.operator == "*" and isinstance(node.left, _Number))
    return not (leaves and scaled)


# -- tree to text --------------------------------------------------------------------------------------------

_TIGHTNESS = {"+": 1, "-": 1, "*": 2, "/": 2}


def _spell(node: _Node) -> str:  # noqa: PLR0911 - one for each kind of node
    match node:
        case _Number(value):
            return f"{value:.12g}" if float(f"{value:.12g}") == value else repr(value)
        case _Name(name):
            return name
        case _Minus(value):
            return f"-{_bracketed(value, 3)}"
        case _Arithmetic(operator, left, right):
            tight = _TIGHTNESS[operator]
            return f"{_bracketed(left, tight)} {operator} {_bracketed(right, tight + 1)}"
        case _Comparison(operator, left, right):
            return f"{_spell(left)} {operator} {_spell(right)}"
        case _Not(part):
            return f"NOT ({_spell(part)})"
        case _All(parts):
            return " AND ".join(_grouped(part, (_Comparison, _Not)) for part in parts)
        case _Any(parts):
            return " OR ".join(_grouped(part, (_Comparison, _Not, _All)) for part in parts)


def _grouped(node: _Truth, bare: tuple[type, ...]) -> str:
    return _spell(node) if isinstance(node, bare) else f"({_spell(node)})"


def _bracketed(node: _Value, tight: int) -> str:
    loose = isinstance(node, _Arithmetic) and _TIGHTNESS[node.operator] < tight
    # -2 is one number, but -2 after an operator reads better in brackets.
    signed = isinstance(node, _Minus) or (isinstance(node, _Number) and node.value < 0)
    return f"({_spell(node)})" if loose or signed else _spell(node)


def _walk(node: _Node) -> Iterator[_Node]:
    yield node
    match node:
        case _Minus(part) | _Not(part):
            yield from _walk(part)
        case _Arithmetic(_, left, right) | _Comparison(_, left, right):
            yield from _walk(left)
            yield from _walk(right)
        case _All(parts) | _Any(parts):
            for part in parts:
                yield from _walk(part)
        case _:
            pass


def _replace(node: _Truth, name: str, value: _Value) -> _Truth:
    match node:
        case _Not(part):
            return _Not(_replace(part, name, value))
        case _All(parts):
            return _All(tuple(_replace(part, name, value) for part in parts))
        case _Any(parts):
            return _Any(tuple(_replace(part, name, value) for part in parts))
        case _Comparison(operator, left, right):
            return _Comparison(operator, _replace_in(left, name, value), _replace_in(right, name, value))


def _replace_in(node: _Value, name: str, value: _Value) -> _Value:
    match node:
        case _Number():
            return node
        case _Name(found):
            return value if found == name else node
        case _Minus(inner):
            return _Minus(_replace_in(inner, name, value))
        case _Arithmetic(operator, left, right):
            return _Arithmetic(operator, _replace_in(left, name, value), _replace_in(right, name, value))


def _constant(node: _Value) -> float | None:
    """The value of a part that reads no names, rounded as a comparison would."""
    if any(isinstance(part, _Name) for part in _walk(node)):
        return None
    found = _compared(node, {})
    return found.low if found.low == found.high else None


# -- reasoning -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Interval:
    """The values something may have; an open end is not one of them."""

    low: float
    high: float
    low_open: bool = False
    high_open: bool = False


_ANYTHING = _Interval(-math.inf, math.inf)
# Parts of conditions looked at before can_hold gives up: about half a second.
_BUDGET = 1_000_000
# More than a double's arithmetic errs by, less than what is rounded away before comparing.
_SLACK = 1e-12


def can_hold(
    wanted: Condition,
    without: Sequence[Condition],
    low: float,
    high: float,
    *,
    given: Sequence[Condition] = (),
) -> bool:
    """Whether some scores from `low` to `high` make `wanted` and all `given` true and all `without` false.

    False only where there certainly are none: intervals are carried through the tree (three-valued), and
    split at the thresholds that single names are compared with, until every part is decided. What stays
    undecided, or takes too long, counts as possible. Names are independent of one another unless `given`
    relates them.
    """
    tree = _All((wanted.tree, *(item.tree for item in given), *(_Not(item.tree) for item in without)))
    names = sorted({node.name for node in _walk(tree) if isinstance(node, _Name)})
    waiting = [dict.fromkeys(names, _Interval(low, high))]
    size = sum(1 for _ in _walk(tree))
    looked = 0
    while waiting:
        box = waiting.pop()
        looked += size
        truth = _judge(tree, box)
        if truth is False:
            continue
        cut = None if truth else _cut(tree, box)
        if cut is None or looked > _BUDGET:
            return True
        name, threshold = cut
        waiting.extend({**box, name: part} for part in _split(box[name], threshold))
    return False


def _split(whole: _Interval, at: float) -> list[_Interval]:
    parts = [_Interval(at, at)]
    if whole.low < at:
        parts.append(_Interval(whole.low, at, whole.low_open, high_open=True))
    if whole.high > at:
        parts.append(_Interval(at, whole.high, low_open=True, high_open=whole.high_open))
    return parts


def _cut(tree: _Truth, box: Mapping[str, _Interval]) -> tuple[str, float] | None:
    """A name and the threshold of an undecided comparison with it."""
    for node in _walk(tree):
        if isinstance(node, _Comparison) and _judge(node, box) is None:
            for one, other in ((node.left, node.right), (node.right, node.left)):
                threshold = _constant(other)
                if isinstance(one, _Name) and threshold is not None:
                    return one.name, threshold
    return None


def _judge(node: _Truth, box: Mapping[str, _Interval]) -> bool | None:
    match node:
        case _Not(part):
            truth = _judge(part, box)
            return None if truth is None else not truth
        case _All(parts):
            return _together([_judge(part, box) for part in parts])
        case _Any(parts):
            none = _together([_opposite(_judge(part, box)) for part in parts])
            return _opposite(none)
        case _Comparison(operator, left, right):
            return _compare(operator, _compared(left, box), _compared(right, box))


def _compared(node: _Value, box: Mapping[str, _Interval]) -> _Interval:
    """The values of one side of a comparison, rounded as the compiled expression rounds them."""
    found = _interval(node, box, _ANYTHING)
    if not isinstance(node, _Arithmetic | _Minus):
        return found
    return _Interval(round(found.low, DECIMALS), round(found.high, DECIMALS))


def _together(truths: Sequence[bool | None]) -> bool | None:
    if any(truth is False for truth in truths):
        return False
    return None if any(truth is None for truth in truths) else True


def _opposite(truth: bool | None) -> bool | None:  # noqa: FBT001 - three-valued logic
    return None if truth is None else not truth


def _compare(operator: Operator, one: _Interval, other: _Interval) -> bool | None:
    match operator:
        case "<":
            return _below(one, other)
        case ">":
            return _below(other, one)
        case ">=":
            return _opposite(_below(one, other))
        case "<=":
            return _opposite(_below(other, one))
        case "=":
            return _same(one, other)
        case "!=":
            return _opposite(_same(one, other))


def _below(one: _Interval, other: _Interval) -> bool | None:
    if one.high < other.low or (one.high == other.low and (one.high_open or other.low_open)):
        return True
    return False if one.low >= other.high else None


def _same(one: _Interval, other: _Interval) -> bool | None:
    if _below(one, other) or _below(other, one):
        return False
    return True if one.low == one.high == other.low == other.high else None


def _interval(node: _Value, box: Mapping[str, _Interval], unknown: _Interval) -> _Interval:
    match node:
        case _Number(value):
            return _Interval(value, value)
        case _Name(name):
            return box.get(name, unknown)
        case _Minus(value):
            inner = _interval(value, box, unknown)
            return _Interval(-inner.high, -inner.low, inner.high_open, inner.low_open)
        case _Arithmetic(operator, left, right):
            one, other = _interval(left, box, unknown), _interval(right, box, unknown)
            return _computed(operator, one, other)


def _computed(operator: str, one: _Interval, other: _Interval) -> _Interval:
    """The closed hull of a computed value, widened by more than rounding can move it."""
    if operator == "/" and other.low <= 0 <= other.high:
        return _ANYTHING
    ends = [_calculate(operator, a, b) for a in (one.low, one.high) for b in (other.low, other.high)]
    if any(math.isnan(end) for end in ends):
        return _ANYTHING
    low, high = min(ends), max(ends)
    slack = _SLACK * max(1.0, abs(low), abs(high))
    return _Interval(low - slack, high + slack)


def _calculate(operator: str, one: float, other: float) -> float:
    match operator:
        case "+":
            return one + other
        case "-":
            return one - other
        case "*":
            return one * other
        case _:
            return one / other
