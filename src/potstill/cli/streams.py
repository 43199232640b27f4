"""The standard streams of a command: any text, whatever their encoding, and whatever the caller has closed.

In: the process as it was started. Out: `sys.stdin`, `sys.stdout` and `sys.stderr`, of which the first two say what is
wrong with them when they are used, and the last never stops the work.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from potstill.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator

OVER_STDIN, OVER_STDOUT, OVER_STDERR = range(3)


def prepare_streams() -> None:
    """Make the standard streams fit for any text, and for a caller who has closed some of them.

    What a stream cannot encode is written as an escape. A closed stream is put in place of nothing, so that no file
    that is opened later takes its number. Reading a closed stdin and writing to a closed or full stdout raise
    `BadInput`, whose message names the stream; notes that cannot be written to stderr are dropped, as they are no
    reason to stop.
    """
    missing = _fill_closed()
    codecs.register_error("potstill.escape", _escape)
    if OVER_STDIN in missing:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(_ClosedInput()), encoding="utf-8")
    sys.stdout = _writer(_Results(io.FileIO(OVER_STDOUT, "w", closefd=False)), sys.stdout)
    sys.stderr = _writer(_Notes(io.FileIO(OVER_STDERR, "w", closefd=False)), sys.stderr)


def _writer(buffer: io.BufferedWriter, before: TextIO | None) -> io.TextIOWrapper:
    """Text over `buffer`, in the encoding of the stream whose place it takes."""
    encoding = "utf-8" if before is None else before.encoding
    lines = before is None or bool(getattr(before, "line_buffering", False))
    return io.TextIOWrapper(buffer, encoding=encoding, errors="potstill.escape", line_buffering=lines)


class _ClosedInput(io.RawIOBase):
    """In place of a stdin that is closed."""

    def readable(self) -> bool:
        """It is there to be read, and says why that fails."""
        return True

    def readinto(self, _: Any, /) -> int:  # noqa: ANN401 - whatever buffers are
        """Refuse to be read."""
        raise BadInput("standard input is closed; nothing can be read from it")


class _Results(io.BufferedWriter):
    """Stdout: what cannot be written is an error that names it."""

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - as above
        """Write to the buffer, and, where that is full, to the stream."""
        with _told():
            return super().write(data)

    def flush(self) -> None:
        """Write what the buffer holds."""
        with _told():
            super().flush()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        drop_stdout()
        if error.errno == errno.EBADF:
            raise BadInput("standard output is closed; the results cannot be printed") from None
        raise BadInput(f"standard output: cannot be written ({error.strerror})") from None


class _Notes(io.BufferedWriter):
    """Stderr: a full disk, a reader that has gone or a lost terminal stops nothing."""

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - as above
        """Write what can be written, and say that it was all."""
        with suppress(OSError):
            super().write(data)
        return memoryview(data).nbytes

    def flush(self) -> None:
        """Write what the buffer holds, if anybody takes it."""
        with suppress(OSError):
            super().flush()


def drop_stdout() -> None:
    """Let what is still to be written to stdout go nowhere, as Python would try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), OVER_STDOUT)


def _fill_closed() -> frozenset[int]:
    """Open something harmless for each standard stream that is closed.

    Reading from a closed stdin and writing to a closed stdout fail, as each is opened the wrong way round.
    """
    missing = set()
    for number, flags in ((OVER_STDIN, os.O_WRONLY), (OVER_STDOUT, os.O_RDONLY), (OVER_STDERR, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, flags)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            missing.add(number)
    return frozenset(missing)


def _escape(error: UnicodeError) -> tuple[str, int]:
    r"""Write what an encoding lacks as `\uXXXX`, which JSON reads as the very character."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2)), error.end
