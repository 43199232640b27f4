"""What training writes down: counts of parameters, an epoch's measures, a student's record. No torch in here.

In: numbers from the loop. Out: frozen objects that become JSON and come back strictly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, computed_field

from potstill.errors import RunError
from potstill.load import Load  # noqa: TC001 - pydantic reads it
from potstill.metrics import mae, rmse
from potstill.records import Part, Record

if TYPE_CHECKING:
    from potstill.students import Student
    from potstill.types import FloatArray


class Counts(Part):
    """Parameters of a model by part, and how many of each part train."""

    # The sums are written too, and worked out again when they are read.
    model_config = ConfigDict(extra="ignore")

    base: int
    adapter: int
    head: int
    head_copy: int
    """The frozen copy of the head that peft keeps beside the one that trains."""
    trainable_base: int
    trainable_adapter: int
    trainable_head: int
    pooling: int = 0
    """What attention pooling and a mix of layers learn."""
    trainable_pooling: int = 0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def trainable(self) -> int:
        """All that train."""
        return self.trainable_base + self.trainable_adapter + self.trainable_pooling + self.trainable_head

    @computed_field  # type: ignore[prop-decorator]
    @property
    def total(self) -> int:
        """All there are, peft's copy of the head too."""
        return self.base + self.adapter + self.pooling + self.head + self.head_copy


class Measures(Part):
    """Errors of one model on one part of the data, each over the labels that are there.

    `mae` and `rmse` are means over dimensions; a dimension without labels is None.
    """

    rows: int
    loss: float | None
    """The recipe's objective; None for a student without one."""
    mae: float
    rmse: float
    mae_by_dimension: dict[str, float | None]
    rmse_by_dimension: dict[str, float | None]

    @classmethod
    def of(
        cls, predictions: FloatArray, scores: FloatArray, dimensions: tuple[str, ...], loss: float | None
    ) -> Measures:
        """Measure predictions against scores, both of shape (rows, dimensions), NaN in `scores` masked."""
        absolute, square = mae(predictions, scores), rmse(predictions, scores)
        return cls(
            rows=len(scores),
            loss=loss,
            mae=float(np.nanmean(absolute)),
            rmse=float(np.nanmean(square)),
            mae_by_dimension=_named(absolute, dimensions),
            rmse_by_dimension=_named(square, dimensions),
        )


def _named(values: FloatArray, dimensions: tuple[str, ...]) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else float(value) for name, value in zip(dimensions, values, strict=True)}


class EpochRecord(Part):
    """One epoch, evaluated when it had ended: the same weights on both parts, dropout off."""

    epoch: int
    """From 1."""
    step: int
    learning_rate: float
    train: Measures
    validation: Measures
    best: bool
    """Whether this was the best epoch so far, by validation MAE."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A student and how it came to be.

    `validation` has the shape (validation rows, dimensions), `held_out` (training rows, dimensions): predictions
    by models that had not seen the row, NaN where there is none. Both are raw, neither clipped nor calibrated.
    """

    student: Student
    validation: FloatArray
    held_out: FloatArray
    seconds: float
    load: Load | None = None
    """How busy the machine was in those seconds."""
    device: str = "cpu"
    precision: Literal["fp32", "bf16"] | None = None
    """What its network was run in; None for a student that runs none."""
    history: tuple[EpochRecord, ...] = ()
    best_epoch: int | None = None
    steps: int | None = None
    warmup_steps: int | None = None
    counts: Counts | None = None
    backbones: dict[str, str] = field(default_factory=dict)
    """Name -> SHA-256 of the weights that it started from."""
    truncated_share: float | None = None
    resumed_from: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    peak_device_memory_bytes: int | None = None


class Companion(Part):
    """Another run that a student's network was trained for at the same time."""

    run: str
    """Its folder, as it was named."""
    filter: str
    rows_hash: str


class StudentRecord(Record):
    """`record.json`: how one student of a run was made."""

    fault = RunError
    made_by = "potstill train RUN"

    schema_version: int = 1
    recipe: dict[str, Any]
    recipe_hash: str
    rows_hash: str
    """SHA-256 of the examples it was fitted and chosen on."""
    dimensions: tuple[str, ...]
    seeds: dict[str, int]
    train_rows: int
    held_out_rows: int
    """Rows of the training part whose predictions come from a model that never saw them."""
    validation: Measures
    """The finished student on the validation part, clipped to the scale and not calibrated."""
    counts: Counts | None
    best_epoch: int | None
    epochs: int | None
    steps: int | None
    warmup_steps: int | None
    truncated_share: float | None
    """Share of the training texts that the student cannot read whole; None for one that reads everything."""
    backbones: dict[str, str]
    """Name -> SHA-256 of the weights it started from."""
    sources: dict[str, str] = Field(default_factory=dict)
    """What it was made from besides the training rows -> its hash: other students, articles without labels."""
    tiny: bool
    """Made on a tiny random backbone, to try the path; its scores mean nothing."""
    device: str
    precision: Literal["fp32", "bf16"] | None
    resumed_from: tuple[int, ...]
    """Steps at which training was taken up again."""
    seconds: float
    load: Load | None = None
    """How busy the machine was in those seconds; None where nobody recorded it."""
    peak_memory_bytes: int | None
    """The largest memory of the whole process up to the end of the fit, where the system tells."""
    peak_device_memory_bytes: int | None
    notes: tuple[str, ...]
    together: tuple[Companion, ...] = ()
    """The other runs whose labels trained the network too."""
    versions: dict[str, str]
