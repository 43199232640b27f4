"""The OpenAI-compatible oracle: any server that speaks `/chat/completions`.

In: a question. Out: a reply, or a failure that names what happened. One HTTP request is made per question (the
library's own retries are off). What a server can do is found out with the first questions and remembered:
answers held to the JSON schema with a bound on the evidence, then without (OpenAI's strict mode has refused such
bounds), then JSON mode, then plain text; the name of the token limit; whether a temperature may be set. Answers are
read strictly in each case.
"""

from __future__ import annotations

import asyncio
import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from potstill.errors import require
from potstill.oracle import Failure, Reply, Request, Settings
from potstill.oracle.prompt import without
from potstill.oracle.wire import LiveOracle, api_key, charged, counts, lost, one_line, read_answer, the_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    import openai

_PATH = "/chat/completions"


class OpenAIOracle(LiveOracle):
    """Asks a model behind an OpenAI-compatible address.

    The address is `settings.base_url`, else OPENAI_BASE_URL, else OpenAI's own; the key is in the environment
    variable `settings.api_key_env`, by default OPENAI_API_KEY, and may be absent for an address of one's own.

    Raises:
        OracleError: there is no key for OpenAI's own address, or the variable named is not set.
        MissingExtra: the openai package is not installed.
    """

    name = "openai"
    forms = ("bounded_schema", "json_schema", "json_object", "text")

    def __init__(self, model: str, settings: Settings | None = None) -> None:
        self._library = require("openai", "oracle")
        settings = settings or Settings()
        super().__init__(model, settings)
        self._address = settings.base_url or os.environ.get("OPENAI_BASE_URL") or None
        own = self._address is not None and not (urlsplit(self._address).hostname or "").endswith("openai.com")
        # On aiohttp, which takes half the time of the library's usual transport.
        fast = find_spec("aiohttp") is not None
        self._client: openai.AsyncOpenAI = self._library.AsyncOpenAI(
            api_key=api_key(("OPENAI_API_KEY",), settings.api_key_env, needed=not own),
            base_url=self._address,
            max_retries=0,
            timeout=settings.timeout,
            http_client=self._library.DefaultAioHttpClient(timeout=settings.timeout) if fast else None,
            default_headers=dict(settings.headers),
        )
        # OpenAI's reasoning models know only the new name; servers of other makers may ignore it in silence.
        self._limit = "max_tokens" if own else "max_completion_tokens"
        self._limit_known = False

    @property
    def server(self) -> str:
        """What `abilities` are those of: address and model."""
        return f"{self.name} {self._address or ''} {self._served}"

    @property
    def abilities(self) -> dict[str, Any]:
        """The form, and the token limit's name."""
        found = super().abilities
        return found and found | {"limit": self._limit}

    def recall(self, abilities: Mapping[str, Any]) -> None:
        """Start from what an earlier process found out."""
        super().recall(abilities)
        if abilities.get("limit") in {"max_tokens", "max_completion_tokens"}:
            self._limit = abilities["limit"]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    @property
    def client(self) -> openai.AsyncOpenAI:
        """The library's client, for what lies beside questions: files and batches."""
        return self._client

    def body(self, request: Request) -> dict[str, Any]:
        """The question as a batch carries it, in the form that was found out, or the firmest that most servers know."""
        return self._body(request, self._form or self._likely or "json_schema")

    def read(self, text: str, request: Request) -> Reply:
        """The scores in an answer's body.

        Raises:
            Failure: there are none.
        """
        return self._read(text, request)

    async def _send(self, request: Request, form: str) -> Reply:
        return self._read(await self._post(request, form), request)

    async def _post(self, request: Request, form: str) -> str:
        """One question, sent again only to learn the name of a parameter, which costs nothing."""
        while True:
            try:
                async with asyncio.timeout(self._settings.timeout):
                    # The body as text: a broken one must become a failure and not an exception, and the
                    # library's own types, checked both ways, take half of a call's time.
                    return await self._client.post(_PATH, cast_to=str, body=self._body(request, form))
            except self._library.APIStatusError as error:
                if error.status_code in {400, 422} and self._adapts(error):
                    continue
                said = f"{error.message} {error.code} {error.type}"
                raise self._status_failure(error.status_code, error.message, said, error.response.headers) from None
            except (TimeoutError, self._library.APIConnectionError) as error:
                raise lost(error, self._settings.timeout) from None
            except self._library.APIError as error:
                raise Failure("malformed", str(error), charged="unknown") from None

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

    def _adapts(self, error: openai.APIStatusError) -> bool:
        """Whether the refusal names a parameter that can be given otherwise, or left out."""
        text = f"{error.message} {error.param or ''}"
        if self._limit in text and not self._limit_known:
            self._limit_known = True
            self._limit = "max_completion_tokens" if self._limit == "max_tokens" else "max_tokens"
            return True
        if "temperature" in text and self._send_temperature:
            self._send_temperature = False
            return True
        return False

    def _read(self, text: str, request: Request) -> Reply:
        """The scores in an answer that came back with status 200."""
        body = the_object(text)
        choice = _first(body.get("choices"))
        message = choice.get("message") if isinstance(choice, dict) else None
        failure = charged(_used(body.get("usage")))
        if not isinstance(choice, dict) or not isinstance(message, dict):
            failure.detail = "no choices in the answer"
            raise failure
        finish = choice.get("finish_reason")
        said = _text_of(message.get("content"))
        if message.get("refusal") or finish == "content_filter":
            failure.reason, failure.raw = "refused", said[:4000]
            failure.detail = one_line(str(message.get("refusal") or "content filter"))
            raise failure
        thought = bool(message.get("reasoning_content") or message.get("reasoning"))
        return read_answer(request, said, failure, cut=finish == "length", thought=thought)


def _first(value: object) -> object:
    return value[0] if isinstance(value, list) and value else None


def _text_of(content: object) -> str:
    """A message's text; some servers give a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(text for text in texts if isinstance(text, str))
    return ""


def _used(usage: object) -> tuple[int, int] | None:
    """Tokens in and out, where the server gives both."""
    if not isinstance(usage, dict):
        return None
    found = counts(usage.get("prompt_tokens"), usage.get("completion_tokens"))
    return None if found is None else (found[0], found[1])
