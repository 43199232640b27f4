"""Convert rows to data frames; shared by all formats.

Input: rows as fields by name, with their numbers. Output: the checked columns `id`, `title` and `content`. All other
fields stay in the row, and the format passes them through.
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
"""Maximum length of a title or content, in characters.

A longer text is a mistake in the source (a page dump, a joined file), not an article. It is counted in characters, so
that the limit is the same for all scripts.
"""

MOST_COLUMNS = 5000
"""Maximum number of columns; a wider table does not contain articles, and would take minutes."""

MAX_ID_CHARACTERS = 1000
"""Maximum length of an id, in characters."""

TEXT_COLUMNS = ("content", "text", "body", "full_text")
"""Fields that may hold the text; the first of them that is there does."""

T = TypeVar("T")

OnEmpty = Literal["error", "keep"]

Batch: TypeAlias = tuple[pl.DataFrame, list[int]]
"""A data frame, and the line number (or row number, from 1) of each of its rows."""


def article_id(title: str, content: str) -> str:
    """Return the id of an article that has none: `sha-` and 16 hex digits of its content's SHA-256."""
    return "sha-" + hashlib.sha256(f"{title}\0{content}".encode()).hexdigest()[:16]


@dataclass(slots=True)
class Columns:
    """A batch under construction; `extra`, the other fields of each row as JSON, is used only for JSONL."""

    rows: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    contents: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)

    def frame(self) -> pl.DataFrame:
        """Return the columns as a data frame, all String."""
        columns = {"id": self.ids, "title": self.titles, "content": self.contents}
        if self.extra:
            columns["extra"] = self.extra
        return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def chunks(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the rows in lists of `size`; the last one may be shorter."""
    rows = iter(rows)
    while batch := list(islice(rows, size)):
        yield batch


def take(path: str | Path, number: int, row: dict[str, Any], on_empty: OnEmpty, columns: Columns) -> None:
    """Move id, title and content from a row to the columns, after checking them.

    Raises:
        ArticleError: one of them is invalid, or there is no content.
    """
    refuse_without_content(path, row, number)
    name = text_field(row) or "content"
    title = _text(path, number, "title", row.pop("title", None))
    content = _text(path, number, name, row.pop(name))
    if on_empty == "error" and not title.strip() and not content.strip():
        fail(path, number, f"field {name}: the title and the {name} are both empty")
    columns.rows.append(number)
    columns.ids.append(_id(path, number, row.pop("id", None)) or article_id(title, content))
    columns.titles.append(title)
    columns.contents.append(content)


def text_field(names: Collection[str]) -> str | None:
    """Return the field that holds the text, or None if there is none."""
    return next((name for name in TEXT_COLUMNS if name in names), None)


def refuse_without_content(path: str | Path, names: Collection[str], number: int = 1) -> None:
    """Reject a row, or a header of columns, without the only required field.

    Raises:
        ArticleError: none of `TEXT_COLUMNS` is among the names.
    """
    if text_field(names) is None:
        near = "; the fields are " + ", ".join(map(shown, islice(names, 8))) if names else ""
        fail(path, number, f"field content is missing{near}")


def refuse_many_columns(path: str | Path, columns: int) -> None:
    """Reject a table that has too many columns.

    Raises:
        ArticleError: it has more than `MOST_COLUMNS` columns.
    """
    if columns > MOST_COLUMNS:
        fail(path, 1, f"{columns:,} columns; at most {MOST_COLUMNS:,} are allowed")


def _text(path: str | Path, number: int, name: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        fail(path, number, f"field {name}: expected text, got {kind_of(value)}")
    if "\0" in value:
        fail(path, number, f"field {name}: contains a NUL character")
    if len(value) > MAX_TEXT_CHARACTERS:
        fail(path, number, f"field {name}: {len(value):,} characters; at most {MAX_TEXT_CHARACTERS:,} are allowed")
    try:
        # Python knows whether a text is ASCII without scanning it.
        _ = value.isascii() or value.encode()
    except UnicodeEncodeError as error:
        fail(path, number, f"field {name}: unpaired surrogate at character {error.start + 1}")
    return value


def _id(path: str | Path, number: int, value: object) -> str:
    """Return the id as text; empty if there is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = _text(path, number, "id", value)
    if len(text) > MAX_ID_CHARACTERS:
        fail(path, number, f"field id: {len(text):,} characters; at most {MAX_ID_CHARACTERS:,} are allowed")
    return text
