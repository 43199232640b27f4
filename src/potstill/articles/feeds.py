"""Read a saved RSS or Atom feed, with one article per entry.

Input: an `.xml`, `.rss` or `.atom` file. Output: its entries. The id is the entry's link and the text is its content,
else its summary, without tags. `published` is in ISO 8601 if the feed's own text is unambiguous, else unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from potstill.articles.foreign import read_foreign
from potstill.terminal import note
from potstill.times import TimeError, read_time

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = ("source", "language", "published", "author")
"""The metadata of an entry; null where the feed does not state it."""


def feed_articles(path: Path) -> list[dict[str, Any]]:
    """Return the entries of a feed, in order.

    Raises:
        ArticleError: the file cannot be read, is truncated or is not a feed.
        MissingExtra: the extra `web` is not installed.
    """
    found = read_foreign(path, "feed")
    if found["fault"] is not None:
        note(f"{path}: is not well-formed XML ({found['fault']}), so part of an entry may be missing")
    return [_article(entry) for entry in found["entries"]]


def count_entries(path: Path) -> int:
    """Return the number of entries of a feed.

    Raises:
        ArticleError, MissingExtra: as in `feed_articles`.
    """
    return len(read_foreign(path, "feed")["entries"])


def _article(entry: dict[str, Any]) -> dict[str, Any]:
    published = entry["published"] or entry["updated"]
    return {
        "id": entry["id"],
        "title": entry["title"],
        "content": entry["text"],
        "source": entry["source"],
        "language": entry["language"],
        "published": None if published is None else _in_iso(published),
        "author": entry["author"],
    }


def _in_iso(text: str) -> str:
    try:
        return read_time(text).isoformat()
    except TimeError:
        return text
