"""Training: a recipe and labelled examples become a fitted student, and what happened is written down.

In: a recipe, training and validation examples. Out: a student, its history (evaluated each epoch), the counts of
what trained, and predictions for rows that the student never saw. Every rung goes through `fit.fit`; the
fine-tuned one through `finetune`, which builds a model, checks what trains and hands it to `loop`. Several filters
share one network in `joint`.
"""

from potstill.training.facts import Counts, EpochRecord, Fitted, Measures, StudentRecord
from potstill.training.fit import DEFAULT_RECIPES, fit, fitter, predict_unseen, train_run
from potstill.training.folding import out_of_fold
from potstill.training.joint import share_features, train_together

__all__ = [
    "DEFAULT_RECIPES",
    "Counts",
    "EpochRecord",
    "Fitted",
    "Measures",
    "StudentRecord",
    "fit",
    "fitter",
    "out_of_fold",
    "predict_unseen",
    "share_features",
    "train_run",
    "train_together",
]
