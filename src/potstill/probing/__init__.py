"""Test the behaviour of whatever scores texts: do scores rise where they should, and stay where they should?

Input: the behaviour tests of a filter, articles, and a function that scores texts. Output: how many tests pass, by
kind of test and by dimension, and the examples that fail. A student and an oracle are tested alike.
"""

from potstill.probing.cases import CHECKS, MOVES, Cases, Text, build_cases
from potstill.probing.changes import CHANGES
from potstill.probing.judging import findings_of, judge_cases, relative_to, targets_of
from potstill.probing.records import Asked, Failing, Passes, Probed, ProbeRecord, Target

__all__ = [
    "CHANGES",
    "CHECKS",
    "MOVES",
    "Asked",
    "Cases",
    "Failing",
    "Passes",
    "ProbeRecord",
    "Probed",
    "Target",
    "Text",
    "build_cases",
    "findings_of",
    "judge_cases",
    "relative_to",
    "targets_of",
]
