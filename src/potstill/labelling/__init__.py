"""Buy an oracle's labels once, and store them.

Input: articles and an oracle. Output: a ledger of answers, failures and the cost of each. `plan` estimates the effort,
`budget` enforces the limits and `pace` controls the speed. `labels` checks a request and opens a `session`, which does
the work, and `ledger` stores the results.
"""

from __future__ import annotations

from potstill.labelling.batch import Batching
from potstill.labelling.budget import Price
from potstill.labelling.intake import add_articles
from potstill.labelling.labels import label
from potstill.labelling.ledger import Ledger
from potstill.labelling.limits import Limits, Progress, Repeats, Summary
from potstill.labelling.plan import Plan, plan

__all__ = [
    "Batching",
    "Ledger",
    "Limits",
    "Plan",
    "Price",
    "Progress",
    "Repeats",
    "Summary",
    "add_articles",
    "label",
    "plan",
]
