"""A student's folder: the student, its record, its history and its held-out predictions.

Input: a fitted student. Output: a folder that is complete or absent, and what can be read from it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from potstill.errors import BadInput, TrainingError
from potstill.files import replacing, replacing_folder, write_json
from potstill.machine import peak_memory, versions
from potstill.parquet import read_parquet
from potstill.students.storage import save_student
from potstill.training.facts import Measures, StudentRecord

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from potstill.dataset import Examples
    from potstill.filters import Filter
    from potstill.students.recipes import Recipe
    from potstill.training.facts import Companion, Fitted
    from potstill.types import FloatArray

LAYOUT = {
    "record": "record.json",
    "history": "history.json",
    "held out": "heldout.parquet",
    "validation": "validation.parquet",
}
"""Files in a student's folder besides the student; the record is written last, after everything else."""


def record_of(
    recipe: Recipe,
    fitted: Fitted,
    train: Examples,
    validation: Examples,
    filter_: Filter,
    *,
    rows: str,
    seed: int,
    tiny: bool,
) -> StudentRecord:
    """Build the record of a fitted student.

    Raises:
        TrainingError: a prediction of the validation part is NaN or infinite.
    """
    loss = next((epoch.validation.loss for epoch in fitted.history if epoch.epoch == fitted.best_epoch), None)
    clipped = np.clip(fitted.validation, filter_.scale.min, filter_.scale.max)
    measured = Measures.of(clipped, validation.scores, tuple(train.dimensions), loss)
    if not np.isfinite(fitted.validation).all():
        raise TrainingError(f"{recipe.name}: a prediction of the validation part is not finite")
    return StudentRecord(
        recipe=recipe.model_dump(mode="json"),
        recipe_hash=recipe.hash,
        rows_hash=rows,
        dimensions=tuple(train.dimensions),
        seeds={"train": seed},
        train_rows=len(train),
        held_out_rows=int((~np.isnan(fitted.held_out).all(axis=1)).sum()),
        validation=measured,
        counts=fitted.counts,
        best_epoch=fitted.best_epoch,
        epochs=len(fitted.history) or None,
        steps=fitted.steps,
        warmup_steps=fitted.warmup_steps,
        truncated_share=fitted.truncated_share,
        backbones=fitted.backbones,
        tiny=tiny,
        device=fitted.device,
        precision=fitted.precision,
        resumed_from=fitted.resumed_from,
        seconds=fitted.seconds,
        load=fitted.load,
        peak_memory_bytes=peak_memory(),
        peak_device_memory_bytes=fitted.peak_device_memory_bytes,
        notes=fitted.notes,
        versions=versions(),
    )


def write_student(folder: Path, fitted: Fitted, record: StudentRecord, train: Examples, validation: Examples) -> None:
    """Write a student with its records atomically.

    Raises:
        BadInput: the disk is full or the folder cannot be written.
    """
    with replacing_folder(folder) as temporary:
        save_student(fitted.student, temporary)  # type: ignore[arg-type]  # every fit gives one that can be saved
        _write_scores(temporary / LAYOUT["held out"], train, fitted.held_out)
        _write_scores(temporary / LAYOUT["validation"], validation, fitted.validation)
        write_json(temporary / LAYOUT["history"], [epoch.model_dump(mode="json") for epoch in fitted.history])
        record.save(temporary / LAYOUT["record"])


def read_scores(path: Path, dimensions: Sequence[str]) -> tuple[list[str], FloatArray]:
    """Read the ids and scores, shape (rows, dimensions), from a file that `write_student` wrote."""
    frame = read_parquet(path)
    return frame["id"].to_list(), frame.select(dimensions).to_numpy().astype(np.float64)


def finished(folder: Path) -> StudentRecord | None:
    """Return the record of a complete student, or None."""
    path = folder / LAYOUT["record"]
    try:
        return StudentRecord.from_file(path)
    except BadInput:
        return None


def same_student(
    record: StudentRecord,
    recipe: Recipe,
    rows: str,
    seed: int,
    *,
    tiny: bool,
    together: Sequence[Companion] = (),
) -> bool:
    """Return whether a record describes the student that this training would make, `together` with other runs."""
    wanted = (recipe.hash, rows, {"train": seed}, tiny)
    beside = [{(other.filter, other.rows_hash) for other in others} for others in (record.together, together)]
    return (record.recipe_hash, record.rows_hash, record.seeds, record.tiny) == wanted and beside[0] == beside[1]


def _write_scores(path: Path, examples: Examples, scores: FloatArray) -> None:
    columns = {name: scores[:, column] for column, name in enumerate(examples.dimensions)}
    with replacing(path) as temporary:
        pl.DataFrame({"id": list(examples.ids), **columns}).write_parquet(temporary)
