"""A page for one person, served on loopback.

In: a page and its answers. Out: an address with a secret in it. Only this machine can connect; other pages in the
same browser cannot use it, as they neither know the secret nor, under another name for this address, get past the
check of the host. What is under it, and what it bears, is in `serving`, which needs the extra `serve`.
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
"""Connections that the system holds until the server takes them."""


class Answers(Protocol):
    """What is served. `get` and `post` are called from threads, several at a time."""

    def page(self) -> Document:
        """The page at `/`."""
        ...

    def get(self, path: str) -> Mapping[str, Any] | None:
        """The JSON at a path under `/api/`; None where there is none."""
        ...

    def post(self, path: str, body: Any) -> Mapping[str, Any] | None:  # noqa: ANN401 - any JSON
        """The JSON that answers a JSON body at a path under `/api/`; None where the path takes none.

        Raises:
            PotstillError: the body is refused; its message is shown.
        """
        ...


def require_server() -> None:
    """See that a page can be served, before any work for it.

    Raises:
        MissingExtra: the extra `serve` is not installed.
    """
    for module in ("starlette", "uvicorn"):
        require(module, "serve")


class Loopback:
    """Listens from the start and serves while `serve_forever` runs; `url` is what to open.

    Args:
        answers: the page at `/` and its JSON.
        port: 0 for any that is free.
        documents: further pages by path, each made when it is asked for.

    Raises:
        BadInput: the port is taken.
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
            raise BadInput(f"--port {port}: cannot be served ({error.strerror})") from None
        self.server_address: tuple[str, int] = self._socket.getsockname()
        self._server = server_of(answers, documents, self._socket, self.secret)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._socket.close()

    @property
    def server_port(self) -> int:
        """The port that it listens on."""
        return self.server_address[1]

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://127.0.0.1:{self.server_port}/?key={self.secret}"

    def serve_forever(self) -> None:
        """Serve until `shutdown` is called or, in the main thread, a signal ends the process.

        Raises:
            KeyboardInterrupt: it was interrupted; answers under way have been sent.
        """
        self._server.run(sockets=[self._socket])

    def shutdown(self) -> None:
        """Ask `serve_forever` to end, from any thread; it does within moments."""
        self._server.should_exit = True
