"""The scorer: turns articles into verdicts with nothing but a bundle.

The steps are prefilter, text window, student, calibration and verdict, in that order. Words are searched for before
anything is tokenized, and a dropped article does not run the model. In bulk, the data are columns of Polars frames, one
batch at a time, so that memory does not grow with the file (`files`), and finished batches survive a crash (`parts`).
Several filters score in one pass (`together`) and share networks where possible (`trunks`). Nothing here needs torch,
and only `asking` uses the network, if an oracle is named.
"""

from potstill.scorer.files import Summary, Tally, TogetherSummary, score_file, score_together
from potstill.scorer.scoring import BATCH, EMPTY, NOT_FINITE, Scorer
from potstill.scorer.together import Together

__all__ = [
    "BATCH",
    "EMPTY",
    "NOT_FINITE",
    "Scorer",
    "Summary",
    "Tally",
    "Together",
    "TogetherSummary",
    "score_file",
    "score_together",
]
