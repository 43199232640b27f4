"""Oracles: large models that judge by the rubric, and stand-ins for them, behind one Protocol.

In: a question about one article. Out: its scores, or a `Failure` that says what went wrong and whether asking
again may help. An oracle asks once and never retries: when to ask again, how fast and for how much money is
the business of `labelling`. A file per provider; `prompt` builds the questions and reads the answers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

from potstill.errors import BadInput, OracleError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from potstill.oracle.prompt import Answer, Prompt

Message: TypeAlias = "Mapping[str, str]"
"""`role` (system, user or assistant) and `content`."""

Reason = Literal[
    "rate_limited",
    "timeout",
    "connection",
    "server",
    "bad_request",
    "unsupported",
    "refused",
    "truncated",
    "thinking_only",
    "empty",
    "malformed",
    "missing_dimension",
    "unknown_dimension",
    "out_of_range",
    "not_recorded",
    "quota",
    "not_allowed",
    "killed",
    "dropped",
]
"""Why there is no answer; the ledger keeps these words."""

REPAIRABLE: frozenset[Reason] = frozenset({"malformed", "missing_dimension", "unknown_dimension", "out_of_range"})
"""Faults of an answer that a model may mend when it is shown them."""

TRANSIENT: frozenset[Reason] = frozenset({"rate_limited", "timeout", "connection", "server"})
"""Faults of a moment: the same question may be answered a little later."""

UNSUPPORTED: Reason = "unsupported"
"""The server does not know this form of the question; asked again at once, it is asked in another."""

FATAL: frozenset[Reason] = frozenset({"quota", "not_allowed"})
"""Faults of the account or the address: no question will be answered until a person acts."""


@dataclass(frozen=True, slots=True)
class Request:
    """One question: an article's window with the messages that carry it, and how to read what comes back."""

    article_id: str
    window: str
    messages: Sequence[Message]
    schema: Mapping[str, object]
    parse: Callable[..., Answer]
    sample: int = 0
    max_tokens: int = 1000


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: scores by dimension (None = masked), the evidence, and the tokens used (None = nobody said).

    `cached` are those of `tokens_in` that the server read from its cache. `doubt` says, in words, what the server
    reported in place of token counts where that cannot be read.
    """

    scores: Mapping[str, float | None]
    evidence: str
    tokens_in: int | None = None
    tokens_out: int | None = None
    raw: str = ""
    cached: int = 0
    doubt: str = ""


@dataclass(eq=False)
class Failure(Exception):
    """No answer: the reason, details for a person, and what is known of the cost.

    `retry_after` is in seconds. `charged` says what the server may ask for: nothing, the tokens given here, or
    an unknown amount (the answer was lost on its way), which a careful budget takes to be the worst. `cached` and
    `doubt` are as in a `Reply`.
    """

    reason: Reason
    detail: str = ""
    retry_after: float | None = None
    charged: Literal["nothing", "tokens", "unknown"] = "nothing"
    tokens_in: int | None = None
    tokens_out: int | None = None
    raw: str = ""
    cached: int = 0
    doubt: str = ""
    of_server: bool = False
    """Whether it lies with the server or its address, whatever the question was."""

    @property
    def retryable(self) -> bool:
        """Whether the same question may be answered a little later."""
        return self.reason in TRANSIENT

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class Oracle(Protocol):
    """Something that answers questions about articles."""

    @property
    def name(self) -> str:
        """The kind of oracle, such as `openai`; with `model`, what a label says of its origin."""
        ...

    @property
    def model(self) -> str:
        """The model, with every setting that can change its answers."""
        ...

    @property
    def free(self) -> bool:
        """Whether answers cost nothing, so that no price is needed."""
        ...

    @property
    def revision(self) -> str:
        """What changes when the same model would now answer otherwise, as an edited recording does; often empty."""
        ...

    def prepare(self, prompt: Prompt) -> None:
        """Called once before the first question.

        Raises:
            BadInput: the oracle cannot answer by this prompt; nothing has been asked.
        """
        ...

    async def ask(self, request: Request) -> Reply:
        """Ask once: one request over the network at most.

        Raises:
            Failure: there is no answer. With the reason `unsupported` the server did not know the form of the
                question, and the next call asks in another.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


@runtime_checkable
class Remembers(Protocol):
    """An oracle that finds out what its server can do; a ledger keeps that for the next process."""

    @property
    def server(self) -> str:
        """What `abilities` are those of: address and model."""
        ...

    @property
    def abilities(self) -> dict[str, Any]:
        """What was found out, as JSON; empty until something was."""
        ...

    def recall(self, abilities: Mapping[str, Any]) -> None:
        """Start from what an earlier process found out."""
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """What a live oracle can be told; None leaves it to the server or the environment."""

    base_url: str | None = None
    api_key_env: str | None = None
    temperature: float | None = None
    reasoning_effort: str | None = None
    timeout: float = 120.0
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what is no time and no temperature."""
        if not 0 < self.timeout <= 86_400:
            raise BadInput(f"--timeout: got {self.timeout:g}, legal above 0 and up to 86,400 seconds")
        if self.temperature is not None and not 0 <= self.temperature <= 2:
            raise BadInput(f"--temperature: got {self.temperature:g}, legal 0 to 2")

    def identity(self, model: str) -> str:
        """The model's name with the settings that can change its answers: `gpt-5-mini?temperature=0.0`."""
        told = {"temperature": self.temperature, "reasoning_effort": self.reasoning_effort}
        given = "&".join(f"{name}={value}" for name, value in told.items() if value is not None)
        return f"{model}?{given}" if given else model


PROVIDERS = ("replay", "openai", "anthropic", "gemini")
"""What stands before the colon of an oracle's spec."""


def open_oracle(spec: str, settings: Settings | None = None) -> Oracle:
    """An oracle from its spec: `replay:FILE[#FIELD]`, `openai:MODEL`, `anthropic:MODEL` or `gemini:MODEL`.

    Raises:
        OracleError: the spec is unknown, or a key is missing.
        BadInput: a file of recorded answers is broken.
        MissingExtra: the provider's library is not installed.
    """
    provider, _, rest = spec.partition(":")
    settings = settings or Settings()
    if provider == "replay" and rest:
        from potstill.oracle.replay import ReplayOracle

        # A file's own name may hold a #.
        path, mark, column = rest.rpartition("#")
        return ReplayOracle(path, column) if mark and not Path(rest).is_file() else ReplayOracle(rest)
    if provider == "openai" and rest:
        from potstill.oracle.openai import OpenAIOracle

        return OpenAIOracle(rest, settings)
    if provider == "anthropic" and rest:
        from potstill.oracle.anthropic import AnthropicOracle

        return AnthropicOracle(rest, settings)
    if provider == "gemini" and rest:
        from potstill.oracle.gemini import GeminiOracle

        return GeminiOracle(rest, settings)
    raise OracleError(
        f"unknown oracle {spec!r}; expected replay:FILE, replay:FILE#FIELD, openai:MODEL, anthropic:MODEL or "
        "gemini:MODEL"
    )
