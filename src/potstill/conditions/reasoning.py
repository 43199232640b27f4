"""Whether a condition can hold at all.

In: conditions, and the range that scores lie in. Out: False only where no scores can make them hold. Truth is
three-valued here: over a box of intervals a comparison holds everywhere, nowhere, or here and there (None).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.conditions.intervals import Interval, compared, constant
from potstill.conditions.tree import And, Comparison, Name, Not, Operator, Or, Truth, walk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from potstill.conditions.condition import Condition

# Parts of conditions looked at before can_hold gives up: about half a second.
_BUDGET = 1_000_000


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
    tree = And((wanted.tree, *(item.tree for item in given), *(Not(item.tree) for item in without)))
    names = sorted({node.name for node in walk(tree) if isinstance(node, Name)})
    waiting = [dict.fromkeys(names, Interval(low, high))]
    size = sum(1 for _ in walk(tree))
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


def _split(whole: Interval, at: float) -> list[Interval]:
    parts = [Interval(at, at)]
    if whole.low < at:
        parts.append(Interval(whole.low, at, whole.low_open, high_open=True))
    if whole.high > at:
        parts.append(Interval(at, whole.high, low_open=True, high_open=whole.high_open))
    return parts


def _cut(tree: Truth, box: Mapping[str, Interval]) -> tuple[str, float] | None:
    """A name and the threshold of an undecided comparison with it."""
    for node in walk(tree):
        if isinstance(node, Comparison) and _judge(node, box) is None:
            for one, other in ((node.left, node.right), (node.right, node.left)):
                threshold = constant(other)
                if isinstance(one, Name) and threshold is not None:
                    return one.name, threshold
    return None


def _judge(node: Truth, box: Mapping[str, Interval]) -> bool | None:
    match node:
        case Not(part):
            truth = _judge(part, box)
            return None if truth is None else not truth
        case And(parts):
            return _together([_judge(part, box) for part in parts])
        case Or(parts):
            none = _together([_opposite(_judge(part, box)) for part in parts])
            return _opposite(none)
        case Comparison(operator, left, right):
            return _compare(operator, compared(left, box), compared(right, box))


def _together(truths: Sequence[bool | None]) -> bool | None:
    if any(truth is False for truth in truths):
        return False
    return None if any(truth is None for truth in truths) else True


def _opposite(truth: bool | None) -> bool | None:  # noqa: FBT001 - three-valued logic
    return None if truth is None else not truth


def _compare(operator: Operator, one: Interval, other: Interval) -> bool | None:
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


def _below(one: Interval, other: Interval) -> bool | None:
    if one.high < other.low or (one.high == other.low and (one.high_open or other.low_open)):
        return True
    return False if one.low >= other.high else None


def _same(one: Interval, other: Interval) -> bool | None:
    if _below(one, other) or _below(other, one):
        return False
    return True if one.low == one.high == other.low == other.high else None
