"""Articles and results to a file of any kind.

In: frames, in order. Out: one file that takes its place when all are written, or lines on stdout.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from potstill.articles.compression import compressed
from potstill.articles.csv_files import CsvWriter
from potstill.articles.endings import ending_of
from potstill.articles.json_lines import JsonLinesWriter
from potstill.articles.parquet_files import parquet_writer
from potstill.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl


class Writer(Protocol):
    """What `open_writer` gives: frames go in, in order, and a file comes out when the `with` block ends."""

    def write(self, frame: pl.DataFrame) -> None:
        """Append the rows of a frame; all frames have the same columns."""
        ...


@contextmanager
def open_writer(path: str | Path) -> Iterator[Writer]:
    """Open a file of articles or results for writing, by its ending (see `FORMATS`), or `-` for stdout.

    The file takes its place when the block ends well; after an error, a kill or a full disk the old one is
    as it was. In JSONL the object in `extra` is unfolded into fields of the row again, and a column of the frame
    wins over a field of the same name; lists and structs become JSON in CSV.

    Raises:
        ArticleError: the ending is unknown.
        BadInput: the disk is full or the folder cannot be written.
    """
    if str(path) == "-":
        yield JsonLinesWriter(sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    path = Path(path)
    ending = ending_of(path)
    with replacing(path) as temporary:
        if ending == ".parquet":
            with parquet_writer(temporary) as writer:
                yield writer
        else:
            with temporary.open("wb") as raw, compressed(raw, ending) as stream:
                yield CsvWriter(path, stream) if ending == ".csv" else JsonLinesWriter(stream)
