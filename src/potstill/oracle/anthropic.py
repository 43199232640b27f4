"""Ask Claude through Anthropic's Messages API.

Input: a question. Output: a reply, or a named failure. The long constant prefix of the question is marked for the
server's cache; tokens written to the cache are counted in whole tokens, at or above their cost. The server enforces the
JSON schema on answers if the model supports that; answers are parsed strictly in any case.
"""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from potstill.errors import require
from potstill.oracle.environment import set_up
from potstill.oracle.error_bodies import without_answer, words_in
from potstill.oracle.prompt import without
from potstill.oracle.protocol import UNSUPPORTED, Failure, Reply, Request, Settings
from potstill.oracle.reading import storable
from potstill.oracle.wire import (
    LiveOracle,
    charged,
    connecting,
    counts,
    holds,
    one_line,
    read_answer,
    the_object,
    transport_errors,
)

if TYPE_CHECKING:
    import anthropic

_PATH = "/v1/messages"

# The server's schema grammar does not support bounds. Numeric bounds are stated in the prompt and checked here.
_UNKNOWN_IN_SCHEMAS = frozenset({"minimum", "maximum", "maxLength"})


class AnthropicOracle(LiveOracle):
    """An oracle that asks Claude.

    The address is `settings.base_url`, else ANTHROPIC_BASE_URL, else Anthropic's own. The key is in the environment
    variable `settings.api_key_env`, by default ANTHROPIC_API_KEY.

    Raises:
        OracleError: there is no key.
        MissingExtra: the anthropic package is not installed.
    """

    name = "anthropic"
    address_variable = "ANTHROPIC_BASE_URL"
    own_address = "https://api.anthropic.com"
    forms = ("json_schema", "text")

    def __init__(self, model: str, settings: Settings | None = None) -> None:
        self._library = require("anthropic", "anthropic")
        settings = settings or Settings()
        super().__init__(model, settings)
        key = self._know_key(("ANTHROPIC_API_KEY",), needed=self._address is None)
        self._client: anthropic.AsyncAnthropic = set_up(self.name, lambda: self._connect(key))
        self.transport = (*transport_errors("anthropic"), ValueError)

    def _connect(self, key: str) -> anthropic.AsyncAnthropic:
        timeout = self._library.Timeout(self._settings.timeout, connect=connecting(self._settings.timeout))
        fast = find_spec("aiohttp") is not None
        client: anthropic.AsyncAnthropic = self._library.AsyncAnthropic(
            api_key=key,
            base_url=self._address,
            max_retries=0,
            timeout=timeout,
            http_client=self._library.DefaultAioHttpClient(timeout=timeout) if fast else None,
            default_headers=dict(self._settings.headers),
        )
        return client

    @property
    def client(self) -> anthropic.AsyncAnthropic:
        """The library's client, for requests other than questions, such as batches."""
        return self._client

    def body(self, request: Request) -> dict[str, Any]:
        """Return the question in the form that a batch contains."""
        return self._body(request, self.batch_form)

    def read(self, text: str, request: Request) -> Reply:
        """Parse the scores from the body of an answer in a batch job.

        Raises:
            Failure: the body contains no scores.
        """
        return _read(text, request, self.batch_form)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _send(self, request: Request, form: str) -> Reply:
        """Send one request; a temperature that the model rejects is left out of the next one."""
        try:
            async with asyncio.timeout(self._settings.timeout):
                text = await self._client.post(
                    _PATH, cast_to=str, body=self._body(request, form), options={"follow_redirects": False}
                )
            return _read(text, request, form)
        except self._library.APIStatusError as error:
            if error.status_code == 400 and "temperature" in error.message and self._send_temperature:
                self._send_temperature = False
                raise Failure(UNSUPPORTED, f"HTTP 400: {one_line(_message(error))}") from None
            raise self._status_failure(
                error.status_code, _message(error), error.message, error.response.headers
            ) from None
        except (self._library.APIConnectionError, *self.transport) as error:
            raise self.lost(error) from None
        except self._library.APIError as error:
            raise Failure("malformed", one_line(str(error)), charged="unknown") from None

    def _body(self, request: Request, form: str) -> dict[str, Any]:
        system = "\n\n".join(message["content"] for message in request.messages if message["role"] == "system")
        body: dict[str, Any] = {
            "model": self._served,
            "system": [{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}],
            "messages": [dict(message) for message in request.messages if message["role"] != "system"],
            "max_tokens": request.max_tokens,
        }
        output: dict[str, Any] = {}
        if form == "json_schema":
            output["format"] = {"type": "json_schema", "schema": without(request.schema, _UNKNOWN_IN_SCHEMAS)}
        if self._settings.reasoning_effort is not None:
            output["effort"] = self._settings.reasoning_effort
        if output:
            body["output_config"] = output
        if self._send_temperature:
            body["temperature"] = self._settings.temperature
        return body


def _read(text: str, request: Request, form: str) -> Reply:
    """Parse the scores from an answer with status 200."""
    body = the_object(text)
    failure = charged(_used(body.get("usage")), body.get("usage"))
    content, stop = body.get("content"), body.get("stop_reason")
    if not isinstance(content, list):
        failure.detail, failure.of_server, failure.raw = without_answer("content", body), True, text[:4000]
        raise failure
    blocks = [block for block in content if isinstance(block, dict)]
    message_text = "".join(str(block.get("text") or "") for block in blocks if block.get("type") == "text")
    if stop == "refusal":
        failure.reason, failure.raw = "refused", storable(message_text[:4000])
        failure.detail = one_line(storable(message_text)) or "the model refuses"
        raise failure
    thought = any(block.get("type") in {"thinking", "redacted_thinking"} for block in blocks)
    return read_answer(request, message_text, failure, alone=holds(form), finish=stop, thought=thought)


def _used(usage: object) -> tuple[int, int, int] | None:
    """Return input tokens, output tokens and cached input tokens; tokens written to the cache count 1.25 times."""
    if not isinstance(usage, dict):
        return None
    found = counts(
        usage.get("input_tokens"),
        usage.get("output_tokens"),
        usage.get("cache_read_input_tokens") or 0,
        usage.get("cache_creation_input_tokens") or 0,
    )
    if found is None:
        return None
    fresh, out, read, written = found
    return fresh + read + -(-written * 5 // 4), out, read


def _message(error: anthropic.APIStatusError) -> str:
    return words_in(error.body) or error.message
