"""Write articles and results to a file of any supported kind.

Input: data frames, in order. Output: one file, written atomically, or lines on stdout.
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
    """The writer of `open_writer`: it takes data frames in order and completes the file when the `with` block ends."""

    def write(self, frame: pl.DataFrame) -> None:
        """Append the rows of a data frame; all data frames have the same columns."""
        ...


@contextmanager
def open_writer(path: str | Path) -> Iterator[Writer]:
    """Open a file of articles or results for writing, by its ending (see `FORMATS`), or `-` for stdout.

    The file replaces an existing one when the block ends without error; after an error, a crash or a full disk the old
    file is unchanged. A pipe or a device receives rows as they come, or a Parquet file once it is complete; without
    another ending, its format is JSON Lines. In JSONL, the object in `extra` is expanded into fields of the row; a
    column of the data frame takes precedence over a field of the same name. In CSV, lists and structs become JSON.

    Raises:
        ArticleError: the ending is unknown, or the path is a folder.
        BadInput: the disk is full or the folder is not writable.
        BrokenPipeError: the reader of the pipe has stopped.
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
    """Open the target for the bytes of a file."""
    if str(path) == STANDARD:
        with standard_output() as sink:
            yield cast("IO[bytes]", sink)
    elif is_stream(Path(path)):
        with open_stream(Path(path)) as sink:
            yield cast("IO[bytes]", sink)
    else:
        with replacing(Path(path)) as temporary, temporary.open("wb") as raw:
            yield raw
