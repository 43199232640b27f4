"""Add new articles to those of a run.

Input: a file of articles. Output: the run's file with the new articles added, or an error that names the row, with the
run's file unchanged.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import polars as pl

from potstill.articles import open_writer, read_articles, read_numbered, refuse_duplicates
from potstill.errors import ArticleError

if TYPE_CHECKING:
    from pathlib import Path


def add_articles(target: Path, source: str | Path) -> int:
    """Add a file's articles to a run and return how many are new; if one is invalid, nothing is changed.

    Raises:
        ArticleError: as in `label_run`.
    """
    known: dict[str, bytes] = {}
    added = 0
    try:
        with open_writer(target) as writer:
            if target.exists():
                for frame in read_articles(target):
                    known.update(_fingerprints(frame))
                    writer.write(frame)
            before = len(known)
            seen: dict[str, int] = {}
            for frame, rows in read_numbered(source):
                refuse_duplicates(source, frame, rows, seen)
                new = frame.filter(_unknown(source, frame, rows, known))
                added += new.height
                writer.write(new)
            _refuse_nothing(source, rows=len(seen) + before, added=added)
    except _NothingNewError:
        return 0
    except pl.exceptions.PolarsError as error:
        raise ArticleError(f"{source}: its columns are not compatible with those of {target} ({error})") from None
    return added


def _refuse_nothing(source: str | Path, *, rows: int, added: int) -> None:
    if not rows:
        raise ArticleError(f"{source}: contains no articles")
    if not added:
        raise _NothingNewError


class _NothingNewError(Exception):
    """No article is new, so the file is left unchanged."""


def _fingerprints(frame: pl.DataFrame) -> dict[str, bytes]:
    return {
        id_: hashlib.sha256(f"{title}\0{content}".encode()).digest()
        for id_, title, content in frame.select("id", "title", "content").iter_rows()
    }


def _unknown(source: str | Path, frame: pl.DataFrame, rows: list[int], known: dict[str, bytes]) -> pl.Series:
    """Return which rows are new to the run."""
    mask = []
    for row, (id_, print_) in zip(rows, _fingerprints(frame).items(), strict=True):
        if known.get(id_, print_) != print_:
            raise ArticleError(f"{source}: line {row}: id {id_!r} is already in the run, with a different text")
        mask.append(id_ not in known)
    return pl.Series(mask, dtype=pl.Boolean)
