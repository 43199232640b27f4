"""Parquet, both ways.

In: a file, or frames. Out: batches whose other columns keep their types; or a file, written in parts that are
joined at the end. Memory grows with neither.
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
from potstill.articles.rows import Batch, Columns, OnEmpty, refuse_many_columns, refuse_without_content, take
from potstill.errors import ArticleError, BadInput
from potstill.parquet import open_parquet

if TYPE_CHECKING:
    from collections.abc import Iterator

_PART_ROWS = 2_000
"""Rows of a part: a few megabytes of articles."""

_GROUP_BYTES = 4_000_000
"""What a row group of the joined file holds, as far as rows are of one size. Each group costs a writer tens of
kilobytes until the file is done, and a reader as many."""


def parquet_batches(path: Path, batch_size: int, on_empty: OnEmpty, *, as_text: bool) -> Iterator[Batch]:
    """The articles of a file, at least one batch; a row is checked when its batch is reached.

    `as_text` refuses dates and times that could not be written as text.
    """
    with _errors():
        file = open_parquet(path)
    refuse_many_columns(path, file.columns.width)
    refuse_without_content(path, file.columns.columns)
    if not file.rows:
        yield _checked(path, file.columns, 0, on_empty)
    start = 0
    # A slice at a time, because the streaming engine reads several row groups ahead.
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
    """How many rows a file says it has."""
    with _errors():
        return open_parquet(path).rows


def _checked(path: Path, frame: pl.DataFrame, start: int, on_empty: OnEmpty) -> Batch:
    known = [name for name in ("id", "title", "content") if name in frame.columns]
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
    """Parts are written as they come and joined at the end, a row group at a time: memory stays constant."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: list[pl.DataFrame] = []
        self._rows = 0
        self._bytes = self._written = 0
        self._none = pl.DataFrame()
        """No rows, with the columns of all frames so far."""
        self.parts: list[Path] = []

    def write(self, frame: pl.DataFrame) -> None:
        """Take the rows of a frame; now and then, what has gathered becomes a part."""
        self._waiting.append(frame)
        self._rows += frame.height
        if self._rows >= _PART_ROWS:
            self.flush()

    def flush(self) -> None:
        """Make a part of the rows that wait."""
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
        """Make the file of all parts."""
        self.flush()
        if len(self.parts) == 1:
            self.parts[0].replace(target)
            return
        rows = max(_PART_ROWS, _GROUP_BYTES * self._written // max(self._bytes, 1))
        with _as_os_errors():
            _joined(self.parts, self._none).sink_parquet(target, row_group_size=rows)


def _joined(parts: list[Path], none: pl.DataFrame) -> pl.LazyFrame:
    """The rows of all parts, with the columns of `none`: read one part after the other, where a scan reads ahead."""
    if not parts:
        return none.lazy()

    def frames(*_: object) -> Iterator[pl.DataFrame]:
        # The sink below asks for no columns, rows or sizes of its own: it takes all.
        for part in parts:
            yield pl.concat([none, pl.read_parquet(part, glob=False)], how="diagonal_relaxed")

    return register_io_source(frames, schema=none.schema)


@contextmanager
def parquet_writer(target: Path) -> Iterator[ParquetWriter]:
    """A writer whose parts lie beside `target`, which is there once the block ends well."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".parts.", suffix=".part") as folder:
        writer = ParquetWriter(Path(folder))
        yield writer
        writer.join(target)


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """Polars reports a full disk as a text that ends in `(os error 28)`; here it becomes an OSError again."""
    try:
        yield
    except (pl.exceptions.ComputeError, OSError) as error:
        found = re.search(r"os error (\d+)", str(error))
        if found is None:
            raise
        number = int(found.group(1))
        raise OSError(number, os.strerror(number)) from error
