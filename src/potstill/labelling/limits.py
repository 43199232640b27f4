"""Define the limits of labelling, and the summary of a session.

Input: the user's options. Output: `Limits`, checked, and at the end a `Summary`.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from potstill.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on the cost and speed of labelling.

    `max_cost` (in the prices' currency unit) and `max_calls` apply to all calls of the ledger, including those of
    earlier sessions. `rpm` and `tpm` are calls and tokens per minute, `concurrency` is the number of concurrent calls.
    A question is sent up to `tries` times if the server is busy or fails; after a rate limit, it waits up to `patience`
    seconds in total.
    """

    max_cost: float | None = None
    max_calls: int | None = None
    rpm: float | None = None
    tpm: float | None = None
    concurrency: int = 16
    max_tokens: int = 1000
    tries: int = 6
    patience: float = 900.0

    def __post_init__(self) -> None:
        """Reject limits that no run could keep, and values that do not limit anything."""
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                legal = f"a number above 0 and up to {high:,}" if low else f"a number from 0 to {high:,}"
                got = f"{value:g}" if isinstance(value, float) else str(value)[:30]
                raise BadInput(f"--{name.replace('_', '-')}: got {got}, expected {legal}")


MOST_SAMPLES = 1000
"""Maximum number of answers per article."""

_RANGES = {
    "max_cost": (0, 1_000_000_000),
    "max_calls": (0, 1_000_000_000),
    "rpm": (0.001, 1_000_000_000),
    "tpm": (0.001, 1_000_000_000),
    "concurrency": (1, 1000),
    "max_tokens": (1, 1_000_000),
    "tries": (1, 1000),
    "patience": (0, 1_000_000),
}
"""The valid range of each limit, by its name."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """The number of answers per article: `samples` for a random share of the articles, one for the rest.

    The selection depends only on the text and the seed, so it is the same in every session and for any order of the
    articles.
    """

    samples: int = 1
    share: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Reject an invalid number of answers or share."""
        if not 1 <= self.samples <= MOST_SAMPLES:
            raise BadInput(f"--answers: got {str(self.samples)[:30]}, expected 1 to {MOST_SAMPLES:,}")
        if not 0 < self.share <= 1:
            raise BadInput(f"--repeat-share: got {self.share:g}, expected a share above 0 and up to 1")
        if self.share < 1 and self.samples < 2:
            raise BadInput("--repeat-share needs --answers of 2 or more")

    def of(self, window: str) -> int:
        """Return the number of answers for the text with this hash."""
        if self.share >= 1:
            return self.samples
        drawn = int.from_bytes(hashlib.sha256(f"repeat {self.seed}\0{window}".encode()).digest()[:8]) / 2**64
        return self.samples if drawn < self.share else 1

    @property
    def mean(self) -> float:
        """The expected number of answers per article."""
        return 1 + (self.samples - 1) * self.share


def repeats_of(samples: int | Repeats) -> Repeats:
    """Convert a number of answers to a `Repeats` for every article."""
    return samples if isinstance(samples, Repeats) else Repeats(samples)


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a session, after each finished question.

    `faults` counts failed calls by reason, including those that were repeated; `given_up` counts the questions without
    an answer. `rate` is the number of recent answers per second; `cost` is None without a price.
    """

    bought: int
    faults: Mapping[str, int]
    given_up: int
    cost: float | None
    rate: float
    at_once: int

    def __str__(self) -> str:
        parts = [] if self.cost is None else [f"spent {money(self.cost)}"]
        parts += [f"{self.rate:,.1f}/s"] if self.rate else []
        if self.faults:
            parts += ["failed calls: " + counted(self.faults)]
        if self.given_up:
            parts += [f"{self.given_up:,} given up"]
        return ", ".join([*parts, f"{self.at_once} at once"])


def money(amount: float, digits: int = 4) -> str:
    """Format an amount in US dollars, the currency of providers' prices and of the user's own."""
    return f"${amount:,.{digits}f}"


def counted(reasons: Mapping[str, int]) -> str:
    """Describe the counts per reason in words."""
    return ", ".join(f"{reason} {count:,}" for reason, count in sorted(reasons.items()))


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of a labelling session.

    Answers are counted per article and sample: `wanted` were requested, `already` were in the ledger, `bought` are new,
    `failed` (by reason) could not be bought, `given_up` failed permanently in an earlier session and were not asked
    again. `faults` counts failed calls by reason, including those that were repeated. `calls`, tokens and `cost` (None
    without a price) are those of this session. `stopped` says why it ended early, and `fatal` whether the user must act
    before it can continue. `flagged` counts the processed articles whose text addresses the oracle. `unanswered` counts
    calls that were sent but whose cost the server did not report; they contribute their maximum cost,
    `unanswered_cost`, to the cost. `doubted` counts calls with impossible token counts from the server; `doubt` gives
    the reason for the first. They are included in `unanswered`.
    """

    wanted: int
    already: int
    bought: int
    failed: dict[str, int]
    given_up: dict[str, int]
    calls: int
    tokens_in: int
    tokens_out: int
    cost: float | None
    seconds: float
    stopped: str | None = None
    fatal: bool = False
    first_failure: str | None = None
    flagged: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    unanswered: int = 0
    unanswered_cost: float | None = None
    doubted: int = 0
    doubt: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as a dictionary for JSON."""
        return asdict(self)
