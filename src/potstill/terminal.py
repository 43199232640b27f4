"""Report progress to the user: progress bars on a terminal, plain lines elsewhere, notes, a log.

Input: work that reports its progress. Output: progress bars on stderr; if stderr is not a terminal, one plain line
every 30 seconds. All of this also goes to the log, for `--log-file` and `-v`. Results are never written here; they go
to stdout.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group
from rich.padding import Padding
from rich.progress import Progress
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import ConsoleOptions, RenderableType, RenderResult
    from rich.progress import Task

T = TypeVar("T")

console = Console(stderr=True)
"""The console for progress and notes; results go to stdout."""

log = logging.getLogger("potstill")
"""The log that `--log-file` saves and `-v` shows. It never contains the text of an article or a key."""
log.addHandler(logging.NullHandler())

LINE_EVERY = 30.0
"""Seconds between two plain lines about the same work."""

NARROWEST_BAR, WIDEST_BAR = 4, 40
"""Minimum and maximum width of a bar in columns; if fewer columns are left, it is not drawn."""

RECENT = 10
"""Number of plain lines over which the pace is measured to estimate the remaining time."""


def set_quiet(quiet: bool) -> None:  # noqa: FBT001 - a single flag, passed on from `-q`
    """Silence progress and notes, for `-q`."""
    console.quiet = quiet


class _Margin:
    """Number of spaces in front of notes."""

    width = 0


def note(message: str) -> None:
    """Write one line for the user to stderr and to the log."""
    log.info("%s", message, extra={"shown": True})
    console.print(" " * _Margin.width + message, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def indented() -> Iterator[None]:
    """Indent notes, below a line about the work that they belong to."""
    _Margin.width += 4
    try:
        yield
    finally:
        _Margin.width -= 4


def duration(seconds: float) -> str:
    """Format a duration for the user: `12 s`, `3 min`, `1.5 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Advance(Protocol):
    """A callback that advances a bar and gives a short status."""

    def __call__(self, amount: float, detail: object = "") -> None:
        """Report that `amount` more steps are done; `detail` is formatted when progress is next shown."""
        ...


@dataclass(slots=True, eq=False)
class Step:
    """An operation in progress, as the plain lines report it."""

    description: str
    total: float | None
    started: float
    done: float = 0.0
    detail: object = ""
    seen: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=RECENT))
    """The times of past lines, with the amount done at that time; the latest is last."""

    def remaining(self, now: float) -> float | None:
        """Return the remaining seconds at the recent pace; None if unknown."""
        since, before = self.seen[0] if self.seen else (self.started, 0.0)
        if self.total is None or self.done <= before or now <= since:
            return None
        return max(self.total - self.done, 0.0) * (now - since) / (self.done - before)

    @property
    def waits(self) -> bool:
        """Whether this step counts an endless input that has delivered nothing since the last line."""
        return self.total is None and bool(self.seen) and 0 < self.done == self.seen[-1][1]

    def words(self, now: float) -> str:
        """Describe the progress, the elapsed time and the remaining time."""
        parts = [f"{duration(now - self.started)} so far"]
        if self.total is not None:
            share = f" ({self.done / self.total:.0%})" if self.total else ""
            parts.insert(0, f"{self.done:,.0f} of {self.total:,.0f}{share}")
            left = self.remaining(now)
            parts += [] if left is None else [f"about {duration(left)} left"]
        elif self.done:
            parts.insert(0, f"{self.done:,.0f} done")
        detail = str(self.detail)
        return ", ".join(parts) + (f"; {detail}" if detail else "")


class Lines:
    """A reporter of one plain line about the work in progress every `every` seconds; steps may be nested."""

    def __init__(
        self, say: Callable[[str], None], *, every: float = LINE_EVERY, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say = say
        self._every = every
        self._clock = clock
        self._open: list[Step] = []
        self._last = clock()
        self._lock = threading.Lock()

    def begin(self, description: str, total: float | None) -> Step:
        """Begin a step."""
        with self._lock:
            now = self._clock()
            if not self._open:
                self._last = now
            step = Step(description, total, now)
            self._open.append(step)
            return step

    def end(self, step: Step) -> None:
        """End a step, whether it is done or abandoned."""
        with self._lock:
            self._open.remove(step)

    def look(self) -> None:
        """Write a line if one is due."""
        with self._lock:
            now = self._clock()
            if not self._open or now - self._last < self._every:
                return
            self._last = now
            inner, waits = self._open[-1], self._open[-1].waits
            line = f"{', '.join(step.description for step in self._open)}: {inner.words(now)}"
            for step in self._open:
                step.seen.append((now, step.done))
        if not waits:
            self._say(line)

    @property
    def busy(self) -> bool:
        """Whether a step is in progress."""
        return bool(self._open)


def _say(line: str) -> None:
    # On a terminal, the bar shows the progress instead.
    log.info("%s", line, extra={"shown": True})
    if not console.is_terminal:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


class _ReportingThread:
    """A thread that checks once a second whether a line is due; it ends with the work."""

    def __init__(self) -> None:
        self.lines = Lines(_say)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def begin(self, description: str, total: float | None) -> Step:
        with self._lock:
            step = self.lines.begin(description, total)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="progress lines", daemon=True)
                self._thread.start()
        return step

    def _watch(self) -> None:
        while True:
            time.sleep(1.0)
            self.lines.look()
            with self._lock:
                if not self.lines.busy:
                    self._thread = None
                    return


_speaker = _ReportingThread()


@contextmanager
def working(description: str) -> Iterator[None]:
    """Report work without a bar, such as a whole command, with plain lines if stderr is not a terminal."""
    step = _speaker.begin(description, None)
    try:
        yield
    finally:
        _speaker.lines.end(step)


@contextmanager
def steps(description: str, total: float | None) -> Iterator[Advance]:
    """Show the progress of work; call the yielded function with the number of steps done and a short status.

    Args:
        description: a short description of the work.
        total: number of steps; None if unknown, and then the bar only shows that work is in progress.
    """
    bar = _Bars(
        console=console,
        transient=True,
        disable=console.quiet or not console.is_terminal,
    )
    step = _speaker.begin(description, total)
    log.debug("%s: begun", description)
    try:
        with bar:
            task = bar.add_task(description, total=total, detail="")

            def advance(amount: float, detail: object = "") -> None:
                step.done += amount
                step.detail = detail
                bar.update(task, advance=amount, detail=detail)
                # If the total was an estimate that proves too low, it is raised.
                if step.total is not None and step.done > step.total:
                    step.total = step.done
                    bar.update(task, total=step.done)

            yield advance
    finally:
        _speaker.lines.end(step)
        log.debug("%s: ended after %.1f s", description, time.monotonic() - step.started)


@contextmanager
def steps_if_long(
    description: str, total: float, *, after: float = 1.0, clock: Callable[[], float] = time.monotonic
) -> Iterator[Advance]:
    """Show progress as `steps` does, but only once the work has taken `after` seconds.

    Until then it costs next to nothing, so that short work can be timed.
    """
    begun, waiting = clock(), 0.0
    with ExitStack() as stack:
        shown: Advance | None = None

        def advance(amount: float, detail: object = "") -> None:
            nonlocal shown, waiting
            waiting += amount
            if shown is None and clock() - begun >= after:
                shown = stack.enter_context(steps(description, total))
            if shown is not None:
                shown(waiting, detail)
                waiting = 0.0

        yield advance


def track(items: Iterable[T], description: str, total: float | None = None) -> Iterator[T]:
    """Yield the items unchanged and advance a progress bar by one step for each."""
    with steps(description, total) as advance:
        for item in items:
            yield item
            advance(1)


class _Bars(Progress):
    """Bars whose figures are never truncated: on a narrow terminal the bar shrinks, then details get separate lines."""

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return all bars, one below the other."""
        yield Group(*(_Bar(task) for task in self.tasks if task.visible))


class _Bar:
    """One task: its name, a bar, the steps done and in total, the time left, and a short status."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        task, width = self._task, options.max_width
        figures = " ".join(part for part in (_count(task), _time(task)) if part)
        detail = str(task.fields["detail"])
        whole = cell_len(" ".join(part for part in (task.description, figures, detail) if part))
        if whole <= width:
            yield self._line(figures, detail, width)
            return
        yield self._line(figures, "", width)
        yield Padding(Text(detail, style="dim"), (0, 0, 0, 2))

    def _line(self, figures: str, detail: str, width: int) -> RenderableType:
        task = self._task
        # If name and figures do not fit on one line, the name is shortened.
        room = max(width - cell_len(figures) - 1, 1)
        name = task.description
        name = name if cell_len(name) <= room else set_cell_size(name, room - 1) + "…"
        cells: list[RenderableType] = [Text(name), Text(figures, style="progress.remaining")]
        if detail:
            cells.append(Text(detail, style="dim"))
        free = width - sum(cell_len(str(cell)) + 1 for cell in cells)
        if free >= NARROWEST_BAR:
            bar = ProgressBar(
                total=task.total, completed=task.completed, width=min(free, WIDEST_BAR), pulse=task.total is None
            )
            cells.insert(1, bar)
        line = Table.grid(padding=(0, 1, 0, 0))
        line.add_row(*cells)
        return line


def _count(task: Task) -> str:
    done = f"{task.completed:,.0f}"
    if task.total is None:
        return done if task.completed else ""
    return f"{done}/{task.total:,.0f}"


def _time(task: Task) -> str:
    """Return the time left, or the elapsed time if that is unknown."""
    seconds = task.elapsed if task.total is None else task.time_remaining
    if seconds is None:
        return "-:--:--"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
