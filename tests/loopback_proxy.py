"""A real HTTP proxy on loopback that requires a login and records requests."""

import asyncio
import base64
import threading


class LoopbackProxy:
    """Forwards `CONNECT` and complete requests with the right `login`; others get 407. `asked` keeps first lines."""

    def __init__(self, login="ann:s3cret"):
        self.wanted = b"basic " + base64.b64encode(login.encode()).lower()
        self.asked = []
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

    def _serve(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main())

    async def _main(self):
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _connection(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            line = head.split(b"\r\n")[0].decode()
            self.asked.append(line)
            logins = [one for one in head.split(b"\r\n") if one.lower().startswith(b"proxy-authorization:")]
            if [one.split(b":", 1)[1].strip().lower() for one in logins] != [self.wanted]:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
                return
            method, target, _ = line.split(" ")
            host, _, port = target.removeprefix("http://").split("/")[0].rpartition(":")
            there = await asyncio.open_connection(host, int(port))
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                there[1].write(head)
            await asyncio.gather(_pass_on(reader, there[1]), _pass_on(there[0], writer))
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


async def _pass_on(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
