"""Parse and evaluate conditions, a small language over scores that is checked before anything runs.

Input: text such as `collective_benefit < 5 AND NOT (wonder >= 7)` and the names it may use. Output: a checked tree,
which can be evaluated over columns of scores, printed in a canonical form, and analysed (`can_hold`). The text is never
passed to another engine: everything outside the language is an error.

A condition fails closed: it is False for a row in which an input is missing or not finite, also under NOT.
"""

from potstill.conditions.computing import rounded
from potstill.conditions.condition import Condition, any_of, parse
from potstill.conditions.reasoning import Budget, can_hold
from potstill.conditions.tokens import KEYWORDS
from potstill.conditions.tree import DECIMALS, Operator

__all__ = ["DECIMALS", "KEYWORDS", "Budget", "Condition", "Operator", "any_of", "can_hold", "parse", "rounded"]
