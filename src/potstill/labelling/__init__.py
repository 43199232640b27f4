"""Labelling: buying an oracle's judgement once, and keeping it.

In: articles and an oracle. Out: a ledger of answers, failures and what each cost. `plan` says what it will take,
`budget` holds the limits, `pace` the speed; `run` opens a `session`, which does it, and `ledger` keeps it.
"""

from __future__ import annotations

from potstill.labelling.batch import Batching
from potstill.labelling.budget import Price
from potstill.labelling.intake import add_articles
from potstill.labelling.ledger import Ledger
from potstill.labelling.plan import Plan, plan
from potstill.labelling.run import label, label_run
from potstill.labelling.terms import Limits, Progress, Repeats, Summary

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
    "label_run",
    "plan",
]
