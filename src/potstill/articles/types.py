"""Check which column types a kind of file supports.

Input: a table's columns with their types, and an ending. Output: nothing, or an error that names the column, its type
and the kind of file. The check runs before any work is done for a result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from potstill.articles.endings import form_of
from potstill.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_KINDS = {".csv": "CSV", ".parquet": "Parquet"}
"""The names of file formats by their endings; all others are JSON Lines."""


def check_columns(path: str | Path, schema: Mapping[str, pl.DataType]) -> None:
    """Reject columns that cannot be written to the file that `open_writer` creates for this path.

    Raises:
        ArticleError: its ending is unknown.
        BadInput: a column is not supported; the message names it, its type and the kind of file.
    """
    kind = _KINDS.get(form_of(path), "JSON lines")
    found = not_in_parquet if kind == "Parquet" else not_in_json
    for name, dtype in schema.items():
        part = found(dtype)
        if part is not None:
            inside = "" if part == dtype else f" that contains {_named(part)}"
            other = "" if kind == "Parquet" else "write .parquet, or "
            raise BadInput(
                f"{path}: column {name} has the type {_named(dtype)}{inside}, which {kind} cannot represent; "
                f"{other}remove the column from the input"
            )


def not_in_json(dtype: pl.DataType) -> pl.DataType | None:
    """Return the type, or nested type, that JSON and CSV cannot represent; None if there is none."""
    return _first(dtype, lambda part: isinstance(part, pl.Binary | pl.Object | pl.Unknown))


def not_in_parquet(dtype: pl.DataType) -> pl.DataType | None:
    """Return the type, or nested type, that Parquet cannot represent; None if there is none."""
    return _first(
        dtype,
        lambda part: isinstance(part, pl.Object | pl.Unknown) or (isinstance(part, pl.Struct) and not part.fields),
    )


def _first(dtype: pl.DataType, wrong: Callable[[pl.DataType], bool]) -> pl.DataType | None:
    if wrong(dtype):
        return dtype
    inner: list[object] = []
    if isinstance(dtype, pl.Struct):
        inner = [field.dtype for field in dtype.fields]
    elif isinstance(dtype, pl.List | pl.Array):
        inner = [dtype.inner]
    # A type without parameters may be given as its class.
    parts = (part() if isinstance(part, type) else part for part in inner)
    found = (_first(part, wrong) for part in parts if isinstance(part, pl.DataType))
    return next((part for part in found if part is not None), None)


def _named(dtype: pl.DataType) -> str:
    """Return the name of a type, on one line and of limited length."""
    if isinstance(dtype, pl.Struct) and not dtype.fields:
        return "a struct without fields"
    text = " ".join(str(dtype).split())
    return text if len(text) <= 80 else text[:77] + "..."
