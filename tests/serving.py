"""Run a page's server in a thread, and send raw requests to it."""

import json
import socket
import threading
from contextlib import contextmanager
from urllib.parse import urlsplit


@contextmanager
def running(server):
    """Serve until the block ends."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()


def head(server, line, *headers, host=None):
    """Return the head of a request; `{key}` in its line stands for the query with the key."""
    filled = line.replace("{key}", urlsplit(server.url).query)
    host = f"127.0.0.1:{server.server_port}" if host is None else host
    return "\r\n".join([f"{filled} HTTP/1.1", f"Host: {host}", *headers, "", ""]).encode()


def connected(server):
    return socket.create_connection(("127.0.0.1", server.server_port), timeout=60)


def exchange(server, sent, *, half_close=False):
    """Send bytes, and return everything that arrives until the server closes the connection."""
    with connected(server) as client:
        try:
            client.sendall(sent)
            if half_close:
                client.shutdown(socket.SHUT_WR)
            return until_closed(client)
        except ConnectionError:
            return b""


def answered(client):
    """Read one complete answer from a connection that stays open."""
    found = b""
    while b"\r\n\r\n" not in found:
        found += client.recv(65536)
    headers, _, body = found.partition(b"\r\n\r\n")
    wanted = int(headers.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < wanted:
        body += client.recv(65536)
    return headers + b"\r\n\r\n" + body


def until_closed(client):
    found = b""
    try:
        while read := client.recv(65536):
            found += read
    except ConnectionError:
        pass
    return found


def status(answer):
    """Return the status of the first answer, or None if there is none."""
    return int(answer.split(b" ", 2)[1]) if answer else None


def said(answer):
    """Return the error in an answer's body."""
    return json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
