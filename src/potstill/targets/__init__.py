"""Targets: whether a bundle may ship.

In: an evaluated run, declared targets and, optionally, the incumbent bundle. Out: `acceptance.json`, one outcome per
target, and a log of decisions. `rules` defines and judges targets; `accepting` judges the targets of a run;
`decisions` records what people decided, and why.
"""

from potstill.targets.accepting import EXAMPLE, Acceptance, accept_run, carry_targets
from potstill.targets.decisions import Decision, decide, decisions_of
from potstill.targets.rules import Outcome, Target, judge_targets, read_targets

__all__ = [
    "EXAMPLE",
    "Acceptance",
    "Decision",
    "Outcome",
    "Target",
    "accept_run",
    "carry_targets",
    "decide",
    "decisions_of",
    "judge_targets",
    "read_targets",
]
