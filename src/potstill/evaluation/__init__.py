"""Evaluation: what the students of a run are worth, beside what would be true without them.

In: a run's bundle, its students and its labels, or a file of predictions, or a bundle and new articles. Out:
`evaluation.json`, from which every figure of a report comes, and `predictions.parquet`. `records` holds the shapes;
`judging` turns predictions and labels into figures; `ranking` and `slices` look closer; `folds`, `floor` and
`latency` add what stands beside them; `findings` says it in words; `stage` does all of it for a run, `published` for
a file that `predictions` reads, `fresh` for a bundle on new articles, which `drawing` chooses and an oracle labels.
"""

from potstill.evaluation.drawing import draw
from potstill.evaluation.fresh import evaluate_fresh
from potstill.evaluation.judging import Predicted, judge
from potstill.evaluation.predictions import Predictions, read_predictions
from potstill.evaluation.published import evaluate_file
from potstill.evaluation.records import Evaluation
from potstill.evaluation.stage import evaluate_run

__all__ = [
    "Evaluation",
    "Predicted",
    "Predictions",
    "draw",
    "evaluate_file",
    "evaluate_fresh",
    "evaluate_run",
    "judge",
    "read_predictions",
]
