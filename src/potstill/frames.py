"""Convert between Polars and the tables that users have, so that a table goes in and the same kind comes out.

Input: a table of pandas, Polars, PyArrow, Hugging Face datasets or any library that narwhals supports, or a list of
dicts. Output: a Polars frame, and a result of the caller's kind. pandas and PyArrow are never imported here unless the
caller's own table needs them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import narwhals as nw
import polars as pl

from potstill.errors import BadInput

Table = Any
"""A data frame of pandas, Polars, PyArrow or another library that narwhals supports; a Hugging Face `Dataset`; a list
of dicts, one per row; or a dict of columns."""

KINDS = "a pandas, Polars or PyArrow table, a Hugging Face dataset, a list of dicts or a dict of columns"


def to_polars(table: Table) -> pl.DataFrame:
    """Return a table as a Polars frame; a Polars frame is returned as it is.

    Raises:
        BadInput: the table is of no supported kind, or its rows or columns do not fit together.
    """
    if isinstance(table, pl.DataFrame | pl.LazyFrame):
        return table.lazy().collect()
    if _is_dataset(table):
        return pl.DataFrame(table.with_format("arrow")[:])
    if isinstance(table, Mapping):
        return _of_columns({str(name): list(values) for name, values in table.items()})
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


def _of_native(table: Table) -> pl.DataFrame:
    try:
        frame = nw.from_native(table, eager_only=True)
    except TypeError:
        raise BadInput(f"a table is needed ({KINDS}); got {type(table).__name__}") from None
    if frame.implementation.is_pandas_like():
        # Without PyArrow, pandas cannot hand over text in any other way.
        return _of_columns({str(name): frame[name].to_list() for name in frame.columns})
    found: pl.DataFrame = frame.to_polars()
    return found


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
        except (TypeError, pl.exceptions.PolarsError) as error:
            raise BadInput(f"column {name}: its values are of different types ({error})") from None
    return pl.DataFrame(series)
