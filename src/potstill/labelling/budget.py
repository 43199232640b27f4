"""The budget: what a call costs, and limits that calls in flight can't overrun.

In: prices, and a limit in money or calls. Out: permission for each call, given only if the limit would hold even
though every call in flight cost the most it can. Money is counted in trillionths of the unit that the prices are
in, as whole numbers: no sum is rounded.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from potstill.errors import BadInput

if TYPE_CHECKING:
    from potstill.labelling.ledger import Spent
    from potstill.oracle import Request

TRILLION = 10**12

# What servers add around a message (role, separators), as an upper bound.
_TOKENS_PER_MESSAGE = 16


DISCOUNT = 0.5
"""The share of the price that a question in a job costs, where the prices do not say otherwise."""


@dataclass(frozen=True, slots=True)
class Price:
    """Prices per million tokens, in any unit of money.

    `cached` is that of input which the server reads from its cache; None means that it costs as much as any. `batch`
    holds the prices of a question in a job; None means half. `long` holds other prices for questions of more than so
    many tokens, in rising order.

    Raises:
        BadInput: a price is not a number from 0 to 1,000,000.
    """

    input: float
    output: float
    cached: float | None = None
    batch: Price | None = None
    long: tuple[tuple[int, Price], ...] = ()

    def __post_init__(self) -> None:
        if not all(0 <= price < 1e6 for price in (self.input, self.output, self.cached or 0.0)):
            raise BadInput(f"a price per million tokens is from 0 to 1,000,000, got {self.input:g} and {self.output:g}")

    def of(self, tokens_in: int, tokens_out: int, cached: int = 0) -> int:
        """The price of a call, in trillionths; `cached` are those of `tokens_in` that came from the server's cache."""
        at = self
        for start, price in self.long:
            at = price if tokens_in > start else at
        fresh, read = round(at.input * 1e6), round((at.input if at.cached is None else at.cached) * 1e6)
        return (tokens_in - cached) * fresh + cached * read + tokens_out * round(at.output * 1e6)

    def in_jobs(self) -> Price:
        """The prices of a question that is sent in a job."""
        if self.batch is not None:
            return self.batch
        cached = None if self.cached is None else self.cached * DISCOUNT
        long = tuple((start, price.in_jobs()) for start, price in self.long)
        return Price(self.input * DISCOUNT, self.output * DISCOUNT, cached, long=long)


FREE = Price(0.0, 0.0)


def most_tokens(request: Request) -> tuple[int, int]:
    """The most tokens that a call which keeps to its limit can use, in and out.

    Every tokenizer in use spends at least a byte of UTF-8 on a token, so the bytes of the question bound its
    tokens. The schema is counted once more, as servers that enforce it may add it to the question, and the system
    message a quarter more, as Anthropic charges for writing its cache.
    """
    texts = sum(
        len(message["content"].encode()) * (5 if message["role"] == "system" else 4) // 4 + _TOKENS_PER_MESSAGE
        for message in request.messages
    )
    schema = len(json.dumps(request.schema, ensure_ascii=False).encode())
    return texts + schema + _TOKENS_PER_MESSAGE, request.max_tokens


class Budget:
    """Limits over all of a ledger's calls, those of earlier sessions included.

    `reserve` before each call and `settle` after it; between the two the call counts at its worst price.
    """

    def __init__(self, spent: Spent, *, max_cost: float | None = None, max_calls: int | None = None) -> None:
        self._cost = spent.cost
        self._calls = spent.calls
        self._max_cost = None if max_cost is None else int(max_cost * TRILLION)
        self._max_calls = max_calls
        self._reserved = 0
        self._in_flight = 0
        self._settled = asyncio.Event()

    @property
    def cost(self) -> int:
        """What has been spent, in trillionths."""
        return self._cost

    @property
    def calls(self) -> int:
        """How many calls have been made."""
        return self._calls

    async def reserve(self, worst: int) -> bool:
        """Set aside the worst price of a call; waits for calls in flight if they may free enough.

        Returns:
            Whether the call may be made; if not, no call of this price may ever be.
        """
        while not self._fits(worst):
            if not self._in_flight:
                return False
            self._settled.clear()
            await self._settled.wait()
        self._reserved += worst
        self._in_flight += 1
        return True

    def fits(self, worst: int) -> bool:
        """Whether a call of this price may be made while those in flight are."""
        return self._fits(worst)

    def hold(self, worst: int) -> None:
        """Set aside the worst price of a call that is in flight already."""
        self._reserved += worst
        self._in_flight += 1

    def settle(self, worst: int, cost: int | None) -> None:
        """A reserved call is over and cost this much; None if it was never made."""
        self._reserved -= worst
        self._in_flight -= 1
        if cost is not None:
            self._cost += cost
            self._calls += 1
        self._settled.set()

    @property
    def limit(self) -> str:
        """The limits in words, for the message when one is reached."""
        words = [] if self._max_cost is None else [f"--max-cost {self._max_cost / TRILLION:g}"]
        words += [] if self._max_calls is None else [f"--max-calls {self._max_calls}"]
        return " and ".join(words)

    def _fits(self, worst: int) -> bool:
        if self._max_calls is not None and self._calls + self._in_flight >= self._max_calls:
            return False
        return self._max_cost is None or self._cost + self._reserved + worst <= self._max_cost
