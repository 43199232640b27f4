"""Read plain text files, with one article per file.

Input: a `.txt` file of a folder. Output: an article, with the file name as its id.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Any

from potstill.articles.faults import fail
from potstill.articles.rows import MAX_TEXT_CHARACTERS

if TYPE_CHECKING:
    from pathlib import Path

_MOST_BYTES = 4 * MAX_TEXT_CHARACTERS


def text_article(path: Path) -> dict[str, Any]:
    """Read a file in UTF-8, or in UTF-16 with a byte order mark; line endings become Unix line endings.

    Raises:
        ArticleError: the file has another encoding, or is too long.
    """
    with path.open("rb") as stream:
        data = stream.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        fail(path, 1, f"is longer than {_MOST_BYTES:,} bytes")
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        fail(path, 1, f"not {encoding.removesuffix('-sig').upper()} at byte {error.start + 1}")
    return {"id": path.name, "title": "", "content": text.replace("\r\n", "\n").replace("\r", "\n")}
