"""What an interrupt does: the work stops, a person reads one line, and nothing waits that need not.

In: SIGINT (Ctrl-C) and SIGTERM. Out: a `KeyboardInterrupt` in the main thread, whichever of the two it was. Work that
has not stopped after two seconds, because a library holds the main thread, is ended where it stands, unless it has said
what it waits for; a second interrupt ends that too. Nothing that was written is lost so: every file of potstill is
whole or absent, and a ledger is a database.

Only the standard library is imported here, since an interrupt may come while everything else is being imported.
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
"""Seconds that work may take to stop in its own way."""

_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})


class _State:
    """What is known of interrupts in this process."""

    promise: str | None = None
    count: int = 0
    waits: bool = False
    enough: int = 2
    """Signals that end the process."""
    ended: bool = False
    lock = threading.Lock()


def on_interrupt(promise: str | None) -> None:
    """Declare what is true if the command that runs is interrupted from now on.

    Args:
        promise: how the work goes on, such as `the same command goes on`; None where it begins again.
    """
    _State.promise = promise


def interrupted() -> bool:
    """Whether an interrupt has come since `listening` began."""
    return _State.count > 0


def serving() -> None:
    """Declare that an interrupt is how the command ends, and that its server raises each signal again for us."""
    _State.waits, _State.enough = True, 3


def wait_for(what: str) -> None:
    """Declare that the interrupted work takes its time to stop, so that only a second interrupt ends it.

    Args:
        what: tells a person what is waited for.
    """
    if not _State.waits:
        _write(f"{what}; a second interrupt ends this at once.\n")
    _State.waits = True


def say_farewell() -> None:
    """Print the line that an interrupted command ends with; once, whoever comes first."""
    with _State.lock:
        if _State.ended:
            return
        _State.ended = True
        # A progress bar hides the cursor while it is drawn.
        shown = "\x1b[?25h" if sys.stderr is not None and sys.stderr.isatty() else ""
        _write(shown + ("Stopped." if _State.promise is None else f"Stopped; {_State.promise}.") + "\n")


def leave_soon() -> None:
    """End the process should leaving it take long: Python waits for threads, of which some may not have noticed."""
    _after(PATIENCE, os._exit, EXIT_CODE)


@contextmanager
def listening() -> Iterator[None]:
    """Have SIGTERM act as SIGINT does, and the process end if the first interrupt does not end it; main thread only."""
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
    """Do what SIGINT would: asyncio, for one, has a handler of its own while it runs."""
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        handler(signal.SIGINT, frame)
    else:
        # SIGINT is ignored, as a shell's background jobs have it; SIGTERM is not.
        raise KeyboardInterrupt


def _watch(reader: int) -> None:
    """Count the interrupts that come; in a thread, as the main thread may be deep in a library."""
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
    """Straight to the stream: whoever has the console may be what holds everything up."""
    try:
        os.write(2, text.encode())
    except OSError:
        # Nobody reads, and there is no other place to say it.
        return
