"""Read a folder of texts and pages, with one article per file.

Input: a folder. Output: its files in the order of their names. Any other file is an error, because a silently skipped
file would leave a gap in the user's data. Hidden files, which operating systems create in any folder, are skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.articles.faults import shown
from potstill.errors import ArticleError

if TYPE_CHECKING:
    from pathlib import Path

KINDS = (".txt", ".html", ".htm")
"""The endings of the files that a folder may contain."""


def files_in(folder: Path) -> list[Path]:
    """Return the files that are articles.

    Raises:
        ArticleError: the folder contains anything else, contains no such file, or cannot be read.
    """
    try:
        found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise ArticleError(f"{folder}: cannot be read ({error.strerror})") from None
    expected = f"a folder of articles may contain only {', '.join(KINDS)} files"
    for path in found:
        if not path.name.lower().endswith(KINDS) or not path.is_file():
            raise ArticleError(f"{folder}: contains {shown(path.name)}; {expected}")
    if not found:
        raise ArticleError(f"{folder}: is empty; {expected}")
    return found
