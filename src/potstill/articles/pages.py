"""A web page that was saved as a file: one article.

In: an `.html` file. Out: its article, without menus, advertisements and comments, as trafilatura finds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from potstill.articles.faults import fail
from potstill.articles.foreign import read_foreign

if TYPE_CHECKING:
    from pathlib import Path

    from potstill.articles.rows import OnEmpty

COLUMNS = ("source", "language", "published", "url")
"""What is known of a page beside its article; null where the page does not say."""


def page_article(path: Path, on_empty: OnEmpty) -> dict[str, Any]:
    """The article of a page, with the file's name as its id.

    Raises:
        ArticleError: it cannot be read, or has no article and `on_empty` says that this is an error.
        MissingExtra: the extra `web` is not installed.
    """
    found = read_foreign(path, "page")
    if on_empty == "error" and not (found["text"] or "").strip():
        fail(path, 1, "no text of an article is found in the page")
    return {"id": path.name, "title": found["title"], "content": found["text"]} | {
        name: found[name] for name in COLUMNS
    }
