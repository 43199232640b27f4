"""Where the log goes: to stderr with `-v`, to a file with `--log-file`.

In: the records of the logger `potstill`. Out: lines with a time and a level. Other libraries' records are left out:
what they log of requests may hold articles or keys.
"""

from __future__ import annotations

import logging
import platform
import time
import traceback
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from potstill import terminal
from potstill.errors import BadInput, PotstillError
from potstill.terminal import log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def open_log(command: str, *, verbose: bool, file: Path | None) -> Iterator[None]:
    """Log the command that runs in the block, its beginning and its end included.

    Args:
        command: its name; what else stood on the command line is not logged, as it may hold a text or a password.
        verbose: log to stderr.
        file: log to this file, after what is in it.

    Raises:
        BadInput: the file cannot be opened.
    """
    handlers = [*([_OnStderr()] if verbose else []), *([_in_file(file)] if file is not None else [])]
    before = log.level
    if handlers:
        log.setLevel(logging.DEBUG)
    for handler in handlers:
        handler.setFormatter(_formatter())
        log.addHandler(handler)
    log.debug("potstill %s on Python %s: %s", _version(), platform.python_version(), command)
    start = time.monotonic()
    try:
        yield
    except BaseException as error:
        _tell(error)
        log.debug("%s: ended by %s after %.1f s", command, type(error).__name__, time.monotonic() - start)
        raise
    else:
        log.debug("%s: ended after %.1f s", command, time.monotonic() - start)
    finally:
        log.setLevel(before)
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()


def _tell(error: BaseException) -> None:
    """Log what ended a command: potstill's own words, or the place where another error was raised."""
    if isinstance(error, PotstillError):
        # A person reads these words anyway.
        log.error("%s", error, extra={"shown": True})
    elif isinstance(error, Exception) and not hasattr(error, "exit_code"):
        # Only where it was raised: the message of a library's error may quote the text of an article.
        places = "".join(traceback.format_list(traceback.extract_tb(error.__traceback__)))
        log.error("%s\n%s", type(error).__name__, places.rstrip())


class _OnStderr(logging.Handler):
    """Prints as notes do, so that bars are not torn; what a person has read already is not repeated."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        if not getattr(record, "shown", False):
            terminal.console.print(self.format(record), highlight=False, markup=False, soft_wrap=True, style="dim")


def _in_file(path: Path) -> logging.Handler:
    try:
        return logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise BadInput(f"--log-file {path}: cannot be written ({error.strerror})") from None


def _formatter() -> logging.Formatter:
    made = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S")
    made.converter = time.gmtime
    return made


def _version() -> str:
    try:
        return version("potstill")
    except PackageNotFoundError:
        return "(not installed)"
