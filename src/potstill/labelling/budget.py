"""Compute the cost of calls, and enforce limits that calls in flight cannot exceed.

Input: prices, and a limit on cost or calls. Output: permission for each call, given only if the limit would hold even
if every call in flight had its maximum cost. Costs are integers in trillionths of the prices' currency unit, so sums
are exact.
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

# Upper bound of the tokens that servers add to a message (role, separators).
_TOKENS_PER_MESSAGE = 16


DISCOUNT = 0.5
"""Price of a question in a batch job relative to a single call, if the prices do not state it."""


@dataclass(frozen=True, slots=True)
class Price:
    """Prices per million tokens, in any currency unit.

    `cached` is the price of input that the server reads from its cache; None means the normal input price. `batch`
    contains the prices of a question in a batch job; None means half. `long` contains other prices for questions above
    certain numbers of tokens, in ascending order.

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
            raise BadInput(
                f"a price per million tokens must be from 0 to 1,000,000, got {self.input:g} and {self.output:g}"
            )

    def of(self, tokens_in: int, tokens_out: int, cached: int = 0) -> int:
        """Return the cost of a call, in trillionths; `cached` is the part of `tokens_in` from the server's cache."""
        at = self
        for start, price in self.long:
            at = price if tokens_in > start else at
        fresh, read = round(at.input * 1e6), round((at.input if at.cached is None else at.cached) * 1e6)
        return (tokens_in - cached) * fresh + cached * read + tokens_out * round(at.output * 1e6)

    def in_jobs(self) -> Price:
        """Return the prices of a question in a batch job."""
        if self.batch is not None:
            return self.batch
        cached = None if self.cached is None else self.cached * DISCOUNT
        long = tuple((start, price.in_jobs()) for start, price in self.long)
        return Price(self.input * DISCOUNT, self.output * DISCOUNT, cached, long=long)


FREE = Price(0.0, 0.0)


def most_tokens(request: Request) -> tuple[int, int]:
    """Return the maximum number of input and output tokens of a call that respects its limit.

    Every tokenizer in use consumes at least one byte of UTF-8 per token, so the question's bytes bound its tokens. The
    schema is counted twice, because servers that enforce it may add it to the question, and the system message 1.25
    times, because Anthropic charges that for writing its cache. A server that answers several questions may read the
    messages once per question.
    """
    texts = sum(
        len(message["content"].encode()) * (5 if message["role"] == "system" else 4) // 4 + _TOKENS_PER_MESSAGE
        for message in request.messages
    )
    schema = len(json.dumps(request.schema, ensure_ascii=False).encode())
    return texts * max(1, len(request.questions)) + schema + _TOKENS_PER_MESSAGE, request.max_tokens


class Budget:
    """Limits over all calls of a ledger, including those of earlier sessions.

    Call `reserve` before each call and `settle` after it; in between, the call counts at its maximum cost.
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
        """The amount spent, in trillionths."""
        return self._cost

    @property
    def calls(self) -> int:
        """The number of calls made."""
        return self._calls

    async def reserve(self, worst: int) -> bool:
        """Reserve the maximum cost of a call; wait for calls in flight if they may release enough.

        Returns:
            Whether the call may be made; if not, no call of this cost will ever be permitted.
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
        """Return whether a call of this cost is permitted in addition to the calls in flight."""
        return self._fits(worst)

    def hold(self, worst: int) -> None:
        """Reserve the maximum cost of a call that is already in flight."""
        self._reserved += worst
        self._in_flight += 1

    def settle(self, worst: int, cost: int | None) -> None:
        """Record the cost of a finished call that was reserved; None if it was never made."""
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
