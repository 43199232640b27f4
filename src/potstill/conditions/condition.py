"""A condition as the rest of the program knows it.

In: text and the names it may use. Out: a `Condition`, which says what it reads, of which rows it is true,
joins with others and prints itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import TYPE_CHECKING

import numpy as np

from potstill.conditions.computing import finite_in, truth_of
from potstill.conditions.intervals import constant
from potstill.conditions.parsing import read_tree
from potstill.conditions.tree import And, Comparison, Name, Number, Or, Truth, negated, replace, spell, walk
from potstill.errors import ConditionError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from potstill.conditions.computing import Columns
    from potstill.types import BoolArray


@dataclass(frozen=True, slots=True)
class Condition:
    """A checked condition; make one with `parse`. `str` gives its one spelling."""

    tree: Truth

    @property
    def names(self) -> frozenset[str]:
        """The names that the condition reads."""
        return frozenset(node.name for node in walk(self.tree) if isinstance(node, Name))

    @property
    def operators(self) -> frozenset[str]:
        """The comparisons that the condition makes."""
        return frozenset(node.operator for node in walk(self.tree) if isinstance(node, Comparison))

    @property
    def compared(self) -> dict[str, frozenset[float]]:
        """For each name the numbers in the comparisons that it is part of."""
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
        """Of which rows the condition is true; false where `defined` is false.

        Args:
            columns: an array of shape (rows,) for each name that the condition reads; more are not looked at.

        Returns:
            Shape (rows,), or () where the condition reads no name: what is true of one row is true of all then.
        """
        return self.defined(columns) & self.truth(columns)

    def defined(self, columns: Columns) -> BoolArray:
        """Which rows have all that the condition reads: inputs that are finite, no division by zero."""
        inputs = [np.isfinite(columns[name]) for name in sorted(self.names)]
        return reduce(np.logical_and, [*inputs, *self.computed(columns)], np.ones((), dtype=np.bool_))

    def computed(self, columns: Columns) -> list[BoolArray]:
        """For each value that finite inputs may leave undefined, such as a quotient, where it is finite."""
        return finite_in(self.tree, columns)

    def truth(self, columns: Columns) -> BoolArray:
        """As `holds`, and right only where `defined` is true: for callers that have checked the inputs."""
        return truth_of(self.tree, columns)

    def computing(self, name: str, text: str, names: Collection[str]) -> Condition:
        """The same condition with `name` replaced by a sum over `names`, which it is computed from.

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
    """What holds where one of several conditions does."""
    return Condition(Or(tuple(one.tree for one in conditions)))


def parse(text: str, names: Collection[str]) -> Condition:
    """Read a condition that may use `names`.

    Raises:
        ConditionError: the text is not in the language, or uses a name that is not in `names`; the message
            says where, what came and what was legal.
    """
    return _parse(text, tuple(names))


@lru_cache(maxsize=1024)
def _parse(text: str, names: tuple[str, ...]) -> Condition:
    return Condition(read_tree(text, names))
