"""Evaluate the students of a run, and compare them with baselines.

Input: a run's bundle, its students and its labels; or a file of predictions; or a bundle and new articles. Output:
`evaluation.json`, from which every figure of a report is read, and `predictions.parquet`. `records` defines the
records, `judging` computes metrics from predictions and labels, `ranking` and `slices` compute further metrics,
`folds`, `floor` and `latency` add reference values, and `findings` writes conclusions in words. `stage` evaluates a
run, `published` evaluates a file that `predictions` reads, and `fresh` evaluates a bundle on new articles, which
`drawing` samples and an oracle labels.
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
