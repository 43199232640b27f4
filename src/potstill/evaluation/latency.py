"""Measure latency and throughput on this machine; nothing is estimated.

Input: a function that scores texts. Output: a `Latency`. Single articles give the median latency, and a batch gives the
throughput.
"""

from __future__ import annotations

import platform
import time
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from potstill.backends.machine import usable_cores
from potstill.evaluation.records import Latency
from potstill.machine import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

SINGLES, BATCH, WARM = 24, 64, 2
"""Number of articles timed one by one, articles timed as a batch, and articles scored first as a warm-up."""

PATIENCE = 0.5
"""Seconds after which no further single article is timed, and the intended maximum duration of the batch."""

FEWEST = 5
"""Minimum number of single articles to time, however long they take."""


def measure(
    score: Callable[[Sequence[T]], object],
    articles: Sequence[T],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Latency | None:
    """Time `score` on single articles and on a batch; return None if there are no articles.

    As long as there are enough articles, every call gets ones that have not been timed before, because a cached result
    would take no time.
    """
    if not articles:
        return None
    score(articles[:WARM])
    watch = Watch()
    singles: list[float] = []
    for article in _from(articles, WARM, SINGLES):
        if len(singles) >= FEWEST and sum(singles) > PATIENCE:
            break
        start = clock()
        score([article])
        singles.append(clock() - start)
    median = float(np.median(singles))
    affordable = int(PATIENCE / median) if median > 0 else BATCH
    batch = _from(articles, WARM + len(singles), min(BATCH, len(articles), max(FEWEST, affordable)))
    start = clock()
    score(batch)
    seconds = clock() - start
    return Latency(
        milliseconds_p50=round(median * 1000, 3),
        articles_per_second=round(len(batch) / seconds, 1) if seconds > 0 else 0.0,
        articles=len(singles) + len(batch),
        threads=usable_cores(),
        machine=f"{platform.system()} {platform.machine()}",
        load=watch.load(),
    )


def _from(articles: Sequence[T], start: int, count: int) -> list[T]:
    """Return `count` articles from index `start` on, starting again at the beginning when they run out."""
    return [articles[(start + i) % len(articles)] for i in range(count)]
