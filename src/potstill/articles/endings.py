"""Determine the kind of a file by its ending.

Input: a path. Output: its ending, one of `FORMATS` or of `INPUTS`, or an error that lists the valid ones.
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
"""The endings that can be read and written; `-` is JSON Lines on stdin or stdout."""

PAGES = (".html", ".htm")
"""The endings of web pages."""

FEEDS = (".xml", ".rss", ".atom")
"""The endings of RSS and Atom feeds."""

INPUTS = (*FORMATS, *PAGES, *FEEDS)
"""The endings from which articles can be read; a folder of texts and pages can also be read."""

FOLDER = "folder"
"""The kind of a path that is a folder."""

_ADDRESS = re.compile(r"(https?|ftp|feed):/+(?=\S)", re.IGNORECASE)


def existing_input(path: str | Path) -> tuple[Path, str]:
    """Return the path of existing articles, and its ending or `FOLDER`.

    Raises:
        ArticleError: the path does not exist, its ending is unknown, or it is a web address.
    """
    _refuse_address(path)
    path = Path(path)
    if os.path.isdir(path):  # noqa: PTH112 - raises no errors
        if path.name.lower().endswith(INPUTS):
            raise ArticleError(f"{path}: is a folder, expected a file")
        return path, FOLDER
    ending = form_of(path, INPUTS)
    _status(path)
    return path, ending


def _status(path: Path) -> os.stat_result:
    """Return the status of a path.

    Raises:
        ArticleError: the path does not exist or cannot be queried.
    """
    try:
        return path.stat()
    except FileNotFoundError:
        raise ArticleError(f"{path}: no such file") from None
    except OSError as error:
        raise ArticleError(f"{path}: cannot be read ({error.strerror})") from None


def _refuse_address(path: str | Path) -> None:
    """Reject a web address, and explain how to download its content."""
    scheme = _ADDRESS.match(str(path))
    if scheme is None:
        return
    # A Path reduces two slashes to one.
    address = f"{scheme[1]}://{str(path)[scheme.end() :]}".replace("feed://", "https://")
    name = re.split(r"[?#]", address)[0].lower()
    ending = next((one for one in INPUTS if name.endswith(one)), ".html")
    file = f"page{ending}" if ending in PAGES else f"feed{ending}" if ending in FEEDS else f"articles{ending}"
    raise ArticleError(
        f"{address}: is a web address, and potstill downloads nothing; download it first: "
        f"curl -L -o {file} {shlex.quote(address)}"
    )


def existing_file(path: str | Path) -> tuple[Path, str]:
    """Return the path of an existing file, and its ending.

    Raises:
        ArticleError: the path is a folder or does not exist, or its ending is unknown.
    """
    _refuse_address(path)
    path = Path(path)
    ending = form_of(path)
    if stat.S_ISDIR(_status(path).st_mode):
        raise ArticleError(f"{path}: is a folder, expected a file")
    return path, ending


def form_of(path: str | Path, legal: tuple[str, ...] = FORMATS) -> str:
    """Return the ending that determines the kind of a file.

    `-` is JSON Lines, and so is a pipe or a device, such as /dev/stdout, unless its name has another ending.

    Raises:
        ArticleError: the path is a file with an invalid ending.
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
    """Return the ending in lower case.

    Raises:
        ArticleError: the ending is invalid.
    """
    name = path.name.lower()
    for ending in legal:
        if name.endswith(ending):
            return ending
    # A single .txt file may be one text or one text per line, which its name does not reveal.
    read = name.endswith(".txt") and legal == INPUTS
    texts = "; .txt files are read from a folder that contains them, one article per file" if read else ""
    raise ArticleError(f"{path}: unknown kind of file, expected one of {', '.join(legal)}{texts}")
