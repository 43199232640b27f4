"""What else a machine had to do while a time was measured, recorded beside that time.

In: a piece of work. Out: a `Load`: how long it took, how much processor time it used, and the system's load average.
A time that was measured on a busy machine says little about the work, so whoever shows it says so.
"""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING

from potstill.records import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MINUTE = 60.0
"""Seconds over which the system's load average decays."""

OTHERS = 0.5
"""Load of other processes below which a machine is not busy, however high the load that this process makes itself."""


class Load(Part):
    """How busy a machine was while something was timed."""

    cores: int
    """Of the machine: what its load is held against."""
    average: float | None
    """Processes that wanted a core, on average over a minute: the higher of the values before and after the work.
    None where the system does not tell."""
    own: float
    """This process's own part of `average`, estimated from its processor time."""
    wall_seconds: float
    processor_seconds: float
    """Used by all threads of this process."""
    heavy: bool
    """Whether there was more to do than cores to do it, and not by this process alone."""

    @property
    def words(self) -> str:
        """For a person, where it is heavy."""
        return f"measured under load ({self.average:.1f} on {self.cores} cores)"


class _OwnPart:
    """This process's part of the load average: its processor time, weighed by how long ago it was used."""

    def __init__(self) -> None:
        self._at, self._used = time.monotonic(), time.process_time()
        self._part = 0.0

    def now(self) -> float:
        at, used = time.monotonic(), time.process_time()
        gone = at - self._at
        if gone > 0:
            rate, kept = (used - self._used) / gone, math.exp(-gone / MINUTE)
            self._part = self._part * kept + rate * (1 - kept)
        self._at, self._used = at, used
        return self._part


_own = _OwnPart()


def system_load() -> float | None:
    """The system's load average over a minute; None where it does not tell."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


class Watch:
    """Begins to watch when it is made; `load` says how it was since then."""

    def __init__(
        self,
        average: Callable[[], float | None] = system_load,
        own: Callable[[], float] = _own.now,
        cores: int | None = None,
    ) -> None:
        self._average, self._own = average, own
        self._cores = cores or os.cpu_count() or 1
        self._wall, self._used = time.monotonic(), time.process_time()
        self._before = (average(), own())

    def load(self) -> Load:
        """The load up to now."""
        moments = [self._before, (self._average(), self._own())]
        average, own = max(moments, key=lambda moment: moment[0] or 0.0)
        return Load(
            cores=self._cores,
            average=None if average is None else round(average, 2),
            own=round(own, 2),
            wall_seconds=round(time.monotonic() - self._wall, 3),
            processor_seconds=round(time.process_time() - self._used, 3),
            heavy=any(_heavy(average, own, self._cores) for average, own in moments),
        )


def _heavy(average: float | None, own: float, cores: int) -> bool:
    return average is not None and average > cores and average - own > OTHERS


MARK = "~"
"""Stands before a time that was measured under load."""


def marked(text: str, load: Load | None) -> str:
    """A time as it is shown, with `MARK` where it was measured under load."""
    return MARK + text if load is not None and load.heavy else text


def remark(loads: Iterable[Load | None]) -> list[str]:
    """The line that explains `MARK` below a table of times; none where no time was measured under load."""
    heavy = [load for load in loads if load is not None and load.heavy]
    if not heavy:
        return []
    worst = max(heavy, key=lambda load: load.average or 0.0)
    return [f"{MARK} {worst.words}: not what it takes by itself; measure again on a quiet machine"]
