"""Determine whether a condition can hold at all.

Input: conditions, and the range of the scores. Output: False only if no scores can make the conditions hold. The logic
is three-valued: over a box of intervals a comparison holds everywhere, nowhere, or in part. Subtrees that are decided
for a box are removed for the boxes that it is split into, so the run time is linear in the number of thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from potstill.conditions.intervals import ValueRange, compared, constant
from potstill.conditions.tree import And, Comparison, Name, Not, Operator, Or, Truth, negated, walk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from potstill.conditions.condition import Condition


@dataclass(slots=True)
class Budget:
    """The number of tree nodes that may still be visited, shared by all calls; the full budget takes about a second."""

    left: int = 200_000


class _BudgetExhaustedError(Exception):
    """The budget is exhausted, so undecided conditions count as possible."""


class _Box(dict[str, ValueRange]):
    """The interval of each name; names that were not split yet have the whole range."""

    def __init__(self, whole: ValueRange, known: Mapping[str, ValueRange] | None = None) -> None:
        super().__init__(known or {})
        self._whole = whole

    def __missing__(self, name: str) -> ValueRange:
        return self._whole

    def split(self, name: str, at: float) -> list[_Box]:
        """Return the parts below, above and at a threshold; the part with the single value is last."""
        whole = self[name]
        parts = []
        if whole.low < at:
            parts.append(ValueRange(whole.low, at, whole.low_open, high_open=True))
        if whole.high > at:
            parts.append(ValueRange(at, whole.high, low_open=True, high_open=whole.high_open))
        return [_Box(self._whole, {**self, name: part}) for part in (*parts, ValueRange(at, at))]


def can_hold(
    wanted: Condition,
    without: Sequence[Condition],
    low: float,
    high: float,
    *,
    given: Sequence[Condition] = (),
    budget: Budget | None = None,
) -> bool:
    """Return whether some scores from `low` to `high` make `wanted` and all `given` true and all `without` false.

    It is False only if there certainly are none: intervals are propagated through the tree (three-valued logic) and
    split at the thresholds with which single names are compared, until every part is decided. Parts that stay
    undecided, or would exceed the budget, count as possible. Names are independent of one another unless `given`
    relates them.
    """
    tree: Truth = And((wanted.tree, *(Not(item.tree) for item in without), *(item.tree for item in given)))
    budget = Budget() if budget is None else budget
    waiting = [(tree, _Box(ValueRange(low, high)))]
    try:
        while waiting:
            tree, box = waiting.pop()
            left = _remaining(tree, box, budget)
            if left is False:
                continue
            cut = None if left is True else _cut(left)
            if left is True or cut is None:
                return True
            waiting.extend((left, part) for part in box.split(*cut))
    except _BudgetExhaustedError:
        return True
    return False


def _cut(left: Truth) -> tuple[str, float] | None:
    """Return a name and the threshold of a comparison with it, from a tree in which all comparisons are undecided."""
    for node in walk(left):
        if isinstance(node, Comparison):
            for one, other in ((node.left, node.right), (node.right, node.left)):
                threshold = constant(other) if isinstance(one, Name) else None
                if isinstance(one, Name) and threshold is not None:
                    return one.name, threshold
    return None


def _remaining(node: Truth, box: _Box, budget: Budget) -> Truth | bool:
    """Return a tree's truth within a box, or its undecided part."""
    match node:
        case Not(part):
            left = _remaining(part, box, budget)
            return not left if isinstance(left, bool) else negated(left)
        case And(parts):
            return _combined(parts, box, budget, settles=False)
        case Or(parts):
            return _combined(parts, box, budget, settles=True)
        case Comparison(operator, left_side, right_side):
            if budget.left <= 0:
                raise _BudgetExhaustedError
            budget.left -= sum(1 for _ in walk(node))
            truth = _compare(operator, compared(left_side, box), compared(right_side, box))
            return node if truth is None else truth


def _combined(parts: Sequence[Truth], box: _Box, budget: Budget, *, settles: bool) -> Truth | bool:
    """Return the undecided rest of parts joined by AND or OR; a part with the value `settles` decides the result."""
    undecided: list[Truth] = []
    for part in parts:
        left = _remaining(part, box, budget)
        if left is settles:
            return settles
        if not isinstance(left, bool):
            undecided.append(left)
    if len(undecided) > 1:
        return Or(tuple(undecided)) if settles else And(tuple(undecided))
    return undecided[0] if undecided else not settles


def _opposite(truth: bool | None) -> bool | None:  # noqa: FBT001 - three-valued logic
    return None if truth is None else not truth


def _compare(operator: Operator, one: ValueRange, other: ValueRange) -> bool | None:
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


def _below(one: ValueRange, other: ValueRange) -> bool | None:
    if one.high < other.low or (one.high == other.low and (one.high_open or other.low_open)):
        return True
    return False if one.low >= other.high else None


def _same(one: ValueRange, other: ValueRange) -> bool | None:
    if _below(one, other) or _below(other, one):
        return False
    return True if one.low == one.high == other.low == other.high else None
