"""Timing on a machine that is never quiet: everything in turn, several times, and medians.

In: pieces of work by name. Out: the seconds of each round. What is compared runs side by side in each round, in
an order that changes, so that a slow minute is everybody's.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Clock = Callable[[], float]
    Work = Callable[[], object]


def interleaved(
    work: Mapping[str, Work], rounds: int, *, clock: Clock = time.perf_counter, seed: int = 0
) -> dict[str, list[float]]:
    """Seconds of each piece of work in each round; all of them run once without a clock first.

    Args:
        work: what to run, by name.
        rounds: how often each is timed.
        clock: gives seconds.
        seed: of the order in each round.
    """
    rng = np.random.default_rng(seed)
    names = list(work)
    for name in names:
        work[name]()
    found: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for place in rng.permutation(len(names)):
            name = names[place]
            start = clock()
            work[name]()
            found[name].append(clock() - start)
    return found


def percentile(seconds: list[float], share: float) -> float:
    """The value that `share` of the values do not exceed; it is one of them, so that nothing is made up."""
    return float(np.quantile(seconds, share, method="inverted_cdf"))
