"""Define the condition as other modules use it.

Input: text and the names it may use. Output: a `Condition`, which reports the names it reads, evaluates rows, can be
combined with others, and prints itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache, reduce
from typing import TYPE_CHECKING

import numpy as np

from potstill.conditions.computing import is_finite, may_fail_in, truth_of
from potstill.conditions.intervals import constant
from potstill.conditions.parsing import read_tree
from potstill.conditions.tree import And, Comparison, Name, Number, Or, Truth, negated, replace, spell, walk
from potstill.errors import ConditionError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from potstill.conditions.computing import Columns
    from potstill.conditions.tree import Arithmetic
    from potstill.types import BoolArray


@dataclass(frozen=True)
class Condition:
    """A checked condition, created by `parse`; `str` returns its canonical form."""

    tree: Truth

    @property
    def names(self) -> frozenset[str]:
        """The names that the condition reads."""
        return frozenset(node.name for node in walk(self.tree) if isinstance(node, Name))

    @property
    def operators(self) -> frozenset[str]:
        """The comparison operators of the condition."""
        return frozenset(node.operator for node in walk(self.tree) if isinstance(node, Comparison))

    @property
    def compared(self) -> dict[str, frozenset[float]]:
        """Return, for each name, the numbers in the comparisons that contain it."""
        found: dict[str, set[float]] = {name: set() for name in self.names}
        for node in walk(self.tree):
            if isinstance(node, Comparison):
                parts = list(walk(node))
                numbers = {part.value for part in parts if isinstance(part, Number)}
                numbers |= {value for side in (node.left, node.right) if (value := constant(side)) is not None}
                for part in parts:
                    if isinstance(part, Name):
                        found[part.name] |= numbers
        return {name: frozenset(numbers) for name, numbers in found.items()}

    def holds(self, columns: Columns) -> BoolArray:
        """Return for which rows the condition is true; False where `defined` is False.

        Args:
            columns: an array of shape (rows,) for each name that the condition reads; other names are ignored.

        Returns:
            Shape (rows,), or () if the condition reads no name, because the result is then the same for all rows.
        """
        return self.defined(columns) & self.truth(columns)

    def defined(self, columns: Columns) -> BoolArray:
        """Return which rows are defined: all inputs are finite, and there is no division by zero."""
        inputs = [np.isfinite(columns[name]) for name in sorted(self.names)]
        return reduce(np.logical_and, [*inputs, *self.computed(columns)], np.ones((), dtype=np.bool_))

    def computed(self, columns: Columns) -> list[BoolArray]:
        """Return, for each value that finite inputs may leave undefined, such as a quotient, where it is finite."""
        return [is_finite(node, columns) for node in self._may_fail]

    @cached_property
    def _may_fail(self) -> tuple[Arithmetic, ...]:
        return may_fail_in(self.tree)

    def truth(self, columns: Columns) -> BoolArray:
        """Return the same as `holds`, valid only where `defined` is True; for callers that have checked the inputs."""
        return truth_of(self.tree, columns)

    def computing(self, name: str, text: str, names: Collection[str]) -> Condition:
        """Return the same condition with `name` replaced by a sum over `names`, from which it is computed.

        Raises:
            ConditionError: the text is not a sum over `names`.
        """
        comparison = parse(f"0 = {text}", names).tree
        if not isinstance(comparison, Comparison):
            raise ConditionError(f"{text!r} is not a sum")
        return Condition(replace(self.tree, name, comparison.right))

    def __and__(self, other: Condition) -> Condition:
        return Condition(And((self.tree, other.tree)))

    def __or__(self, other: Condition) -> Condition:
        return Condition(Or((self.tree, other.tree)))

    def __invert__(self) -> Condition:
        return Condition(negated(self.tree))

    def __str__(self) -> str:
        return spell(self.tree)


def any_of(conditions: Sequence[Condition]) -> Condition:
    """Return the disjunction of several conditions."""
    return Condition(Or(tuple(one.tree for one in conditions)))


def parse(text: str, names: Collection[str]) -> Condition:
    """Parse a condition that may use `names`.

    Raises:
        ConditionError: the text is not in the language, or uses a name that is not in `names`; the message names the
            position, what was found and what is valid.
    """
    return _parse(text, tuple(names))


@lru_cache(maxsize=1024)
def _parse(text: str, names: tuple[str, ...]) -> Condition:
    return Condition(read_tree(text, names))
