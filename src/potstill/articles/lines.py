"""Read the lines of a file, compressed or not.

Input: a file, or an open stream. Output: its lines as bytes, with line numbers from 1, one at a time.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from potstill.articles.compression import BROKEN, decompressed
from potstill.articles.faults import fail
from potstill.errors import ArticleError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_LINE_BYTES = 16_000_000
"""Maximum length of a line in bytes; a longer line is rejected before it fills the memory."""

MOST_BLANK_LINES = 100_000
"""Maximum number of consecutive blank lines; a small compressed file can contain millions, which would take minutes."""

MOST_EXPANSION = 1000
"""Maximum ratio of the decompressed to the compressed size, checked after the first gigabyte of output."""

_GIGABYTE = 1_000_000_000


class BlankLines:
    """A counter of consecutive blank lines; `path` is the name of the file in errors."""

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._lines = self._bytes = 0

    def see(self, number: int, line: bytes) -> None:
        """Count a blank line, or reset the counter at any other line.

        Raises:
            ArticleError: there are too many consecutive blank lines.
        """
        if line and not line.isspace():
            self._lines = self._bytes = 0
            return
        self._lines += 1
        self._bytes += len(line)
        if self._lines > MOST_BLANK_LINES:
            fail(self._path, number, f"more than {MOST_BLANK_LINES:,} blank lines in a row")
        if self._bytes > MAX_LINE_BYTES:
            fail(self._path, number, f"more than {MAX_LINE_BYTES:,} bytes of blank lines in a row")


def lines_of(path: Path, ending: str) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file.

    Raises:
        ArticleError: a line is too long, or the compressed data are broken.
    """
    number = 0
    try:
        with path.open("rb") as raw, decompressed(raw, ending) as stream:
            given = 0
            for number, line in numbered(path, stream):
                given += len(line)
                if given > _GIGABYTE and stream is not raw:
                    _refuse_expansion(path, number, given, raw)
                yield number, line
    except BROKEN as error:
        raise ArticleError(f"{path}: line {number + 1}: broken compression ({error})") from None


def numbered(path: str | Path, stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a stream; `path` is its name in errors."""
    number = 0
    blank = BlankLines(path)
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            fail(path, number, f"the line is longer than {MAX_LINE_BYTES:,} bytes")
        blank.see(number, line)
        yield number, line


def _refuse_expansion(path: Path, number: int, given: int, raw: IO[bytes]) -> None:
    if raw.seekable() and given > MOST_EXPANSION * raw.tell():
        fail(
            path, number, f"expands to more than {MOST_EXPANSION:,} times its size, so it cannot be a file of articles"
        )
