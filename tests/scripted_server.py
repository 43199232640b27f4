"""A real HTTP server on loopback that speaks `/chat/completions` by a script, for tests of live oracles."""

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Answer:
    """An answer of the server.

    `stall` leaves the body unfinished, `drip` sends it one byte at a time, and `reset` closes the connection without an
    answer.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    stall: bool = False
    drip: bool = False
    reset: bool = False


def completion(content, *, finish="stop", usage=(100, 20), **message):
    """Return a chat completion with this content."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}
    body = {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    if usage is not None:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return Answer(body=json.dumps(body).encode())


def error(status, message="no", *, code=None, **headers):
    """Return an error in the format of OpenAI-compatible servers."""
    body = {"error": {"message": message, "type": "error", "code": code}}
    return Answer(status, json.dumps(body).encode(), {name.replace("_", "-"): value for name, value in headers.items()})


class ScriptedServer:
    """Serves `script(request, number)` from a thread.

    `requests` keeps the received requests, `heads` their header lines, and `most` the maximum number of simultaneous
    requests. With `tls`, an SSL context, it serves HTTPS.
    """

    def __init__(self, script: Callable[[dict, int], Answer], tls=None):
        self.script = script
        self.tls = tls
        self.requests: list[dict] = []
        self.heads: list[str] = []
        self.running = self.most = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def url(self):
        # A certificate is issued for a host name.
        return f"https://localhost:{self.port}/v1" if self.tls else f"http://127.0.0.1:{self.port}/v1"

    def _serve(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main())

    async def _main(self):
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=500, ssl=self.tls)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _connection(self, reader, writer):
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _exchange(self, reader, writer):
        first = await reader.readexactly(1)
        if not first.isalpha():
            # The client sent TLS instead of HTTP. Real servers report this at once.
            writer.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
            await writer.drain()
            return False
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = next(
            int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length")
        )
        request = json.loads(await reader.readexactly(length))
        self.heads.append(head)
        self.requests.append(request)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            answer = self.script(request, len(self.requests) - 1)
            await asyncio.sleep(answer.delay)
            if answer.reset:
                return False
            headers = {"content-type": "application/json", "content-length": str(len(answer.body))} | answer.headers
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            writer.write(f"HTTP/1.1 {answer.status} X\r\n{lines}\r\n".encode())
            body = answer.body[: len(answer.body) // 2] if answer.stall else answer.body
            size = 1 if answer.drip else max(1, len(body))
            for start in range(0, len(body), size):
                writer.write(body[start : start + size])
                await writer.drain()
                await asyncio.sleep(0.02 if answer.drip else 0)
            if answer.stall:
                await self._stop.wait()
        finally:
            self.running -= 1
        return not answer.stall
