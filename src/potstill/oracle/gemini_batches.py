"""Send questions as Gemini batches, with the questions inside the call that starts them.

Input: questions with their keys. Output: a job's name, whether it has ended, and its outcomes. The job's display name
is the tag. Each question's metadata contains its key, which is returned with its answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from potstill.oracle.batches import Ended
from potstill.oracle.protocol import Failure
from potstill.oracle.wire import status_failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from potstill.oracle.gemini import GeminiOracle
    from potstill.oracle.protocol import Reply, Request

_ENDED = frozenset({"JOB_STATE_SUCCEEDED", "JOB_STATE_PARTIALLY_SUCCEEDED", "JOB_STATE_FAILED",
                    "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED"})  # fmt: skip

# The error of a single question has a google.rpc code; codes that are not listed here are server faults.
_STATUS = {3: 400, 5: 404, 7: 403, 8: 429, 9: 400, 11: 400, 16: 401}


class GeminiBatches:
    """The interfaces `models/MODEL:batchGenerateContent` and `/batches`."""

    def __init__(self, oracle: GeminiOracle) -> None:
        self._oracle = oracle
        self._batches = oracle.client.aio.batches
        self._waiting: dict[str, Mapping[str, Request]] = {}

    async def upload(self, tag: str, questions: Mapping[str, Request]) -> str:
        """Keep the questions; they are sent in the call that starts the job."""
        self._waiting[tag] = questions
        return tag

    async def start(self, tag: str, file: str) -> str:  # noqa: ARG002 - other providers name their questions by it
        """Send the questions."""
        source: list[Any] = [
            self._oracle.inlined(request) | {"metadata": {"key": key}}
            for key, request in self._waiting.pop(tag).items()
        ]
        created = self._batches.create(model=self._oracle.served, src=source, config={"display_name": tag})
        job = await self._oracle.asked(created)
        if not job.name:
            raise Failure("malformed", "the server's answer contains no batch name")
        return job.name

    async def find(self, tag: str, file: str | None) -> str | None:
        """Search the account's batches for the tag."""
        return None if file is None else await self._oracle.asked(self._named(tag))

    async def ended(self, job: str, questions: Mapping[str, Request]) -> Ended | None:
        """Check the batch, which contains its answers if it has ended."""
        found = await self._oracle.asked(self._batches.get(name=job))
        state = str(found.state.value) if found.state is not None else ""
        if state not in _ENDED:
            return None
        answers = (found.dest.inlined_responses if found.dest is not None else None) or []
        outcomes: dict[str, Reply | Failure] = {}
        for answer in answers:
            key = (answer.metadata or {}).get("key", "")
            if key in questions:
                try:
                    outcomes[key] = self._outcome(answer, questions[key])
                except Failure as failure:
                    outcomes[key] = failure
        if answers and not outcomes:
            # Sending the questions again would be billed again, and relying on their order might mix up labels.
            raise Failure("bad_request", f"{job}: the answers do not state which questions they belong to")
        state_name = state.removeprefix("JOB_STATE_").lower()
        if state_name == "failed":
            return Ended(outcomes, Failure("bad_request", f"the job is {state_name}"))
        return Ended(
            outcomes,
            Failure("server", f"the job is {state_name}, without a result for this question", charged="unknown"),
        )

    async def _named(self, tag: str) -> str | None:
        async for job in await self._batches.list(config={"page_size": 100}):
            if job.display_name == tag:
                return job.name
        return None

    def _outcome(self, answer: Any, request: Request) -> Reply:  # noqa: ANN401 - the library's own class
        if answer.response is None:
            error = answer.error
            code = 13 if error is None or error.code is None else error.code
            message = "no answer" if error is None else str(error.message or code)
            raise status_failure(code if code >= 400 else _STATUS.get(code, 500), message, message, {})
        return self._oracle.read(answer.response.model_dump_json(by_alias=True, exclude_none=True), request)
