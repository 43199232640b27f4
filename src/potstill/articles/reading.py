"""Read articles from a file of any supported kind.

Input: a path, or `-` for JSON Lines on stdin. Output: data frames in batches, with the line number of each row if
messages may need it.
"""

from __future__ import annotations

import sys
from typing import IO, TYPE_CHECKING, Any

import polars as pl

from potstill.articles.arriving import arriving
from potstill.articles.csv_files import csv_batches, csv_table
from potstill.articles.endings import FORMATS, existing_file, existing_input
from potstill.articles.faults import fail, place_of, shown
from potstill.articles.json_lines import json_batches, json_object
from potstill.articles.lines import lines_of
from potstill.articles.parquet_files import count_parquet, parquet_batches
from potstill.articles.rows import chunks
from potstill.articles.whole import count_whole, whole_batches
from potstill.errors import ArticleError
from potstill.files import STANDARD, is_stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from potstill.articles.rows import Batch, OnEmpty


def read_articles(
    path: str | Path, *, batch_size: int = 1000, on_empty: OnEmpty = "error", as_text: bool = False
) -> Iterator[pl.DataFrame]:
    """Read articles in batches.

    The content of a pipe is yielded as it arrives: a batch contains what arrived within half a second of its first
    line, and an empty batch means that nothing else has arrived.

    Args:
        path: a file with one of the endings in `INPUTS`, a folder of texts and pages, or `-` for JSON Lines on stdin.
        batch_size: number of rows in each data frame except the last.
        on_empty: whether an article with neither title nor content is an error, or kept with empty strings.
        as_text: whether a date or time that cannot be written as text is an error.

    Yields:
        Data frames with the columns `id`, `title`, `content` (String, never null) and the passed-through ones; if there
        are no articles, one data frame without rows.

    Raises:
        ArticleError: the file is missing or broken, or a row is invalid; the message names row and field.
        MissingExtra: the extra `web`, which pages and feeds require, is not installed.
    """
    for frame, _ in _batches(path, batch_size, on_empty, as_text=as_text):
        yield frame


def read_all(path: str | Path, *, on_empty: OnEmpty = "error", as_text: bool = False) -> pl.DataFrame:
    """Read a whole file of articles at once; see `read_articles`.

    Raises:
        ArticleError: as in `read_articles`, or two rows have the same id; the message names both.
    """
    seen: dict[str, int] = {}
    frames: list[pl.DataFrame] = []
    for frame, rows in _batches(path, 1000, on_empty, as_text=as_text):
        refuse_duplicates(path, frame, rows, seen)
        frames.append(frame)
    return pl.concat(frames, how="diagonal_relaxed")


def read_numbered(path: str | Path, *, batch_size: int = 1000, on_empty: OnEmpty = "error") -> Iterator[Batch]:
    """Read articles as `read_articles` does, with the number of each article's line (or row, from 1)."""
    yield from _batches(path, batch_size, on_empty)


def read_objects(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the JSON objects of a .jsonl, .jsonl.gz or .jsonl.zst file, with their line numbers from 1.

    Raises:
        ArticleError: the file is missing, broken or of another kind, or a line is not a JSON object.
    """
    path, ending = existing_file(path)
    if not ending.startswith(".jsonl"):
        raise ArticleError(f"{path}: expected JSON lines (.jsonl, .jsonl.gz or .jsonl.zst)")
    for number, line in lines_of(path, ending):
        if line.strip():
            yield number, json_object(path, number, line)


def refuse_duplicates(path: str | Path, frame: pl.DataFrame, rows: list[int], seen: dict[str, int]) -> None:
    """Add the ids of a batch to `seen` (id -> row).

    Raises:
        ArticleError: an id occurred before; the message names both rows.
    """
    for id_, row in zip(frame["id"], rows, strict=True):
        first = seen.setdefault(id_, row)
        if first != row:
            fail(path, row, f"duplicate id {shown(id_)}, already at {place_of(path, first).rstrip(': ')}")


def count_articles(path: str | Path) -> int | None:
    """Return the number of articles in a file; None for stdin or another pipe, which can be read only once.

    Raises:
        ArticleError: the file is missing or broken; the rows themselves are not checked.
    """
    if str(path) == STANDARD:
        return None
    path, ending = existing_input(path)
    if is_stream(path):
        return None
    if ending not in FORMATS:
        return count_whole(path, ending)
    if ending == ".parquet":
        return count_parquet(path)
    if ending == ".csv":
        return sum(1 for _ in csv_table(path)[1])
    return sum(1 for _, line in lines_of(path, ending) if line.strip())


def _batches(path: str | Path, batch_size: int, on_empty: OnEmpty, *, as_text: bool = False) -> Iterator[Batch]:
    if str(path) == STANDARD:
        yield from json_batches("stdin", arriving("stdin", _standard_input(), batch_size), on_empty)
        return
    path, ending = existing_input(path)
    if ending not in FORMATS:
        yield from whole_batches(path, ending, batch_size, on_empty)
    elif ending == ".parquet":
        yield from parquet_batches(path, batch_size, on_empty, as_text=as_text)
    elif ending == ".csv":
        yield from csv_batches(path, batch_size, on_empty)
    elif ending == ".jsonl" and is_stream(path):
        with path.open("rb", buffering=0) as pipe:
            yield from json_batches(path, arriving(path, pipe, batch_size), on_empty)
    else:
        lines = ((number, line) for number, line in lines_of(path, ending) if line.strip())
        yield from json_batches(path, chunks(lines, batch_size), on_empty)


def _standard_input() -> IO[bytes]:
    if sys.stdin is None:
        raise ArticleError("stdin: is closed")
    return sys.stdin.buffer
