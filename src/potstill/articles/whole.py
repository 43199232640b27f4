"""Read files that contain articles as a whole: pages, feeds, and folders of texts and pages.

Input: a path and its kind. Output: batches as from any other file; metadata of a page or a feed (`source`, `language`,
`published`...) are separate columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from potstill.articles import feeds, pages
from potstill.articles.endings import FEEDS, FOLDER, PAGES
from potstill.articles.folders import files_in
from potstill.articles.rows import Batch, Columns, OnEmpty, chunks, take
from potstill.articles.text_files import text_article

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def whole_batches(path: Path, kind: str, batch_size: int, on_empty: OnEmpty) -> Iterator[Batch]:
    """Yield the articles of a file or a folder, at least one batch; `kind` is the result of `existing_input`."""
    if kind in FEEDS:
        yield from _batches(((path, row) for row in feeds.feed_articles(path)), feeds.COLUMNS, batch_size, on_empty)
        return
    files = files_in(path) if kind == FOLDER else [path]
    columns = pages.COLUMNS if any(_is_page(file) for file in files) else ()
    rows = ((file, pages.page_article(file, on_empty) if _is_page(file) else text_article(file)) for file in files)
    yield from _batches(rows, columns, batch_size, on_empty)


def count_whole(path: Path, kind: str) -> int:
    """Return the number of articles."""
    if kind in FEEDS:
        return feeds.count_entries(path)
    return len(files_in(path)) if kind == FOLDER else 1


def _batches(
    rows: Iterator[tuple[Path, dict[str, Any]]], names: tuple[str, ...], batch_size: int, on_empty: OnEmpty
) -> Iterator[Batch]:
    found = False
    numbered = ((number, *row) for number, row in enumerate(rows, start=1))
    for batch in chunks(numbered, batch_size):
        columns = Columns()
        for number, file, row in batch:
            take(file, number, row, on_empty, columns)
        found = True
        yield _with_columns(columns.frame(), names, [row for _, _, row in batch]), columns.rows
    if not found:
        yield _with_columns(Columns().frame(), names, []), []


def _with_columns(frame: pl.DataFrame, names: tuple[str, ...], rows: list[dict[str, Any]]) -> pl.DataFrame:
    # `take` has left in the rows everything except id, title and content.
    others = {name: [row.get(name) for row in rows] for name in names}
    return frame.with_columns(pl.Series(name, values, dtype=pl.String) for name, values in others.items())


def _is_page(file: Path) -> bool:
    return file.name.lower().endswith(PAGES)
