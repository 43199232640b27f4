"""CSV, both ways.

In: a file with a header, or frames. Out: batches whose other columns are text as it stood there, null where it was
empty; or a file in which lists and structs are JSON.
"""

from __future__ import annotations

import csv
import math
from typing import IO, TYPE_CHECKING, Any

import polars as pl

from potstill.articles.extra import dumps, own_extra
from potstill.articles.faults import fail, shown
from potstill.articles.lines import MAX_LINE_BYTES, lines_of
from potstill.articles.rows import Batch, Columns, OnEmpty, chunks, take
from potstill.errors import ArticleError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def csv_batches(path: Path, batch_size: int, on_empty: OnEmpty) -> Iterator[Batch]:
    """The articles of a file; a row is checked when its batch is reached."""
    for batch in chunks(csv_rows(path), batch_size):
        columns = Columns()
        others: list[dict[str, Any]] = []
        for number, row in batch:
            take(path, number, row, on_empty, columns)
            others.append(row)
        frame = columns.frame()
        names = others[0].keys()
        passed = {name: [row[name] or None for row in others] for name in names}
        frame = pl.concat([frame, pl.DataFrame(passed, schema=dict.fromkeys(names, pl.String))], how="horizontal")
        yield own_extra(frame), columns.rows


def csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows by the header's names, all text, with the number of the line each ends at."""
    # The library's limit for one field, 131,072 characters, is less than some real articles have.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    reader = csv.reader(_decoded(path), strict=True)
    try:
        header = next(reader, None)
        if header is None:
            return
        if len(set(header)) < len(header):
            twice = next(name for name in header if header.count(name) > 1)
            fail(path, 1, f"the column {shown(twice)} is there twice")
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(header):
                fail(path, reader.line_num, f"{len(fields)} fields, but the header has {len(header)}")
            yield reader.line_num, dict(zip(header, fields, strict=True))
    except csv.Error as error:
        fail(path, reader.line_num, f"broken CSV ({error})")


def _decoded(path: Path) -> Iterator[str]:
    for number, line in lines_of(path, ".csv"):
        if b"\0" in line:
            fail(path, number, "holds a NUL byte")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            fail(path, number, f"not UTF-8 at byte {error.start + 1}")


class CsvWriter:
    """Writes frames of the same columns below one header; `path` names the file in errors."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self._path = path
        self._stream = stream
        self._columns: list[str] | None = None

    def write(self, frame: pl.DataFrame) -> None:
        """Append the rows of a frame.

        Raises:
            ArticleError: its columns are others than before.
        """
        first = self._columns is None
        self._columns = frame.columns if self._columns is None else self._columns
        if frame.columns != self._columns:
            raise ArticleError(f"{self._path}: the columns changed from {self._columns} to {frame.columns}")
        nested = [name for name, dtype in frame.schema.items() if dtype.is_nested()]
        flat = frame.with_columns(
            pl.Series(
                name,
                [None if value is None else dumps(_plain(value)) for value in frame[name].to_list()],
                dtype=pl.String,
            )
            for name in nested
        )
        self._stream.write(flat.write_csv(include_header=first).encode())


def _plain(value: object) -> object:
    """What JSON can hold of a nested value."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
