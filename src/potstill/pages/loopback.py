"""Serve a page for one user on the loopback interface.

Input: a page and its answers. Output: an address that contains a secret. Only this machine can connect. Other pages in
the same browser cannot use the server, because they do not know the secret and cannot pass the check of the host name
under another name for this address. `serving` contains the web application and its limits, and needs the extra `serve`.
"""

from __future__ import annotations

import secrets
import socket
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, Self

from potstill.errors import BadInput, require

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from potstill.pages.sealed import Document

_BACKLOG = 64
"""Number of connections that the system queues until the server accepts them."""


class Answers(Protocol):
    """What a server needs from a page. `get` and `post` are called from several threads at the same time."""

    def page(self) -> Document:
        """Return the page at `/`."""
        ...

    def get(self, path: str) -> Mapping[str, Any] | None:
        """Return the JSON at a path under `/api/`, or None for an unknown path."""
        ...

    def post(self, path: str, body: Any) -> Mapping[str, Any] | None:  # noqa: ANN401 - any JSON
        """Return the JSON answer to a JSON body that was posted to a path under `/api/`, or None for an unknown path.

        Raises:
            PotstillError: the body is rejected. The message is shown on the page.
        """
        ...


def require_server() -> None:
    """Check that a page can be served, before any work is done for it.

    Raises:
        MissingExtra: the extra `serve` is not installed.
    """
    for module in ("starlette", "uvicorn"):
        require(module, "serve")


class Loopback:
    """A server that listens from its creation and answers while `serve_forever` runs. `url` is the address to open.

    Args:
        answers: the page at `/` and its JSON.
        port: port to listen on; 0 for any free port.
        documents: further pages by path. Each is built when it is requested.

    Raises:
        BadInput: the port is in use.
        MissingExtra: the extra `serve` is not installed.
    """

    def __init__(
        self, answers: Answers, port: int = 0, documents: Mapping[str, Callable[[], Document]] = MappingProxyType({})
    ) -> None:
        require_server()
        from potstill.pages.serving import server_of

        self.secret = secrets.token_urlsafe(18)
        try:
            self._socket = socket.create_server(("127.0.0.1", port), backlog=_BACKLOG)
        except OSError as error:
            raise BadInput(f"--port {port}: cannot be used ({error.strerror})") from None
        self.server_address: tuple[str, int] = self._socket.getsockname()
        self._server = server_of(answers, documents, self._socket, self.secret)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._socket.close()

    @property
    def server_port(self) -> int:
        """The port that the server listens on."""
        return self.server_address[1]

    @property
    def url(self) -> str:
        """The page's address, including its secret."""
        return f"http://127.0.0.1:{self.server_port}/?key={self.secret}"

    def serve_forever(self) -> None:
        """Serve until `shutdown` is called or, in the main thread, a signal ends the process.

        Raises:
            KeyboardInterrupt: the process was interrupted. Pending answers have been sent.
        """
        self._server.run(sockets=[self._socket])

    def shutdown(self) -> None:
        """Ask `serve_forever` to end, from any thread; it ends within moments."""
        self._server.should_exit = True
