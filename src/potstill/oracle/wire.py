"""Provide what all live oracles share, independent of their provider.

Input: responses of a server and errors of its client library. Output: named failures, waiting times in seconds, and the
strictest answer format that the server supports. The first requests probe for this format; the result is remembered.
"""

from __future__ import annotations

import asyncio
import json
import math
import ssl
import traceback
from abc import ABC, abstractmethod
from collections import Counter
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from potstill.errors import require
from potstill.oracle.environment import (
    NO_KEY,
    address,
    api_key,
    check_environment,
    printable,
    proxy_of,
    without_logins,
)
from potstill.oracle.error_bodies import error_in, error_in_stream, is_billed
from potstill.oracle.protocol import UNSUPPORTED, Failure, Reply, Request, Settings
from potstill.oracle.reading import storable
from potstill.oracle.redaction import Redaction, secret_headers, secrets_around, secrets_of_address
from potstill.oracle.retry_after import retry_after

if TYPE_CHECKING:
    from collections.abc import Mapping

    from potstill.oracle.prompt import Prompt

# Status codes of servers that do not support the form of a request: usually 400 or 422, sometimes 501; llama-cpp-python
# answers 500.
_NOT_UNDERSTOOD = frozenset({400, 404, 415, 422, 501})
_QUOTA_WORDS = ("insufficient_quota", "exceeded your current quota", "insufficient balance", "insufficient_balance",
                "billing_hard_limit", "credit balance", "insufficient credits")  # fmt: skip

CUT = frozenset({"length", "max_tokens", "max_output_tokens", "model_length", "max_length", "token_limit",
                 "model_context_window_exceeded", "context_length_exceeded", "pause_turn", "incomplete", "abort",
                 "insufficient_system_resource"})  # fmt: skip
"""Stop reasons that mean a text was cut before the model finished it, as servers spell them, in lower case."""


class LiveOracle(ABC):
    """An oracle that asks a server; a subclass per provider defines how one question is sent.

    `forms` are the ways to make a server follow the answer format, strictest first. Each call of `ask` sends one
    request. Until the server has accepted a form, a form that it rejects is a failure with the reason `unsupported`,
    and the next call sends the next form. During this phase, callers should send one question at a time. The address is
    `settings.base_url`, else the value of the environment variable `address_variable`, else the provider's
    `own_address`.

    Raises:
        OracleError: no call is possible with this address, or with the proxies and certificates of the environment.
    """

    name: str
    address_variable: str
    free = False
    revision = ""
    forms: tuple[str, ...]
    own_address: str
    transport: tuple[type[Exception], ...]
    """The exceptions that the library's transport raises when a call ends without an answer."""

    def __init__(self, model: str, settings: Settings) -> None:
        self._address = address(settings.base_url, self.address_variable)
        check_environment()
        self._served = model
        self._settings = settings
        self._form: str | None = None
        self._likely: str | None = None
        self._not_understood: Counter[str] = Counter()
        self._refused: list[str] = []
        self._send_temperature = settings.temperature is not None
        self.redaction = Redaction(secrets_of_address(self._address or ""))
        self.redaction.add(*secret_headers(settings.headers))
        self.redaction.add(*secrets_around())

    @property
    def model(self) -> str:
        """The model, with the settings that can change its answers."""
        return self._settings.identity(self._served)

    @property
    def form(self) -> str | None:
        """How the server enforces the answer format; None until this is known."""
        return self._form

    @property
    def batch_form(self) -> str:
        """The form of a question in a batch job: the detected form, else the strictest one."""
        return self._form or self._likely or self.forms[0]

    @property
    def server(self) -> str:
        """The address, without secrets, and the model that `abilities` describe."""
        return self.redaction.hide(f"{self.name} {self._address or ''} {self._served}")

    @property
    def address(self) -> str:
        """The address for messages, without user name, password and key."""
        return printable(self._address or self.own_address)

    @property
    def abilities(self) -> dict[str, Any]:
        """The detected server capabilities, as JSON; empty until something is detected."""
        return {} if self._form is None else {"form": self._form}

    def recall(self, abilities: Mapping[str, Any]) -> None:
        """Start with the capabilities that an earlier process detected; they are probed again if they fail."""
        likely = abilities.get("form")
        self._likely = likely if likely in self.forms else None

    def prepare(self, prompt: Prompt) -> None:  # noqa: B027 - most providers need no preparation
        """Do nothing, because any filter is accepted."""

    async def ask(self, request: Request) -> Reply:
        """Send one request in the form that the server is known to support, or in the next form to try.

        Raises:
            Failure: there is no answer; the reason is `unsupported` if the next call would use another form.
        """
        form = self._form or self._next_form()
        try:
            reply = await self._send(request, form)
        except NotUnderstood as refusal:
            raise self.redaction.failure(self._refuse(form, refusal)) from None
        except Failure as failure:
            if failure.reason != UNSUPPORTED:
                self._refused.clear()
                if failure.charged == "tokens" or failure.reason == "refused":
                    self._form = form  # the server understood the form, although the answer is unusable
            raise self.redaction.failure(failure) from None
        self._form = form
        return self.redaction.reply(reply)

    def _know_key(self, variables: tuple[str, ...], *, needed: bool) -> str:
        """Return the key from the environment and redact it from everything that the server returns from now on.

        Raises:
            OracleError: there is no key.
        """
        key = api_key(variables, self._settings.api_key_env, needed=needed)
        if key != NO_KEY:
            self.redaction.add([key])
        return key

    @abstractmethod
    async def close(self) -> None:
        """Close the connections."""

    @abstractmethod
    async def _send(self, request: Request, form: str) -> Reply:
        """Ask once in this form.

        Raises:
            NotUnderstood: the server may not support this form.
            Failure: there is no answer.
        """

    def _next_form(self) -> str:
        """Return the form to try next: the one detected earlier, else the strictest, unless already rejected."""
        first = [] if self._likely is None else [self._likely]
        return next(form for form in [*first, *self.forms] if form not in self._refused)

    def _refuse(self, form: str, refusal: NotUnderstood) -> Failure:
        """Return the failure for a rejected form and select the next form."""
        failure = refusal.failure
        self._not_understood[form] += 1
        if refusal.status >= 500 and self._not_understood[form] < 2:
            # The rejection may be accidental, so the same form is tried a second time.
            self._refused.clear()
            return failure
        self._refused.append(form)
        if len(self._refused) < len(self.forms):
            return Failure(UNSUPPORTED, failure.detail, charged=failure.charged)
        # No form works, so the cause is this article (it may be too long); the next article starts with all forms
        # again.
        self._refused.clear()
        return failure

    def lost(self, error: BaseException) -> Failure:
        """Return the failure for a call to this oracle's server that ended without an answer."""
        return lost(error, self._settings.timeout, self._address or self.own_address)

    def _status_failure(self, status: int, message: str, message_text: str, headers: Mapping[str, str]) -> Failure:
        """Return the failure for an HTTP status; a `NotUnderstood` as long as that is a possible cause."""
        failure = status_failure(status, message, message_text, headers)
        unclear = failure.reason in {"bad_request", "server"} and (status in _NOT_UNDERSTOOD or status == 500)
        if status == 404:
            # The usual cause is a wrong address, but some gateways answer this way to a form that none of their models
            # supports.
            unclear = unclear and any(
                word in message_text.lower() for word in ("format", "schema", "support", "parameter")
            )
        return NotUnderstood(status, failure) if self._form is None and unclear else failure


class NotUnderstood(Failure):
    """A rejection that may be caused by the form of the question, while the server's capabilities are unknown."""

    def __init__(self, status: int, failure: Failure) -> None:
        super().__init__(failure.reason, failure.detail, failure.retry_after, of_server=failure.of_server)
        self.status = status
        self.failure = failure


# Requests rejected before any work: providers document that they are free. If a server fails or a gateway times out
# (408, 499, every 5xx except 501), the model may have answered, and the answer may be billed.
_UNBILLED = frozenset({400, 401, 402, 403, 404, 405, 406, 407, 409, 410, 411, 413, 414, 415, 422, 429, 431, 451, 501})


def status_failure(status: int, message: str, message_text: str, headers: Mapping[str, str]) -> Failure:
    """Return the failure for an HTTP status, including whether the call may be billed.

    Args:
        status: HTTP status, 300 or more; redirections are not followed, because they would send the question and the
            key to another server.
        message: the server's message for the user.
        message_text: message and error codes, searched for keywords.
        headers: headers of the response.
    """
    failure = _named(status, message, message_text.lower(), headers)
    if status >= 400 and status not in _UNBILLED:
        failure.charged = "unknown"
    return failure


def _named(status: int, message: str, message_text: str, headers: Mapping[str, str]) -> Failure:  # noqa: PLR0911
    """Return the failure that corresponds to an HTTP status.

    Args:
        status: HTTP status, 300 or more.
        message: the server's message for the user.
        message_text: message and error codes, in lower case.
        headers: headers of the response.
    """
    detail = f"HTTP {status}: {one_line(message)}"
    if status < 400:
        target = printable(one_line(headers.get("location", ""))) or "an unspecified address"
        return Failure("not_allowed", f"HTTP {status}: the server redirects to {target}; set the final address")
    if status == 402 or (status in {400, 403, 429} and any(word in message_text for word in _QUOTA_WORDS)):
        return Failure("quota", detail)
    if status in {401, 403}:
        return Failure(
            "refused" if "moderation" in message_text or "flagged" in message_text else "not_allowed", detail
        )
    if status == 407:
        return Failure("not_allowed", f"{detail} (the proxy from the environment rejects the login)")
    if status == 429:
        return Failure("rate_limited", detail, retry_after=retry_after(headers))
    if status in {408, 409} or (status >= 500 and status != 501):
        return Failure("server", detail, retry_after=retry_after(headers))
    if "content_filter" in message_text or "content_policy" in message_text:
        return Failure("refused", detail)
    if status == 404 and "model" in message_text:
        return Failure("not_allowed", detail)
    return Failure("bad_request", detail, of_server=status in {404, 405})


# Errors of aiohttp and httpx, and their subclasses, that occur before the question is sent.
_NEVER_SENT = frozenset({"ClientConnectorError", "ClientHttpProxyError", "ConnectionTimeoutError", "InvalidURL",
                         "ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol",
                         "LocalProtocolError"})  # fmt: skip
_LONGEST_CONNECTING = 20.0


def connecting(seconds: float) -> float:
    """Return the connection timeout in seconds.

    It is shorter than the timeout of the whole answer: a call that is cut off within it was never sent.
    """
    return min(_LONGEST_CONNECTING, 0.9 * seconds)


def lost(error: BaseException, seconds: float, url: str = "") -> Failure:
    """Return the failure for a call that ended without an answer, from the chain of errors that the library raised.

    A call that was never sent costs nothing: no connection, an untrusted certificate, or a proxy that refuses.

    Args:
        error: the exception that the library raised.
        seconds: timeout of the whole answer, in seconds.
        url: the address of the call.
    """
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    connecting_still = any(_was_connecting(one) for one in chain)
    # asyncio's own timeout has the cancellation that it triggered as its cause.
    while len(chain) > 1 and isinstance(chain[-1], asyncio.CancelledError):
        chain.pop()
    # The errors of aiohttp are decisive: some libraries report its broken connections as refused connections.
    telling = [one for one in chain if type(one).__module__.startswith("aiohttp")] or chain
    root = chain[-1]
    detail = f"{type(root).__name__}: {one_line(without_logins(str(root)))}"
    if not _NEVER_SENT.isdisjoint(cls.__name__ for one in telling for cls in type(one).__mro__):
        detail = f"no connection within {connecting(seconds):g} s" if isinstance(root, TimeoutError) else detail
        return Failure("connection", f"{detail}{_hint(root, url)}", charged="nothing")
    # Only the root error is reliable: aiohttp's "Server disconnected" is reported under the name of a timeout.
    if isinstance(root, TimeoutError) or "Timeout" in type(telling[-1]).__name__:
        if connecting_still:
            return Failure("connection", f"no connection within {seconds:g} s{_hint(root, url)}", charged="nothing")
        return Failure("timeout", f"no complete answer within {seconds:g} s", charged="unknown")
    return Failure("connection", detail, charged="unknown")


def _was_connecting(error: BaseException) -> bool:
    """Return whether aiohttp had no connection yet when the call was cut off."""
    return any(
        frame.f_globals.get("__name__") == "aiohttp.connector" for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def _hint(root: BaseException, url: str) -> str:
    """Return a hint for the user about what to check if no connection could be made."""
    proxy = proxy_of(url) if url else None
    through = f", through {proxy}" if proxy is not None else ""
    if isinstance(root, ssl.SSLCertVerificationError):
        return f"{through}; set SSL_CERT_FILE to a file of trusted certificates"
    if isinstance(root, ssl.SSLError):
        return f"{through}; the server may use http://, not https://"
    return through


def transport_errors(extra: str) -> tuple[type[Exception], ...]:
    """Return the exceptions that a library's transports may raise, wrapped or not.

    Args:
        extra: the extra that installs the library.
    """
    known = (("aiohttp", "ClientError"), ("httpx2", "HTTPError"), ("httpx2", "InvalidURL"), ("httpx", "HTTPError"),
             ("httpx", "InvalidURL"))  # fmt: skip
    found = [getattr(require(module, extra), name) for module, name in known if find_spec(module) is not None]
    return (OSError, EOFError, *found)


def the_object(text: str) -> dict[str, Any]:
    """Parse a response body with status 200, which must be a JSON object.

    Raises:
        Failure: the body is not a JSON object.
    """
    try:
        value = json.loads(text, parse_int=_whole)
    except (ValueError, RecursionError):
        if (error := error_in_stream(text)) is not None:
            raise _stated(*error, text, billed=False) from None
        fault = f"the server's answer is not JSON: {one_line(text[:80]) or 'it is empty'}"
        raise Failure("malformed", fault, charged="unknown", raw=text[:4000], of_server=True) from None
    if (error := error_in(value)) is not None:
        raise _stated(*error, text, billed=is_billed(value))
    if not isinstance(value, dict):
        fault = "the server's answer is not a JSON object"
        raise Failure("malformed", fault, charged="unknown", raw=text[:4000], of_server=True)
    return value


def _stated(status: int, words: str, text: str, *, billed: bool) -> Failure:
    """Return the failure for an error that came with HTTP 200, as its stated status defines it.

    It costs nothing unless the model may have answered. A gateway that timed out may still be billed for the answer
    that it did not wait for, and a gateway that reports output tokens for those tokens.
    """
    failure = status_failure(status, words, f"{words} {text[:4000]}", {})
    failure.detail = f"HTTP 200 with an error, {status}: {one_line(words)}"
    failure.raw = storable(text[:4000])
    failure.charged = "unknown" if billed or status in {408, 504, 524} else "nothing"
    return failure


def _whole(digits: str) -> int | float:
    """Parse an integer; more digits than Python converts become infinity, so the rest of the answer is kept."""
    return int(digits) if len(digits) <= 30 else -math.inf if digits.startswith("-") else math.inf


def read_answer(request: Request, text: str, failure: Failure, *, alone: bool, finish: object, thought: bool) -> Reply:
    """Extract the scores from a model's text, by the same rules for every provider (`oracle.reading`).

    Args:
        request: the question.
        text: the model's text, without the parts that the server marks as thinking.
        failure: what is known about the cost; raised, with its reason, if the text contains no answer.
        alone: whether the server enforces the schema on the text.
        finish: the stop reason of the server.
        thought: whether the response also contained thinking.

    Raises:
        Failure: the text contains no answer.
    """
    failure.raw = storable(text[:4000])
    try:
        answer = request.parse(text, alone=alone, cut=str(finish).lower() in CUT, article=request.window)
    except Failure as fault:
        failure.reason, failure.detail = fault.reason, fault.detail
        if fault.reason == "truncated":
            failure.detail = f"the answer was truncated at {request.max_tokens} tokens; a higher --max-tokens may help"
        elif fault.reason == "empty" and thought:
            failure.reason, failure.detail = "thinking_only", "there is thinking, but no answer"
        raise failure from None
    return Reply(
        answer.scores,
        answer.evidence,
        failure.tokens_in,
        failure.tokens_out,
        storable(text),
        failure.cached,
        failure.doubt,
    )


def holds(form: str) -> bool:
    """Return whether a server enforces the schema for this form, so that the answer has no surrounding text."""
    return form.endswith("schema")


def charged(tokens: tuple[int, int, int] | None, usage: object = None) -> Failure:
    """Return a failure for which only the cost is known so far.

    Args:
        tokens: input tokens, output tokens, and the input tokens read from a cache; None if they cannot be parsed.
        usage: the usage that the server reported; recorded as a doubt if `tokens` could not be parsed from it.
    """
    if tokens is None:
        doubt = "" if usage is None else f"it reports {_shown(usage)}"
        return Failure("empty", "no answer", charged="unknown", doubt=doubt)
    tokens_in, tokens_out, cached = tokens
    return Failure("empty", "no answer", charged="tokens", tokens_in=tokens_in, tokens_out=tokens_out, cached=cached)


def _shown(usage: object) -> str:
    try:
        return one_line(json.dumps(usage))[:120]
    except (ValueError, RecursionError):
        return "an unprintable value"


def counts(*values: object) -> tuple[int, ...] | None:
    """Return the values as token counts, or None if one of them is not a count."""
    if all(isinstance(value, int) and not isinstance(value, bool) and value >= 0 for value in values):
        return values  # type: ignore[return-value]  # checked in the line above
    return None


def one_line(text: str) -> str:
    """Return text for a message: without line breaks, at most 300 characters."""
    return " ".join(text.split())[:300]
