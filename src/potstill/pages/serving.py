"""Serve a page with Starlette and uvicorn, with limits on everything that a hostile client can send.

Input: a page with its answers, a listening socket and a secret. Output: a uvicorn server. A request is checked in this
order: its host and origin must be the page's own, its address must contain the key, and only then are its path, method
and body processed. Connections of slow, idle or endless clients are closed.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import h11
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from potstill.errors import BadInput, PotstillError, one_line
from potstill.pages.bodies import LARGEST, parse_body
from potstill.terminal import note

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send
    from uvicorn.server import ServerState

    from potstill.pages.loopback import Answers
    from potstill.pages.sealed import Document

PATIENCE = 20.0
"""Seconds within which a client must send a request's head, and again its body; idle connections end after it."""

MOST_CONNECTIONS = 64
"""Maximum number of simultaneous connections.

A browser opens six. A further connection closes the one that has been idle longest, so that a client with many open
connections cannot block the page's user.
"""

_HEAD_BYTES = 16_384
"""Maximum number of bytes of a request's line and headers."""

_MOST_PARAMETERS = 8
"""Maximum number of parameters in an address's query."""

_STOPPING = 2
"""Seconds that pending answers have to finish when the server stops."""

HEADERS = (
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("cross-origin-resource-policy", "same-origin"),
)
"""Headers of every response. The content security policy is added separately, because it depends on the page."""

_OWN_ALONE = "same-origin"
_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'"


def server_of(
    answers: Answers, documents: Mapping[str, Callable[[], Document]], listening: socket.socket, secret: str
) -> uvicorn.Server:
    """Create the server of a page; `run(sockets=[listening])` serves, and `should_exit = True` stops it.

    Args:
        answers: the page at `/` and its JSON.
        documents: further pages by path. Each is built when it is requested.
        listening: a socket bound to loopback.
        secret: the key that every address must contain.

    Returns:
        The server, which is not running yet.
    """
    port = listening.getsockname()[1]
    hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})
    application = _AccessCheck(_routed(answers, documents), hosts, secret)
    return uvicorn.Server(
        uvicorn.Config(
            application,
            http=_Connection,
            ws="none",
            lifespan="off",
            loop="asyncio",
            workers=1,
            interface="asgi3",
            # Addresses contain the secret, so requests are not logged. The application reports errors itself.
            log_config=None,
            log_level=logging.CRITICAL,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            headers=list(HEADERS),
            # Connections have their own limit below. This limit covers requests that outlive their connection.
            limit_concurrency=MOST_CONNECTIONS + 1,
            backlog=MOST_CONNECTIONS,
            timeout_graceful_shutdown=_STOPPING,
            h11_max_incomplete_event_size=_HEAD_BYTES,
        )
    )


@dataclass(frozen=True, slots=True)
class _Refused:
    """The reason why a request is refused."""

    status: HTTPStatus
    why: str


class _AccessCheck:
    """Middleware that admits only requests from the page itself and adds security headers to every response."""

    def __init__(self, inner: ASGIApp, hosts: frozenset[str], secret: str) -> None:
        self._inner = inner
        self._hosts = hosts
        self._origins = frozenset(f"http://{host}" for host in hosts)
        self._secret = secret.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sealed_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("content-security-policy", f"{_NOTHING}; frame-ancestors 'none'")
                if "sandbox" not in headers["content-security-policy"]:
                    # Browsers do not show a page that is both sandboxed and has an opener policy.
                    headers["cross-origin-opener-policy"] = _OWN_ALONE
            await send(message)

        refused = self._refused(Headers(scope=scope), scope["query_string"])
        # The body of a refused request is discarded as it arrives.
        answer = self._inner if refused is None else _refusal(refused.status, refused.why)
        await answer(scope, receive, sealed_send)

    def _refused(self, headers: Headers, query: bytes) -> _Refused | None:
        if headers.get("host") not in self._hosts or not set(headers.getlist("origin")) <= self._origins:
            return _Refused(HTTPStatus.FORBIDDEN, "the request does not come from this page")
        if not hmac.compare_digest(_key(query), self._secret):
            return _Refused(HTTPStatus.FORBIDDEN, "the address has no valid key; open the address that was printed")
        if sum(len(name) + len(value) for name, value in headers.raw) > _HEAD_BYTES:
            return _Refused(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"the request line and headers have more than {_HEAD_BYTES:,} bytes",
            )
        if "content-length" in headers and "transfer-encoding" in headers:
            return _Refused(HTTPStatus.BAD_REQUEST, "got both a Content-Length and a Transfer-Encoding, expected one")
        return None


def _key(query: bytes) -> bytes:
    """Return the `key` of a query; return empty bytes if there is none or more than one."""
    try:
        keys = parse_qs(query.decode("latin-1"), max_num_fields=_MOST_PARAMETERS).get("key", [])
    except ValueError:
        return b""
    return keys[0].encode("utf-8", "replace") if len(keys) == 1 else b""


def _routed(answers: Answers, documents: Mapping[str, Callable[[], Document]]) -> Starlette:
    """Build the application with the page's paths and methods."""
    pages = {"/": answers.page, **documents}

    async def get(request: Request) -> Response:
        return _answered(await run_in_threadpool(answers.get, request.url.path))

    async def post(request: Request) -> Response:
        try:
            value = parse_body(await _body(request))
        except BadInput as error:
            return _refusal(HTTPStatus.BAD_REQUEST, str(error))
        return _answered(await run_in_threadpool(answers.post, request.url.path, value))

    routes = [
        *(Route(path, _page(made)) for path, made in pages.items()),
        Route("/api/{rest:path}", get, methods=["GET"]),
        Route("/api/{rest:path}", post, methods=["POST"]),
    ]
    application = Starlette(
        routes=routes,
        exception_handlers={
            HTTPException: _on_status,
            PotstillError: _on_fault,
            ClientDisconnect: _on_disconnect,
            Exception: _on_defect,
        },
    )
    application.router.redirect_slashes = False
    return application


def _page(made: Callable[[], Document]) -> Callable[[Request], Any]:
    async def page(_: Request) -> Response:
        document = await run_in_threadpool(made)
        policy = f"{document.policy}; frame-ancestors 'none'"
        if document.sandboxed:
            policy += "; sandbox allow-scripts"
        return HTMLResponse(document.html, headers={"content-security-policy": policy})

    return page


async def _body(request: Request) -> bytes:
    """Read a request's body, if it is JSON, not too large and arrives in time.

    Raises:
        HTTPException: the body fails one of these checks.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected application/json")
    too_large = HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected a body of at most {LARGEST} bytes")
    # The protocol implementation has already refused a content length that is not a number of at most 20 digits.
    if int(request.headers.get("content-length", "0")) > LARGEST:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            async for part in request.stream():
                body += part
                if len(body) > LARGEST:
                    raise too_large
    except TimeoutError:
        why = f"the body did not arrive within {PATIENCE:g} seconds"
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, why, {"connection": "close"}) from None
    return bytes(body)


def _answered(value: Mapping[str, Any] | None) -> Response:
    return JSONResponse(value) if value is not None else _refusal(HTTPStatus.NOT_FOUND, "no such page")


def _refusal(status: int, why: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": one_line(why)}, status, headers)


async def _on_status(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - for the type checker: Starlette passes no other
    return _refusal(error.status_code, error.detail, error.headers)


async def _on_fault(_: Request, error: Exception) -> Response:
    return _refusal(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))


async def _on_disconnect(*_: object) -> Response:
    return Response(status_code=HTTPStatus.BAD_REQUEST)


async def _on_defect(request: Request, error: Exception) -> Response:
    note(one_line(f"error: {request.url.path}: {type(error).__name__}: {error}"))
    return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "the request failed; see the terminal for details")


class _Connection(H11Protocol):
    """A client's connection that is closed on a timeout, or when there are too many connections."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.since = self.loop.time()
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the library has it
        """Wait for a request; if there are too many connections, close another one."""
        super().connection_made(transport)
        self._wait()
        others = [one for one in self.connections if isinstance(one, _Connection) and one is not self]
        if len(others) >= MOST_CONNECTIONS:
            idlest = min(others, key=lambda one: (one.busy, one.since))
            # Removed immediately, because the event loop reports the loss later and more connections may arrive before
            # that.
            self.connections.discard(idlest)
            idlest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timeout."""
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio has it
        """Keep the connection open for the answer after the client has sent a complete request and closed its side."""
        if not self.busy or self.cycle.more_body:
            return False
        self.cycle.keep_alive = False
        return True

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._wait()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer input that is not HTTP with status 400, unless a response has started, and close the connection."""
        if self.cycle is not None:
            self.cycle.disconnected = True
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.abort()
            return
        body = json.dumps({"error": msg}).encode()
        headers = {
            **dict(HEADERS),
            "content-security-policy": f"{_NOTHING}; frame-ancestors 'none'",
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
        }
        status = HTTPStatus.BAD_REQUEST
        answer = h11.Response(status_code=status, headers=list(headers.items()), reason=status.phrase)
        for event in (answer, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def shutdown(self) -> None:
        """Close the connection after the current response, or immediately if there is none."""
        if self.busy:
            self.cycle.keep_alive = False
        else:
            self.transport.close()

    def _wait(self) -> None:
        self.since = self.loop.time()
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(PATIENCE, self._expire)

    def _expire(self) -> None:
        # A response that is being computed has no time limit, but one that the client does not read has.
        if self.busy and not self.flow.write_paused:
            self._wait()
        else:
            self.transport.abort()
