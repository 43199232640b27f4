"""A folder of texts and pages: a file is an article.

In: a folder. Out: its files in the order of their names. What is no text and no page is an error, because what is
passed over in silence is a hole in somebody's data; hidden files, which systems leave everywhere, are passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.articles.faults import shown
from potstill.errors import ArticleError

if TYPE_CHECKING:
    from pathlib import Path

KINDS = (".txt", ".html", ".htm")
"""The endings of what a folder may hold."""


def files_in(folder: Path) -> list[Path]:
    """The files that are articles.

    Raises:
        ArticleError: the folder holds anything else, or no such file, or cannot be read.
    """
    try:
        found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise ArticleError(f"{folder}: cannot be read ({error.strerror})") from None
    expected = f"a folder of articles holds {', '.join(KINDS)} files and nothing else"
    for path in found:
        if not path.name.lower().endswith(KINDS) or not path.is_file():
            raise ArticleError(f"{folder}: holds {shown(path.name)}; {expected}")
    if not found:
        raise ArticleError(f"{folder}: is empty; {expected}")
    return found
