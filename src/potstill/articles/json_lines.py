"""Read and write JSON Lines, with one object per line.

Input: numbered lines, or data frames. Output: batches whose column `extra` contains the other fields of each line; or
lines, with the object in `extra` expanded into fields again.
"""

from __future__ import annotations

import io
import json
from typing import IO, TYPE_CHECKING, Any, NoReturn

from potstill.articles.extra import dumps, unfolded
from potstill.articles.faults import fail, kind_of
from potstill.articles.rows import Batch, Columns, OnEmpty, take

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import polars as pl


def json_batches(path: str | Path, groups: Iterable[list[tuple[int, bytes]]], on_empty: OnEmpty) -> Iterator[Batch]:
    """Yield the articles of numbered lines, one batch per group of lines, and at least one batch.

    `path` is the name of the file in errors. Blank lines are skipped.
    """
    found = False
    for group in groups:
        columns = Columns()
        for number, line in group:
            if line.strip():
                _take_line(path, number, line, on_empty, columns)
        found = True
        yield columns.frame(), columns.rows
    if not found:
        yield Columns().frame(), []


def _take_line(path: str | Path, number: int, line: bytes, on_empty: OnEmpty, columns: Columns) -> None:
    row = json_object(path, number, line)
    take(path, number, row, on_empty, columns)
    try:
        columns.extra.append(dumps(row))
    except ValueError:
        fail(path, number, "a number is too large for a 64-bit float")


def json_object(path: str | Path, number: int, line: bytes) -> dict[str, Any]:
    """Parse the object in a line.

    Raises:
        ArticleError: the line is not UTF-8, not JSON, or not an object.
    """
    if b"\0" in line:
        fail(path, number, "contains a NUL byte")
    try:
        text = line.rstrip(b"\r\n").decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        fail(path, number, f"not UTF-8 at byte {error.start + 1}")
    try:
        row = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        fail(path, number, f"broken JSON at column {error.colno} ({error.msg})")
    except RecursionError:
        fail(path, number, "JSON nested too deeply")
    except ValueError as error:
        fail(path, number, f"broken JSON ({error})")
    if not isinstance(row, dict):
        fail(path, number, f"expected a JSON object, got {kind_of(row)}")
    return row


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class JsonLinesWriter:
    """A writer of each row as an object on its own line."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, frame: pl.DataFrame) -> None:
        """Append the rows of a data frame."""
        if not frame.height:
            return
        if "extra" not in frame.columns:
            self._stream.write(frame.write_ndjson().encode())
            return
        names = [name for name in frame.columns if name != "extra"]
        lines = frame.select(names).write_ndjson().removesuffix("\n").split("\n") if names else ["{}"] * frame.height
        out = io.StringIO()
        for line, extra in zip(lines, frame["extra"], strict=True):
            rest = {key: value for key, value in unfolded(extra).items() if key not in names}
            joint = ", " if names and rest else ""
            out.write(f"{line[:-1]}{joint}{dumps(rest)[1:]}\n")
        self._stream.write(out.getvalue().encode())
