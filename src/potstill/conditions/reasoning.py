"""Whether a condition can hold at all.

In: conditions, and the range that scores lie in. Out: False only where no scores can make them hold. Truth is
three-valued here: over a box of intervals a comparison holds everywhere, nowhere, or here and there. What is decided
for a box is left out of the tree for the boxes that it is split into, so that a list of n thresholds takes time in
proportion to n.
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
    """How many nodes of trees may still be looked at, over all calls that share it; all of them take about a second."""

    left: int = 200_000


class _SpentError(Exception):
    """The budget is spent, so what is undecided counts as possible."""


class _Box(dict[str, ValueRange]):
    """The interval that each name lies in; the whole range for those that were not split yet."""

    def __init__(self, whole: ValueRange, known: Mapping[str, ValueRange] | None = None) -> None:
        super().__init__(known or {})
        self._whole = whole

    def __missing__(self, name: str) -> ValueRange:
        return self._whole

    def split(self, name: str, at: float) -> list[_Box]:
        """The parts below, above and at a threshold, that of one value last."""
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
    """Whether some scores from `low` to `high` make `wanted` and all `given` true and all `without` false.

    False only where there certainly are none: intervals are carried through the tree (three-valued), and
    split at the thresholds that single names are compared with, until every part is decided. What stays
    undecided, or would take more than the budget, counts as possible. Names are independent of one another unless
    `given` relates them.
    """
    tree: Truth = And((wanted.tree, *(Not(item.tree) for item in without), *(item.tree for item in given)))
    budget = Budget() if budget is None else budget
    waiting = [(tree, _Box(ValueRange(low, high)))]
    try:
        while waiting:
            tree, box = waiting.pop()
            left = _left(tree, box, budget)
            if left is False:
                continue
            cut = None if left is True else _cut(left)
            if left is True or cut is None:
                return True
            waiting.extend((left, part) for part in box.split(*cut))
    except _SpentError:
        return True
    return False


def _cut(left: Truth) -> tuple[str, float] | None:
    """A name and the threshold of a comparison with it, in a tree of which all comparisons are undecided."""
    for node in walk(left):
        if isinstance(node, Comparison):
            for one, other in ((node.left, node.right), (node.right, node.left)):
                threshold = constant(other) if isinstance(one, Name) else None
                if isinstance(one, Name) and threshold is not None:
                    return one.name, threshold
    return None


def _left(node: Truth, box: _Box, budget: Budget) -> Truth | bool:
    """What is left to decide of a tree within a box: a truth, or the part of the tree that is undecided."""
    match node:
        case Not(part):
            left = _left(part, box, budget)
            return not left if isinstance(left, bool) else negated(left)
        case And(parts):
            return _together(parts, box, budget, settles=False)
        case Or(parts):
            return _together(parts, box, budget, settles=True)
        case Comparison(operator, left_side, right_side):
            if budget.left <= 0:
                raise _SpentError
            budget.left -= sum(1 for _ in walk(node))
            truth = _compare(operator, compared(left_side, box), compared(right_side, box))
            return node if truth is None else truth


def _together(parts: Sequence[Truth], box: _Box, budget: Budget, *, settles: bool) -> Truth | bool:
    """What is left of parts joined by AND or OR, of which one that is `settles` decides all."""
    undecided: list[Truth] = []
    for part in parts:
        left = _left(part, box, budget)
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
