"""Parse the text of a condition into a tree.

Input: the text of a condition and the names it may use. Output: its tree, checked: every name is known, and comparisons
and numbers occur only where they are valid.

    condition   = and { OR and }
    and         = not { AND not }
    not         = NOT not | comparison
    comparison  = sum ( < | <= | > | >= | = | != ) sum | sum [ NOT ] BETWEEN sum AND sum | ( condition )
    sum         = product { ( + | - ) product }
    product     = signed { ( * | / ) signed }
    signed      = - signed | NUMBER | NAME | ( sum )
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from potstill.conditions.intervals import constant
from potstill.conditions.tokens import Token, fault, tokens_of
from potstill.conditions.tree import (
    And,
    Arithmetic,
    Comparison,
    Minus,
    Name,
    Node,
    Not,
    Number,
    Operator,
    Or,
    Truth,
    Value,
    negated,
    spell,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from potstill.errors import ConditionError

_DEEPEST = 60
# Sums of numbers up to this size cannot overflow.
_LARGEST = 1e12
_SYNONYMS: Mapping[str, Operator] = {"==": "=", "<>": "!="}
_COMPARISONS: Mapping[str, Operator] = {
    "<": "<", "<=": "<=", ">": ">", ">=": ">=", "=": "=", "!=": "!=", **_SYNONYMS,
}  # fmt: skip


def read_tree(text: str, names: tuple[str, ...]) -> Truth:
    """Parse a condition that may use `names` into its tree.

    Raises:
        ConditionError: the text is not in the language, or uses a name that is not in `names`; the message names the
            position, what was found and what is valid.
    """
    return _Parser(text, names).condition()


class _Parser:
    def __init__(self, text: str, names: tuple[str, ...]) -> None:
        self.text = text
        self.names = names
        self.depth = 0
        self.position = 0
        self.tokens = tokens_of(text)

    def condition(self) -> Truth:
        if len(self.tokens) == 1:
            raise self._fault("is empty, expected a comparison such as overall >= 7", None)
        tree = self._or()
        if self.position < len(self.tokens) - 1:
            raise self._unexpected("AND, OR or the end")
        return self._truth(tree, self.tokens[0])

    # There is one method per level of precedence, loosest first. Truths and values share the brackets, so the kind of a
    # part is checked where it is used.

    def _or(self) -> Node:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self._fault(f"is nested more than {_DEEPEST} deep", self._now)
        parts = [(self._now, self._and())]
        while self._takes("OR"):
            parts.append((self._now, self._and()))
        self.depth -= 1
        if len(parts) == 1:
            return parts[0][1]
        return Or(tuple(self._truth(part, start) for start, part in parts))

    def _and(self) -> Node:
        parts = [(self._now, self._not())]
        while self._takes("AND"):
            parts.append((self._now, self._not()))
        if len(parts) == 1:
            return parts[0][1]
        return And(tuple(self._truth(part, start) for start, part in parts))

    def _not(self) -> Node:
        turns = 0
        while self._takes("NOT"):
            turns += 1
        start = self._now
        node = self._comparison()
        if not turns:
            return node
        truth = self._truth(node, start)
        return negated(truth) if turns % 2 else truth

    def _comparison(self) -> Node:
        start = self._now
        left = self._sum()
        outside = self._now.text.upper() == "NOT" and self._next.text.upper() == "BETWEEN"
        if outside:
            self.position += 1
        if self._takes("BETWEEN"):
            return self._between(self._value(left, start), outside=outside)
        operator = _COMPARISONS.get(self._now.text)
        if operator is None:
            return left
        self.position += 1
        here = self._now
        right = self._value(self._sum(), here)
        if self._now.text in _COMPARISONS:
            raise self._fault("compares twice in a row; write BETWEEN, or two comparisons with AND", self._now)
        return Comparison(operator, self._value(left, start), right)

    def _between(self, value: Value, *, outside: bool) -> Truth:
        here = self._now
        low = self._value(self._sum(), here)
        if not self._takes("AND"):
            raise self._unexpected("the AND of BETWEEN")
        here = self._now
        high = self._value(self._sum(), here)
        inside = And((Comparison(">=", value, low), Comparison("<=", value, high)))
        return negated(inside) if outside else inside

    def _sum(self) -> Node:
        start = self._now
        left = self._product()
        while self._now.text in {"+", "-"}:
            operator: Literal["+", "-"] = "+" if self._now.text == "+" else "-"
            self.position += 1
            here = self._now
            left = Arithmetic(operator, self._value(left, start), self._value(self._product(), here))
        return left

    def _product(self) -> Node:
        start = self._now
        left = self._signed()
        while self._now.text in {"*", "/"}:
            operator: Literal["*", "/"] = "*" if self._now.text == "*" else "/"
            self.position += 1
            here = self._now
            right = self._value(self._signed(), here)
            if operator == "/" and constant(right) == 0:
                raise self._fault("divides by zero", here)
            left = Arithmetic(operator, self._value(left, start), right)
        return left

    def _signed(self) -> Node:
        turns = 0
        while self._now.text == "-":
            turns += 1
            self.position += 1
        start = self._now
        node = self._primary()
        if not turns:
            return node
        value = self._value(node, start)
        if isinstance(value, Number):
            return Number(-value.value if turns % 2 else value.value)
        return Minus(value) if turns % 2 else value

    def _primary(self) -> Node:
        token = self._now
        self.position += 1
        if token.kind == "number":
            value = float(token.text)
            if value > _LARGEST:
                raise self._fault(f"contains {token.text}, which is not a number up to {_LARGEST:g}", token)
            return Number(value)
        if token.kind == "name":
            if self._now.text == "(":
                raise self._fault(f"calls {token.text}(...), but conditions do not support functions", token)
            if token.text not in self.names:
                raise self._fault(f"uses unknown name {token.text!r}; known: {', '.join(self.names)}", token)
            return Name(token.text)
        if token.text == "(":
            node = self._or()
            if self._now.text != ")":
                raise self._unexpected(")")
            self.position += 1
            return node
        self.position -= 1
        raise self._unexpected("a dimension, overall, a number or (")

    # Helpers.

    @property
    def _now(self) -> Token:
        return self.tokens[self.position]

    @property
    def _next(self) -> Token:
        return self.tokens[min(self.position + 1, len(self.tokens) - 1)]

    def _takes(self, keyword: str) -> bool:
        if self._now.kind == "keyword" and self._now.text == keyword:
            self.position += 1
            return True
        return False

    def _truth(self, node: Node, at: Token) -> Truth:
        if isinstance(node, Comparison | Not | And | Or):
            return node
        raise self._fault(f"has the number {spell(node)} where a comparison was expected", at)

    def _value(self, node: Node, at: Token) -> Value:
        if isinstance(node, Number | Name | Minus | Arithmetic):
            return node
        raise self._fault(f"has the comparison {spell(node)} where a number was expected", at)

    def _unexpected(self, wanted: str) -> ConditionError:
        token = self._now
        found = "ends" if token.kind == "end" else f"has {token.text!r}"
        return self._fault(f"{found} where {wanted} was expected", token)

    def _fault(self, what: str, at: Token | None) -> ConditionError:
        return fault(self.text, what, at)
