"""Handle interrupts: the work stops, the user reads one line, and the process waits only if necessary.

Input: SIGINT (Ctrl-C) and SIGTERM. Output: a `KeyboardInterrupt` in the main thread for both signals. If the work has
not stopped after two seconds, because a library blocks the main thread, the process is terminated, unless the work has
declared that it waits for something; a second interrupt terminates it in any case. No written data is lost: every file
of potstill is written atomically, and a ledger is a database.

This module imports only the standard library, because an interrupt may arrive while other modules are being imported.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

EXIT_CODE = 130

PATIENCE = 2.0
"""Seconds that interrupted work has to stop before the process is terminated."""

_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})


class _State:
    """The interrupt state of this process."""

    promise: str | None = None
    count: int = 0
    waits: bool = False
    enough: int = 2
    """Number of signals that terminate the process."""
    ended: bool = False
    lock = threading.Lock()


def on_interrupt(promise: str | None) -> None:
    """Declare what to tell the user if the command is interrupted from now on.

    Args:
        promise: how the work continues, such as `the same command goes on`; None if it starts from the beginning.
    """
    _State.promise = promise


def interrupted() -> bool:
    """Return whether an interrupt has arrived since `listening` began."""
    return _State.count > 0


def serving() -> None:
    """Declare that the command is a server, which ends by an interrupt and raises each signal again."""
    _State.waits, _State.enough = True, 3


def wait_for(what: str) -> None:
    """Declare that the interrupted work needs time to stop, so that only a second interrupt terminates it.

    Args:
        what: what the work waits for, shown to the user.
    """
    if not _State.waits:
        _write(f"{what}; a second interrupt ends this at once.\n")
    _State.waits = True


def say_farewell() -> None:
    """Print the last line of an interrupted command, only once however often this is called."""
    with _State.lock:
        if _State.ended:
            return
        _State.ended = True
        # A progress bar hides the cursor while it is drawn.
        shown = "\x1b[?25h" if sys.stderr is not None and sys.stderr.isatty() else ""
        _write(shown + ("Stopped." if _State.promise is None else f"Stopped; {_State.promise}.") + "\n")


def leave_soon() -> None:
    """Terminate the process if its exit takes long: Python waits for threads that may not notice the interrupt."""
    _after(PATIENCE, os._exit, EXIT_CODE)


@contextmanager
def listening() -> Iterator[None]:
    """Treat SIGTERM like SIGINT, and terminate the process if an interrupt does not end it; main thread only."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    _State.promise, _State.count, _State.waits, _State.enough, _State.ended = None, 0, False, 2, False
    before = signal.signal(signal.SIGTERM, _as_interrupt)
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(reader,), name="interrupts", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        signal.signal(signal.SIGTERM, before)
        os.close(writer)
        watcher.join()
        os.close(reader)


def _as_interrupt(_: int, frame: FrameType | None) -> None:
    """Do what SIGINT would do; for example, asyncio has its own SIGINT handler while it runs."""
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        handler(signal.SIGINT, frame)
    else:
        # SIGINT is ignored in background jobs of a shell; SIGTERM is not.
        raise KeyboardInterrupt


def _watch(reader: int) -> None:
    """Count the interrupts, in a thread because the main thread may be blocked in a library."""
    timer: threading.Timer | None = None
    while numbers := os.read(reader, 64):
        _State.count += sum(number in _SIGNALS for number in numbers)
        if _State.count >= _State.enough:
            _end()
        elif _State.count and timer is None:
            timer = _after(PATIENCE, _end_if_stuck)
    if timer is not None:
        timer.cancel()


def _after(seconds: float, call: Callable[..., object], *arguments: object) -> threading.Timer:
    timer = threading.Timer(seconds, call, arguments)
    timer.daemon = True
    timer.start()
    return timer


def _end_if_stuck() -> None:
    if not _State.waits:
        _end()


def _end() -> None:
    say_farewell()
    os._exit(EXIT_CODE)


def _write(text: str) -> None:
    """Write directly to the stream, because the blocked code may hold the lock of the console."""
    try:
        os.write(2, text.encode())
    except OSError:
        # There is no reader and no other place to report the error.
        return
