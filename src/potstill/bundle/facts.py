"""Origin of a bundle: which student was chosen and why, how it was calibrated, and the versions that made it.

Nothing here affects a score. Each part may be missing from a bundle that was written by hand.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from potstill.bundle.seen import SeenRows  # noqa: TC001 - pydantic reads it
from potstill.errors import BundleError
from potstill.records import Interval, Part, Record
from potstill.training.facts import StudentRecord  # noqa: TC001 - pydantic reads it


class Choice(Part):
    """Which student became the bundle, and why.

    `validation_mae` is each student's mean absolute error: clipped predictions, averaged over dimensions. `margin` is
    by how much the runner-up's error is larger, with a 95% bootstrap interval over clusters; both are None if there was
    only one candidate.
    """

    rung: str
    validation_mae: dict[str, float]
    runner_up: str | None = None
    margin: float | None = None
    margin_interval: Interval | None = None
    reason: str = ""
    constant_mae: float | None = None
    """Validation error of the training labels' medians on the same rows; None if it was not recorded."""


class Calibrated(Part):
    """Which rows the student was calibrated on, and each dimension's method."""

    origin: str
    kept: dict[str, str]


class Exported(Part):
    """A network's ONNX graph: whether it was fused, and the largest difference of a feature from torch's."""

    backbone: str
    fused: bool
    largest_difference: float


class Refit(Part):
    """The student was fitted again, on every labelled row, after an honest split had measured it.

    `choice` and `student` in the facts of such a bundle are those of the student before the refit, and so are all
    figures that are stated about it.
    """

    measured: str
    """SHA-256 of the bundle of the student before the refit, whose figures hold; empty for one that was in memory."""
    seen: SeenRows
    parts: dict[str, int]
    """Number of rows from each part of the split: train, validation, calibration and test."""
    calibration: Literal["out-of-fold", "kept"]
    """Whether curves, intervals and cuts were fitted on out-of-fold predictions of all rows, or are those of the
    student before the refit."""
    folds: int | None
    """Number of folds of these predictions; None without them."""
    epochs: int | None = None
    """Number of epochs of a fine-tuned student, which the fit before had chosen."""
    notes: tuple[str, ...] = ()
    seconds: float


class BundleFacts(Record):
    """`facts.json`."""

    fault = BundleError
    made_by = "potstill bundle RUN"

    schema_version: int = 2
    choice: Choice | None = None
    student: StudentRecord | None = None
    calibration: Calibrated | None = None
    exports: tuple[Exported, ...] = ()
    refit: Refit | None = None
    """How the student was refitted on all labelled rows; None if it was not, as in every bundle of version 1."""
    versions: dict[str, str] = Field(default_factory=dict)
