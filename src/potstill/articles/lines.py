"""Lines of a file, whatever it is compressed with.

In: a file, or an open stream. Out: its lines as bytes, with their numbers from 1, one at a time.
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
"""A longer line is refused, before it fills the memory."""


def lines_of(path: Path, ending: str) -> Iterator[tuple[int, bytes]]:
    """The lines of a file.

    Raises:
        ArticleError: a line is too long, or the compression is broken.
    """
    number = 0
    try:
        with path.open("rb") as raw, decompressed(raw, ending) as stream:
            for number, line in numbered(path, stream):
                yield number, line
    except BROKEN as error:
        raise ArticleError(f"{path}: line {number + 1}: broken compression ({error})") from None


def numbered(path: str | Path, stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines of a stream; `path` names it in errors."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            fail(path, number, f"the line is longer than {MAX_LINE_BYTES:,} bytes")
        yield number, line
