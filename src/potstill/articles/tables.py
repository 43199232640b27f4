"""Read a table from a file as it is: no column is required, and every column is kept.

Input: a JSON Lines, CSV or Parquet file. Output: data frames in batches, with the number of each row. A value that is
missing is null. The values of CSV are text. A column of JSON Lines holds whole numbers, numbers or text; lists, objects
and values of mixed types become JSON text. Memory does not grow with the number of rows.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from potstill.articles.csv_files import csv_table
from potstill.articles.endings import existing_file
from potstill.articles.extra import dumps
from potstill.articles.faults import fail, shown
from potstill.articles.json_lines import json_object
from potstill.articles.lines import lines_of
from potstill.articles.rows import chunks, refuse_many_columns
from potstill.errors import ArticleError, BadInput
from potstill.files import refuse_stream
from potstill.parquet import open_parquet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from potstill.articles.rows import Batch

ROWS_AT_ONCE = 5000
"""Number of rows per batch."""

_MOST_INTEGER = 2**63


def read_table_file(path: str | Path, *, batch_size: int = ROWS_AT_ONCE) -> Iterator[Batch]:
    """Yield the rows of a file as data frames, each with the line number (or row number, from 1) of its rows.

    Raises:
        ArticleError: the file is missing, broken or of another kind, or a row is invalid; the message names the row.
    """
    try:
        refuse_stream(Path(path))
        path, ending = existing_file(path)
        if ending == ".parquet":
            yield from _parquet(path, batch_size)
        elif ending == ".csv":
            yield from _csv(path, batch_size)
        else:
            yield from _json(path, ending, batch_size)
    except ArticleError:
        raise
    except BadInput as error:
        raise ArticleError(str(error)) from None


def _parquet(path: Path, batch_size: int) -> Iterator[Batch]:
    file = open_parquet(path)
    refuse_many_columns(path, file.columns.width)
    start = 1
    for frame in file.slices(batch_size):
        yield frame, list(range(start, start + frame.height))
        start += frame.height


def _csv(path: Path, batch_size: int) -> Iterator[Batch]:
    header, rows = csv_table(path)
    schema = dict.fromkeys(header, pl.String)
    for batch in chunks(rows, batch_size):
        columns = zip(*(fields for _, fields in batch), strict=True)
        whole = {name: [value or None for value in values] for name, values in zip(header, columns, strict=True)}
        yield pl.DataFrame(whole, schema=schema), [number for number, _ in batch]


def _json(path: Path, ending: str, batch_size: int) -> Iterator[Batch]:
    # A field that is absent from a whole batch, but not from earlier ones, is a column of missing values.
    names: dict[str, None] = {}
    lines = ((number, line) for number, line in lines_of(path, ending) if line.strip())
    for batch in chunks(lines, batch_size):
        numbers = [number for number, _ in batch]
        rows = [json_object(path, number, line) for number, line in batch]
        names |= dict.fromkeys(chain.from_iterable(rows))
        refuse_many_columns(path, len(names))
        yield (
            pl.DataFrame({name: _column(path, name, [row.get(name) for row in rows], numbers) for name in names}),
            numbers,
        )


def _column(path: Path, name: str, values: list[Any], numbers: Sequence[int]) -> pl.Series:
    _check_text(path, numbers[0], "the name of a field", name)
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int} and all(value is None or abs(value) < _MOST_INTEGER for value in values):
        return pl.Series(name, values, dtype=pl.Int64)
    if kinds and kinds <= {int, float}:
        try:
            return pl.Series(name, [None if value is None else float(value) for value in values], dtype=pl.Float64)
        except OverflowError:
            pass
    return pl.Series(name, [_text(path, *one, name) for one in zip(numbers, values, strict=True)], dtype=pl.String)


def _text(path: Path, number: int, value: object, name: str) -> str | None:
    """Return a value as text, or as JSON if it is of another type."""
    if value is None:
        return None
    if not isinstance(value, str):
        try:
            return dumps(value)
        except ValueError:
            fail(path, number, f"field {shown(name)}: a number is too large for a 64-bit float")
    _check_text(path, number, f"field {shown(name)}", value)
    return value


def _check_text(path: Path, number: int, what: str, text: str) -> None:
    try:
        _ = text.isascii() or text.encode()
    except UnicodeEncodeError as error:
        fail(path, number, f"{what}: unpaired surrogate at character {error.start + 1}")
