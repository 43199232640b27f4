"""Add new articles to those of a run.

Input: a file of articles. Output: the run's file with the new articles added, or an error that names the row, with the
run's file unchanged.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import polars as pl

from potstill.articles import open_writer, read_articles, read_numbered, refuse_duplicates
from potstill.articles.faults import fail
from potstill.errors import ArticleError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from potstill.articles.rows import Batch


def add_articles(target: Path, source: str | Path) -> int:
    """Add a file's articles to a run and return how many are new; if one is invalid, nothing is changed.

    Raises:
        ArticleError: as in `label_run`.
    """
    return add_batches(target, source, _distinct(source))


def add_batches(target: Path, source: str | Path, batches: Iterable[Batch]) -> int:
    """Add articles to a run and return how many are new; if one is invalid, nothing is changed.

    Args:
        target: the run's file of articles, which may not exist yet.
        source: the file that the articles are from, for errors.
        batches: data frames with the columns id, title and content, and the line number of each row; no id occurs
            twice.

    Raises:
        ArticleError: there are no articles, or an id is already in the run with another text.
    """
    known: dict[str, bytes] = {}
    rows = added = 0
    try:
        with open_writer(target) as writer:
            if target.exists():
                for frame in read_articles(target):
                    known.update(_fingerprints(frame))
                    writer.write(frame)
            before = len(known)
            for frame, numbers in batches:
                new = frame.filter(_unknown(source, frame, numbers, known))
                rows += frame.height
                added += new.height
                writer.write(new)
            _refuse_nothing(source, rows=rows + before, added=added)
    except _NothingNewError:
        return 0
    except pl.exceptions.PolarsError as error:
        raise ArticleError(f"{source}: its columns are not compatible with those of {target} ({error})") from None
    return added


def _distinct(source: str | Path) -> Iterator[Batch]:
    seen: dict[str, int] = {}
    for frame, rows in read_numbered(source):
        refuse_duplicates(source, frame, rows, seen)
        yield frame, rows


def _refuse_nothing(source: str | Path, *, rows: int, added: int) -> None:
    if not rows:
        raise ArticleError(f"{source}: contains no articles")
    if not added:
        raise _NothingNewError


class _NothingNewError(Exception):
    """No article is new, so the file is left unchanged."""


def fingerprint(title: str, content: str) -> bytes:
    """Return a hash by which two texts are compared."""
    return hashlib.sha256(f"{title}\0{content}".encode()).digest()


def _fingerprints(frame: pl.DataFrame) -> dict[str, bytes]:
    return {
        id_: fingerprint(title, content) for id_, title, content in frame.select("id", "title", "content").iter_rows()
    }


def _unknown(source: str | Path, frame: pl.DataFrame, rows: list[int], known: dict[str, bytes]) -> pl.Series:
    """Return which rows are new to the run."""
    mask = []
    for row, (id_, print_) in zip(rows, _fingerprints(frame).items(), strict=True):
        if known.get(id_, print_) != print_:
            fail(source, row, f"id {id_!r} is already in the run, with a different text")
        mask.append(id_ not in known)
    return pl.Series(mask, dtype=pl.Boolean)
