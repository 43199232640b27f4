"""The pace: how many calls at once, and how many a minute.

In: what the server answers. Out: slots for calls. The number of calls at once grows with every answer and is
halved when the server says it is too many; after that nobody calls until the time the server asks for has
passed. Limits per minute, of calls and of tokens, are kept by spacing. The clock is a part that tests replace.
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
"""Calls at once before the server has answered any."""

LONGEST_BACKOFF = 60.0
_GROWTH = 0.2


class Pace:
    """Slots for calls.

    Args:
        concurrency: the most calls at once.
        rpm: the most calls a minute.
        tpm: the most tokens a minute, as estimated before each call.
        clock: seconds, monotonic.
        sleep: waits that many seconds.
        chance: a number from 0 to 1, for spreading calls that wait for the same moment.
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
        """Calls at once, as things stand."""
        return int(self._limit)

    @asynccontextmanager
    async def slot(self, tokens: int) -> AsyncIterator[None]:
        """Hold one of the slots; waits for a free one, for the server's silence to end and for the minute's limits.

        After `stop` it is given at once, to whoever then looks whether there is still something to do.
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
        """A call was answered: more at once, quickly until the server first complains."""
        self._storms = 0
        self._limit = min(float(self._most), self._limit + (1.0 if self._slow_start else _GROWTH))

    def slowed(self, called_at: float, retry_after: float | None) -> None:
        """A call made at `called_at` was too many: fewer at once, and silence for a while.

        Calls made before the last halving say nothing new about the number at once. A server that names no time, or
        one that is over (a Retry-After of 0, or a date in the past), gets the doubling wait all the same.
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
        """Seconds to wait after so many failed tries in a row: doubling from half a second, spread by chance."""
        return min(LONGEST_BACKOFF, 0.5 * 2.0 ** min(tries, 10)) * (0.5 + 0.5 * self._chance())

    async def rest(self, seconds: float) -> None:
        """Wait, holding no slot; until `stop` at most."""
        await self._pause(seconds)

    def stop(self) -> None:
        """No more calls will be made: end every wait, those that have begun too."""
        self._over = True
        for wait in self._waits:
            wait.reschedule(0.0)

    def now(self) -> float:
        """The time on the pace's clock, in seconds."""
        return self._clock()

    async def _wait(self, tokens: int) -> None:
        booked = max(self._calls.book(1, self._clock()), self._tokens.book(tokens, self._clock()))
        while not self._over and (wait := max(booked, self._quiet_until) - self._clock()) > 0:
            # Calls that were silenced together don't all come back in the same instant.
            spread = 0.1 * wait * self._chance() if self._quiet_until > booked else 0.0
            await self._pause(wait + spread)

    async def _pause(self, seconds: float) -> None:
        """Sleep so long, or until `stop`."""
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
    """Hands out moments so that no minute holds more than `per_minute`, spacing evenly."""

    def __init__(self, per_minute: float | None) -> None:
        self._per_minute = per_minute
        self._next = float("-inf")

    def book(self, amount: float, now: float) -> float:
        """The moment from which this amount may be used."""
        if self._per_minute is None:
            return now
        moment = max(now, self._next)
        self._next = moment + amount * 60.0 / self._per_minute
        return moment
