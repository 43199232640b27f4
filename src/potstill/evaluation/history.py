"""Read the history of a training and its metadata from files, whichever program wrote them.

Input: epochs with their errors, and metadata, as potstill's own `history.json` and `record.json` or as JSON of another
program. Output: a `TrainingHistory`, which `flags` checks for inconsistencies. No model is run, and reported claims are
not trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from potstill.errors import BadInput
from potstill.files import read_json

_KEYS: Mapping[str, tuple[str, ...]] = {
    "total": ("total_parameters", "total_params", "total"),
    "trainable": ("trainable_parameters", "trainable_params", "trainable"),
    "head": ("head_parameters", "head_params", "head"),
    "method": ("method",),
    "dimensions": ("dimensions", "dimension_names", "num_dimensions"),
    "resumed_after": ("resumed_after", "resumed_after_epoch", "resumed_after_epochs"),
    "train_metrics": ("train_metrics",),
    "shipped_epoch": ("shipped_epoch", "best_epoch"),
    "table": ("dimension_table", "per_dimension_mae", "per_dimension"),
    "table_epoch": ("dimension_table_epoch", "per_dimension_epoch"),
    "constant_mae": ("constant_mae",),
    "targets": ("targets",),
    "claims": ("claims",),
    "warmup_steps": ("warmup_steps",),
    "steps": ("total_steps", "steps", "max_steps"),
    "train_rows": ("train_rows", "train_examples"),
    "batch_size": ("batch_size",),
}
"""Every metadata field that is read, with its accepted spellings."""

_GROUPS = ("metadata", "parameters", "schedule")
"""Objects whose keys are read as if they were one level higher."""

_PARTS = {"train": ("train",), "validation": ("validation", "val")}
_MEASURES = ("mae", "loss", "rmse")


@dataclass(frozen=True, slots=True)
class Epoch:
    """Metrics of one epoch; one that was not recorded is None. Errors are means over dimensions."""

    epoch: int
    train_mae: float | None = None
    train_loss: float | None = None
    train_rmse: float | None = None
    validation_mae: float | None = None
    validation_loss: float | None = None
    validation_rmse: float | None = None
    best: bool = False
    step: int | None = None


@dataclass(frozen=True, slots=True)
class TrainingHistory:
    """Recorded facts about a training; None or empty if they were not recorded.

    `table` is a reported validation MAE per dimension at epoch `table_epoch`. `targets` are upper bounds by metric
    (`mae`, `gap`...). `claims` are sentences with percentages. `unread` names keys that no rule uses.
    """

    epochs: tuple[Epoch, ...]
    total: int | None = None
    trainable: int | None = None
    head: int | None = None
    method: str | None = None
    dimensions: int | None = None
    resumed_after: tuple[int, ...] = ()
    train_metrics: str | None = None
    shipped_epoch: int | None = None
    table: Mapping[str, float] = field(default_factory=dict)
    table_epoch: int | None = None
    constant_mae: float | None = None
    targets: Mapping[str, float] = field(default_factory=dict)
    claims: tuple[str, ...] = ()
    warmup_steps: int | None = None
    steps: int | None = None
    unread: tuple[str, ...] = ()

    @property
    def shipped(self) -> Epoch | None:
        """The epoch that was shipped: the recorded one, else the one marked best, else that of least validation MAE."""
        by_number = {epoch.epoch: epoch for epoch in self.epochs}
        if self.shipped_epoch is not None:
            return by_number.get(self.shipped_epoch)
        marked = [epoch for epoch in self.epochs if epoch.best]
        if marked:
            return marked[-1]
        known = [epoch for epoch in self.epochs if epoch.validation_mae is not None]
        return min(known, key=lambda epoch: epoch.validation_mae or 0.0, default=None)


def read_history(path: str | Path, metadata: str | Path | None = None) -> TrainingHistory:
    """Read a history from a file, or from the folder of one of potstill's students.

    Args:
        path: a list of epochs, or an object with `epochs` (or `history`) and metadata; or a folder with `history.json`
            and `record.json`. A `record.json` in the same folder as a list of epochs is read too.
        metadata: a further JSON object of metadata.

    Returns:
        The history.

    Raises:
        BadInput: a file is missing or broken, or a field has the wrong type. The message names it.
    """
    path = Path(path)
    file = path / "history.json" if path.is_dir() else path
    content = read_json(file, nan=True)
    more = _object(read_json(Path(metadata), nan=True), str(metadata)) if metadata is not None else {}
    record = file.parent / "record.json"
    if isinstance(content, list) and metadata is None and record.is_file():
        return _of_student(content, _object(read_json(record), str(record)), str(file), str(record))
    if isinstance(content, list):
        content = {"epochs": content}
    merged = {**_object(content, str(file)), **more}
    return parse_history(merged, str(file))


def parse_history(content: Mapping[str, Any], where: str) -> TrainingHistory:
    """Parse a history from one object with `epochs` and metadata; `where` names it in error messages.

    Raises:
        BadInput: it contains no epoch, or a field has the wrong type.
    """
    listed = next((content[key] for key in ("epochs", "history") if isinstance(content.get(key), list)), None)
    if not listed:
        raise BadInput(f"{where}: no epochs; expected a list of them, or an object with `epochs`")
    epochs = tuple(_epoch(row, number, f"{where}: epoch {number}") for number, row in enumerate(listed, start=1))
    numbers = [epoch.epoch for epoch in epochs]
    if numbers != sorted(set(numbers)):
        raise BadInput(f"{where}: epochs are numbered {numbers}, expected each once and in order")
    flat = {key: value for key, value in content.items() if key not in {"epochs", "history", *_GROUPS}}
    for group in _GROUPS:
        flat = {**_object(content.get(group) or {}, f"{where}: {group}"), **flat}
    for group in _GROUPS[1:]:
        # `metadata` may contain the other two groups.
        if group in flat:
            flat = {**_object(flat.pop(group), f"{where}: {group}"), **flat}
    facts = {name: next((flat[key] for key in keys if key in flat), None) for name, keys in _KEYS.items()}
    known = {key for keys in _KEYS.values() for key in keys}
    return _history(epochs, facts, tuple(sorted(set(flat) - known)), where)


def _history(
    epochs: tuple[Epoch, ...], facts: Mapping[str, Any], unread: tuple[str, ...], where: str
) -> TrainingHistory:
    table, table_epoch = facts["table"] or {}, facts["table_epoch"]
    if isinstance(table, Mapping) and isinstance(table.get("mae"), Mapping):
        table, table_epoch = table["mae"], table.get("epoch", table_epoch)
    dimensions = facts["dimensions"]
    if isinstance(dimensions, Sequence | Mapping) and not isinstance(dimensions, str):
        dimensions = len(dimensions)
    resumed = facts["resumed_after"]
    resumed = [resumed] if isinstance(resumed, int) else resumed or []
    rows, batch = (_whole(facts[name], f"{where}: {name}") for name in ("train_rows", "batch_size"))
    steps = _whole(facts["steps"], f"{where}: steps")
    if steps is None and rows is not None and batch:
        steps = -(-rows // batch) * epochs[-1].epoch
    if steps is None:
        steps = epochs[-1].step
    claims = facts["claims"] or []
    if isinstance(claims, str) or not all(isinstance(claim, str) for claim in claims):
        raise BadInput(f"{where}: claims: expected a list of sentences")
    return TrainingHistory(
        epochs=epochs,
        **{name: _whole(facts[name], f"{where}: {name}") for name in ("total", "trainable", "head", "shipped_epoch")},
        method=facts["method"],
        dimensions=_whole(dimensions, f"{where}: dimensions") or (len(table) or None),
        resumed_after=tuple(_whole(one, f"{where}: resumed_after") or 0 for one in resumed),
        train_metrics=facts["train_metrics"],
        table=_numbers(table, f"{where}: dimension_table"),
        table_epoch=_whole(table_epoch, f"{where}: dimension_table_epoch"),
        constant_mae=_number(facts["constant_mae"], f"{where}: constant_mae"),
        targets=_numbers(facts["targets"] or {}, f"{where}: targets"),
        claims=tuple(claims),
        warmup_steps=_whole(facts["warmup_steps"], f"{where}: warmup_steps"),
        steps=steps,
        unread=unread,
    )


def _epoch(row: Any, number: int, where: str) -> Epoch:  # noqa: ANN401 - whatever the JSON held
    row = _object(row, where)
    found: dict[str, float | None] = {}
    for part, names in _PARTS.items():
        nested: Mapping[str, Any] = next((row[name] for name in names if isinstance(row.get(name), Mapping)), {})
        for measure in _MEASURES:
            flat = next((row[f"{name}_{measure}"] for name in names if f"{name}_{measure}" in row), None)
            value = nested.get(measure, flat)
            found[f"{part}_{measure}"] = _number(value, f"{where}: {part} {measure}")
    best = row.get("best", row.get("is_best", False))
    return Epoch(
        epoch=_whole(row.get("epoch", number), f"{where}: epoch") or number,
        **found,
        best=bool(best),
        step=_whole(row.get("step"), f"{where}: step"),
    )


def _of_student(epochs: list[Any], record: Mapping[str, Any], where: str, of_record: str) -> TrainingHistory:
    """Parse potstill's own records, and add the facts that their layout implies."""
    if "recipe" not in record or "resumed_from" not in record:
        raise BadInput(f"{of_record}: no record of a student of potstill; name metadata with --metadata")
    counts = record.get("counts") or {}
    steps = [_object(row, where).get("step") for row in epochs]
    resumed = [sum(1 for step in steps if step is not None and step <= from_) for from_ in record["resumed_from"]]
    lora = record["recipe"].get("lora")
    return parse_history(
        {
            # Only the last epoch marked best was shipped; `best_epoch` names it.
            "epochs": epochs,
            "trainable": counts.get("trainable"),
            "total": counts.get("total"),
            "head": counts.get("head"),
            "method": "lora" if lora else record["recipe"].get("student"),
            "dimensions": record.get("dimensions"),
            "resumed_after": resumed,
            "train_metrics": "evaluated",
            "shipped_epoch": record.get("best_epoch"),
            "dimension_table": {
                name: value
                for name, value in ((record.get("validation") or {}).get("mae_by_dimension") or {}).items()
                if value is not None
            },
            "warmup_steps": record.get("warmup_steps"),
            "steps": record.get("steps"),
        },
        where,
    )


def _object(value: Any, where: str) -> dict[str, Any]:  # noqa: ANN401 - whatever the JSON held
    if not isinstance(value, Mapping):
        raise BadInput(f"{where}: expected an object, got {type(value).__name__}")
    return dict(value)


def _numbers(value: Any, where: str) -> dict[str, float]:  # noqa: ANN401 - whatever the JSON held
    found = {name: _number(number, f"{where}: {name}") for name, number in _object(value, where).items()}
    return {name: number for name, number in found.items() if number is not None}


def _number(value: Any, where: str) -> float | None:  # noqa: ANN401 - whatever the JSON held
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124 - NaN
        raise BadInput(f"{where}: got {value!r}, expected a number")
    return float(value)


def _whole(value: Any, where: str) -> int | None:  # noqa: ANN401 - whatever the JSON held
    number = _number(value, where)
    if number is not None and (number < 0 or number != int(number)):
        raise BadInput(f"{where}: got {value!r}, expected a whole number")
    return None if number is None else int(number)
