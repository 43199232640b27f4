"""Read the lines of a pipe as they arrive.

Input: an open pipe. Output: its lines in lists, with line numbers from 1. A sender that writes one line and waits for
the result gets it soon; if lines arrive faster than they are processed, the lists are full.
"""

from __future__ import annotations

import os
import select
import sys
import time
from typing import IO, TYPE_CHECKING

from potstill.articles.faults import fail
from potstill.articles.lines import MAX_LINE_BYTES, BlankLines, numbered
from potstill.articles.rows import chunks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAIT = 0.5
"""Maximum number of seconds from the first line of a list until the list is yielded."""

_PIECE = 1 << 17


def arriving(path: str | Path, stream: IO[bytes], size: int) -> Iterator[list[tuple[int, bytes]]]:
    """Yield the lines of a pipe in lists of at most `size`, each at most `WAIT` seconds after its first line.

    If nothing arrives for `WAIT` seconds after a full list, one empty list is yielded. `path` is the name of the pipe
    in errors. On systems that cannot report whether there is input, such as Windows, and for objects that are not
    system pipes, lists are yielded when they are full.

    Raises:
        ArticleError: a line is too long.
    """
    try:
        number = stream.fileno()
    except (AttributeError, OSError, ValueError):
        number = -1
    if number < 0 or sys.platform == "win32":
        yield from chunks(numbered(path, stream), size)
        return
    lines = _Lines(path)
    # The time at which the received lines are yielded; None if there are none and no pause to report.
    deadline: float | None = None
    while not lines.ended:
        if deadline is not None and not _ready(number, deadline - time.monotonic()):
            yield lines.taken(size)
            deadline = None
            continue
        lines.add(_read(number))
        if lines.whole and deadline is None:
            deadline = time.monotonic() + WAIT
        while len(lines.whole) >= size:
            yield lines.taken(size)
            deadline = time.monotonic() + WAIT
    if lines.whole:
        yield lines.taken(size)


class _Lines:
    """A buffer of received bytes and the complete lines in it."""

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._begun: list[bytes] = []
        self._length = 0
        self._number = 0
        self._blank = BlankLines(path)
        self.whole: list[tuple[int, bytes]] = []
        self.ended = False

    def add(self, piece: bytes) -> None:
        """Add received bytes; empty bytes mean the end of the input."""
        self.ended = not piece
        *lines, rest = piece.split(b"\n")
        for line in lines:
            self._begin(line)
            self._end()
        self._begin(rest)
        if self.ended and self._begun:
            self._end()

    def taken(self, most: int) -> list[tuple[int, bytes]]:
        """Remove and return the first complete lines."""
        first, self.whole = self.whole[:most], self.whole[most:]
        return first

    def _begin(self, part: bytes) -> None:
        if not part:
            return
        self._begun.append(part)
        self._length += len(part)
        if self._length > MAX_LINE_BYTES:
            fail(self._path, self._number + 1, f"the line is longer than {MAX_LINE_BYTES:,} bytes")

    def _end(self) -> None:
        self._number += 1
        line = b"".join(self._begun)
        self._blank.see(self._number, line)
        self.whole.append((self._number, line))
        self._begun, self._length = [], 0


def _ready(number: int, seconds: float) -> bool:
    return seconds > 0 and bool(select.select([number], [], [], seconds)[0])


def _read(number: int) -> bytes:
    while True:
        try:
            return os.read(number, _PIECE)
        except BlockingIOError:
            # The pipe may have been opened as non-blocking.
            select.select([number], [], [])
