"""Describe the machine that a result was made on: its load, memory and installed versions.

Input: an operation. Output: a `Load`: its duration, its processor time, and the system's load average. A time measured
on a busy machine says little about the operation, so every display of such a time is marked. `versions` and
`peak_memory` describe the rest of what a record says about the machine.
"""

from __future__ import annotations

import math
import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from potstill.findings import OTHERS_LOAD
from potstill.records import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MINUTE = 60.0
"""Decay time of the system's load average, in seconds."""


class Load(Part):
    """The load of a machine during a timed operation."""

    cores: int
    """Number of cores of the machine, with which the load is compared."""
    average: float | None
    """Average number of processes that requested a core within a minute; None if the system does not report it.

    It is the higher of the values before and after the operation.
    """
    own: float
    """This process's share of `average`, estimated from its processor time."""
    wall_seconds: float
    processor_seconds: float
    """Processor time of all threads of this process."""
    heavy: bool
    """Whether more cores were requested than available, and not by this process alone."""

    @property
    def words(self) -> str:
        """The remark about the load, to be shown if it is heavy."""
        return f"measured under load ({self.average:.1f} on {self.cores} cores)"


class _OwnPart:
    """This process's share of the load average: its processor time, weighted by its age."""

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
    """Return the system's load average over a minute; None if the system does not report it."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


class Watch:
    """A measurement of the load that begins when the object is created."""

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
        """Return the load since then."""
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
    return average is not None and average > cores and average - own > OTHERS_LOAD


MARK = "~"
"""The mark in front of a time measured under load."""


def marked(text: str, load: Load | None) -> str:
    """Return a time as it is shown, with `MARK` in front if it was measured under load."""
    return MARK + text if load is not None and load.heavy else text


def remark(loads: Iterable[Load | None]) -> list[str]:
    """Return the line that explains `MARK` below a table; empty if no time was measured under load."""
    heavy = [load for load in loads if load is not None and load.heavy]
    if not heavy:
        return []
    worst = max(heavy, key=lambda load: load.average or 0.0)
    return [f"{MARK} {worst.words}: other processes affected this time; measure again on an idle machine"]


def versions() -> dict[str, str]:
    """Return the installed versions of Python, potstill and the libraries that can change a result."""
    found = {"python": platform.python_version()}
    for package in (
        "potstill",
        "numpy",
        "polars",
        "onnxruntime",
        "tokenizers",
        "scikit-learn",
        "torch",
        "transformers",
        "peft",
    ):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def peak_memory() -> int | None:
    """Return the peak resident memory of this process in bytes; None if the system does not report it."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux reports kibibytes, macOS bytes.
    return peak if sys.platform == "darwin" else peak * 1024
