"""Convert between Polars and the tables that users have, so that a table goes in and the same kind comes out.

Input: a table of pandas, Polars, PyArrow, Hugging Face datasets or any library that narwhals supports, or a list of
dicts. Output: a Polars frame, and a result of the caller's kind. pandas and PyArrow are never imported here unless the
caller's own table needs them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import narwhals as nw
import polars as pl

from potstill.errors import BadInput, one_line

Table = Any
"""A data frame of pandas, Polars, PyArrow or another library that narwhals supports; a Hugging Face `Dataset`; a list
of dicts, one per row; or a dict of columns."""

KINDS = "a pandas, Polars or PyArrow table, a Hugging Face dataset, a list of dicts or a dict of columns"


def to_polars(table: Table) -> pl.DataFrame:
    """Return a table as a Polars frame; a Polars frame is returned as it is.

    Raises:
        BadInput: the table is of no supported kind, or its rows or columns do not fit together.
    """
    if isinstance(table, pl.DataFrame):
        return table
    if isinstance(table, pl.LazyFrame):
        return _collected(table)
    if _is_dataset(table):
        return pl.DataFrame(table.with_format("arrow")[:])
    if isinstance(table, Mapping):
        return _of_columns({str(name): _values(name, values) for name, values in table.items()})
    if isinstance(table, Sequence) and not isinstance(table, str | bytes):
        return _of_rows(table)
    return _of_native(table)


def like(result: pl.DataFrame, table: Table) -> Table:
    """Return a result as the same kind of table as the input that it belongs to.

    The result has the input's rows, in order, and its columns first, which may have been renamed; a pandas index and
    the types of the input's columns are kept.
    """
    if isinstance(table, pl.DataFrame | pl.LazyFrame):
        return result if isinstance(table, pl.DataFrame) else result.lazy()
    if _is_dataset(table):
        return type(table)(result.to_arrow())
    if isinstance(table, Mapping):
        return result.to_dict(as_series=False)
    return result.to_dicts() if isinstance(table, Sequence) else _like_native(result, table)


def _collected(table: pl.LazyFrame) -> pl.DataFrame:
    try:
        return table.collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise BadInput(f"the table cannot be computed ({one_line(str(error))})") from None


def _values(name: object, values: object) -> list[Any]:
    """Return a column of a dict of columns."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise BadInput(f"column {name}: expected a list of values, one per row; got {type(values).__name__}")
    return list(values)


def _of_native(table: Table) -> pl.DataFrame:
    try:
        frame = nw.from_native(table, eager_only=True)
    except TypeError:
        raise BadInput(f"a table is needed ({KINDS}); got {type(table).__name__}") from None
    except nw.exceptions.DuplicateError:
        raise BadInput(f"the names of the columns must differ; got {', '.join(map(str, table.columns))}") from None
    if frame.implementation.is_pandas_like():
        unusual = next((name for name in frame.columns if not isinstance(name, str)), None)
        if unusual is not None:
            raise BadInput(f"the names of the columns must be texts; got {unusual!r}")
        # Without PyArrow, pandas cannot hand over text in any other way.
        return _of_columns({name: _of_pandas(frame[name]) for name in frame.columns})
    found: pl.DataFrame = frame.to_polars()
    return found


def _of_pandas(column: nw.Series[Any]) -> list[Any]:
    """Return the values of a column of pandas; its kinds of missing values (NaN, NaT, NA) are None."""
    missing = column.is_null().to_list()
    return [None if gone else value for value, gone in zip(column.to_list(), missing, strict=True)]


def _like_native(result: pl.DataFrame, table: Table) -> Table:
    frame = nw.from_native(table, eager_only=True)
    if not frame.implementation.is_pandas_like():
        return result.to_arrow()
    names = result.columns[: len(frame.columns)]
    native = frame.rename(dict(zip(frame.columns, names, strict=True))).to_native()
    return native.assign(**{name: result[name].to_list() for name in result.columns[len(names) :]})


def _is_dataset(table: Table) -> bool:
    """Whether a table is a Hugging Face `Dataset`; the library is not imported to find out."""
    kind = type(table)
    return kind.__name__ == "Dataset" and kind.__module__.startswith("datasets.")


def _of_rows(rows: Sequence[Any]) -> pl.DataFrame:
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise BadInput(f"row {number}: expected a dict, got {type(row).__name__}")
    names = dict.fromkeys(str(name) for row in rows for name in row)
    return _of_columns({name: [row.get(name) for row in rows] for name in names})


def _of_columns(columns: Mapping[str, list[Any]]) -> pl.DataFrame:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise BadInput(f"the columns have different lengths: {shown}")
    series = []
    for name, values in columns.items():
        known = [None if isinstance(value, float) and value != value else value for value in values]  # noqa: PLR0124 - NaN
        try:
            series.append(pl.Series(name, known, strict=False))
        except UnicodeEncodeError:
            raise BadInput(f"column {name!a}: {_surrogate(name, known)}") from None
        except (TypeError, pl.exceptions.PolarsError) as error:
            raise BadInput(f"column {name}: its values are of different types ({one_line(str(error))})") from None
    return pl.DataFrame(series)


def _surrogate(name: str, values: Sequence[Any]) -> str:
    """Say where a column has half of a character, which no encoding can express."""
    row = next((row for row, value in enumerate(values, 1) if isinstance(value, str) and not _encodes(value)), None)
    where = "its name" if row is None or not _encodes(name) else f"row {row}"
    return f"{where}: unpaired surrogate; expected text that UTF-8 can encode"


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
