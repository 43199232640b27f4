"""Control the number of concurrent calls and of calls per minute.

Input: the server's answers. Output: slots for calls. The number of concurrent calls grows with every answer and is
halved when the server reports too many; no further call is then made until the waiting time that the server requests
has passed. Limits on calls and tokens per minute are kept by spacing the calls evenly. The clock is a parameter that
tests replace.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

FIRST = 4
"""Number of concurrent calls before the server has answered any."""

LONGEST_BACKOFF = 60.0
_GROWTH = 0.2


class Pace:
    """Slots for calls.

    Args:
        concurrency: maximum number of concurrent calls.
        rpm: maximum number of calls per minute.
        tpm: maximum number of tokens per minute, as estimated before each call.
        clock: monotonic clock, in seconds.
        sleep: waits the given number of seconds.
        chance: returns a random number from 0 to 1, to spread calls that wait for the same moment.
    """

    def __init__(
        self,
        concurrency: int = 16,
        *,
        rpm: float | None = None,
        tpm: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._most = concurrency
        self._limit = float(min(FIRST, concurrency))
        self._storms = 0
        self._slow_start = True
        self._running = 0
        self._freed = asyncio.Condition()
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._quiet_until = 0.0
        self._over = False
        self._waits: set[asyncio.Timeout] = set()
        self._slowed_at = float("-inf")
        self._calls = _Meter(rpm)
        self._tokens = _Meter(tpm)

    @property
    def limit(self) -> int:
        """The current number of concurrent calls allowed."""
        return int(self._limit)

    @asynccontextmanager
    async def slot(self, tokens: int) -> AsyncIterator[None]:
        """Hold a slot; wait for a free one, for the end of a pause, and for the limits per minute.

        After `stop`, a slot is granted immediately; the caller then checks whether there is still work.
        """
        async with self._freed:
            await self._freed.wait_for(lambda: self._running < self.limit)
            self._running += 1
        try:
            await self._wait(tokens)
            yield
        finally:
            self._running -= 1
            async with self._freed:
                self._freed.notify_all()

    def answered(self) -> None:
        """Record an answer and allow more concurrent calls; growth is fast until the first rate limit."""
        self._storms = 0
        self._limit = min(float(self._most), self._limit + (1.0 if self._slow_start else _GROWTH))

    def slowed(self, called_at: float, retry_after: float | None) -> None:
        """Record that a call made at `called_at` was rate limited: allow fewer concurrent calls, and pause.

        Calls made before the last halving say nothing new about the concurrency. If the server names no time, or one
        that has passed (a Retry-After of 0, or a date in the past), the doubling waiting time is used.
        """
        now = self._clock()
        if called_at > self._slowed_at:
            self._slow_start = False
            self._limit = max(1.0, self._limit / 2)
            self._slowed_at = now
            self._storms += 1
        wait = max(retry_after or 0.0, self.backoff(self._storms))
        self._quiet_until = max(self._quiet_until, now + wait)

    def backoff(self, tries: int) -> float:
        """Return the seconds to wait after `tries` consecutive failures: exponential from 0.5 s, with jitter."""
        return min(LONGEST_BACKOFF, 0.5 * 2.0 ** min(tries, 10)) * (0.5 + 0.5 * self._chance())

    async def rest(self, seconds: float) -> None:
        """Wait without holding a slot, at most until `stop`."""
        await self._pause(seconds)

    def stop(self) -> None:
        """End every wait, including those in progress, because no more calls will be made."""
        self._over = True
        for wait in self._waits:
            wait.reschedule(0.0)

    def now(self) -> float:
        """Return the time of the pace's clock, in seconds."""
        return self._clock()

    async def _wait(self, tokens: int) -> None:
        booked = max(self._calls.book(1, self._clock()), self._tokens.book(tokens, self._clock()))
        while not self._over and (wait := max(booked, self._quiet_until) - self._clock()) > 0:
            # Calls that were paused together must not all resume at the same moment.
            spread = 0.1 * wait * self._chance() if self._quiet_until > booked else 0.0
            await self._pause(wait + spread)

    async def _pause(self, seconds: float) -> None:
        """Sleep for the given time, or until `stop`."""
        if self._over:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as wait:
                self._waits.add(wait)
                try:
                    await self._sleep(seconds)
                finally:
                    self._waits.discard(wait)


class _Meter:
    """A rate limiter that spaces calls evenly, so that no minute contains more than `per_minute`."""

    def __init__(self, per_minute: float | None) -> None:
        self._per_minute = per_minute
        self._next = float("-inf")

    def book(self, amount: float, now: float) -> float:
        """Return the time from which this amount may be used."""
        if self._per_minute is None:
            return now
        moment = max(now, self._next)
        self._next = moment + amount * 60.0 / self._per_minute
        return moment
