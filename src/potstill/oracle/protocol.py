"""Define what an oracle is: the questions it gets, its answers and failures, and the settings of a live one.

Input: a question about one article. Output: its scores, or a `Failure` with the reason and whether a retry may help.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

from potstill.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from potstill.oracle.prompt import Answer, Prompt
    from potstill.oracle.score_questions import ScoreQuestion, ScoreQuestions

Distribution: TypeAlias = "Sequence[tuple[float, float]]"
"""Levels of a scale, increasing, with the probability of each; they sum to 1."""

Message: TypeAlias = "Mapping[str, str]"
"""A chat message with `role` (system, user or assistant) and `content`."""

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
"""Why a question has no answer. The ledger stores these values."""

REPAIRABLE: frozenset[Reason] = frozenset({"malformed", "missing_dimension", "unknown_dimension", "out_of_range"})
"""Faults of an answer that the model may correct when shown the fault."""

TRANSIENT: frozenset[Reason] = frozenset({"rate_limited", "timeout", "connection", "server"})
"""Temporary faults: the same question may be answered later."""

UNSUPPORTED: Reason = "unsupported"
"""The server does not support this form of the question; an immediate retry uses another form."""

FATAL: frozenset[Reason] = frozenset({"quota", "not_allowed"})
"""Faults of the account or the address: no question is answered until the user fixes them."""


@dataclass(frozen=True, slots=True)
class Request:
    """A question about one article: its text window, the messages that contain it, and the parser for the answer.

    `questions` are for an oracle that is asked by levels. Such a server may read the messages once per question, and
    its answer is not written word by word.
    """

    article_id: str
    window: str
    messages: Sequence[Message]
    schema: Mapping[str, object]
    parse: Callable[..., Answer]
    sample: int = 0
    max_tokens: int = 1000
    questions: Sequence[ScoreQuestion] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: scores by dimension (None = masked), the evidence, and the tokens used (None = not reported).

    `cached` is the number of tokens in `tokens_in` that the server read from its cache. `doubt` describes what the
    server reported as token counts if that could not be parsed. `distributions` are those whose expected values the
    scores are, by dimension, from an oracle that gives them.
    """

    scores: Mapping[str, float | None]
    evidence: str
    tokens_in: int | None = None
    tokens_out: int | None = None
    raw: str = ""
    cached: int = 0
    doubt: str = ""
    distributions: Mapping[str, Distribution] | None = None


@dataclass(eq=False)
class Failure(Exception):
    """A question without an answer: the reason, details for the user, and what is known about the cost.

    `retry_after` is in seconds. `charged` says what the server may bill: nothing, the tokens given here, or an unknown
    amount because the answer was lost in transit; the budget then assumes the maximum. `cached` and `doubt` have the
    same meaning as in `Reply`.
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
    """Whether the fault lies with the server or its address and does not depend on the question."""

    @property
    def retryable(self) -> bool:
        """Whether the same question may be answered later."""
        return self.reason in TRANSIENT

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class Oracle(Protocol):
    """An interface that answers questions about articles."""

    @property
    def name(self) -> str:
        """The kind of oracle, such as `openai`. Labels record it together with `model` as their origin."""
        ...

    @property
    def model(self) -> str:
        """The model, with every setting that can change its answers."""
        ...

    @property
    def free(self) -> bool:
        """Whether answers cost nothing, so that no price is required."""
        ...

    @property
    def revision(self) -> str:
        """An identifier that changes when the same model would answer differently; often empty.

        For example, it changes when a recording is edited.
        """
        ...

    def prepare(self, prompt: Prompt) -> None:
        """Prepare the oracle; called once before the first question.

        Raises:
            BadInput: the oracle cannot answer this prompt; no question has been sent.
        """
        ...

    async def ask(self, request: Request) -> Reply:
        """Ask once, with at most one network request.

        Raises:
            Failure: there is no answer. The reason `unsupported` means that the server did not understand the form of
                the question; the next call uses another form.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


@runtime_checkable
class Remembers(Protocol):
    """An oracle that detects what its server supports; the ledger stores the result for the next process."""

    @property
    def server(self) -> str:
        """The address and model that `abilities` describe."""
        ...

    @property
    def abilities(self) -> dict[str, Any]:
        """The detected server capabilities, as JSON; empty until something is detected."""
        ...

    def recall(self, abilities: Mapping[str, Any]) -> None:
        """Start with the capabilities that an earlier process detected."""
        ...


@runtime_checkable
class Recorded(Protocol):
    """An oracle whose answers are recorded by article, so that articles of one text may have different ones."""

    def know_texts(self, texts: Mapping[str, str]) -> None:
        """Learn the text of each article, by its id, before the first question."""
        ...


@runtime_checkable
class AskedByLevels(Protocol):
    """An oracle that takes score questions with described levels in place of a filter's prompt."""

    def questions(self, prompt: Prompt) -> ScoreQuestions:
        """Return the questions of a prompt's filter.

        Raises:
            BadInput: the levels that were set do not fit the filter's scale.
        """
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a live oracle; None leaves a setting to the server or the environment.

    `levels` are those of an oracle that is asked by levels, on the filter's scale; None for the default.
    """

    base_url: str | None = None
    api_key_env: str | None = None
    temperature: float | None = None
    reasoning_effort: str | None = None
    timeout: float = 120.0
    levels: tuple[float, ...] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Reject a timeout or temperature outside its range."""
        if not 0 < self.timeout <= 86_400:
            raise BadInput(f"timeout: got {self.timeout:g}, expected a number above 0 and up to 86,400 seconds")
        if self.temperature is not None and not 0 <= self.temperature <= 2:
            raise BadInput(f"temperature: got {self.temperature:g}, expected 0 to 2")

    def identity(self, model: str) -> str:
        """Return the model name with the settings that can change its answers: `gpt-5-mini?temperature=0.0`."""
        levels = None if self.levels is None else ",".join(f"{level:g}" for level in self.levels)
        options = {"temperature": self.temperature, "reasoning_effort": self.reasoning_effort, "levels": levels}
        given = "&".join(f"{name}={value}" for name, value in options.items() if value is not None)
        return f"{model}?{given}" if given else model
