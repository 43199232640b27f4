"""Judge students: compute metrics from predictions and labels, and compare them with baselines.

Input: predictions and labels of the same rows. Output: the records of an evaluation, from which every figure of a
report is read. `records` defines the records, `judging` computes metrics from predictions and labels, `ranking` and
`slices` compute further metrics, `floor` and `latency` add reference values, `findings` writes conclusions in
words, and `targets` judges figures against declared targets. `predictions` reads files of predictions, and `new_sample`
samples articles for an evaluation on new ones.
"""

from potstill.evaluation.judging import Predicted, judge
from potstill.evaluation.new_sample import draw
from potstill.evaluation.predictions import Predictions
from potstill.evaluation.records import Evaluation

__all__ = [
    "Evaluation",
    "Predicted",
    "Predictions",
    "draw",
    "judge",
]
