"""Records of training: parameter counts, metrics per epoch, and a student's record. Does not import torch.

Input: numbers from the training loop. Output: immutable objects that are written as JSON and validated strictly when
read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, computed_field

from potstill.errors import RunError
from potstill.machine import Load  # noqa: TC001 - pydantic reads it
from potstill.metrics import mae, rmse
from potstill.records import Part, Record

if TYPE_CHECKING:
    from potstill.students import Student
    from potstill.types import FloatArray


class Counts(Part):
    """Number of parameters of a model by part, in total and trainable."""

    # The sums are written too, but computed again when the record is read.
    model_config = ConfigDict(extra="ignore")

    base: int
    adapter: int
    head: int
    head_copy: int
    """The frozen copy of the head that peft keeps in addition to the trainable one."""
    trainable_base: int
    trainable_adapter: int
    trainable_head: int
    pooling: int = 0
    """Learned parameters of pooling, which students of earlier versions may have."""
    trainable_pooling: int = 0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def trainable(self) -> int:
        """Number of all trainable parameters."""
        return self.trainable_base + self.trainable_adapter + self.trainable_pooling + self.trainable_head

    @computed_field  # type: ignore[prop-decorator]
    @property
    def total(self) -> int:
        """Number of all parameters, including peft's copy of the head."""
        return self.base + self.adapter + self.pooling + self.head + self.head_copy


class Measures(Part):
    """Errors of one model on one part of the data, each over the labels that are present.

    `mae` and `rmse` are means over dimensions; a dimension without labels is None.
    """

    rows: int
    loss: float | None
    """The recipe's loss; None for a student without one."""
    mae: float
    rmse: float
    mae_by_dimension: dict[str, float | None]
    rmse_by_dimension: dict[str, float | None]

    @classmethod
    def of(
        cls, predictions: FloatArray, scores: FloatArray, dimensions: tuple[str, ...], loss: float | None
    ) -> Measures:
        """Evaluate predictions against scores, both of shape (rows, dimensions), NaN in `scores` masked."""
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
    """One epoch, evaluated after it ended: the same weights on both parts, without dropout."""

    epoch: int
    """Counted from 1."""
    step: int
    learning_rate: float
    train: Measures
    validation: Measures
    best: bool
    """Whether this was the best epoch so far, by validation error."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A fitted student, its predictions and how it was fitted.

    `validation` has the shape (validation rows, dimensions), `held_out` (training rows, dimensions): predictions by
    models that were not trained on the row, NaN where there are none. Both are raw, neither clipped nor calibrated.
    """

    student: Student
    validation: FloatArray
    held_out: FloatArray
    seconds: float
    load: Load | None = None
    """Load of the machine during the fit."""
    device: str = "cpu"
    precision: Literal["fp32", "bf16"] | None = None
    """Precision in which its network was run; None for a student without one."""
    history: tuple[EpochRecord, ...] = ()
    best_epoch: int | None = None
    steps: int | None = None
    warmup_steps: int | None = None
    counts: Counts | None = None
    backbones: dict[str, str] = field(default_factory=dict)
    """Name -> SHA-256 of the weights from which it was initialized."""
    truncated_share: float | None = None
    resumed_from: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    peak_device_memory_bytes: int | None = None


class Companion(Part):
    """Another run that a student's network was trained for in the same multi-task training."""

    run: str
    """Its folder, as given by the caller."""
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
    """SHA-256 of the examples on which it was fitted and selected."""
    dimensions: tuple[str, ...]
    seeds: dict[str, int]
    train_rows: int
    held_out_rows: int
    """Number of training rows with held-out predictions."""
    validation: Measures
    """Metrics of the finished student on the validation part, clipped to the scale and not calibrated."""
    counts: Counts | None
    best_epoch: int | None
    epochs: int | None
    steps: int | None
    warmup_steps: int | None
    truncated_share: float | None
    """Share of the training texts that the student cannot read completely; None for one that has no limit."""
    backbones: dict[str, str]
    """Name -> SHA-256 of the weights from which it was initialized."""
    sources: dict[str, str] = Field(default_factory=dict)
    """What it was made from in addition to the training rows -> hash: other students, unlabelled articles."""
    tiny: bool
    """Made with a tiny random backbone, to test the pipeline; its scores are meaningless."""
    device: str
    precision: Literal["fp32", "bf16"] | None
    resumed_from: tuple[int, ...]
    """Steps at which training was resumed."""
    seconds: float
    load: Load | None = None
    """Load of the machine during the fit; None if it was not recorded."""
    peak_memory_bytes: int | None
    """Peak memory of the whole process until the end of the fit, in bytes; None if the system does not report it."""
    peak_device_memory_bytes: int | None
    notes: tuple[str, ...]
    together: tuple[Companion, ...] = ()
    """The other runs whose labels also trained the network."""
    versions: dict[str, str]
