"""Read and write gzip and zstd streams.

Input: an open file and its ending. Output: the decompressed stream, or a stream that compresses what is written to it.
A truncated file is an error; it is never read as a shorter file.
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
"""The exceptions that reading from `decompressed` raises for a broken file."""


@contextmanager
def decompressed(raw: IO[bytes], ending: str) -> Iterator[IO[bytes]]:
    """Open the decompressed content of a file with this ending; yield the file itself if it is not compressed."""
    if ending.endswith(".gz"):
        with gzip.GzipFile(fileobj=raw) as stream:
            yield stream  # type: ignore[misc]  # it reads bytes but is not an IO[bytes]
    elif ending.endswith(".zst"):
        yield io.BufferedReader(_Zstandard(raw), buffer_size=1 << 17)
    else:
        yield raw


class _Zstandard(io.RawIOBase):
    """A reader of consecutive zstd frames; the library's own reader does not report a truncated last frame."""

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
        """Decompress the next block; return False at the end. Blocks are small: 4 bytes may expand to 128 kB."""
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
    """Open a stream that compresses into a file of this ending; the file is complete when the block ends."""
    if ending.endswith(".gz"):
        # The file contains no name and no time, so the same articles produce the same bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as stream:
            yield stream  # type: ignore[misc]  # as above
    elif ending.endswith(".zst"):
        with zstandard.ZstdCompressor(level=3).stream_writer(raw, closefd=False) as stream:
            yield stream
    else:
        yield raw
