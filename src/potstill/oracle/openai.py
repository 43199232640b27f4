"""The OpenAI-compatible oracle: any server that speaks `/chat/completions`.

In: a question. Out: a reply, or a failure that names what happened. One HTTP request is made per question (the
library's own retries are off). What a server can do is found out with the first questions and remembered:
answers held to the JSON schema, then JSON mode, then plain text; the name of the token limit; whether a
temperature may be set. Answers are read strictly in each case.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections import Counter
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from potstill.errors import OracleError, require
from potstill.oracle import Failure, Reply, Request, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    import openai

    from potstill.oracle.prompt import Prompt

FORMATS = ("json_schema", "json_object", "text")
"""Ways to hold a server to the answer's form, the firmest first."""

Format = Literal["json_schema", "json_object", "text"]

# Answers to a request whose form a server does not know: most say 400 or 422, some 501, llama-cpp-python 500.
_NOT_UNDERSTOOD = frozenset({400, 404, 415, 422, 501})
_QUOTA_WORDS = ("insufficient_quota", "exceeded your current quota", "insufficient balance", "insufficient_balance",
                "billing_hard_limit", "credit balance", "insufficient credits")  # fmt: skip


class OpenAIOracle:
    """Asks a model behind an OpenAI-compatible address.

    The address is `settings.base_url`, else OPENAI_BASE_URL, else OpenAI's own; the key is in the environment
    variable `settings.api_key_env`, by default OPENAI_API_KEY, and may be absent for an address of one's own.

    Raises:
        OracleError: there is no key for OpenAI's own address, or the variable named is not set.
        MissingExtra: the openai package is not installed.
    """

    name = "openai"
    free = False
    revision = ""

    def __init__(self, model: str, settings: Settings | None = None) -> None:
        self._library = require("openai", "oracle")
        self._settings = settings or Settings()
        self._served = model
        base_url = self._settings.base_url or os.environ.get("OPENAI_BASE_URL") or None
        self._own = base_url is not None and not (urlsplit(base_url).hostname or "").endswith("openai.com")
        self._client: openai.AsyncOpenAI = self._library.AsyncOpenAI(
            api_key=_key(self._settings.api_key_env, needed=not self._own),
            base_url=base_url,
            max_retries=0,
            timeout=self._settings.timeout,
            default_headers=dict(self._settings.headers),
        )
        self._format: Format | None = None
        self._trying = 0
        self._not_understood: Counter[str] = Counter()
        self._finding = asyncio.Lock()
        # OpenAI's reasoning models know only the new name; servers of other makers may ignore it in silence.
        self._limit = "max_tokens" if self._own else "max_completion_tokens"
        self._limit_known = False
        self._send_temperature = self._settings.temperature is not None

    @property
    def model(self) -> str:
        """The model, with the settings that can change its answers."""
        return self._settings.identity(self._served)

    @property
    def format(self) -> Format | None:
        """How the server holds answers to their form; None until it is known."""
        return self._format

    def prepare(self, prompt: Prompt) -> None:
        """Any filter will do."""

    async def ask(self, request: Request) -> Reply:
        """Ask once; while the server's abilities are unknown, questions wait for one that finds them out."""
        if self._format is not None:
            return self._read(await self._post(request, self._format), request)
        async with self._finding:
            if self._format is None:
                return await self._find_out(request)
        return self._read(await self._post(request, self._format), request)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _find_out(self, request: Request) -> Reply:
        """Ask in the firmest form that the server understands, and remember it."""
        failure = Failure("bad_request", "the server understands no form of the question")
        for trying in range(self._trying, len(FORMATS)):
            form: Format = FORMATS[trying]  # type: ignore[assignment]  # the tuple holds the literals
            try:
                body = await self._post(request, form)
            except _NotUnderstood as refusal:
                failure = refusal.failure
                self._not_understood[form] += 1
                if refusal.status >= 500 and self._not_understood[form] < 2:
                    # It may have been an accident; the same form gets a second try.
                    raise failure from None
                continue
            self._format = form
            return self._read(body, request)
        # No form helps: it is this article (too long, perhaps), and the next one starts afresh.
        raise failure

    async def _post(self, request: Request, form: Format) -> _Body:
        """One question, sent again only to learn the name of a parameter, which costs nothing."""
        while True:
            try:
                async with asyncio.timeout(self._settings.timeout):
                    # The raw response, because a broken body must become a failure and not an exception.
                    raw = await self._client.chat.completions.with_raw_response.create(
                        model=self._served,
                        messages=(),
                        # Given as it is: checking messages against the library's types takes a fifth of a call.
                        extra_body=self._body(request, form),
                    )
                    return _Body.of(raw.http_response.content, raw.headers.get("content-type", ""))
            except self._library.APIStatusError as error:
                if error.status_code in {400, 422} and self._adapts(error):
                    continue
                raise self._status_failure(error) from None
            except (TimeoutError, self._library.APITimeoutError):
                raise Failure(
                    "timeout", f"no whole answer in {self._settings.timeout:g} s", charged="unknown"
                ) from None
            except self._library.APIConnectionError as error:
                cause = error.__cause__ or error
                sent = "Connect" not in type(cause).__name__
                detail = f"{type(cause).__name__}: {cause}"
                raise Failure("connection", detail, charged="unknown" if sent else "nothing") from None
            except self._library.APIError as error:
                raise Failure("malformed", str(error), charged="unknown") from None

    def _body(self, request: Request, form: Format) -> dict[str, Any]:
        body: dict[str, Any] = {
            "messages": list(request.messages),
            self._limit: request.max_tokens,
        }
        if form == "json_schema":
            schema = {"name": "answer", "strict": True, "schema": request.schema}
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

    def _status_failure(self, error: openai.APIStatusError) -> Failure:  # noqa: PLR0911 - one status, one meaning
        """What an HTTP status means; none of these is charged for."""
        status, detail = error.status_code, f"HTTP {error.status_code}: {_one_line(error.message)}"
        said = f"{error.message} {error.code} {error.type}".lower()
        if status == 402 or (status in {400, 403, 429} and any(word in said for word in _QUOTA_WORDS)):
            return Failure("quota", detail)
        if status in {401, 403}:
            return Failure("refused" if "moderation" in said or "flagged" in said else "not_allowed", detail)
        if status == 429:
            return Failure("rate_limited", detail, retry_after=_retry_after(error.response.headers))
        if status in {408, 409} or (status >= 500 and status != 501):
            failure = Failure("server", detail, retry_after=_retry_after(error.response.headers))
        elif "content_filter" in said or "content_policy" in said:
            return Failure("refused", detail)
        elif status == 404 and "model" in said:
            return Failure("not_allowed", detail)
        else:
            failure = Failure("bad_request", detail)
        if self._format is None and (status in _NOT_UNDERSTOOD or status == 500):
            return _NotUnderstood(status, failure)
        return failure

    def _read(self, body: _Body, request: Request) -> Reply:
        """The scores in an answer that came back with status 200."""
        if body.value is None:
            raise Failure("malformed", body.fault, charged="unknown", raw=body.text[:4000])
        choice = _first(body.value.get("choices"))
        message = choice.get("message") if isinstance(choice, dict) else None
        used = _used(body.value.get("usage"))
        failure = Failure("empty", "no choices in the answer", charged="unknown" if used is None else "tokens")
        failure.tokens_in, failure.tokens_out = used or (None, None)
        if not isinstance(choice, dict) or not isinstance(message, dict):
            raise failure
        text = _text_of(message.get("content"))
        failure.raw = text[:4000]
        finish = choice.get("finish_reason")
        if message.get("refusal") or finish == "content_filter":
            failure.reason, failure.detail = "refused", _one_line(str(message.get("refusal") or "content filter"))
            raise failure
        try:
            answer = request.parse(text)
        except Failure as fault:
            failure.reason, failure.detail = fault.reason, fault.detail
            thought = bool(message.get("reasoning_content") or message.get("reasoning"))
            if finish == "length":
                failure.reason = "truncated"
                failure.detail = f"the answer was cut at {request.max_tokens} tokens; more may help (--max-tokens)"
            elif fault.reason == "empty" and thought:
                failure.reason, failure.detail = "thinking_only", "there is thinking, but no answer"
            raise failure from None
        return Reply(answer.scores, answer.evidence, failure.tokens_in, failure.tokens_out, text)


class _NotUnderstood(Failure):
    """A refusal that may mean the form of the question, while the server's abilities are unknown."""

    def __init__(self, status: int, failure: Failure) -> None:
        super().__init__(failure.reason, failure.detail, failure.retry_after)
        self.status = status
        self.failure = failure


class _Body:
    """An answer's body: a JSON object, or None with the fault."""

    def __init__(self, value: dict[str, Any] | None, text: str, fault: str) -> None:
        self.value = value
        self.text = text
        self.fault = fault

    @classmethod
    def of(cls, content: bytes, content_type: str) -> _Body:
        text = content.decode("utf-8", "replace")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return cls(None, text, f"the server's answer is no JSON (content type {content_type or 'unknown'})")
        if not isinstance(value, dict):
            return cls(None, text, "the server's answer is no JSON object")
        return cls(value, text, "")


def _key(variable: str | None, *, needed: bool) -> str:
    key = os.environ.get(variable or "OPENAI_API_KEY", "")
    if key:
        return key
    if variable or needed:
        raise OracleError(f"no API key: set the environment variable {variable or 'OPENAI_API_KEY'}")
    return "none"


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
    counts = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
    if all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in counts):
        return counts[0], counts[1]  # type: ignore[return-value]  # just checked
    return None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `Retry-After` (seconds or a date) or `retry-after-ms`."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    try:
        at = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
