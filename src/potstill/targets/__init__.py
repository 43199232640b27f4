"""Targets: may this bundle ship?

In: an evaluated run, declared targets and, if there is one, the incumbent bundle. Out: `acceptance.json`, one outcome
per target, and a log of decisions. `rules` holds what a target is and judges one; `accepting` does it for a run;
`decisions` keeps what people decided, and why.
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
