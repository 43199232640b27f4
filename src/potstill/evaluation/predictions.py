"""Read predictions and labels from a file of any origin.

Input: the JSON of published predictions, or JSON lines or Parquet with `id`, `y_<dimension>` and `p_<dimension>`.
Output: `Predictions`, rows by dimensions in the filter's order, for `judging`, `whatif`, `slices` and comparisons.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl

from potstill.errors import BadInput
from potstill.evaluation.judging import DEFAULT_BOOTSTRAP, Predicted, constant_for, judge
from potstill.evaluation.positive_tiers import DecidedTiers, at_least
from potstill.files import parse_json, read_json, read_text
from potstill.parquet import read_parquet
from potstill.verdict import cap_columns, cap_hits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from potstill.evaluation.records import Bootstrap, Judgement, Source
    from potstill.filters import Filter
    from potstill.types import FloatArray, IntArray

SOURCES: tuple[Source, ...] = ("out-of-fold", "test", "validation")
MOST_PUBLISHED = 512 * 2**20
"""Maximum size in bytes of a file of predictions in JSON."""

_PUBLISHED = ("predictions", "labels", "article_ids", "dimension_names")


@dataclass(frozen=True, slots=True, eq=False)
class TrainingLabels:
    """Labels of training rows, shape (rows, dimensions), NaN where masked; and the run or file that they come from."""

    origin: str
    labels: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Scores and labels of the same rows, in the filter's order of dimensions.

    `scores` and `labels` have shape (rows, dimensions); labels are NaN where masked. `facts` has one row each with the
    other known attributes: id, and source, language, published, text and cut if the file has them. `cap_hits` is None
    if neither text nor stored columns show to which rows the caps' conditions on words apply. The constant baseline is
    each dimension's median of `training`, or of the judged labels, the best possible constant, if it is None.
    """

    name: str
    ids: tuple[str, ...]
    scores: FloatArray
    labels: FloatArray
    clusters: IntArray
    facts: pl.DataFrame
    source: Source = "file"
    cap_hits: pl.DataFrame | None = None
    decided: DecidedTiers | None = None
    training: TrainingLabels | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.ids)

    def judged(self, filter_: Filter, bootstrap: Bootstrap = DEFAULT_BOOTSTRAP) -> Judgement:
        """Compute all metrics."""
        return judge(self.predicted(filter_), filter_, bootstrap)

    def predicted(self, filter_: Filter) -> Predicted:
        """Convert to the input of `judging`."""
        return Predicted(
            source=self.source,
            ids=self.ids,
            scores=self.scores,
            labels=self.labels,
            constant=constant_for(self.labels if self.training is None else self.training.labels, filter_, len(self)),
            clusters=self.clusters,
            cap_hits=self.cap_hits,
            decided=self.decided,
        )


def read_prediction_file(path: str | Path, filter_: Filter, *, source: Source | None = None) -> Predictions:
    """Read predictions from a file (.json, .jsonl or .parquet).

    Args:
        path: the file.
        filter_: the filter whose dimensions the file must contain, in any order.
        source: which rows of a table that potstill wrote to use. Default: the first available of out-of-fold, test and
            validation.

    Raises:
        BadInput: the file is missing or broken, lacks a dimension, or contains a score that is not a finite number, a
            label outside the scale or a duplicate id. The message names the file, the row and the field.
    """
    path = Path(path)
    if not path.exists():
        raise BadInput(f"{path}: no such file")
    frame = rows_of_source(_frame(path, filter_), path, source)
    return predictions_of(frame, path, filter_)


def read_training_labels(path: str | Path, filter_: Filter) -> TrainingLabels:
    """Read the labels of training rows, `y_<dimension>`, from a file (.json, .jsonl or .parquet).

    Raises:
        BadInput: the file is missing or broken, lacks a dimension, has a label outside the scale, or has a dimension
            without any label. The message names the file, the row and the field.
    """
    path = Path(path)
    if not path.exists():
        raise BadInput(f"{path}: no such file")
    frame = _frame(path, filter_)
    labels = _labels(frame, path, filter_, [f"row {row}" for row in range(1, frame.height + 1)])
    for name, values in zip(filter_.dimension_names, labels.T, strict=True):
        if np.isnan(values).all():
            raise BadInput(f"{path}: y_{name}: no row has a label, so there is no constant baseline of it")
    return TrainingLabels(str(path), labels)


def rows_of_source(frame: pl.DataFrame, path: Path, source: Source | None) -> pl.DataFrame:
    """Select the rows of one source from a table that potstill wrote; return any other table unchanged."""
    ours = "source" in frame.columns and "tier_student" in frame.columns
    if not ours:
        if source is not None:
            raise BadInput(f"{path}: is not a run's predictions, which alone have a source ({source} was asked for)")
        return frame
    there = set(frame["source"].unique())
    chosen = source or next((one for one in SOURCES if one in there), None)
    if chosen not in there:
        raise BadInput(f"{path}: no rows of {chosen}; it holds {', '.join(sorted(there))}")
    return frame.filter(pl.col("source") == chosen)


def _frame(path: Path, filter_: Filter) -> pl.DataFrame:
    """Read any of the formats into a table with `id`, `y_<dimension>` and `p_<dimension>`."""
    ending = path.suffix.lower()
    if ending == ".parquet":
        return read_parquet(path)
    if ending in {".jsonl", ".ndjson"}:
        return _json_lines(path, filter_)
    if ending == ".json":
        return _published(read_json(path, most=MOST_PUBLISHED, nan=True), path)
    raise BadInput(f"{path}: unknown ending; predictions are .json, .jsonl or .parquet")


def _json_lines(path: Path, filter_: Filter) -> pl.DataFrame:
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    for number, line in enumerate(read_text(path, most=MOST_PUBLISHED).split("\n"), start=1):
        if not line.strip():
            continue
        row = parse_json(line, f"{path}: line {number}", nan=True)
        if not isinstance(row, dict):
            raise BadInput(f"{path}: line {number}: expected an object, got {type(row).__name__}")
        rows.append(_flat(row, f"{path}: line {number}"))
        numbers.append(number)
    if not rows:
        raise BadInput(f"{path}: holds no rows")
    names = [f"{kind}_{name}" for kind in "yp" for name in filter_.dimension_names]
    for row, number in zip(rows, numbers, strict=True):
        for name in names:
            value = row.get(name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise BadInput(f"{path}: line {number}: {name}: got {value!r}, expected a number")
    columns = dict.fromkeys(key for row in rows for key in row)
    return pl.DataFrame({key: _column(key, [row.get(key) for row in rows], names) for key in columns})


def _column(key: str, values: list[Any], numbers: list[str]) -> pl.Series:
    if key in numbers:
        return pl.Series(key, [None if value is None else float(value) for value in values], dtype=pl.Float64)
    if all(value is None or isinstance(value, bool) for value in values):
        return pl.Series(key, values, dtype=pl.Boolean)
    text = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return pl.Series(key, text, dtype=pl.String)


def _flat(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Flatten nested fields: `{"y": {"harm": 3}}` and `{"y_harm": 3}` are equivalent."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        if key in {"y", "p"}:
            if not isinstance(value, dict):
                raise BadInput(f"{where}: {key}: expected an object of dimension -> number")
            found.update({f"{key}_{name}": number for name, number in value.items()})
        else:
            found[key] = value
    return found


def _published(content: Any, path: Path) -> pl.DataFrame:  # noqa: ANN401 - whatever the JSON held
    if not isinstance(content, dict) or any(key not in content for key in _PUBLISHED):
        raise BadInput(f"{path}: expected an object with {', '.join(_PUBLISHED)}")
    names, ids = content["dimension_names"], content["article_ids"]
    arrays: dict[str, FloatArray] = {}
    for kind, key in (("p", "predictions"), ("y", "labels")):
        rows = content[key]
        if not isinstance(rows, list) or len(rows) != len(ids):
            raise BadInput(f"{path}: {key}: {len(rows)} rows for {len(ids)} article_ids")
        for place, row in enumerate(rows):
            if not isinstance(row, list) or len(row) != len(names):
                raise BadInput(f"{path}: {key}: row {place}: expected {len(names)} numbers, one per dimension")
            for name, value in zip(names, row, strict=True):
                masked = kind == "y" and value is None
                if not masked and (isinstance(value, bool) or not isinstance(value, int | float)):
                    raise BadInput(f"{path}: {key}: row {place}: {name}: got {value!r}, expected a number")
        arrays[kind] = np.array(rows, dtype=np.float64).reshape(len(ids), len(names))
    columns = {f"{kind}_{name}": values[:, i] for kind, values in arrays.items() for i, name in enumerate(names)}
    return pl.DataFrame({"id": [str(id_) for id_ in ids], **columns})


def predictions_of(frame: pl.DataFrame, path: Path, filter_: Filter) -> Predictions:
    """Check a table with `id`, `y_<dimension>` and `p_<dimension>`, and convert it; `path` names it in errors.

    Raises:
        BadInput: as `read_prediction_file`.
    """
    if "id" not in frame.columns:
        raise BadInput(f"{path}: no column id")
    ids = tuple(frame["id"].cast(pl.String).fill_null("").to_list())
    _refuse_doubles(ids, path)
    scores = _array(frame, "p", path, filter_)
    labels = _labels(frame, path, filter_, ids)
    if not ids:
        raise BadInput(f"{path}: holds no rows")
    missing = np.argwhere(~np.isfinite(scores))
    if missing.size:
        row, column = missing[0].tolist()
        raise BadInput(f"{path}: {ids[row]}: p_{filter_.dimension_names[column]}: not a finite number")
    clusters = frame["cluster"] if "cluster" in frame.columns else pl.Series(np.arange(len(ids)))
    facts = [name for name in ("id", "source", "language", "published", "text", "cut") if name in frame.columns]
    source: Source = "file"
    marked = next((name for name in ("_source", "source") if name in frame.columns), None)
    if marked is not None and "tier_student" in frame.columns:
        source = cast("Source", frame[marked][0])
        facts = [name for name in facts if name != marked]
    return Predictions(
        name=str(path),
        ids=ids,
        scores=scores,
        labels=labels,
        clusters=np.unique(clusters.to_numpy(), return_inverse=True)[1].astype(np.int64),
        facts=frame.select(facts),
        source=source,
        cap_hits=_hits(frame, filter_),
    )


def recorded_tiers(frame: pl.DataFrame, filter_: Filter) -> DecidedTiers | None:
    """Return the tiers that a bundle decided by probability, from a table that potstill wrote for the same filter.

    Returns:
        None if the table holds none.
    """
    columns = [at_least(name) for name in filter_.positive_tiers]
    if not columns or any(name not in frame.columns or not frame.schema[name].is_numeric() for name in columns):
        return None
    positive = frame.select(columns).cast(pl.Float64).fill_null(float("nan")).to_numpy()
    if np.isnan(positive).all():
        return None
    return DecidedTiers(frame.select(overall="overall_student", tier="tier_student"), positive)


def _refuse_doubles(ids: tuple[str, ...], path: Path) -> None:
    seen: dict[str, int] = {}
    for row, id_ in enumerate(ids):
        first = seen.setdefault(id_, row)
        if first != row:
            raise BadInput(f"{path}: row {row + 1}: id {id_!r} is already at row {first + 1}")


def _array(frame: pl.DataFrame, kind: str, path: Path, filter_: Filter) -> FloatArray:
    names = filter_.dimension_names
    columns = []
    for name in names:
        column = f"{kind}_{name}"
        if column not in frame.columns:
            there = sorted(one.removeprefix(f"{kind}_") for one in frame.columns if one.startswith(f"{kind}_"))
            raise BadInput(f"{path}: no {column}; {filter_.name} has {', '.join(names)}, the file {', '.join(there)}")
        if not (frame.schema[column].is_numeric() or frame.schema[column] == pl.Null):
            raise BadInput(f"{path}: {column} is {frame.schema[column]}, expected numbers")
        columns.append(frame[column].cast(pl.Float64).fill_null(float("nan")).to_numpy())
    return np.column_stack(columns)


def _labels(frame: pl.DataFrame, path: Path, filter_: Filter, rows: Sequence[str]) -> FloatArray:
    """Return the labels, shape (rows, dimensions); `rows` names each row in errors."""
    labels = _array(frame, "y", path, filter_)
    low, high = filter_.scale.min, filter_.scale.max
    outside = np.argwhere((labels < low) | (labels > high) | np.isinf(labels))
    if outside.size:
        row, column = outside[0].tolist()
        raise BadInput(
            f"{path}: {rows[row]}: y_{filter_.dimension_names[column]}: got {labels[row, column]:g}, "
            f"expected {low:g} to {high:g}"
        )
    return labels


def _hits(frame: pl.DataFrame, filter_: Filter) -> pl.DataFrame | None:
    names = cap_columns(filter_)
    if not names:
        return None
    if all(name in frame.columns and frame.schema[name] == pl.Boolean for name in names):
        return frame.select(names)
    return cap_hits(frame["text"], filter_) if "text" in frame.columns else None
