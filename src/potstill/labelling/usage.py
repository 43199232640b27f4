"""Check the token counts that a server reports, and sum up a session's calls.

Input: a question, and its outcome. Output: the outcome with valid token counts, or without counts and with the reason
in words. A call without counts is charged at its maximum cost.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from potstill.labelling.budget import FREE, TRILLION, most_tokens
from potstill.oracle import Failure, Reply
from potstill.terminal import note

if TYPE_CHECKING:
    from potstill.labelling.budget import Price
    from potstill.oracle import Request

_BYTES_PER_TOKEN = 64
"""Maximum bytes per token: a text has at least its bytes divided by this many tokens; real texts have 3 to 15."""

_FACTOR = 2
"""Tolerance of a count above the bound of the request, because servers add words of their own."""

_HIDDEN_THINKING = 8192
"""Number of thinking tokens that a server may report above the limit it was given, as some do."""


def doubt_of(request: Request, outcome: Reply | Failure, unseen: int = 0) -> str:
    """Return why the server's token counts are impossible; empty if they are plausible or missing.

    Args:
        request: the question.
        outcome: the reply or failure.
        unseen: maximum number of bytes of the question that are not in `request`.
    """
    tokens_in, tokens_out = outcome.tokens_in, outcome.tokens_out
    if tokens_in is None or tokens_out is None:
        return outcome.doubt
    most_in, most_out = most_tokens(request)
    asked = sum(len(message["content"].encode()) for message in request.messages)
    if not asked // _BYTES_PER_TOKEN <= tokens_in <= _FACTOR * (most_in + unseen):
        return f"it reports {_number(tokens_in)} tokens for a question of {asked:,} bytes"
    answer_bytes = len(outcome.raw.encode())
    # Probabilities are not written word by word, so that their tokens do not follow from their bytes.
    fewest_out = 0 if request.questions else -(-answer_bytes // _BYTES_PER_TOKEN)
    if not fewest_out <= tokens_out <= _FACTOR * most_out + _HIDDEN_THINKING:
        return (
            f"it reports {_number(tokens_out)} tokens for an answer of {answer_bytes:,} bytes, limited to "
            f"{most_out:,} tokens"
        )
    if outcome.cached > tokens_in:
        return f"it reports {_number(outcome.cached)} of {tokens_in:,} tokens as read from its cache"
    return ""


def _number(count: int) -> str:
    return f"{count:,}" if count < 10**16 else f"{count:.0e}"


@dataclass
class Tally:
    """Totals of a session's calls, in addition to the cost that the budget counts.

    `free` is for oracles whose answers cost nothing and have no token counts.
    """

    price: Price | None
    free: bool = False
    tokens_in: int = 0
    tokens_out: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    unanswered_cost: int = 0
    doubted: int = 0
    doubt: str | None = None
    excess: float = 1.0

    def worst(self, request: Request) -> int:
        """Return the maximum cost of a call, in trillionths, for the longest question and answer that it allows.

        If the server has charged more than that for an earlier call, it is expected to do so again.
        """
        most = self._most(request)
        return round(most * self.excess) if self.excess > 1 else most

    def settle(
        self, request: Request, outcome: Reply | Failure, worst: int, unseen: int = 0
    ) -> tuple[Reply | Failure, int]:
        """Count a finished call, and return its outcome without impossible token counts, and its cost.

        Args:
            request: the question.
            outcome: the reply or failure.
            worst: the maximum cost of the call, in trillionths; used as its cost if that is unknown.
            unseen: maximum number of bytes of the question that are not in `request`.
        """
        if doubt := "" if self.free else doubt_of(request, outcome, unseen):
            self._doubt(doubt)
            outcome = _without_counts(outcome)
        cost, known = self._cost(outcome, worst)
        if not known:
            self.unanswered += 1
            self.unanswered_cost += cost
        elif not unseen and cost > self._most(request) > 0:
            self.excess = max(self.excess, cost / self._most(request))
        self.tokens_in += outcome.tokens_in or 0
        self.tokens_out += outcome.tokens_out or 0
        if isinstance(outcome, Failure):
            self.faults[outcome.reason] += 1
        return outcome, cost

    def counted(self) -> float | None:
        """Return the total charged for calls of unknown cost, in the prices' currency unit; None without a price."""
        return None if self.price is None else self.unanswered_cost / TRILLION

    def _most(self, request: Request) -> int:
        return (self.price or FREE).of(*most_tokens(request))

    def _cost(self, outcome: Reply | Failure, worst: int) -> tuple[int, bool]:
        """Return a call's cost, and whether it is known or the maximum."""
        if self.free or (isinstance(outcome, Failure) and outcome.charged == "nothing"):
            return 0, True
        if outcome.tokens_in is None or outcome.tokens_out is None:
            return worst, False
        return (self.price or FREE).of(outcome.tokens_in, outcome.tokens_out, outcome.cached), True

    def _doubt(self, doubt: str) -> None:
        self.doubted += 1
        if self.doubt is None:
            self.doubt = doubt
            note(
                f"warning: the server's token counts are implausible ({doubt}); such calls are counted at their "
                "maximum cost"
            )


def _without_counts(outcome: Reply | Failure) -> Reply | Failure:
    if isinstance(outcome, Reply):
        return replace(outcome, tokens_in=None, tokens_out=None, cached=0)
    outcome.tokens_in = outcome.tokens_out = None
    outcome.cached = 0
    outcome.charged = "unknown" if outcome.charged == "tokens" else outcome.charged
    return outcome
