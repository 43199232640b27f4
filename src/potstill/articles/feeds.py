"""An RSS or Atom feed that was saved as a file: an article for each entry.

In: an `.xml`, `.rss` or `.atom` file. Out: its entries. The id is the entry's link, the text its content or else its
summary, without tags, and `published` is in ISO 8601 where the feed's own text is certain, and else as it stands there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from potstill.articles.foreign import read_foreign
from potstill.terminal import note
from potstill.times import TimeError, read_time

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = ("source", "language", "published", "author")
"""What is known of an entry beside its text; null where the feed does not say."""


def feed_articles(path: Path) -> list[dict[str, Any]]:
    """The entries of a feed, in its order.

    Raises:
        ArticleError: it cannot be read, is cut short or is no feed.
        MissingExtra: the extra `web` is not installed.
    """
    found = read_foreign(path, "feed")
    if found["fault"] is not None:
        note(f"{path}: is not well-formed XML ({found['fault']}), so an entry may have lost a part")
    return [_article(entry) for entry in found["entries"]]


def count_entries(path: Path) -> int:
    """How many entries a feed has.

    Raises:
        ArticleError, MissingExtra: as `feed_articles`.
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
