"""Which kind of file a path is, by its ending.

In: a path. Out: its ending, one of `FORMATS`, or an error that lists them.
"""

from __future__ import annotations

from pathlib import Path

from potstill.errors import ArticleError
from potstill.files import STANDARD, is_stream

FORMATS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".csv", ".parquet")
"""The endings that are read and written; `-` is JSON lines on stdin or stdout."""


def existing_file(path: str | Path) -> tuple[Path, str]:
    """The path of a file that is there, and its ending.

    Raises:
        ArticleError: it is a folder, or is not there, or the ending is unknown.
    """
    path = Path(path)
    ending = form_of(path)
    if path.is_dir():
        raise ArticleError(f"{path}: is a folder, expected a file")
    if not path.exists():
        raise ArticleError(f"{path}: no such file")
    return path, ending


def form_of(path: str | Path) -> str:
    """The ending that says which kind of file this is.

    `-` is JSON lines, and so is a pipe or a device, such as /dev/stdout, unless its name has an ending of its own.

    Raises:
        ArticleError: it is a file, and its ending is not one of `FORMATS`.
    """
    if str(path) == STANDARD:
        return FORMATS[0]
    try:
        return ending_of(Path(path))
    except ArticleError:
        if is_stream(Path(path)):
            return FORMATS[0]
        raise


def ending_of(path: Path) -> str:
    """The ending, in small letters.

    Raises:
        ArticleError: it is not one of `FORMATS`.
    """
    name = path.name.lower()
    for ending in FORMATS:
        if name.endswith(ending):
            return ending
    raise ArticleError(f"{path}: unknown kind of file, expected one of {', '.join(FORMATS)}")
