"""Training: fits a student from a recipe and labelled examples, and records what happened.

Input: a recipe, training and validation examples. Output: a student, its history (evaluated after each epoch), the
counts of trainable parameters, and held-out predictions. Students of every kind are fitted by `fit.fit`. Fine-tuning is
done by `finetune`, which builds a model, checks its trainable parameters and passes it to `loop`. `joint` trains one
network for several filters, and `folder` writes a student with its records.
"""

from potstill.training.facts import Counts, EpochRecord, Fitted, Measures, StudentRecord
from potstill.training.fit import fit, fitter, predict_out_of_fold, predict_training_rows, refitter
from potstill.training.folding import out_of_fold

__all__ = [
    "Counts",
    "EpochRecord",
    "Fitted",
    "Measures",
    "StudentRecord",
    "fit",
    "fitter",
    "out_of_fold",
    "predict_out_of_fold",
    "predict_training_rows",
    "refitter",
]
