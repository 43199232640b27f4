"""Calibrates a student that was fitted again on every labelled row.

Input: the refitted student, the rows, and out-of-fold predictions of them if there are any. Output: the student with
its tier head and measure of novelty, and a calibration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from potstill.bundle.exporting import calibrate, with_novelty, with_tier_head
from potstill.calibration.familiarity import fit_familiarity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from potstill.calibration import Calibration
    from potstill.dataset import Examples
    from potstill.filters import Filter
    from potstill.operating_points import OperatingPoint
    from potstill.students.storage import AnyStudent
    from potstill.types import FloatArray

ALL_OUT_OF_FOLD = "all labelled rows, predicted by models that had not seen them"
"""Origin of the calibration of a student with out-of-fold predictions."""


def calibrate_refitted(
    student: AnyStudent,
    rows: Examples,
    held_out: FloatArray,
    filter_: Filter,
    before: Calibration,
    *,
    decide: Mapping[str, OperatingPoint] | None = None,
    seed: int = 0,
) -> tuple[AnyStudent, Calibration]:
    """Fit a tier head, a measure of novelty and a calibration on all rows.

    A student without out-of-fold predictions, because its network takes long to train, keeps the calibration of the
    student before: it has learned from more rows, so its errors are rather smaller. Novelty needs no labels and is
    measured again, from the texts of all rows.

    Args:
        student: the student, fitted on all rows.
        rows: all labelled rows.
        held_out: scores of the rows by models that had not seen them, shape (rows, dimensions); NaN where there are
            none.
        filter_: the filter.
        before: the calibration of the student before the refit.
        decide: operating points that override those of the filter, by positive tier.
        seed: random seed of the folds.
    """
    if np.isnan(held_out).all():
        student, distances = with_novelty(student, rows, seed=seed)
        familiarity = None if distances is None else fit_familiarity(distances)
        return student, before.model_copy(update={"familiarity": familiarity})
    student, outputs = with_tier_head(student, rows, filter_)
    student, distances = with_novelty(student, rows, seed=seed)
    calibration = calibrate(
        held_out, rows, filter_, ALL_OUT_OF_FOLD, tier_outputs=outputs, decide=decide, distances=distances, seed=seed
    )
    return student, calibration
