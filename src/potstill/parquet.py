"""Read untrusted Parquet files in a separate process.

Input: a path. Output: tables, or a one-line error. A broken or malicious file can crash the reading library or make it
request more memory than there is, so a separate process reads the files (`potstill.parquet_process`). It is started for
the first file, serves all later ones, and ends with this process.
"""

from __future__ import annotations

import errno
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from potstill.errors import BadInput
from potstill.files import is_stream
from potstill.processes import ANSWER, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROWS_AT_ONCE = 100_000
"""Number of rows per request when a whole table is read."""


@dataclass(frozen=True, slots=True, eq=False)
class ParquetFile:
    """A file with known columns and a known number of rows; created by `open_parquet`."""

    path: Path
    rows: int
    columns: pl.DataFrame
    """A data frame with the columns and no rows."""
    _facts: dict[str, Any]

    def slices(self, size: int, *, as_text: bool = False) -> Iterator[pl.DataFrame]:
        """Yield all rows, at most `size` at a time.

        Args:
            size: maximum number of rows per data frame.
            as_text: whether to reject dates and times that cannot be written as text.

        Raises:
            BadInput: the file is broken or has changed since it was opened.
        """
        start = 0
        while start < self.rows:
            facts, frame = _ask(self.path, start=start, rows=size, text=as_text)
            if any(facts[name] != self._facts[name] for name in facts):
                raise BadInput(f"{self.path}: has changed while it was read")
            if not frame.height:
                raise _unreadable(self.path, f"it states {self.rows:,} rows but contains {start:,}")
            yield frame
            start += frame.height


def open_parquet(path: str | Path) -> ParquetFile:
    """Open a file.

    Raises:
        BadInput: the path does not exist or is not a readable Parquet file.
    """
    path = Path(path)
    if is_stream(path):
        raise BadInput(
            f"{path}: Parquet cannot be read from a pipe, because its index is at the end; save it to a file"
        )
    facts, none = _ask(path)
    rows = facts.pop("rows")
    return ParquetFile(path, rows, none, facts)


def read_parquet(path: str | Path) -> pl.DataFrame:
    """Read a whole file as one table.

    Raises:
        BadInput: as in `open_parquet`.
    """
    file = open_parquet(path)
    return pl.concat([file.columns, *file.slices(_ROWS_AT_ONCE)])


def _unreadable(path: Path, why: str) -> BadInput:
    return BadInput(f"{path}: not a readable Parquet file ({why})")


def _ask(path: Path, **request: object) -> tuple[dict[str, Any], pl.DataFrame]:
    try:
        kind, facts, table = _PROCESS.ask({"path": os.path.join(os.getcwd(), path), **request})  # noqa: PTH109, PTH118
    except EOFError as error:
        raise _unreadable(path, str(error)) from None
    if kind != ANSWER and facts["reason"] == os.strerror(errno.ENOENT):
        raise BadInput(f"{path}: no such file")
    if kind != ANSWER and facts["of_system"]:
        raise BadInput(f"{path}: cannot be read ({facts['reason']})")
    if kind != ANSWER:
        raise _unreadable(path, facts["reason"])
    return facts, pl.read_ipc_stream(io.BytesIO(table))


_PROCESS = Worker("potstill.parquet_process")
