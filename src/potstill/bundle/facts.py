"""Where a bundle comes from: which student was chosen and why, how it was calibrated, what made it.

Nothing in here decides a score. A bundle that was written by hand may lack each part.
"""

from __future__ import annotations

from pydantic import Field

from potstill.errors import BundleError
from potstill.records import Interval, Part, Record
from potstill.training.facts import StudentRecord  # noqa: TC001 - pydantic reads it


class Choice(Part):
    """Which student became the bundle, and why.

    `validation_mae` is each student's mean absolute error, the mean over dimensions of clipped predictions. `margin`
    is by how much the runner-up's is larger, with a 95% bootstrap interval over clusters; both are None where there
    was nothing to choose from.
    """

    rung: str
    validation_mae: dict[str, float]
    runner_up: str | None = None
    margin: float | None = None
    margin_interval: Interval | None = None
    reason: str = ""
    constant_mae: float | None = None
    """The error of the training labels' medians on the same rows; None where nobody recorded it."""


class Calibrated(Part):
    """Which rows calibrated the student, and each dimension's method."""

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
