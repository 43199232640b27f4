"""Measure the quality of labels, before and after money is spent on them.

Input: labelled articles, from a run or from a file of labels. Output: an `Audit`: the spread of scores, the oracle's
repeat error and the resulting noise floor, redundancy of dimensions, comparison of oracles, suspicious labels, a
learning curve with advice, what the prefilter drops, duplicates, boilerplate, truncation and markup. Each part has its
own module and is a function of arrays.
"""

from potstill.audit.agreement import compare, side_by_side
from potstill.audit.auditing import audit_labels
from potstill.audit.dropped import judge
from potstill.audit.labelled import Answer, Labelled, labelled
from potstill.audit.prefiltering import dropped_by
from potstill.audit.reading import of_files
from potstill.audit.records import Audit, Pair

__all__ = [
    "Answer",
    "Audit",
    "Labelled",
    "Pair",
    "audit_labels",
    "compare",
    "dropped_by",
    "judge",
    "labelled",
    "of_files",
    "side_by_side",
]
