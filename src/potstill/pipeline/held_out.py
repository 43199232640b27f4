"""Scores of training rows by models that had not seen them.

Input: the folder of a run's student, and the training rows. Output: out-of-fold or held-out scores. Training writes
them where the dataset has no calibration part, because they are needed then to calibrate any student. With a
calibration part, only a cascade, a student that learns from a teacher and a refit need them, and of one student; they
are then predicted when they are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from potstill.errors import RunError
from potstill.students.recipes import DistilledRecipe, EnsembleRecipe, FineTunedRecipe, recorded_recipe
from potstill.students.storage import feature_folder, load_student
from potstill.training.blending import FOLDS
from potstill.training.facts import StudentRecord
from potstill.training.fit import predict_training_rows
from potstill.training.folder import LAYOUT, read_scores

if TYPE_CHECKING:
    from pathlib import Path

    from potstill.dataset import Dataset, Examples
    from potstill.types import FloatArray

CROSSFIT = FOLDS
"""Default number of folds for out-of-fold predictions."""


def folds_of_training(dataset: Dataset, wanted: int | None) -> int:
    """Return the number of folds in which training predicts its rows: as wanted, else none with a calibration part."""
    if wanted is not None:
        return wanted
    return 0 if dataset.has_calibration_part else CROSSFIT


def held_out_scores(folder: Path, train: Examples) -> FloatArray:
    """Return a student's raw scores of training rows by models that had not seen them, shape (rows, dimensions).

    A student that is fitted in seconds and has none is fitted again for each fold. NaN where there are no scores, as
    for most rows of a student whose network was trained.

    Raises:
        RunError: the student's folder is not complete, or it was trained on other rows.
    """
    path = folder / LAYOUT["held out"]
    if not path.exists():
        raise RunError(f"{folder}: holds no predictions of rows it had not seen; train it again")
    ids, predicted = read_scores(path, train.dimensions)
    if tuple(ids) != train.ids:
        raise RunError(f"{folder}: was trained on other rows; train it again")
    return _predicted(folder, train) if np.isnan(predicted).all() else predicted


def _predicted(folder: Path, train: Examples) -> FloatArray:
    record = StudentRecord.from_file(folder / LAYOUT["record"])
    recipe = recorded_recipe(record.recipe, str(folder))
    if isinstance(recipe, FineTunedRecipe | DistilledRecipe | EnsembleRecipe):
        return np.full(train.scores.shape, np.nan)
    student = load_student(folder, cache=feature_folder())
    return predict_training_rows(recipe, student, train, record.seeds["train"])
