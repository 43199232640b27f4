"""Propose a filter for the scores that a file holds.

Input: a file with texts and scores. Output: a filter whose dimensions are the columns of scores, with equal weights,
and what was found in the file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from potstill.articles import read_table_file
from potstill.dataset.rows import FACTS
from potstill.dataset.tables import Columns, Origin, dimension_name, nested_scores, numbers_in, text_column
from potstill.errors import FilterError, LabelError
from potstill.filters import Filter
from potstill.terminal import steps

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_NESTED = "scores"

_STEPS = {1.0: "whole numbers", 0.5: "steps of 0.5"}

_SHORTEST_WINDOW, _LONGEST_WINDOW = 2500, 20_000
"""The shortest and the longest window, in characters, that is proposed."""

_FEWEST_NUMBERED = 10
"""Number of rows from which a column of consecutive numbers is taken to number the rows."""

_READ_WHOLE = 0.99
"""Share of the texts that the proposed window contains whole, unless it would be too long."""


@dataclass(slots=True)
class Found:
    """The scores of one column: their number, the smallest and the largest, and the widest step that fits all."""

    known: int = 0
    low: float = math.inf
    high: float = -math.inf
    step: float = 1.0
    """1.0, 0.5, or 0.0 for other decimals."""
    counts: bool = True
    """Whether each number is one more than that before it, as in a column that numbers the rows."""
    last: float | None = None

    def add(self, values: pl.Series) -> None:
        """Include numbers, of which some may be null."""
        values = values.drop_nulls()
        if values.is_empty():
            return
        before = values[0] - 1 if self.last is None else self.last
        self.counts = self.counts and bool((values == pl.Series([before]).append(values[:-1]) + 1).all())
        self.last = float(values[-1])
        self.known += len(values)
        self.low = min(self.low, float(values.min()))  # type: ignore[arg-type]  # a column of numbers
        self.high = max(self.high, float(values.max()))  # type: ignore[arg-type]
        while self.step and (values % self.step != 0).any():
            self.step = 0.5 if self.step == 1.0 else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """A filter, and what was found: number of rows, column of text, and the scores by dimension."""

    filter: Filter
    rows: int
    text: str
    scores: dict[str, Found]
    step: str
    """The step of all scores, in words."""
    left_out: dict[str, str]
    """Columns that are no dimensions although most of their values are numbers, with the reason."""

    def as_dict(self) -> dict[str, object]:
        """Return the proposal as a dictionary for JSON."""
        scale = self.filter.scale
        return {
            "name": self.filter.name,
            "rows": self.rows,
            "text": self.text,
            "max_chars": self.filter.text.max_chars,
            "scale": [scale.min, scale.max],
            "step": self.step,
            "left_out": self.left_out,
            "dimensions": {
                name: {"labels": found.known, "min": found.low, "max": found.high}
                for name, found in self.scores.items()
            },
        }


def propose_filter(
    name: str,
    file: str | Path,
    *,
    text: str | None = None,
    dimensions: Sequence[str] | None = None,
    scale: tuple[float, float] | None = None,
) -> Proposal:
    """Propose a filter for the scores of a file.

    Dimensions are the columns of numbers, except those whose name is that of an id or of a fact about the text; or, if
    there are columns whose name begins with `y_`, these; or the keys of a column `scores` that holds mappings.

    Args:
        name: name of the filter.
        file: a CSV, JSON Lines or Parquet file.
        text: the column of text; by default, the usual names are tried.
        dimensions: the columns of scores; by default, as above.
        scale: lowest and highest score; by default, the nearest whole numbers that contain all scores.

    Raises:
        ArticleError: the file cannot be read, or there is no column of text.
        LabelError: there are no scores, a chosen column holds anything but numbers, or a score is outside the scale.
        FilterError: two columns have the same name as dimensions, or a name is invalid.
    """
    found, lengths, column, left_out = _scan(file, Columns(text=text), dimensions)
    chosen = _named(found, file)
    scale = scale or _scale(chosen)
    for dimension, one in chosen.items():
        if one.low < scale[0] or one.high > scale[1]:
            outside = one.low if one.low < scale[0] else one.high
            raise LabelError(f"{file}: {dimension}: {outside:g} is outside the scale {scale[0]:g} to {scale[1]:g}")
    step = _STEPS.get(min(one.step for one in chosen.values()), "decimals")
    weight = round(1 / len(chosen), 9)
    described = {dimension: dimension.replace("_", " ") for dimension in chosen}
    filter_ = Filter(
        name,
        {dimension: {"weight": weight, "description": words} for dimension, words in described.items()},
        scale=scale,
        rubric=_rubric(name, described, scale, step),
        description=f"Scores of texts on {len(chosen)} dimensions, from {scale[0]:g} to {scale[1]:g}.",
        text={"max_chars": _window(lengths)},
    )
    return Proposal(filter_, len(lengths), column, chosen, step, left_out)


def _scan(
    file: str | Path, columns: Columns, dimensions: Sequence[str] | None
) -> tuple[dict[str, Found], list[int], str, dict[str, str]]:
    """Return the columns of scores, the length of each text, the column of text, and columns that are left out."""
    found: dict[str, Found] = {}
    other: dict[str, str | None] = {}
    lengths: list[int] = []
    column = ""
    with steps("reading", None) as advance:
        for frame, numbers in read_table_file(file):
            origin = Origin(str(file), numbers)
            column = column or text_column(frame, columns, origin)
            if column in frame.columns and frame.schema[column] == pl.String:
                lengths += frame[column].str.len_chars().fill_null(0).to_list()
            for name, values in _candidates(frame, column, dimensions, origin):
                scores = numbers_in(values)
                if scores is not None:
                    found.setdefault(name, Found()).add(scores)
                elif dimensions is None:
                    other.setdefault(name, _almost(values, name, origin))
                else:
                    raise _no_number(values, name, origin)
            advance(frame.height)
    if not lengths:
        raise LabelError(f"{file}: the table has no rows, or no text in the column {column}")
    left_out = {name: reason for name, reason in other.items() if reason is not None}
    kept = {name: one for name, one in found.items() if name not in other and one.known}
    if dimensions is None:
        kept, numbering = _without_numbering(kept)
        left_out |= dict.fromkeys(numbering, "it numbers the rows")
    empty = next((name for name in dimensions or () if name not in kept), None)
    if not kept or empty is not None:
        where = "" if empty is None else f" in the column {empty}"
        reasons = "".join(f"; {name} is left out: {reason}" for name, reason in left_out.items())
        raise LabelError(f"{file}: no scores{where}: {_NO_SCORES}{reasons}")
    return kept, lengths, column, left_out


def _without_numbering(found: dict[str, Found]) -> tuple[dict[str, Found], set[str]]:
    """Return the columns that are dimensions by default, and those that number the rows, unless all columns do."""
    numbering = {name for name, one in found.items() if one.counts and one.known >= _FEWEST_NUMBERED}
    if len(numbering) == len(found):
        numbering = set()
    kept = {name: one for name, one in found.items() if name not in numbering}
    marked = {name: one for name, one in kept.items() if name.startswith("y_")}
    return marked or kept, numbering


_NO_SCORES = "expected columns of numbers, or a column scores with a mapping; choose with --dimensions"


def _candidates(
    frame: pl.DataFrame, text: str, dimensions: Sequence[str] | None, origin: Origin
) -> Iterator[tuple[str, pl.Series]]:
    """Yield the columns that may hold scores."""
    nested = _nested(frame, origin)
    for name in dict.fromkeys(dimensions or nested or frame.columns):
        if name in nested and (name not in frame.columns or dimensions is None):
            yield name, nested[name]
        elif name not in frame.columns:
            listed = ", ".join([*nested, *frame.columns])
            raise LabelError(f"{origin.prefix}no column {name!r}; the columns are {listed}")
        elif dimensions is not None or not (name == text or _is_other(name)):
            yield name, frame[name]


def _nested(frame: pl.DataFrame, origin: Origin) -> dict[str, pl.Series]:
    """Return the scores by dimension of a column `scores` that holds mappings; empty if there is none."""
    if _NESTED not in frame.columns or numbers_in(frame[_NESTED]) is not None:
        return {}
    rows = nested_scores(frame[_NESTED].to_list(), _NESTED, origin)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _series([row.get(name) for row in rows]) for name in names}


def _series(values: list[object]) -> pl.Series:
    """Return numbers as a column; anything else becomes text, which is no score."""
    if all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values):
        try:
            return pl.Series([None if value is None else float(value) for value in values], dtype=pl.Float64)  # type: ignore[arg-type]  # checked above
        except OverflowError:
            pass
    return pl.Series([None if value is None else str(value) for value in values], dtype=pl.String)


def _is_other(column: str) -> bool:
    """Return whether a column's name is that of an id, of a position or of a fact."""
    name = column.lower()
    return name in {"", "id", "index", "row", "title", "oracle", *FACTS} or name.endswith("_id") or "unnamed" in name


def _almost(values: pl.Series, name: str, origin: Origin) -> str | None:
    """Return why a column in which most values are numbers is no column of scores; None for any other column."""
    if values.dtype != pl.String:
        return None
    numbers = values.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
    if 2 * (len(numbers) - numbers.null_count()) <= len(values) - values.null_count():
        return None
    return str(_no_number(values, name, Origin(numbers=origin.numbers)))


def _no_number(values: pl.Series, name: str, origin: Origin) -> LabelError:
    row, value = next(
        (row, value)
        for row, value in enumerate(values.to_list())
        if value is not None and numbers_in(pl.Series([value])) is None
    )
    decimal = " with a decimal point" if isinstance(value, str) and "," in value else ""
    return LabelError(f"{origin.at(row)}{name}: got {value!r}, expected a number{decimal}")


def _named(found: dict[str, Found], file: str | Path) -> dict[str, Found]:
    """Return the scores by the names of their dimensions."""
    columns: dict[str, str] = {}
    for column in found:
        name = dimension_name(column)
        if name in columns:
            raise FilterError(f"{file}: the columns {columns[name]!r} and {column!r} are both the dimension {name}")
        columns[name] = column
    return {name: found[column] for name, column in columns.items()}


def _scale(scores: dict[str, Found]) -> tuple[float, float]:
    """Return the nearest whole numbers that contain all scores."""
    low = math.floor(min(one.low for one in scores.values()))
    high = math.ceil(max(one.high for one in scores.values()))
    return float(low), float(max(high, low + 1))


def _window(lengths: list[int]) -> int:
    """Return a window, in characters, that contains most of the texts whole."""
    long = float(np.quantile(lengths, _READ_WHOLE))
    return int(min(max(math.ceil(long / 500) * 500, _SHORTEST_WINDOW), _LONGEST_WINDOW))


def _rubric(name: str, described: dict[str, str], scale: tuple[float, float], step: str) -> str:
    listed = "".join(f"- **{dimension}**: {words}\n" for dimension, words in described.items())
    return (
        f"# Rubric: {name}, version 1\n\nScore each dimension on its own, from {scale[0]:g} to {scale[1]:g}, in {step}."
        f"\n\n{listed}\nThe labels were not made with this rubric. Describe here what each score means before an LLM "
        "scores texts by it.\n"
    )
