"""Read and write CSV.

Input: a file with a header, or data frames. Output: batches whose other columns are the unchanged text, null where
empty; or a file in which lists and structs are JSON.
"""

from __future__ import annotations

import csv
import json
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from itertools import chain
from typing import IO, TYPE_CHECKING, Any

import polars as pl

from potstill.articles.extra import dumps, own_extra
from potstill.articles.faults import fail, shown
from potstill.articles.lines import MAX_LINE_BYTES, lines_of
from potstill.articles.rows import (
    Batch,
    Columns,
    OnEmpty,
    chunks,
    refuse_many_columns,
    refuse_without_content,
    take,
    text_field,
)
from potstill.errors import ArticleError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEPARATORS = (",", ";", "\t")
"""What may separate fields: the first of these that the header contains."""

_UTF_16 = (BOM_UTF16_LE, BOM_UTF16_BE)


def csv_batches(path: Path, batch_size: int, on_empty: OnEmpty) -> Iterator[Batch]:
    """Yield the articles of a file, at least one batch; a row is checked when its batch is reached."""
    header, table = csv_table(path)
    rows = ((number, dict(zip(header, fields, strict=True))) for number, fields in table)
    if header:
        # The header is checked before any row, because the first row may span many lines.
        refuse_without_content(path, header)
    found = False
    for batch in chunks(rows, batch_size):
        columns = Columns()
        others: list[dict[str, Any]] = []
        for number, row in batch:
            take(path, number, row, on_empty, columns)
            others.append(row)
        found = True
        yield _with_others(path, columns.frame(), header, others), columns.rows
    if not found:
        yield _with_others(path, Columns().frame(), header, []), []


def _with_others(path: Path, frame: pl.DataFrame, header: list[str], rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Add the columns that are passed through to the data frame."""
    names = [name for name in header if name not in {"id", "title", text_field(header)}]
    passed = {name: [row[name] or None for row in rows] for name in names}
    others = pl.DataFrame(passed, schema=dict.fromkeys(names, pl.String))
    return own_extra(path, pl.concat([frame, others], how="horizontal"))


def csv_table(path: Path) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Return the header, empty if the file has none, and the rows, which have as many values.

    All values are text; each row has the number of the line where it ends.
    """
    # The library's limit for one field, 131,072 characters, is exceeded by some real articles.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    lines = _decoded(path)
    first = next(lines, "")
    reader = csv.reader(chain([first], lines), strict=True, delimiter=_separator(first))
    try:
        header = next(reader, [])
    except csv.Error as error:
        fail(path, reader.line_num, f"broken CSV ({error})")
    refuse_many_columns(path, len(header))
    seen: set[str] = set()
    for name in header:
        if name in seen:
            fail(path, 1, f"the column {shown(name)} occurs twice")
        seen.add(name)
    return header, _csv_rows(path, reader, header)


def _csv_rows(path: Path, reader: Any, header: list[str]) -> Iterator[tuple[int, list[str]]]:  # noqa: ANN401 - csv's reader has no public type
    try:
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(header):
                fail(path, reader.line_num, f"{len(fields)} fields, but the header has {len(header)}")
            yield reader.line_num, fields
    except csv.Error as error:
        fail(path, reader.line_num, f"broken CSV ({error})")


def _separator(header: str) -> str:
    """Return what separates the fields: spreadsheets of many countries write semicolons, and some programs tabs."""
    return next((separator for separator in SEPARATORS if separator in header), SEPARATORS[0])


def _decoded(path: Path) -> Iterator[str]:
    for number, line in lines_of(path, ".csv"):
        if number == 1 and line.startswith(_UTF_16):
            fail(path, number, "is in UTF-16, expected UTF-8; save it as UTF-8 (a spreadsheet calls it CSV UTF-8)")
        if b"\0" in line:
            fail(path, number, "contains a NUL byte")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            fail(path, number, f"not UTF-8 at byte {error.start + 1}")


class CsvWriter:
    """A writer of data frames with the same columns under one header; `path` is the name of the file in errors."""

    def __init__(self, path: str | Path, stream: IO[bytes]) -> None:
        self._path = path
        self._stream = stream
        self._columns: list[str] | None = None

    def write(self, frame: pl.DataFrame) -> None:
        """Append the rows of a data frame.

        Raises:
            ArticleError: its columns differ from those of earlier data frames.
        """
        first = self._columns is None
        self._columns = frame.columns if self._columns is None else self._columns
        if frame.columns != self._columns:
            raise ArticleError(f"{self._path}: the columns changed from {self._columns} to {frame.columns}")
        flat = frame.with_columns(_as_text(frame[name]) for name, dtype in frame.schema.items() if not _fits(dtype))
        self._stream.write(flat.write_csv(include_header=first).encode())


def _fits(dtype: pl.DataType) -> bool:
    return not dtype.is_nested() and not isinstance(dtype, pl.Duration)


def _as_text(column: pl.Series) -> pl.Series:
    """Convert types that CSV lacks to their form in JSON Lines: lists and structs to JSON, durations to ISO 8601."""
    lines = column.to_frame(column.name).write_ndjson().split("\n")[: len(column)]
    values = [json.loads(line)[column.name] for line in lines]
    texts = [value if value is None or isinstance(value, str) else dumps(value) for value in values]
    return pl.Series(column.name, texts, dtype=pl.String)
