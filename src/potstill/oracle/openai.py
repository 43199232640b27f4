"""Ask any server with an OpenAI-compatible `/chat/completions` API.

Input: a question. Output: a reply, or a named failure. Each call sends one HTTP request (the library's own retries are
disabled). The first requests probe what the server supports, and the result is remembered: the JSON schema with a bound
on the length of the evidence, then without (OpenAI's strict mode has rejected such bounds), then JSON mode, then plain
text; the name of the token limit; whether a temperature may be set. Answers are parsed strictly in any case.
"""

from __future__ import annotations

import asyncio
import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from potstill.errors import require
from potstill.oracle.environment import check_header, set_up
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
    from collections.abc import Mapping

    import openai

_PATH = "/chat/completions"

# Keys in which servers put separated thinking, and finish reasons of texts that they refuse to send.
_THOUGHTS = ("reasoning_content", "reasoning", "reasoning_details", "thinking")
_THINKING = frozenset({"thinking", "redacted_thinking", "reasoning", "thought"})
_REFUSALS = frozenset({"refusal", "safety", "sensitive", "recitation", "blocklist", "prohibited_content", "spii"})


def connect(address: str | None, key: str, settings: Settings) -> openai.AsyncOpenAI:
    """Return the library's client, which neither repeats a request nor follows a redirection.

    Args:
        address: the server's address; None for OpenAI's own.
        key: the API key.
        settings: the timeout and the headers.
    """
    library = require("openai", "oracle")
    timeout = library.Timeout(settings.timeout, connect=connecting(settings.timeout))
    # The aiohttp transport takes half the time of the library's default one.
    fast = find_spec("aiohttp") is not None
    transport = library.DefaultAioHttpClient if fast else library.DefaultAsyncHttpxClient
    client: openai.AsyncOpenAI = library.AsyncOpenAI(
        api_key=key,
        base_url=address,
        max_retries=0,
        timeout=timeout,
        http_client=transport(timeout=timeout, follow_redirects=False),
        default_headers=dict(settings.headers),
    )
    return client


class OpenAIOracle(LiveOracle):
    """An oracle that asks a model at an OpenAI-compatible address.

    The address is `settings.base_url`, else OPENAI_BASE_URL, else OpenAI's own. The key is in the environment variable
    `settings.api_key_env`, by default OPENAI_API_KEY, and is optional for an address other than OpenAI's.

    Raises:
        OracleError: there is no key for OpenAI's own address, or the named variable is not set.
        MissingExtra: the openai package is not installed.
    """

    name = "openai"
    address_variable = "OPENAI_BASE_URL"
    own_address = "https://api.openai.com/v1"
    forms = ("bounded_schema", "json_schema", "json_object", "text")

    def __init__(self, model: str, settings: Settings | None = None) -> None:
        self._library = require("openai", "oracle")
        settings = settings or Settings()
        super().__init__(model, settings)
        own = self._address is not None and not (urlsplit(self._address).hostname or "").endswith("openai.com")
        key = self._know_key(("OPENAI_API_KEY",), needed=not own)
        for variable in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
            check_header(os.environ.get(variable, ""), variable)
        self._client: openai.AsyncOpenAI = set_up(self.name, lambda: connect(self._address, key, settings))
        self.transport = (*transport_errors("oracle"), ValueError)
        # OpenAI's reasoning models accept only the new name; other servers may silently ignore it.
        self._limit = "max_tokens" if own else "max_completion_tokens"
        self._limit_known = False

    @property
    def abilities(self) -> dict[str, Any]:
        """The form, and the name of the token limit."""
        found = super().abilities
        return found and found | {"limit": self._limit}

    def recall(self, abilities: Mapping[str, Any]) -> None:
        """Start with the capabilities that an earlier process detected."""
        super().recall(abilities)
        if abilities.get("limit") in {"max_tokens", "max_completion_tokens"}:
            self._limit = abilities["limit"]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    @property
    def client(self) -> openai.AsyncOpenAI:
        """The library's client, for requests other than questions: files and batches."""
        return self._client

    @property
    def batch_form(self) -> str:
        """The form of a question in a batch job: the detected one, else the strictest that most servers support."""
        return self._form or self._likely or "json_schema"

    def body(self, request: Request) -> dict[str, Any]:
        """Return the question in the form that a batch contains."""
        return self._body(request, self.batch_form)

    def read(self, text: str, request: Request) -> Reply:
        """Parse the scores from the body of an answer in a batch job.

        Raises:
            Failure: the body contains no scores.
        """
        return _read(text, request, self.batch_form)

    async def _send(self, request: Request, form: str) -> Reply:
        return _read(await self._post(request, form), request, form)

    async def _post(self, request: Request, form: str) -> str:
        """Send one request and return the body of the answer."""
        try:
            async with asyncio.timeout(self._settings.timeout):
                # The body is read as text: an invalid body must become a failure and not an exception, and validating
                # the library's own types in both directions takes half of a call's time.
                return await self._client.post(_PATH, cast_to=str, body=self._body(request, form))
        except self._library.APIStatusError as error:
            # The library's own message contains the server's words only for one form of body.
            words = words_in(error.body) or error.message
            if error.status_code in {400, 422} and self._adapts(words, error.param):
                raise Failure(UNSUPPORTED, f"HTTP {error.status_code}: {one_line(words)}") from None
            message_text = f"{words} {error.code} {error.type}"
            raise self._status_failure(error.status_code, words, message_text, error.response.headers) from None
        except (self._library.APIConnectionError, *self.transport) as error:
            raise self.lost(error) from None
        except self._library.APIError as error:
            raise Failure("malformed", one_line(str(error)), charged="unknown") from None

    def _body(self, request: Request, form: str) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._served,
            "messages": list(request.messages),
            self._limit: request.max_tokens,
        }
        if form in {"bounded_schema", "json_schema"}:
            bounded = form == "bounded_schema"
            known = request.schema if bounded else without(request.schema, {"maxLength"})
            schema = {"name": "answer", "strict": True, "schema": known}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif form == "json_object":
            body["response_format"] = {"type": "json_object"}
        if self._send_temperature:
            body["temperature"] = self._settings.temperature
        if self._settings.reasoning_effort is not None:
            body["reasoning_effort"] = self._settings.reasoning_effort
        return body

    def _adapts(self, words: str, parameter: str | None) -> bool:
        """Return whether the rejection names a parameter that can be sent in another form or omitted."""
        text = f"{words} {parameter or ''}"
        if self._limit in text and not self._limit_known:
            self._limit_known = True
            self._limit = "max_completion_tokens" if self._limit == "max_tokens" else "max_tokens"
            return True
        if "temperature" in text and self._send_temperature:
            self._send_temperature = False
            return True
        return False


def _read(text: str, request: Request, form: str) -> Reply:
    """Parse the scores from an answer with status 200."""
    body = the_object(text)
    choice = _first(body.get("choices"))
    message = choice.get("message") if isinstance(choice, dict) else None
    failure = charged(_used(body.get("usage")), body.get("usage"))
    if not isinstance(choice, dict) or not isinstance(message, dict):
        failure.detail, failure.of_server, failure.raw = without_answer("choices", body), True, text[:4000]
        raise failure
    finish = choice.get("finish_reason")
    parts = _parts(message.get("content"))
    message_text = "".join(_text_of(part) for part in parts)
    refusal = message.get("refusal") or next((part["refusal"] for part in parts if part.get("refusal")), None)
    if refusal or _is_refusal(finish):
        failure.reason, failure.raw = "refused", storable(message_text[:4000])
        failure.detail = one_line(storable(str(refusal or "content filter")))
        raise failure
    thought = any(message.get(field) for field in _THOUGHTS) or any(part.get("type") in _THINKING for part in parts)
    return read_answer(request, message_text, failure, alone=holds(form), finish=finish, thought=thought)


def _first(value: object) -> object:
    return value[0] if isinstance(value, list) and value else None


def _parts(content: object) -> list[dict[str, Any]]:
    """Return a message's content as parts; most servers send one text, some a list that may include thinking."""
    found = content if isinstance(content, list) else [content]
    texts = [{"type": "text", "text": part} if isinstance(part, str) else part for part in found]
    return [part for part in texts if isinstance(part, dict)]


def _text_of(part: Mapping[str, Any]) -> str:
    """Return the visible text of a part; empty for thinking."""
    text = part.get("text")
    return text if isinstance(text, str) and part.get("type", "text") in {"text", "output_text"} else ""


def _is_refusal(finish: object) -> bool:
    word = str(finish).lower()
    return word.startswith("content_filter") or word in _REFUSALS


def _used(usage: object) -> tuple[int, int, int] | None:
    """Return input tokens, output tokens and cached input tokens; None unless the server reports the first two."""
    if not isinstance(usage, dict):
        return None
    details = usage.get("prompt_tokens_details")
    cached_tokens_reported = details.get("cached_tokens") if isinstance(details, dict) else None
    # DeepSeek uses its own name for this field.
    cached = counts(cached_tokens_reported or usage.get("prompt_cache_hit_tokens") or 0)
    found = counts(usage.get("prompt_tokens"), usage.get("completion_tokens"))
    return None if found is None or cached is None else (found[0], found[1], cached[0])
