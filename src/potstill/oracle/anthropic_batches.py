"""Send questions as Anthropic message batches.

Input: questions with their keys. Output: a job's name, whether it has ended, and its outcomes. A batch has no tag and
the list of batches does not show questions, so the tag is part of each question's id; whether a batch is ours is only
visible after it has ended.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from potstill.errors import require
from potstill.oracle.batches import Ended
from potstill.oracle.protocol import Failure
from potstill.oracle.wire import one_line, status_failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping
    from typing import TypeVar

    from anthropic.types.messages import MessageBatch

    from potstill.oracle.anthropic import AnthropicOracle
    from potstill.oracle.protocol import Reply, Request

    T = TypeVar("T")

# An id has at most 64 characters: the start of the question's key, a hyphen, and the start of the tag.
_KEY, _TAG = 47, 16

_STATUS = {"invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403,
           "not_found_error": 404, "request_too_large": 413, "rate_limit_error": 429, "api_error": 500,
           "timeout_error": 504, "overloaded_error": 529}  # fmt: skip


_UNBILLED = frozenset({"errored", "canceled", "expired"})
"""Results of a question in a batch that are documented to cost nothing."""


class AnthropicBatches:
    """The interface `/v1/messages/batches`: the call that starts the job contains the questions.

    Args:
        oracle: the oracle that forms and reads the questions.
        poll: seconds between two checks of a batch that may be the one searched for.
    """

    def __init__(self, oracle: AnthropicOracle, poll: float) -> None:
        self._oracle, self._poll = oracle, poll
        self._anthropic = require("anthropic", "anthropic")
        self._batches = oracle.client.messages.batches
        self._waiting: dict[str, Mapping[str, Request]] = {}

    async def upload(self, tag: str, questions: Mapping[str, Request]) -> str:
        """Keep the questions, and return their number and the newest batch of the account so far."""
        newest = await self._page(None, limit=1)
        self._waiting[tag] = questions
        return f"{len(questions)} {newest[0].id if newest else '-'}"

    async def start(self, tag: str, file: str) -> str:  # noqa: ARG002 - other providers name their questions by it
        """Send the questions."""
        requests: list[Any] = [
            {"custom_id": f"{key[:_KEY]}-{tag[:_TAG]}", "params": self._oracle.body(request)}
            for key, request in self._waiting.pop(tag).items()
        ]
        return _batch(await self._asked(self._batches.create(requests=requests))).id

    async def find(self, tag: str, file: str | None) -> str | None:
        """Check the batches that are newer than the upload and of the same size; wait for those still running."""
        if file is None:
            return None
        count, _, marker = file.partition(" ")
        after: str | None = None
        while page := await self._page(after, limit=100):
            for batch in page:
                if batch.id == marker:
                    return None
                counts = batch.request_counts
                size = counts.processing + counts.succeeded + counts.errored + counts.canceled + counts.expired
                if str(size) == count and await self._carries(batch, tag):
                    return batch.id
            after = page[-1].id
        return None

    async def ended(self, job: str, questions: Mapping[str, Request]) -> Ended | None:
        """Check the batch, and read its results if it has ended."""
        found = _batch(await self._asked(self._batches.retrieve(job)))
        if found.processing_status != "ended":
            return None
        outcomes: dict[str, Reply | Failure] = {}
        if found.results_url is None:
            gone = Failure("server", "the batch has ended, but its results are no longer available", charged="unknown")
            return Ended(outcomes, gone)
        keys = {key[:_KEY]: key for key in questions}
        for line in await self._results(job):
            key = keys.get(str(line.get("custom_id")).partition("-")[0])
            if key is not None:
                try:
                    outcomes[key] = self._outcome(line.get("result"), questions[key])
                except Failure as failure:
                    outcomes[key] = failure
        return Ended(
            outcomes, Failure("server", "the batch has ended without a result for this question", charged="unknown")
        )

    async def _page(self, after: str | None, limit: int) -> list[MessageBatch]:
        """Return batches, newest first."""
        batches = self._batches
        call = batches.list(limit=limit) if after is None else batches.list(limit=limit, after_id=after)
        return [_batch(one) for one in (await self._asked(call)).data or ()]

    async def _carries(self, batch: MessageBatch, tag: str) -> bool:
        """Return whether a batch contains this job's questions; this is known only after it has ended."""
        while batch.processing_status != "ended":
            await asyncio.sleep(self._poll)
            batch = _batch(await self._asked(self._batches.retrieve(batch.id)))
        if batch.results_url is None:
            return False
        return any(str(line.get("custom_id")).endswith(f"-{tag[:_TAG]}") for line in await self._results(batch.id))

    async def _results(self, job: str) -> list[dict[str, Any]]:
        """Return the lines of a batch's results; invalid lines are ignored."""
        # The results are read as text, like single answers: an invalid line must become a failure of its question, not
        # an exception.
        path = f"/v1/messages/batches/{job}/results"
        options: Any = {"headers": {"Accept": "application/binary"}}
        lines = []
        for text in (await self._asked(self._oracle.client.get(path, cast_to=str, options=options))).splitlines():
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(line, dict):
                lines.append(line)
        return lines

    def _outcome(self, result: object, request: Request) -> Reply:
        found = result if isinstance(result, dict) else {}
        kind = found.get("type")
        if kind == "succeeded":
            return self._oracle.read(json.dumps(found.get("message"), ensure_ascii=False), request)
        outer = found.get("error")
        error = outer.get("error") if isinstance(outer, dict) else None
        if kind != "errored" or not isinstance(error, dict):
            # Expired and cancelled questions were neither answered nor billed.
            outcome_name = one_line(str(kind or "without a result"))
            raise Failure(
                "server", f"the question is {outcome_name}", charged="nothing" if kind in _UNBILLED else "unknown"
            )
        message = str(error.get("message") or error.get("type"))
        failure = status_failure(_STATUS.get(str(error.get("type")), 500), message, json.dumps(error), {})
        failure.charged = "nothing"  # as documented, for any error
        raise failure

    async def _asked(self, call: Awaitable[T]) -> T:
        """Await a call of the library, and convert its errors to a `Failure`."""
        try:
            return await call
        except self._anthropic.APIStatusError as error:
            raise status_failure(error.status_code, error.message, error.message, error.response.headers) from None
        except (self._anthropic.APIConnectionError, *self._oracle.transport) as error:
            raise self._oracle.lost(error) from None
        except self._anthropic.APIError as error:
            raise Failure("malformed", str(error)) from None


def _batch(found: MessageBatch) -> MessageBatch:
    """Check what the server returned about a batch, which the library does not validate."""
    if not isinstance(getattr(found, "id", None), str) or getattr(found, "request_counts", None) is None:
        raise Failure("malformed", "the server's answer is not a message batch")
    return found
