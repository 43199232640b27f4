"""What labels are worth, before and after money is spent on them.

In: labelled articles, from a run or from a file of labels. Out: an `Audit`: spread, the oracle's repeat error and
the floor that it sets, redundancy of dimensions, oracles side by side, suspects, a learning curve with advice,
what the prefilter drops, duplicates, boilerplate and truncation. A file each, and each a function of arrays.
"""

from potstill.audit.agreement import compare, side_by_side
from potstill.audit.records import Audit, Pair

__all__ = ["Audit", "Pair", "compare", "side_by_side"]
