"""The scorer: turns articles into verdicts with nothing but bundles.

The steps of a filter are text window, prefilter, student, calibration and verdict, in that order (`one_filter`). Words
are searched for before anything is tokenized, and a dropped article does not run the student. A `Scorer` runs the steps
of one or several filters (`scoring`), which share encoders where possible (`shared_encoders`). In bulk, the data are
columns of Polars frames, one batch at a time, so that memory does not grow with the file (`files`), and finished
batches survive a crash (`parts`). Nothing here needs torch, and only `deferral` uses the network, if an oracle is
named.
"""

from potstill.scorer.files import Summary, Tally, score_file
from potstill.scorer.one_filter import EMPTY, NOT_FINITE, FilterScorer
from potstill.scorer.scoring import BATCH, Scorer

__all__ = ["BATCH", "EMPTY", "NOT_FINITE", "FilterScorer", "Scorer", "Summary", "Tally", "score_file"]
