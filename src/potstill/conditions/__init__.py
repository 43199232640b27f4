"""Conditions: a small language over scores, checked before anything runs.

In: text such as `collective_benefit < 5 AND NOT (wonder >= 7)` and the names it may use. Out: a checked tree,
which can be held against columns of scores, printed in one spelling, and reasoned about (`can_hold`). The text never
reaches an engine of its own: whatever is not in the language is an error.

A condition fails closed: it is false for a row in which an input is missing or not finite, also under NOT.
"""

from potstill.conditions.computing import rounded
from potstill.conditions.condition import Condition, any_of, parse
from potstill.conditions.reasoning import Budget, can_hold
from potstill.conditions.tokens import KEYWORDS
from potstill.conditions.tree import DECIMALS, Operator

__all__ = ["DECIMALS", "KEYWORDS", "Budget", "Condition", "Operator", "any_of", "can_hold", "parse", "rounded"]
