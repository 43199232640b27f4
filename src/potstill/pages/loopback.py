"""A small server on loopback for one person's page.

In: a page and its answers. Out: an address with a secret in it. Only this machine can connect; other pages in the
same browser cannot use it, as they neither know the secret nor, under another name for this address, get past the
check of the host.
"""

from __future__ import annotations

import hmac
import json
import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs, urlsplit

from potstill.errors import BadInput, PotstillError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LARGEST = 1_000_000
"""Bytes of a request's body."""

PATIENCE = 60.0
"""Seconds that an idle connection is kept."""


class Answers(Protocol):
    """What is served."""

    def page(self) -> str:
        """The page at `/`."""
        ...

    def get(self, path: str) -> Mapping[str, Any] | None:
        """The JSON at a path; None where there is none."""
        ...

    def post(self, path: str, body: Any) -> Mapping[str, Any] | None:  # noqa: ANN401 - any JSON
        """The JSON that answers a JSON body; None where the path takes none.

        Raises:
            PotstillError: the body is refused; its message is shown.
        """
        ...


class Loopback(ThreadingHTTPServer):
    """Serves until `shutdown`; `url` is what to open.

    Args:
        answers: the page at `/` and its JSON.
        port: 0 for any that is free.
        documents: further pages by path, each made when it is asked for.

    Raises:
        BadInput: the port is taken.
    """

    daemon_threads = True

    def __init__(
        self, answers: Answers, port: int = 0, documents: Mapping[str, Callable[[], str]] = MappingProxyType({})
    ) -> None:
        self.answers = answers
        self.documents = {"/": answers.page, **documents}
        self.secret = secrets.token_urlsafe(18)
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise BadInput(f"--port {port}: cannot be served ({error.strerror})") from None

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://127.0.0.1:{self.server_port}/?key={self.secret}"


class _Handler(BaseHTTPRequestHandler):
    """One request; `do_GET` and `do_POST` are the library's names."""

    server: Loopback
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE

    def do_GET(self) -> None:
        """The page, or some JSON."""
        if not self._allowed():
            return
        path = urlsplit(self.path).path
        document = self.server.documents.get(path)
        if document is not None:
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", document().encode())
            return
        self._answer(self.server.answers.get(path))

    def do_POST(self) -> None:
        """JSON for JSON."""
        # Read before anything is refused, because what stays unread would be taken for the next request.
        body = self._body()
        if body is None or not self._allowed():
            return
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            self._refuse(HTTPStatus.BAD_REQUEST, "not JSON")
            return
        try:
            self._answer(self.server.answers.post(urlsplit(self.path).path, value))
        except PotstillError as error:
            self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))

    def log_message(self, *_: object) -> None:
        """Nothing: the address holds the secret."""

    def _body(self) -> bytes | None:
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > LARGEST:
            self.close_connection = True
            self._refuse(HTTPStatus.BAD_REQUEST, f"expected a body of at most {LARGEST} bytes")
            return None
        return self.rfile.read(int(length))

    def _allowed(self) -> bool:
        """Whether the request is the page's own; answers it if not."""
        own = {f"127.0.0.1:{self.server.server_port}", f"localhost:{self.server.server_port}"}
        origin = self.headers.get("origin")
        key = parse_qs(urlsplit(self.path).query).get("key", [""])[0]
        if self.headers.get("host") not in own or (origin is not None and urlsplit(origin).netloc not in own):
            self._refuse(HTTPStatus.FORBIDDEN, "not from here")
        elif not hmac.compare_digest(key.encode(), self.server.secret.encode()):
            self._refuse(HTTPStatus.FORBIDDEN, "the address lacks its key; open the one that was printed")
        elif self.command == "POST" and self.headers.get_content_type() != "application/json":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected application/json")
        else:
            return True
        return False

    def _answer(self, value: Mapping[str, Any] | None) -> None:
        if value is None:
            self._refuse(HTTPStatus.NOT_FOUND, "no such page")
        else:
            self._json(HTTPStatus.OK, value)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._json(status, {"error": why})

    def _json(self, status: HTTPStatus, value: Mapping[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(value, ensure_ascii=False, allow_nan=False).encode())

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in (
            ("content-type", kind),
            ("content-length", str(len(body))),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
