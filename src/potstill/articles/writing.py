"""Articles and results to a file of any kind.

In: frames, in order. Out: one file that takes its place when all are written, or lines on stdout.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol, cast

from potstill.articles.compression import compressed
from potstill.articles.csv_files import CsvWriter
from potstill.articles.endings import form_of
from potstill.articles.json_lines import JsonLinesWriter
from potstill.articles.parquet_files import parquet_writer
from potstill.files import STANDARD, is_stream, open_stream, replacing, standard_output

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
    as it was. A pipe or a device is written to as rows come, and Parquet to one when all are there; without an ending
    that says otherwise it gets JSON lines. In JSONL the object in `extra` is unfolded into fields of the row again,
    and a column of the frame wins over a field of the same name; lists and structs become JSON in CSV.

    Raises:
        ArticleError: the ending is unknown, or the file is a folder.
        BadInput: the disk is full or the folder cannot be written.
        BrokenPipeError: whoever read the pipe has stopped.
    """
    ending = form_of(path)
    if ending == ".parquet":
        with replacing(Path(path)) as temporary, parquet_writer(temporary) as writer:
            yield writer
        return
    with _opened(path) as raw, compressed(raw, ending) as stream:
        yield CsvWriter(path, stream) if ending == ".csv" else JsonLinesWriter(stream)


@contextmanager
def _opened(path: str | Path) -> Iterator[IO[bytes]]:
    """Where the bytes of a file go."""
    if str(path) == STANDARD:
        with standard_output() as sink:
            yield cast("IO[bytes]", sink)
    elif is_stream(Path(path)):
        with open_stream(Path(path)) as sink:
            yield cast("IO[bytes]", sink)
    else:
        with replacing(Path(path)) as temporary, temporary.open("wb") as raw:
            yield raw
