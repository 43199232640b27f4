"""Time several functions on a machine with background load: run them in turn, several times, and use medians.

Input: functions by name. Output: the seconds of each round. In every round, all functions run one after the other in
random order, so that a temporary slowdown affects all of them.
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
    """Time each function in each round, after one untimed warm-up call of each.

    Args:
        work: functions to run, by name.
        rounds: number of timed rounds.
        clock: function that returns the current time in seconds.
        seed: random seed for the order in each round.

    Returns:
        The seconds of each round, by name.
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
    """Return the smallest of the values that at least a `share` of them do not exceed, without interpolation."""
    return float(np.quantile(seconds, share, method="inverted_cdf"))
