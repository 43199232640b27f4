"""gzip and zstd, both ways.

In: an open file and its ending. Out: the stream of what is inside, or one that compresses what it is given. A file
that was cut short is an error, never a shorter file.
"""

from __future__ import annotations

import gzip
import io
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import zstandard

if TYPE_CHECKING:
    from collections.abc import Iterator

BROKEN = (gzip.BadGzipFile, EOFError, zlib.error, zstandard.ZstdError)
"""What reading from `decompressed` raises where the file is broken."""


@contextmanager
def decompressed(raw: IO[bytes], ending: str) -> Iterator[IO[bytes]]:
    """What is inside a file of this ending; the file itself where it is not a compressed kind."""
    if ending.endswith(".gz"):
        with gzip.GzipFile(fileobj=raw) as stream:
            yield stream  # type: ignore[misc]  # it reads bytes, though it is no IO[bytes]
    elif ending.endswith(".zst"):
        yield io.BufferedReader(_Zstandard(raw), buffer_size=1 << 17)
    else:
        yield raw


class _Zstandard(io.RawIOBase):
    """Frames of zstd one after the other; the library's own reader is silent when the last one is cut short."""

    def __init__(self, raw: IO[bytes]) -> None:
        super().__init__()
        self._raw = raw
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._open = False
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        while not self._ready and self._more():
            pass
        taken = self._ready[: len(buffer)]
        buffer[: len(taken)] = taken
        self._ready = self._ready[len(taken) :]
        return len(taken)

    def _more(self) -> bool:
        """Decompress the next piece; False at the end. Pieces are small: 4 bytes may stand for 128 kB."""
        piece = (self._frame.unused_data if self._frame.eof else b"") or self._raw.read(2048)
        if not piece:
            if self._open:
                raise zstandard.ZstdError("the last frame is cut short")
            return False
        if self._frame.eof:
            self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._ready = self._frame.decompress(piece)
        self._open = not self._frame.eof
        return True


@contextmanager
def compressed(raw: IO[bytes], ending: str) -> Iterator[IO[bytes]]:
    """A stream into a file of this ending; it is whole when the block ends."""
    if ending.endswith(".gz"):
        # No name and no time inside: the same articles make the same bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as stream:
            yield stream  # type: ignore[misc]  # as above
    elif ending.endswith(".zst"):
        with zstandard.ZstdCompressor(level=3).stream_writer(raw, closefd=False) as stream:
            yield stream
    else:
        yield raw
