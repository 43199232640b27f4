"""Which kind of file a path is, by its ending.

In: a path. Out: its ending, one of `FORMATS` or of `INPUTS`, or an error that lists them.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from pathlib import Path

from potstill.errors import ArticleError
from potstill.files import STANDARD, is_stream

FORMATS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".csv", ".parquet")
"""The endings that are read and written; `-` is JSON lines on stdin or stdout."""

PAGES = (".html", ".htm")
"""The endings of web pages."""

FEEDS = (".xml", ".rss", ".atom")
"""The endings of RSS and Atom feeds."""

INPUTS = (*FORMATS, *PAGES, *FEEDS)
"""The endings that articles are read from; a folder of texts and pages is read, too."""

FOLDER = "folder"
"""The kind of a path that is a folder."""

_ADDRESS = re.compile(r"(https?|ftp|feed):/+(?=\S)", re.IGNORECASE)


def existing_input(path: str | Path) -> tuple[Path, str]:
    """The path of articles that are there, and their ending, or `FOLDER`.

    Raises:
        ArticleError: it is not there, its ending is unknown, or it is an address on the web.
    """
    _refuse_address(path)
    path = Path(path)
    if os.path.isdir(path):  # noqa: PTH112 - raises nothing
        if path.name.lower().endswith(INPUTS):
            raise ArticleError(f"{path}: is a folder, expected a file")
        return path, FOLDER
    ending = form_of(path, INPUTS)
    _status(path)
    return path, ending


def _status(path: Path) -> os.stat_result:
    """What is there.

    Raises:
        ArticleError: nothing is, or it cannot be looked at.
    """
    try:
        return path.stat()
    except FileNotFoundError:
        raise ArticleError(f"{path}: no such file") from None
    except OSError as error:
        raise ArticleError(f"{path}: cannot be read ({error.strerror})") from None


def _refuse_address(path: str | Path) -> None:
    """Refuse an address on the web, and say how to fetch what is there."""
    scheme = _ADDRESS.match(str(path))
    if scheme is None:
        return
    # A Path has made one slash of two.
    address = f"{scheme[1]}://{str(path)[scheme.end() :]}".replace("feed://", "https://")
    name = re.split(r"[?#]", address)[0].lower()
    ending = next((one for one in INPUTS if name.endswith(one)), ".html")
    file = f"page{ending}" if ending in PAGES else f"feed{ending}" if ending in FEEDS else f"articles{ending}"
    raise ArticleError(
        f"{address}: is an address on the web, and nothing is fetched here; fetch it first: "
        f"curl -L -o {file} {shlex.quote(address)}"
    )


def existing_file(path: str | Path) -> tuple[Path, str]:
    """The path of a file that is there, and its ending.

    Raises:
        ArticleError: it is a folder, or is not there, or the ending is unknown.
    """
    _refuse_address(path)
    path = Path(path)
    ending = form_of(path)
    if stat.S_ISDIR(_status(path).st_mode):
        raise ArticleError(f"{path}: is a folder, expected a file")
    return path, ending


def form_of(path: str | Path, legal: tuple[str, ...] = FORMATS) -> str:
    """The ending that says which kind of file this is.

    `-` is JSON lines, and so is a pipe or a device, such as /dev/stdout, unless its name has an ending of its own.

    Raises:
        ArticleError: it is a file, and its ending is not a legal one.
    """
    if str(path) == STANDARD:
        return FORMATS[0]
    try:
        return ending_of(Path(path), legal)
    except ArticleError:
        if is_stream(Path(path)):
            return FORMATS[0]
        raise


def ending_of(path: Path, legal: tuple[str, ...] = FORMATS) -> str:
    """The ending, in small letters.

    Raises:
        ArticleError: it is not a legal one.
    """
    name = path.name.lower()
    for ending in legal:
        if name.endswith(ending):
            return ending
    # One text alone, or a text a line? Nobody can tell by the name.
    read = name.endswith(".txt") and legal == INPUTS
    texts = "; .txt files are read from a folder of them, an article each" if read else ""
    raise ArticleError(f"{path}: unknown kind of file, expected one of {', '.join(legal)}{texts}")
