"""The wire: what live oracles share, whatever their provider.

In: what a server or its library did. Out: failures with their names, waits in seconds, and the firmest form of
answer that the server understands, found out with the first questions and remembered.
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
from potstill.oracle import UNSUPPORTED, Failure, Reply, Request, Settings
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
from potstill.oracle.reading import storable
from potstill.oracle.redaction import Redaction, secret_headers, secrets_around, secrets_of_address
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

    `forms` are the ways to hold a server to the answer's form, the firmest first. Each call of `ask` sends one
    request. Until the server has understood one, a form that it refuses is a failure with the reason `unsupported`,
    and the next call sends the next form; whoever calls should do so with one question at a time.
    The address is `settings.base_url`, else that of the environment variable `address_variable`, else the provider's
    `own_address`.

    Raises:
        OracleError: no call can be made with this address, or with the environment's proxies and certificates.
    """

    name: str
    address_variable: str
    free = False
    revision = ""
    forms: tuple[str, ...]
    own_address: str
    transport: tuple[type[Exception], ...]
    """What the library's transport raises when a call ends without an answer."""

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
        """How the server holds answers to their form; None until it is known."""
        return self._form

    @property
    def batch_form(self) -> str:
        """The form of a question in a job: the one that was found out, else the firmest."""
        return self._form or self._likely or self.forms[0]

    @property
    def server(self) -> str:
        """What `abilities` are those of: address, without what is secret in it, and model."""
        return self.redaction.hide(f"{self.name} {self._address or ''} {self._served}")

    @property
    def address(self) -> str:
        """Where questions go, for a message: without user name, password and key."""
        return printable(self._address or self.own_address)

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
        """Send one request, in the form that the server understands or the next that it may.

        Raises:
            Failure: there is no answer; `unsupported` if the next call would ask in another form.
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
                    self._form = form  # understood, though the answer is of no use
            raise self.redaction.failure(failure) from None
        self._form = form
        return self.redaction.reply(reply)

    def _know_key(self, variables: tuple[str, ...], *, needed: bool) -> str:
        """The key from the environment, which from now on is taken out of all that the server says.

        Raises:
            OracleError: there is none.
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
            NotUnderstood: the server may not know this form.
            Failure: there is no answer.
        """

    def _next_form(self) -> str:
        """The firmest form that this question has not been refused in; first the one that an earlier process found."""
        first = [] if self._likely is None else [self._likely]
        return next(form for form in [*first, *self.forms] if form not in self._refused)

    def _refuse(self, form: str, refusal: NotUnderstood) -> Failure:
        """What a refusal of a form means, and which form comes next."""
        failure = refusal.failure
        self._not_understood[form] += 1
        if refusal.status >= 500 and self._not_understood[form] < 2:
            # It may have been an accident; the same form gets a second try.
            self._refused.clear()
            return failure
        self._refused.append(form)
        if len(self._refused) < len(self.forms):
            return Failure(UNSUPPORTED, failure.detail, charged=failure.charged)
        # No form helps: it is this article (too long, perhaps), and the next one starts afresh.
        self._refused.clear()
        return failure

    def lost(self, error: BaseException) -> Failure:
        """What it means that a call to this oracle's server ended without an answer."""
        return lost(error, self._settings.timeout, self._address or self.own_address)

    def _status_failure(self, status: int, message: str, said: str, headers: Mapping[str, str]) -> Failure:
        """What an HTTP status means, as a `NotUnderstood` while that may be what it means."""
        failure = status_failure(status, message, said, headers)
        unclear = failure.reason in {"bad_request", "server"} and (status in _NOT_UNDERSTOOD or status == 500)
        if status == 404:
            # Most often the address is wrong; some gateways answer so to a form that no model of theirs knows.
            unclear = unclear and any(word in said.lower() for word in ("format", "schema", "support", "parameter"))
        return NotUnderstood(status, failure) if self._form is None and unclear else failure


class NotUnderstood(Failure):
    """A refusal that may mean the form of the question, while the server's abilities are unknown."""

    def __init__(self, status: int, failure: Failure) -> None:
        super().__init__(failure.reason, failure.detail, failure.retry_after, of_server=failure.of_server)
        self.status = status
        self.failure = failure


# Refusals before any work: providers document that they cost nothing. A server that breaks, or a gateway that has
# waited too long (408, 499, every 5xx but 501), may have had the model answer, and the answer may be billed.
_UNBILLED = frozenset({400, 401, 402, 403, 404, 405, 406, 407, 409, 410, 411, 413, 414, 415, 422, 429, 431, 451, 501})


def status_failure(status: int, message: str, said: str, headers: Mapping[str, str]) -> Failure:
    """What an HTTP status means, and whether it may be charged for.

    Args:
        status: 300 or more; a redirection is not followed, as it would send question and key elsewhere.
        message: the server's, for a person.
        said: message and codes, where words are looked for.
        headers: of the answer.
    """
    failure = _named(status, message, said.lower(), headers)
    if status >= 400 and status not in _UNBILLED:
        failure.charged = "unknown"
    return failure


def _named(status: int, message: str, said: str, headers: Mapping[str, str]) -> Failure:  # noqa: PLR0911
    """The failure that an HTTP status is.

    Args:
        status: 300 or more.
        message: the server's, for a person.
        said: message and codes, in lower case.
        headers: of the answer.
    """
    detail = f"HTTP {status}: {one_line(message)}"
    if status < 400:
        target = printable(one_line(headers.get("location", ""))) or "an address that it does not name"
        return Failure("not_allowed", f"HTTP {status}: the server redirects to {target}; give the address itself")
    if status == 402 or (status in {400, 403, 429} and any(word in said for word in _QUOTA_WORDS)):
        return Failure("quota", detail)
    if status in {401, 403}:
        return Failure("refused" if "moderation" in said or "flagged" in said else "not_allowed", detail)
    if status == 407:
        return Failure("not_allowed", f"{detail} (the proxy of the environment wants another login)")
    if status == 429:
        return Failure("rate_limited", detail, retry_after=retry_after(headers))
    if status in {408, 409} or (status >= 500 and status != 501):
        return Failure("server", detail, retry_after=retry_after(headers))
    if "content_filter" in said or "content_policy" in said:
        return Failure("refused", detail)
    if status == 404 and "model" in said:
        return Failure("not_allowed", detail)
    return Failure("bad_request", detail, of_server=status in {404, 405})


# Errors of aiohttp and of httpx before the question has left; their subclasses too.
_NEVER_SENT = frozenset({"ClientConnectorError", "ClientHttpProxyError", "ConnectionTimeoutError", "InvalidURL",
                         "ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol",
                         "LocalProtocolError"})  # fmt: skip
_LONGEST_CONNECTING = 20.0


def connecting(seconds: float) -> float:
    """Seconds to wait for a connection, less than the whole answer may take: what is cut off then was never sent."""
    return min(_LONGEST_CONNECTING, 0.9 * seconds)


def lost(error: BaseException, seconds: float, url: str = "") -> Failure:
    """What it means that a call ended without an answer, from the errors that a library wrapped in each other.

    A call that never left costs nothing: no connection, a certificate that is not trusted, a proxy that says no.

    Args:
        error: what the library raised.
        seconds: what the whole answer may take.
        url: where the question was to go.
    """
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    connecting_still = any(_was_connecting(one) for one in chain)
    # asyncio's own timeout is caused by the cancelling that it did.
    while len(chain) > 1 and isinstance(chain[-1], asyncio.CancelledError):
        chain.pop()
    # What aiohttp says counts; some libraries call its broken connections refused ones.
    telling = [one for one in chain if type(one).__module__.startswith("aiohttp")] or chain
    root = chain[-1]
    detail = f"{type(root).__name__}: {one_line(without_logins(str(root)))}"
    if not _NEVER_SENT.isdisjoint(cls.__name__ for one in telling for cls in type(one).__mro__):
        detail = f"no connection in {connecting(seconds):g} s" if isinstance(root, TimeoutError) else detail
        return Failure("connection", f"{detail}{_hint(root, url)}", charged="nothing")
    # Only the root tells: aiohttp's "Server disconnected" arrives under the name of a timeout.
    if isinstance(root, TimeoutError) or "Timeout" in type(telling[-1]).__name__:
        if connecting_still:
            return Failure("connection", f"no connection in {seconds:g} s{_hint(root, url)}", charged="nothing")
        return Failure("timeout", f"no whole answer in {seconds:g} s", charged="unknown")
    return Failure("connection", detail, charged="unknown")


def _was_connecting(error: BaseException) -> bool:
    """Whether aiohttp had no connection yet when the call was cut off."""
    return any(
        frame.f_globals.get("__name__") == "aiohttp.connector" for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def _hint(root: BaseException, url: str) -> str:
    """What a person may look at when no connection could be made."""
    proxy = proxy_of(url) if url else None
    through = f", through {proxy}" if proxy is not None else ""
    if isinstance(root, ssl.SSLCertVerificationError):
        return f"{through}; SSL_CERT_FILE names a file of certificates to trust"
    if isinstance(root, ssl.SSLError):
        return f"{through}; the server may speak http:// and not https://"
    return through


def transport_errors(extra: str) -> tuple[type[Exception], ...]:
    """What the transports that a library may use raise, wrapped or not.

    Args:
        extra: that installs the library.
    """
    known = (("aiohttp", "ClientError"), ("httpx2", "HTTPError"), ("httpx2", "InvalidURL"), ("httpx", "HTTPError"),
             ("httpx", "InvalidURL"))  # fmt: skip
    found = [getattr(require(module, extra), name) for module, name in known if find_spec(module) is not None]
    return (OSError, EOFError, *found)


def the_object(text: str) -> dict[str, Any]:
    """The JSON object that a body with status 200 must be.

    Raises:
        Failure: it is none.
    """
    try:
        value = json.loads(text, parse_int=_whole)
    except (ValueError, RecursionError):
        if (error := error_in_stream(text)) is not None:
            raise _stated(*error, text, billed=False) from None
        fault = f"the server's answer is no JSON: {one_line(text[:80]) or 'it is empty'}"
        raise Failure("malformed", fault, charged="unknown", raw=text[:4000], of_server=True) from None
    if (error := error_in(value)) is not None:
        raise _stated(*error, text, billed=is_billed(value))
    if not isinstance(value, dict):
        fault = "the server's answer is no JSON object"
        raise Failure("malformed", fault, charged="unknown", raw=text[:4000], of_server=True)
    return value


def _stated(status: int, words: str, text: str, *, billed: bool) -> Failure:
    """An error that came with HTTP 200: what its status means. It costs nothing, but where the model may have answered.

    A gateway that has waited too long may be billed for what it did not wait for, and one that counts tokens of
    output, for those.
    """
    failure = status_failure(status, words, f"{words} {text[:4000]}", {})
    failure.detail = f"HTTP 200 with an error, {status}: {one_line(words)}"
    failure.raw = storable(text[:4000])
    failure.charged = "unknown" if billed or status in {408, 504, 524} else "nothing"
    return failure


def _whole(digits: str) -> int | float:
    """A whole number; one of more digits than Python reads is infinite, so that the rest of the answer is kept."""
    return int(digits) if len(digits) <= 30 else -math.inf if digits.startswith("-") else math.inf


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
    """Whether a server that is asked in this form holds its answer to the schema, so that nothing stands around it."""
    return form.endswith("schema")


def charged(tokens: tuple[int, int, int] | None, usage: object = None) -> Failure:
    """A failure of which only the cost is known yet.

    Args:
        tokens: in, out, and those of the first that were read from a cache; None if they cannot be read.
        usage: what the server reported; named as a doubt where `tokens` could not be read from it.
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
        return "what cannot be shown"


def counts(*values: object) -> tuple[int, ...] | None:
    """The values as token counts; None if one of them is no count."""
    if all(isinstance(value, int) and not isinstance(value, bool) and value >= 0 for value in values):
        return values  # type: ignore[return-value]  # just checked
    return None


def one_line(text: str) -> str:
    """Text for a message: no line breaks, 300 characters at most."""
    return " ".join(text.split())[:300]
