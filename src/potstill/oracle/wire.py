"""The wire: what live oracles share, whatever their provider.

In: what a server or its library did. Out: failures with their names, waits in seconds, and the firmest form of
answer that the server understands, found out with the first question and remembered.
"""

from __future__ import annotations

import asyncio
import json
import os
from abc import ABC, abstractmethod
from collections import Counter
from typing import TYPE_CHECKING, Any

from potstill.errors import OracleError
from potstill.oracle import Failure, Reply, Request, Settings
from potstill.oracle.reading import storable
from potstill.oracle.waits import retry_after

if TYPE_CHECKING:
    from collections.abc import Mapping

    from potstill.oracle.prompt import Prompt

# Answers to a request whose form a server does not know: most say 400 or 422, some 501, llama-cpp-python 500.
_NOT_UNDERSTOOD = frozenset({400, 404, 415, 422, 501})
_QUOTA_WORDS = ("insufficient_quota", "exceeded your current quota", "insufficient balance", "insufficient_balance",
                "billing_hard_limit", "credit balance", "insufficient credits")  # fmt: skip

CUT = frozenset({"length", "max_tokens", "max_output_tokens", "model_length", "max_length", "token_limit",
                 "model_context_window_exceeded", "context_length_exceeded", "pause_turn", "incomplete", "abort",
                 "insufficient_system_resource"})  # fmt: skip
"""Why a text ended before its model ended it, in servers' words, in lower case."""


class LiveOracle(ABC):
    """An oracle that asks a server; a provider says how one question is sent.

    `forms` are the ways to hold a server to the answer's form, the firmest first. The first questions find out
    which of them it understands, one after the other, and then all use that one.
    """

    name: str
    free = False
    revision = ""
    forms: tuple[str, ...]

    def __init__(self, model: str, settings: Settings) -> None:
        self._served = model
        self._settings = settings
        self._form: str | None = None
        self._likely: str | None = None
        self._not_understood: Counter[str] = Counter()
        self._finding = asyncio.Lock()
        self._send_temperature = settings.temperature is not None

    @property
    def model(self) -> str:
        """The model, with the settings that can change its answers."""
        return self._settings.identity(self._served)

    @property
    def form(self) -> str | None:
        """How the server holds answers to their form; None until it is known."""
        return self._form

    @property
    def batch_form(self) -> str:
        """The form of a question in a job: the one that was found out, else the firmest."""
        return self._form or self._likely or self.forms[0]

    @property
    def server(self) -> str:
        """What `abilities` are those of: address and model."""
        return f"{self.name} {self._settings.base_url or ''} {self._served}"

    @property
    def abilities(self) -> dict[str, Any]:
        """What was found out about the server, as JSON; empty until something was."""
        return {} if self._form is None else {"form": self._form}

    def recall(self, abilities: Mapping[str, Any]) -> None:
        """Try first what an earlier process found out; if that is true no more, it is found out anew."""
        likely = abilities.get("form")
        self._likely = likely if likely in self.forms else None

    def prepare(self, prompt: Prompt) -> None:  # noqa: B027 - nothing is the right thing for most
        """Any filter will do."""

    async def ask(self, request: Request) -> Reply:
        """Ask once; while the server's abilities are unknown, questions wait for one that finds them out."""
        if self._form is None:
            async with self._finding:
                if self._form is None:
                    return await self._find_out(request)
        return await self._send(request, self._form)

    @abstractmethod
    async def close(self) -> None:
        """Close the connections."""

    @abstractmethod
    async def _send(self, request: Request, form: str) -> Reply:
        """Ask once in this form.

        Raises:
            NotUnderstood: the server may not know this form.
            Failure: there is no answer.
        """

    async def _find_out(self, request: Request) -> Reply:
        """Ask in the firmest form that the server understands, and remember it."""
        refused = Failure("bad_request", "the server understands no form of the question")
        first = [] if self._likely is None else [self._likely]
        for form in [*first, *(form for form in self.forms if form not in first)]:
            try:
                reply = await self._send(request, form)
            except NotUnderstood as refusal:
                refused = refusal.failure
                self._not_understood[form] += 1
                if refusal.status >= 500 and self._not_understood[form] < 2:
                    # It may have been an accident; the same form gets a second try.
                    raise refused from None
                continue
            except Failure as failure:
                if failure.charged == "tokens" or failure.reason == "refused":
                    self._form = form  # understood, though the answer is of no use
                raise
            self._form = form
            return reply
        # No form helps: it is this article (too long, perhaps), and the next one starts afresh.
        raise refused

    def _status_failure(self, status: int, message: str, said: str, headers: Mapping[str, str]) -> Failure:
        """What an HTTP status means, as a `NotUnderstood` while that may be what it means."""
        failure = status_failure(status, message, said, headers)
        unclear = failure.reason in {"bad_request", "server"} and (status in _NOT_UNDERSTOOD or status == 500)
        return NotUnderstood(status, failure) if self._form is None and unclear else failure


class NotUnderstood(Failure):
    """A refusal that may mean the form of the question, while the server's abilities are unknown."""

    def __init__(self, status: int, failure: Failure) -> None:
        super().__init__(failure.reason, failure.detail, failure.retry_after)
        self.status = status
        self.failure = failure


def status_failure(status: int, message: str, said: str, headers: Mapping[str, str]) -> Failure:  # noqa: PLR0911
    """What an HTTP status means; none of these is charged for.

    Args:
        status: 400 or more.
        message: the server's, for a person.
        said: message and codes, where words are looked for.
        headers: of the answer.
    """
    detail, said = f"HTTP {status}: {one_line(message)}", said.lower()
    if status == 402 or (status in {400, 403, 429} and any(word in said for word in _QUOTA_WORDS)):
        return Failure("quota", detail)
    if status in {401, 403}:
        return Failure("refused" if "moderation" in said or "flagged" in said else "not_allowed", detail)
    if status == 429:
        return Failure("rate_limited", detail, retry_after=retry_after(headers))
    if status in {408, 409} or (status >= 500 and status != 501):
        return Failure("server", detail, retry_after=retry_after(headers))
    if "content_filter" in said or "content_policy" in said:
        return Failure("refused", detail)
    if status == 404 and "model" in said:
        return Failure("not_allowed", detail)
    return Failure("bad_request", detail)


_NEVER_SENT = frozenset({"ConnectError", "ClientConnectorError", "ClientConnectorDNSError"})


def lost(error: BaseException, seconds: float) -> Failure:
    """What it means that a call ended without an answer, from the errors that a library wrapped in each other."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    # asyncio's own timeout is caused by the cancelling that it did.
    while len(chain) > 1 and isinstance(chain[-1], asyncio.CancelledError):
        chain.pop()
    # What aiohttp says counts; some libraries call its broken connections refused ones.
    names = [type(one).__name__ for one in chain if type(one).__module__.startswith("aiohttp")]
    names = names or [type(one).__name__ for one in chain]
    root, detail = chain[-1], f"{type(chain[-1]).__name__}: {one_line(str(chain[-1]))}"
    if not _NEVER_SENT.isdisjoint(names):
        return Failure("connection", detail, charged="nothing")
    # Only the root tells: aiohttp's "Server disconnected" arrives under the name of a timeout.
    if isinstance(root, TimeoutError) or "Timeout" in names[-1]:
        return Failure("timeout", f"no whole answer in {seconds:g} s", charged="unknown")
    return Failure("connection", detail, charged="unknown")


def the_object(text: str) -> dict[str, Any]:
    """The JSON object that a body with status 200 must be.

    Raises:
        Failure: it is none.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        fault = f"the server's answer is no JSON: {one_line(text[:80]) or 'it is empty'}"
        raise Failure("malformed", fault, charged="unknown", raw=text[:4000]) from None
    if not isinstance(value, dict):
        raise Failure("malformed", "the server's answer is no JSON object", charged="unknown", raw=text[:4000])
    return value


def read_answer(request: Request, text: str, failure: Failure, *, alone: bool, finish: object, thought: bool) -> Reply:
    """The scores in a model's text, by the one rule that holds for every provider (`oracle.reading`).

    Args:
        request: what was asked.
        text: what the model said, without the parts that the server marks as thinking.
        failure: what is known of the cost; raised, with its reason, if the text holds no answer.
        alone: whether the server holds the text to the schema.
        finish: why the text ended, in the server's word.
        thought: whether there was thinking beside the text.

    Raises:
        Failure: there is no answer in it.
    """
    failure.raw = storable(text[:4000])
    try:
        answer = request.parse(text, alone=alone, cut=str(finish).lower() in CUT, article=request.window)
    except Failure as fault:
        failure.reason, failure.detail = fault.reason, fault.detail
        if fault.reason == "truncated":
            failure.detail = f"the answer was cut at {request.max_tokens} tokens; more may help (--max-tokens)"
        elif fault.reason == "empty" and thought:
            failure.reason, failure.detail = "thinking_only", "there is thinking, but no answer"
        raise failure from None
    return Reply(answer.scores, answer.evidence, failure.tokens_in, failure.tokens_out, storable(text))


def holds(form: str) -> bool:
    """Whether a server that is asked in this form holds its answer to the schema, so that nothing stands around it."""
    return form.endswith("schema")


def charged(tokens: tuple[int, int] | None) -> Failure:
    """A failure of which only the cost is known yet: the tokens, or nothing (None)."""
    if tokens is None:
        return Failure("empty", "no answer", charged="unknown")
    return Failure("empty", "no answer", charged="tokens", tokens_in=tokens[0], tokens_out=tokens[1])


def counts(*values: object) -> tuple[int, ...] | None:
    """The values as token counts; None if one of them is no count."""
    if all(isinstance(value, int) and not isinstance(value, bool) and value >= 0 for value in values):
        return values  # type: ignore[return-value]  # just checked
    return None


def api_key(variables: tuple[str, ...], told: str | None, *, needed: bool = True) -> str:
    """The key from the environment: the variable that was told, else the first that is set.

    Raises:
        OracleError: there is none.
    """
    wanted = variables if told is None else (told,)
    for variable in wanted:
        if key := os.environ.get(variable, ""):
            return key
    if told or needed:
        raise OracleError(f"no API key: set the environment variable {wanted[0]}")
    return "none"


def one_line(text: str) -> str:
    """Text for a message: no line breaks, 300 characters at most."""
    return " ".join(text.split())[:300]
