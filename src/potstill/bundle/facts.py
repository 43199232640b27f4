"""Origin of a bundle: which student was chosen and why, how it was calibrated, and the versions that made it.

Nothing here affects a score. Each part may be missing from a bundle that was written by hand.
"""

from __future__ import annotations

from pydantic import Field

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


class BundleFacts(Record):
    """`facts.json`."""

    fault = BundleError
    made_by = "potstill bundle RUN"

    schema_version: int = 1
    choice: Choice | None = None
    student: StudentRecord | None = None
    calibration: Calibrated | None = None
    exports: tuple[Exported, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)
