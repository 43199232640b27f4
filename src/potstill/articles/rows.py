"""Rows to frames: what every format shares.

In: rows as fields by name, with the numbers they stand at. Out: the columns `id`, `title` and `content`, checked;
what else a row held stays in it, for the format to pass through.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import polars as pl

from potstill.articles.faults import fail, kind_of, shown

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

MAX_TEXT_CHARACTERS = 1_000_000
"""A longer title or content is a mistake upstream (a page dump, a joined file), not an article. Counted in characters,
so that no script has less room than another."""

MOST_COLUMNS = 5000
"""A table of more columns is no table of articles, and would take minutes."""

_MAX_ID_CHARS = 1000

T = TypeVar("T")

OnEmpty = Literal["error", "keep"]

Batch: TypeAlias = tuple[pl.DataFrame, list[int]]
"""A frame, and the number of the line (or row, from 1) that each of its rows stands at."""


def article_id(title: str, content: str) -> str:
    """The id of an article that came without one: `sha-` and 16 hex digits of its content's SHA-256."""
    return "sha-" + hashlib.sha256(f"{title}\0{content}".encode()).hexdigest()[:16]


@dataclass(slots=True)
class Columns:
    """A batch as it fills; `extra`, the JSON text of what else a row held, is for JSONL alone."""

    rows: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    contents: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)

    def frame(self) -> pl.DataFrame:
        """The columns, all String."""
        columns = {"id": self.ids, "title": self.titles, "content": self.contents}
        if self.extra:
            columns["extra"] = self.extra
        return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def chunks(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """The rows in lists of `size`, the last perhaps shorter."""
    rows = iter(rows)
    while batch := list(islice(rows, size)):
        yield batch


def take(path: str | Path, number: int, row: dict[str, Any], on_empty: OnEmpty, columns: Columns) -> None:
    """Move id, title and content out of a row and into the columns, checked.

    Raises:
        ArticleError: one of them is not legal, or there is no content.
    """
    refuse_without_content(path, row, number)
    title = _text(path, number, "title", row.pop("title", None))
    content = _text(path, number, "content", row.pop("content"))
    if on_empty == "error" and not title.strip() and not content.strip():
        fail(path, number, "field content: the text is empty, and so is the title")
    columns.rows.append(number)
    columns.ids.append(_id(path, number, row.pop("id", None)) or article_id(title, content))
    columns.titles.append(title)
    columns.contents.append(content)


def refuse_without_content(path: str | Path, names: Collection[str], number: int = 1) -> None:
    """Refuse a row, or a header of columns, without the one field that an article must have.

    Raises:
        ArticleError: `content` is not among the names.
    """
    if "content" not in names:
        near = "; there is " + ", ".join(map(shown, islice(names, 8))) if names else ""
        fail(path, number, f"field content is missing{near}")


def refuse_many_columns(path: str | Path, columns: int) -> None:
    """Refuse a table that is too wide.

    Raises:
        ArticleError: it has more than `MOST_COLUMNS`.
    """
    if columns > MOST_COLUMNS:
        fail(path, 1, f"{columns:,} columns, at most {MOST_COLUMNS:,} are read")


def _text(path: str | Path, number: int, name: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        fail(path, number, f"field {name}: expected text, got {kind_of(value)}")
    if "\0" in value:
        fail(path, number, f"field {name}: holds a NUL character")
    if len(value) > MAX_TEXT_CHARACTERS:
        fail(path, number, f"field {name}: {len(value):,} characters, at most {MAX_TEXT_CHARACTERS:,} are legal")
    try:
        # Text of one byte a character is known without looking at it.
        _ = value.isascii() or value.encode()
    except UnicodeEncodeError as error:
        fail(path, number, f"field {name}: half a surrogate pair at character {error.start + 1}")
    return value


def _id(path: str | Path, number: int, value: object) -> str:
    """The id as text; empty where there is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = _text(path, number, "id", value)
    if len(text) > _MAX_ID_CHARS:
        fail(path, number, f"field id: {len(text):,} characters, at most {_MAX_ID_CHARS:,} are legal")
    return text
