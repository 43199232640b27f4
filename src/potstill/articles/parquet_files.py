"""Read and write Parquet.

Input: a file, or data frames. Output: batches whose other columns keep their types; or a file, written in parts that
are joined at the end. Memory use is independent of the file size.
"""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from polars.io.plugins import register_io_source

from potstill.articles.extra import own_extra
from potstill.articles.rows import (
    Batch,
    Columns,
    OnEmpty,
    refuse_many_columns,
    refuse_without_content,
    take,
    text_field,
)
from potstill.errors import ArticleError, BadInput
from potstill.parquet import open_parquet

if TYPE_CHECKING:
    from collections.abc import Iterator

_PART_ROWS = 2_000
"""Number of rows per part, a few megabytes of articles."""

_GROUP_BYTES = 4_000_000
"""Approximate size, in bytes, of a row group of the joined file.

Each group takes tens of kilobytes of memory in a writer until the file is complete, and as much in a reader.
"""


def parquet_batches(path: Path, batch_size: int, on_empty: OnEmpty, *, as_text: bool) -> Iterator[Batch]:
    """Yield the articles of a file, at least one batch; a row is checked when its batch is reached.

    `as_text` rejects dates and times that cannot be written as text.
    """
    with _errors():
        file = open_parquet(path)
    refuse_many_columns(path, file.columns.width)
    refuse_without_content(path, file.columns.columns)
    if not file.rows:
        yield _checked(path, file.columns, 0, on_empty)
    start = 0
    # The file is read in slices, because the streaming engine reads several row groups ahead.
    slices = file.slices(max(batch_size, 2000), as_text=as_text)
    while True:
        with _errors():
            big = next(slices, None)
        if big is None:
            return
        for frame in big.iter_slices(batch_size):
            yield _checked(path, frame, start, on_empty)
            start += frame.height


def count_parquet(path: Path) -> int:
    """Return the number of rows that a file states."""
    with _errors():
        return open_parquet(path).rows


def _checked(path: Path, frame: pl.DataFrame, start: int, on_empty: OnEmpty) -> Batch:
    known = [name for name in ("id", "title", text_field(frame.columns)) if name in frame.columns]
    columns = Columns()
    for number, row in enumerate(frame.select(known).iter_rows(named=True), start=start + 1):
        take(path, number, row, on_empty, columns)
    rest = frame.drop(known)
    return own_extra(path, pl.concat([columns.frame(), rest], how="horizontal")), columns.rows


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except BadInput as error:
        raise ArticleError(str(error)) from None


class ParquetWriter:
    """A writer that saves parts as they come and joins them at the end by row groups, in constant memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: list[pl.DataFrame] = []
        self._rows = 0
        self._bytes = self._written = 0
        self._none = pl.DataFrame()
        """A data frame without rows, with the columns of all data frames so far."""
        self.parts: list[Path] = []

    def write(self, frame: pl.DataFrame) -> None:
        """Add the rows of a data frame; collected rows are regularly written as a part."""
        self._waiting.append(frame)
        self._rows += frame.height
        if self._rows >= _PART_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the collected rows as a part."""
        if not self._waiting:
            return
        part = self._folder / f"{len(self.parts):06d}.parquet"
        frame = pl.concat(self._waiting, how="diagonal_relaxed")
        self._none = pl.concat([self._none, frame.clear()], how="diagonal_relaxed")
        with _as_os_errors():
            frame.write_parquet(part, row_group_size=_PART_ROWS)
        self._bytes += int(frame.estimated_size())
        self._written += frame.height
        self.parts.append(part)
        self._waiting, self._rows = [], 0

    def join(self, target: Path) -> None:
        """Join all parts into the file."""
        self.flush()
        if len(self.parts) == 1:
            self.parts[0].replace(target)
            return
        rows = max(_PART_ROWS, _GROUP_BYTES * self._written // max(self._bytes, 1))
        with _as_os_errors():
            _joined(self.parts, self._none).sink_parquet(target, row_group_size=rows)


def _joined(parts: list[Path], none: pl.DataFrame) -> pl.LazyFrame:
    """Return the rows of all parts, with the columns of `none`, read part by part because a scan reads ahead."""
    if not parts:
        return none.lazy()

    def frames(*_: object) -> Iterator[pl.DataFrame]:
        # The sink below requests all columns and rows, so these arguments can be ignored.
        for part in parts:
            yield pl.concat([none, pl.read_parquet(part, glob=False)], how="diagonal_relaxed")

    return register_io_source(frames, schema=none.schema)


@contextmanager
def parquet_writer(target: Path) -> Iterator[ParquetWriter]:
    """Yield a writer whose parts are stored next to `target`; `target` is written if the block ends without error."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".parts.", suffix=".part") as folder:
        writer = ParquetWriter(Path(folder))
        yield writer
        writer.join(target)


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """Convert Polars's report of a full disk, a text that ends in `(os error 28)`, back to an OSError."""
    try:
        yield
    except (pl.exceptions.ComputeError, OSError) as error:
        found = re.search(r"os error (\d+)", str(error))
        if found is None:
            raise
        number = int(found.group(1))
        raise OSError(number, os.strerror(number)) from error
