"""The terms of labelling: how far and how fast it may go, and what came of it.

In: what a person asks for. Out: `Limits`, checked, and at the end a `Summary`.
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
    """How far and how fast labelling may go.

    `max_cost` (in the prices' unit) and `max_calls` hold over all calls of the ledger, earlier sessions included.
    `rpm` and `tpm` are calls and tokens a minute, `concurrency` calls at once. A question whose server is busy
    or broken is asked `tries` times; one that is told to wait is waited for up to `patience` seconds in all.
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
        """Refuse limits that no run could keep, and those that would be none."""
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                legal = f"a number above 0 and up to {high:,}" if low else f"a number from 0 to {high:,}"
                got = f"{value:g}" if isinstance(value, float) else str(value)[:30]
                raise BadInput(f"--{name.replace('_', '-')}: got {got}, expected {legal}")


MOST_SAMPLES = 1000
"""Answers per article, at most."""

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
"""What each limit may be, by its name."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """Which articles get how many answers: `samples` for a share of them, chosen by chance, and one for the rest.

    The choice depends on the text and the seed alone: the same in every session, whatever the order of the articles.
    """

    samples: int = 1
    share: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no number of answers and no share."""
        if not 1 <= self.samples <= MOST_SAMPLES:
            raise BadInput(f"--samples: got {str(self.samples)[:30]}, legal 1 to {MOST_SAMPLES:,}")
        if not 0 < self.share <= 1:
            raise BadInput(f"--repeat-share: got {self.share:g}, expected a share above 0 and up to 1")
        if self.share < 1 and self.samples < 2:
            raise BadInput("--repeat-share needs --samples of 2 or more")

    def of(self, window: str) -> int:
        """How many answers the text with this hash gets."""
        if self.share >= 1:
            return self.samples
        drawn = int.from_bytes(hashlib.sha256(f"repeat {self.seed}\0{window}".encode()).digest()[:8]) / 2**64
        return self.samples if drawn < self.share else 1

    @property
    def mean(self) -> float:
        """Answers per article, as expected."""
        return 1 + (self.samples - 1) * self.share


def repeats_of(samples: int | Repeats) -> Repeats:
    """So many answers for every article, where it is a number."""
    return samples if isinstance(samples, Repeats) else Repeats(samples)


@dataclass(frozen=True, slots=True)
class Progress:
    """How a session stands, after each question that is done with.

    `faults` counts calls that failed, by reason, those that were made again included, and `given_up` the questions
    that have no answer. `rate` is answers a second over the last ones; `cost` is None without a price.
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
    """An amount as it is shown: providers' prices are in US dollars, and so are those that a user gives."""
    return f"${amount:,.{digits}f}"


def counted(reasons: Mapping[str, int]) -> str:
    """How many there are for each reason, in words."""
    return ", ".join(f"{reason} {count:,}" for reason, count in sorted(reasons.items()))


@dataclass(frozen=True, slots=True)
class Summary:
    """What a session of labelling did.

    Answers are counted per article and sample: `wanted` of them were asked for, `already` were in the ledger,
    `bought` are new, `failed` (by reason) could not be had, `given_up` failed for good in an earlier session
    and were not asked again. `faults` counts, by reason, failed calls, those that were made again included.
    `calls`, tokens and `cost` (None without a price) are this session's; `stopped`
    says why it ended early, and `fatal` whether a person must act before it can go on. `flagged` counts the articles
    seen whose text speaks to the oracle. `unanswered` calls were sent, and the server did not say what they cost:
    `unanswered_cost` of the cost is the most that they can have cost. `doubted` are calls whose token counts, as the
    server reports them, cannot be true; `doubt` says why, of the first. They are among the unanswered.
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
        """For JSON."""
        return asdict(self)
