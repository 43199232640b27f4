"""Define batch interfaces: many questions sent as one job, answered within a day at half the price.

Input: questions with their keys. Output: a job's name, whether it has ended, and its outcomes. Each provider's format
has its own module; `labelling.batch` decides when to send and what to save.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from potstill.oracle.protocol import Failure, Reply
from potstill.oracle.wire import one_line, status_failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping
    from typing import TypeVar

    import openai

    from potstill.oracle.openai import OpenAIOracle
    from potstill.oracle.protocol import Request
    from potstill.oracle.redaction import Redaction

    T = TypeVar("T")

_NEVER_ASKED = frozenset({"batch_expired", "batch_cancelled"})
_WAITING = frozenset({"validating", "in_progress", "finalizing", "cancelling"})
_ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
_TAG = "potstill"


@dataclass(frozen=True, slots=True)
class Ended:
    """An ended job: the outcome of each question by its key, and the failure of all other questions."""

    outcomes: Mapping[str, Reply | Failure]
    rest: Failure


class Batches(Protocol):
    """A provider's batch interface; each method raises `Failure` if the server cannot be asked."""

    async def upload(self, tag: str, questions: Mapping[str, Request]) -> str:
        """Upload the questions and return a name for them; nothing is answered or billed yet."""
        ...

    async def start(self, tag: str, file: str) -> str:
        """Start a job over uploaded questions and return its name."""
        ...

    async def find(self, tag: str, file: str | None) -> str | None:
        """Return the name of the job that was started with this tag; None if there is none."""
        ...

    async def ended(self, job: str, questions: Mapping[str, Request]) -> Ended | None:
        """Return a job's outcomes; None while it is running."""
        ...


class RedactedBatches:
    """A batch interface that removes secrets from all answers."""

    def __init__(self, batches: Batches, redaction: Redaction) -> None:
        self._batches = batches
        self._redaction = redaction

    async def upload(self, tag: str, questions: Mapping[str, Request]) -> str:
        """Call the method of the wrapped interface and redact its result."""
        return self._clean(await self._without_secrets(self._batches.upload(tag, questions)))

    async def start(self, tag: str, file: str) -> str:
        """Call the method of the wrapped interface and redact its result."""
        return self._clean(await self._without_secrets(self._batches.start(tag, file)))

    async def find(self, tag: str, file: str | None) -> str | None:
        """Call the method of the wrapped interface and redact its result."""
        found = await self._without_secrets(self._batches.find(tag, file))
        return None if found is None else self._clean(found)

    async def ended(self, job: str, questions: Mapping[str, Request]) -> Ended | None:
        """Call the method of the wrapped interface and redact its result."""
        found = await self._without_secrets(self._batches.ended(job, questions))
        if found is None:
            return None
        outcomes = {
            key: self._redaction.reply(one) if isinstance(one, Reply) else self._redaction.failure(one)
            for key, one in found.outcomes.items()
        }
        return Ended(outcomes, self._redaction.failure(found.rest))

    async def _without_secrets(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except Failure as failure:
            raise self._redaction.failure(failure) from None

    def _clean(self, name: str) -> str:
        """Check a server's name for a file or a job, which the ledger stores and later requests send back."""
        if self._redaction.hide(name) != name:
            raise Failure("malformed", "the server's name for a file or a job contains the API key or another secret")
        return name


class OpenAIBatches:
    """The interfaces `/files` and `/batches` of OpenAI, which other providers copy."""

    def __init__(self, oracle: OpenAIOracle) -> None:
        self._oracle = oracle

    async def upload(self, tag: str, questions: Mapping[str, Request]) -> str:
        """Upload the questions as a JSON Lines file."""
        lines = (
            json.dumps({"custom_id": key, "method": "POST", "url": _ENDPOINT, "body": self._oracle.body(request)})
            for key, request in questions.items()
        )
        content = "".join(f"{line}\n" for line in lines).encode()
        file = await self._asked(self._client.files.create(file=(f"{_TAG}-{tag}.jsonl", content), purpose="batch"))
        return file.id

    async def start(self, tag: str, file: str) -> str:
        """Start a job over the file."""
        job = self._client.batches.create(
            input_file_id=file, endpoint=_ENDPOINT, completion_window="24h", metadata={_TAG: tag}
        )
        return (await self._asked(job)).id

    async def find(self, tag: str, file: str | None) -> str | None:
        """Search the account's jobs by our tag or, for servers that store no tag, by the file."""
        if file is None:
            return None
        last: str | None = None
        while True:
            jobs = self._client.batches
            page = await self._asked(jobs.list(limit=100) if last is None else jobs.list(limit=100, after=last))
            for job in page.data:
                if (job.metadata or {}).get(_TAG) == tag or job.input_file_id == file:
                    return job.id
            if not page.data or not page.has_more:
                return None
            last = page.data[-1].id

    async def ended(self, job: str, questions: Mapping[str, Request]) -> Ended | None:
        """Check the job, and read its files if it has ended."""
        found = await self._asked(self._client.batches.retrieve(job))
        if found.status in _WAITING:
            return None
        outcomes: dict[str, Reply | Failure] = {}
        for file in (found.output_file_id, found.error_file_id):
            if file is not None:
                content = await self._asked(self._client.files.content(file))
                for line in content.text.splitlines():
                    self._read(line, questions, outcomes)
        message_text = "; ".join(str(error.message) for error in (found.errors.data or [])) if found.errors else ""
        detail = f"the job is {found.status} {message_text}".strip()
        if found.status == "failed":
            # The questions were rejected as invalid before any was asked.
            return Ended(outcomes, Failure("bad_request", detail))
        return Ended(outcomes, Failure("server", f"{detail}, without a result for this question", charged="unknown"))

    @property
    def _client(self) -> openai.AsyncOpenAI:
        return self._oracle.client

    def _read(self, line: str, questions: Mapping[str, Request], outcomes: dict[str, Reply | Failure]) -> None:
        """Read one line of a job's files; ignore lines that are invalid or belong to another question."""
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            return
        key = value.get("custom_id") if isinstance(value, dict) else None
        if not isinstance(key, str) or key not in questions:
            return
        try:
            outcomes[key] = self._outcome(value, questions[key])
        except Failure as failure:
            outcomes[key] = failure

    def _outcome(self, value: Mapping[str, Any], request: Request) -> Reply:
        response = value.get("response")
        if not isinstance(response, dict):
            error = value.get("error")
            message_text = error.get("message") if isinstance(error, dict) else error
            # An expired or cancelled question was never asked. The cost of other errors is unknown.
            never = isinstance(error, dict) and error.get("code") in _NEVER_ASKED
            detail = one_line(str(message_text or "no answer"))
            raise Failure("server", detail, charged="nothing" if never else "unknown")
        body, status = response.get("body"), response.get("status_code")
        if status != 200:
            text = json.dumps(body, ensure_ascii=False)
            raise status_failure(status if isinstance(status, int) else 500, text, text, {})
        return self._oracle.read(json.dumps(body, ensure_ascii=False), request)

    async def _asked(self, call: Awaitable[T]) -> T:
        """Await a call of the library, and convert its errors to a `Failure`."""
        import openai

        ended: tuple[type[Exception], ...] = (openai.APIConnectionError, *self._oracle.transport)
        try:
            return await call
        except openai.APIStatusError as error:
            message_text = f"{error.message} {error.code} {error.type}"
            raise status_failure(error.status_code, error.message, message_text, error.response.headers) from None
        except ended as error:
            raise self._oracle.lost(error) from None
        except openai.APIError as error:
            raise Failure("malformed", str(error)) from None
