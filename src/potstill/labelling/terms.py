"""The terms of labelling: how far and how fast it may go, and what came of it.

In: what a person asks for. Out: `Limits`, checked, and at the end a `Summary`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from potstill.errors import BadInput


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
        """Refuse limits that no run could keep."""
        for name in ("rpm", "tpm", "concurrency", "max_tokens", "tries"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise BadInput(f"--{name.replace('_', '-')}: got {value:g}, expected a number above 0")
        for name in ("max_cost", "max_calls"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise BadInput(f"--{name.replace('_', '-')}: got {value:g}, expected 0 or more")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a session of labelling did.

    Answers are counted per article and sample: `wanted` of them were asked for, `already` were in the ledger,
    `bought` are new, `failed` (by reason) could not be had, `given_up` failed for good in an earlier session
    and were not asked again. `calls`, tokens and `cost` (None without a price) are this session's; `stopped`
    says why it ended early, and `fatal` whether a person must act before it can go on.
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

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
