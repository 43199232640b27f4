"""Lines of a pipe, as they come.

In: an open pipe. Out: its lines in lists, with their numbers from 1. Whoever sends a line and waits for what becomes of
it gets it soon; whoever sends more than can be worked off gets it in full lists.
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
"""Seconds from the first line of a list on, after which it is given, however many lines it has."""

_PIECE = 1 << 17


def arriving(path: str | Path, stream: IO[bytes], size: int) -> Iterator[list[tuple[int, bytes]]]:
    """The lines of a pipe in lists of at most `size`, each given `WAIT` seconds after its first line at the latest.

    Where nothing comes for as long after a full list, an empty one says so, once. `path` names the pipe in errors.
    Where the system cannot say whether there is something to read, as on Windows, and for what is no pipe of the
    system's, lists are given when they are full.

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
    # When what has come is to be given; None while there is nothing to give and no pause to tell of.
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
    """Bytes as they come, and the lines that are whole."""

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._begun: list[bytes] = []
        self._length = 0
        self._number = 0
        self._blank = BlankLines(path)
        self.whole: list[tuple[int, bytes]] = []
        self.ended = False

    def add(self, piece: bytes) -> None:
        """Take what was read; nothing is the end."""
        self.ended = not piece
        *lines, rest = piece.split(b"\n")
        for line in lines:
            self._begin(line)
            self._end()
        self._begin(rest)
        if self.ended and self._begun:
            self._end()

    def taken(self, most: int) -> list[tuple[int, bytes]]:
        """The first lines that are whole; they are taken away."""
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
            # Whoever opened the pipe may have asked it not to wait.
            select.select([number], [], [])
