"""The scorer: articles in, verdicts out, with a bundle and nothing else.

Prefilter, window, student, calibration, verdict, in that order: words are looked at before anything is tokenised, and
an article that is dropped costs no model. In bulk the data are columns of Polars frames, a batch at a time, so that
memory does not grow with the file (`files`), and what is scored outlives a kill (`parts`). Several filters score in
one pass (`together`), where they share a network (`trunks`). Nothing here needs torch, and nothing but
`asking`, where an oracle is named, calls anybody.
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
