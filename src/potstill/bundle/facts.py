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


class CurvePoint(Part):
    """Skill of a student that learned from `rows` rows: the mean over several random subsets."""

    rows: int
    skill: float


class LabelsNeeded(Part):
    """How many labelled articles it would take to show a student's skill, as a learning curve has it.

    `articles` is the number of labelled articles at which the interval of the skill is expected to exclude 0 in four of
    five data sets, and `interval` an 80% interval of it, whose upper end is None if it lies beyond `searched`.
    `articles` is None if no number up to `searched` is in sight; `reason` then says why. `student` is the recipe that
    was refitted on the subsets of `points`.
    """

    now: int
    articles: int | None
    low: int | None = None
    high: int | None = None
    searched: int
    student: str | None = None
    points: tuple[CurvePoint, ...] = ()
    reason: str

    @property
    def words(self) -> str:
        """A clause such as "about 900 labels would be needed (600 to 2,000; now 222)"."""
        if self.articles is None:
            return f"no number of labels is in sight ({self.reason}; now {self.now:,})"
        ends = f"at least {self.low:,}" if self.high is None else f"{self.low:,} to {self.high:,}"
        return f"about {self.articles:,} labels would be needed ({ends}; now {self.now:,})"


class HeldOutSkill(Part):
    """Share of the constant's error that a student removes, on rows that neither trained nor selected it.

    `skill` is 1 - mae / constant_mae. Both are means over dimensions, of scores that are calibrated without the row.
    `interval` is a 95% bootstrap interval over clusters. Both are None if they cannot be computed. `baseline` is
    whether the student is itself the constant. `labels` is None if the skill is shown, or the student a baseline.
    """

    rows: int
    clusters: int
    origin: str
    mae: float | None
    constant_mae: float | None
    skill: float | None
    interval: Interval | None
    baseline: bool = False
    labels: LabelsNeeded | None = None

    @property
    def shown(self) -> bool:
        """Whether the interval lies above 0."""
        return self.interval is not None and self.interval.low > 0

    @property
    def words(self) -> str:
        """The figure with its interval and the number of rows."""
        if self.skill is None:
            return f"skill unknown on {self.rows:,} held-out rows"
        ends = "" if self.interval is None else f" (95% interval {self.interval.low:.1%} to {self.interval.high:.1%})"
        return f"skill {self.skill:.1%}{ends} on {self.rows:,} held-out rows"

    @property
    def caution(self) -> str | None:
        """What every output says about a bundle whose student is not shown to be better than the constant, or None."""
        if self.baseline:
            return "the student is the constant baseline: its scores do not depend on the text"
        if self.shown:
            return None
        needed = "" if self.labels is None else f"; {self.labels.words}"
        return f"shipped with --anyway, not shown to be better than the constant: {self.words}{needed}"


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
    skill: HeldOutSkill | None = None
    """Skill of the student on rows that did not select it; None in bundles of version 1 and in cascades."""


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
