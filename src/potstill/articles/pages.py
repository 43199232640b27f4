"""Read a saved web page as one article.

Input: an `.html` file. Output: its article, without menus, advertisements and comments, as extracted by trafilatura.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from potstill.articles.faults import fail
from potstill.articles.foreign import read_foreign

if TYPE_CHECKING:
    from pathlib import Path

    from potstill.articles.rows import OnEmpty

COLUMNS = ("source", "language", "published", "url")
"""The metadata of a page; null where the page does not state it."""


def page_article(path: Path, on_empty: OnEmpty) -> dict[str, Any]:
    """Return the article of a page, with the file name as its id.

    Raises:
        ArticleError: the file cannot be read, or contains no article and `on_empty` makes this an error.
        MissingExtra: the extra `web` is not installed.
    """
    found = read_foreign(path, "page")
    if on_empty == "error" and not (found["text"] or "").strip():
        fail(path, 1, "no article text was found in the page")
    return {"id": path.name, "title": found["title"], "content": found["text"]} | {
        name: found[name] for name in COLUMNS
    }
