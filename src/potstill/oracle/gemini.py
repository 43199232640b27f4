"""Ask Gemini through `generateContent`.

Input: a question. Output: a reply, or a named failure. The server enforces the JSON schema on answers if the model
supports that; if not, JSON, then plain text is requested. Answers are parsed strictly in any case. Thinking is billed
as output and counts towards the token limit.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

from potstill.errors import require
from potstill.oracle.environment import proxy_of, set_up
from potstill.oracle.error_bodies import without_answer, words_in
from potstill.oracle.prompt import without
from potstill.oracle.protocol import Failure, Reply, Request, Settings
from potstill.oracle.reading import storable
from potstill.oracle.retry_after import retry_after, span
from potstill.oracle.wire import (
    LiveOracle,
    charged,
    counts,
    holds,
    one_line,
    read_answer,
    the_object,
    transport_errors,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import ModuleType
    from typing import TypeVar

    from google import genai
    from google.genai.errors import APIError

    T = TypeVar("T")

# The server supports bounds of numbers, but not this one.
_UNKNOWN_IN_SCHEMAS = frozenset({"maxLength"})

# Finish reasons that mean the server refuses to answer.
_REFUSALS = frozenset({"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "MODEL_ARMOR",
                       "ESCALATION"})  # fmt: skip


class GeminiOracle(LiveOracle):
    """An oracle that asks Gemini.

    The address is `settings.base_url`, else GOOGLE_GEMINI_BASE_URL, else Google's own. The key is in the environment
    variable `settings.api_key_env`, by default GEMINI_API_KEY or GOOGLE_API_KEY.

    Raises:
        OracleError: there is no key.
        MissingExtra: the google-genai package is not installed.
    """

    name = "gemini"
    address_variable = "GOOGLE_GEMINI_BASE_URL"
    own_address = "https://generativelanguage.googleapis.com"
    forms = ("json_schema", "json_object", "text")

    def __init__(self, model: str, settings: Settings | None = None) -> None:
        library = require("google.genai", "gemini")
        self._errors = require("google.genai.errors", "gemini")
        settings = settings or Settings()
        super().__init__(model, settings)
        self._types = library.types
        key = self._know_key(("GEMINI_API_KEY", "GOOGLE_API_KEY"), needed=self._address is None)
        self._client: genai.Client = set_up(self.name, lambda: self._connect(library, key))
        self.transport = transport_errors("gemini")

    def _connect(self, library: ModuleType, key: str) -> genai.Client:
        # The library also reads the environment and would log a key other than the one in use.
        logging.getLogger("google_genai._api_client").setLevel(logging.ERROR)
        proxy = proxy_of(self._address or self.own_address)
        client: genai.Client = library.Client(
            vertexai=False,
            api_key=key,
            http_options=self._types.HttpOptions(
                base_url=self._address,
                timeout=round(1000 * self._settings.timeout),
                headers=dict(self._settings.headers),
                # The library itself ignores all_proxy and proxies without a scheme. A redirection would send question
                # and key to another address; each transport has its own name for this option.
                async_client_args={"allow_redirects": False, "follow_redirects": False, "middlewares": (_plain_errors,)}
                | ({} if proxy is None else {"proxy": proxy.url}),
                # Without this, the library repeats a question after a broken connection, which may then be billed
                # twice.
                retry_options=self._types.HttpRetryOptions(attempts=1),
            ),
        )
        return client

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aio.aclose()

    @property
    def client(self) -> genai.Client:
        """The library's client, for requests other than questions, such as batches."""
        return self._client

    @property
    def served(self) -> str:
        """The server's name of the model."""
        return self._served

    def inlined(self, request: Request) -> dict[str, Any]:
        """Return the question in the form that a batch contains."""
        return {"contents": _contents(request), "config": self._config(request, self.batch_form)}

    def read(self, text: str, request: Request) -> Reply:
        """Parse the scores from the body of an answer in a batch job.

        Raises:
            Failure: the body contains no scores.
        """
        return _read(text, request, self.batch_form)

    async def asked(self, call: Awaitable[T]) -> T:
        """Await a call of the library, and convert its errors to a `Failure`."""
        try:
            async with asyncio.timeout(self._settings.timeout):
                return await call
        except self._errors.APIError as error:
            raise self._refusal(error) from None
        except _PlainError as error:
            raise self._status_failure(error.status, error.text, error.text, error.headers) from None
        except self.transport as error:
            raise self.lost(error) from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            # These are the library's errors for a body that it does not expect.
            fault = f"the server's answer cannot be read: {one_line(str(error))}"
            raise Failure("malformed", fault, charged="unknown", of_server=True) from None

    async def _send(self, request: Request, form: str) -> Reply:
        answer: Any = await self.asked(
            self._client.aio.models.generate_content(
                model=self._served, contents=_contents(request), config=self._config(request, form)
            )
        )
        return _read(answer.sdk_http_response.body or "", request, form)

    def _config(self, request: Request, form: str) -> Any:  # noqa: ANN401 - the library's own class
        system = "\n\n".join(message["content"] for message in request.messages if message["role"] == "system")
        config: dict[str, Any] = {
            "system_instruction": system,
            "max_output_tokens": request.max_tokens,
            # The raw body is requested, so that it is parsed here and not by the library.
            "should_return_http_response": True,
        }
        if form != "text":
            config["response_mime_type"] = "application/json"
        if form == "json_schema":
            config["response_json_schema"] = without(request.schema, _UNKNOWN_IN_SCHEMAS)
        if self._send_temperature:
            config["temperature"] = self._settings.temperature
        if self._settings.reasoning_effort is not None:
            config["thinking_config"] = {"thinking_level": self._settings.reasoning_effort}
        return self._types.GenerateContentConfig(**config)

    def _refusal(self, error: APIError) -> Failure:
        """Return the failure for an HTTP status; limits per minute and per day differ only in their details."""
        message = str(error.message or words_in(error.details))
        inner = error.details.get("error") if isinstance(error.details, dict) else None
        details = inner.get("details") if isinstance(inner, dict) else None
        wait, day = _retry_details(details if isinstance(details, list) else [])
        headers = getattr(error.response, "headers", None) or {}
        wait = wait or retry_after(headers)
        if error.code == 429:
            failure = Failure("quota" if day else "rate_limited", f"HTTP 429: {one_line(message)}", retry_after=wait)
            failure.retry_after = wait if failure.reason == "rate_limited" else None
            return failure
        message_text = f"{message} {error.status} {details}"
        if error.code == 400 and ("API_KEY_INVALID" in message_text or error.status == "FAILED_PRECONDITION"):
            return Failure("not_allowed", f"HTTP 400: {one_line(message)}")
        return self._status_failure(error.code, message, message_text, headers)


class _PlainError(Exception):
    """An HTTP error whose body is not a JSON object, as gateways send it."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str]) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers


async def _plain_errors(request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:  # noqa: ANN401 - aiohttp's
    """Keep the library from parsing such a body as JSON, which would lose the status.

    Raises:
        _PlainError: the answer is an error and not a JSON object.
    """
    response = await handler(request)
    if response.status < 300:
        return response
    body = (await response.read()).decode("utf-8", "replace")
    try:
        stated = json.loads(body)
    except (ValueError, RecursionError):
        stated = body
    if not isinstance(stated, dict):
        raise _PlainError(response.status, words_in(stated) or str(response.reason or ""), response.headers)
    return response


def _retry_details(details: list[Any]) -> tuple[float | None, bool]:
    """Return, from an error's details, the seconds to wait and whether a daily limit is exhausted."""
    wait, day = None, False
    for detail in details:
        if not isinstance(detail, dict):
            continue
        wait = span(str(detail.get("retryDelay") or "")) or wait
        for violation in detail.get("violations") or ():
            day = day or "PerDay" in str(violation)
    return wait, day


def _contents(request: Request) -> Any:  # noqa: ANN401 - one of the library's many types
    """Return the messages of a question, without the system message."""
    return [
        {"role": "model" if message["role"] == "assistant" else "user", "parts": [{"text": message["content"]}]}
        for message in request.messages
        if message["role"] != "system"
    ]


def _read(text: str, request: Request, form: str) -> Reply:
    """Parse the scores from an answer with status 200."""
    body = the_object(text)
    failure = charged(_used(body.get("usageMetadata")), body.get("usageMetadata"))
    feedback = body.get("promptFeedback")
    blocked = feedback.get("blockReason") if isinstance(feedback, dict) else None
    candidates = body.get("candidates")
    candidate = candidates[0] if isinstance(candidates, list) and candidates else None
    if blocked:
        failure.reason, failure.detail = "refused", f"the question was blocked: {one_line(str(blocked))}"
        raise failure
    if not isinstance(candidate, dict):
        failure.detail, failure.of_server, failure.raw = without_answer("candidates", body), True, text[:4000]
        raise failure
    finish = str(candidate.get("finishReason") or "")
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    parts = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    message_text = "".join(str(part.get("text") or "") for part in parts if not part.get("thought"))
    if finish in _REFUSALS:
        failure.reason, failure.detail, failure.raw = (
            "refused",
            f"stopped with the finish reason {finish}",
            storable(message_text[:4000]),
        )
        raise failure
    thought = any(part.get("thought") for part in parts) or _thinking(body) > 0
    return read_answer(request, message_text, failure, alone=holds(form), finish=finish, thought=thought)


def _thinking(body: Mapping[str, Any]) -> int:
    usage = body.get("usageMetadata")
    found = counts((usage.get("thoughtsTokenCount") or 0) if isinstance(usage, dict) else 0)
    return 0 if found is None else found[0]


def _used(usage: object) -> tuple[int, int, int] | None:
    """Return input tokens, output tokens including thinking, and input tokens read from the cache."""
    if not isinstance(usage, dict):
        return None
    found = counts(
        usage.get("promptTokenCount"),
        usage.get("candidatesTokenCount") or 0,
        usage.get("thoughtsTokenCount") or 0,
        usage.get("cachedContentTokenCount") or 0,
    )
    return None if found is None else (found[0], found[1] + found[2], found[3])
