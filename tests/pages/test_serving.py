"""Tests of the page server against raw hostile requests: what it refuses, what it limits, and who is still served."""

import logging
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
from reviewed import labelled_run
from serving import answered, connected, exchange, head, running, said, status, until_closed

from potstill.errors import BadInput, MissingExtra
from potstill.pages import serving
from potstill.pages.bodies import LARGEST
from potstill.pages.loopback import Loopback
from potstill.pages.sealed import Document

JSON = "Content-Type: application/json"
GET = "GET /api/about?{key}"
POST = "POST /api/echo?{key}"


class Echo:
    """Echoes requests, and records whether a body reached the application."""

    def __init__(self):
        self.bodies = []
        self.hold = threading.Event()
        self.waiting = threading.Event()

    def page(self):
        return Document("<!doctype html><p>page", "default-src 'none'")

    def get(self, path):
        if path == "/api/wait":
            self.waiting.set()
            self.hold.wait(60)
        if path == "/api/broken":
            raise ZeroDivisionError("a defect")
        if path == "/api/refused":
            raise BadInput("one\nline " + "long " * 100)
        return {"path": path} if path in {"/api/about", "/api/wait"} else None

    def post(self, path, body):
        if path != "/api/echo":
            return None
        self.bodies.append(body)
        return {"got": body}


@pytest.fixture
def answers():
    return Echo()


@pytest.fixture(autouse=True)
def no_traceback(caplog):
    """Check that nothing a client sends makes the event loop log an error."""
    yield
    assert [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR] == []


@pytest.fixture
def server(answers):
    """A server with its normal settings."""
    with Loopback(answers, documents={"/report": answers.page}) as server, running(server):
        yield server


@pytest.fixture
def impatient(answers, monkeypatch):
    """A server that waits for only a second, for clients that are disconnected by a timeout."""
    monkeypatch.setattr(serving, "PATIENCE", 1.0)
    with Loopback(answers) as server, running(server):
        yield server


def post(server, body, *headers):
    return exchange(
        server, head(server, POST, JSON, f"Content-Length: {len(body)}", "Connection: close", *headers) + body
    )


class TestWhoIsLetIn:
    def test_the_page_own_requests_are_answered(self, server, answers):
        assert exchange(server, head(server, GET, "Connection: close")).endswith(b'{"path":"/api/about"}')
        assert post(server, b'{"a": [1]}').endswith(b'{"got":{"a":[1]}}')
        assert answers.bodies == [{"a": [1]}]

    @pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "0.0.0.0", "[::1]", "", "localhost."])
    def test_another_name_for_this_address_gets_nothing(self, server, host):
        answer = exchange(server, head(server, GET, "Connection: close", host=host))
        assert (status(answer), said(answer)) == (403, "the request does not come from this page")

    def test_the_name_localhost_is_the_servers_own(self, server):
        host = f"localhost:{server.server_port}"
        assert status(exchange(server, head(server, GET, "Connection: close", host=host))) == 200

    @pytest.mark.parametrize(
        "origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1", ""]
    )
    def test_a_page_from_elsewhere_cannot_write(self, server, answers, origin):
        answer = post(server, b"{}", "Origin: " + origin.replace("{port}", str(server.server_port)))
        assert (status(answer), answers.bodies) == (403, [])

    def test_the_own_origin_may_write(self, server):
        assert status(post(server, b"{}", f"Origin: http://127.0.0.1:{server.server_port}")) == 200

    def test_one_foreign_origin_beside_the_own_one_is_refused(self, server):
        own = f"Origin: http://127.0.0.1:{server.server_port}"
        assert status(post(server, b"{}", own, "Origin: http://evil.example")) == 403

    @pytest.mark.parametrize(
        "query", ["", "key=", "key=guessed", "KEY={key}", "key=x&{key}", "{key}&key=x", "%6bey=\xff", "&" * 5000]
    )
    def test_a_wrong_key_gets_nothing_not_even_which_paths_there_are(self, server, query):
        query = query.replace("\xff", "%ff%00")
        for line in (f"GET /?{query}", f"GET /nothing?{query}", f"PUT /api/about?{query}"):
            answer = exchange(server, head(server, line, "Connection: close"))
            assert (status(answer), said(answer)[:11]) == (403, "the address")

    def test_the_key_is_checked_before_any_of_the_body_has_come(self, server, answers):
        with connected(server) as client:
            client.sendall(head(server, "POST /api/echo?key=guessed", JSON, f"Content-Length: {LARGEST}"))
            assert status(answered(client)) == 403
        assert answers.bodies == []

    def test_the_key_is_checked_before_the_length_is_looked_at(self, server):
        line = "POST /api/echo?key=guessed"
        assert (
            status(exchange(server, head(server, line, JSON, "Connection: close", f"Content-Length: {9 * 10**18}")))
            == 403
        )


class TestWhatIsSent:
    def test_every_answer_has_the_security_headers(self, server):
        lines = (
            "GET /?{key}",
            GET,
            "GET /nothing?{key}",
            "GET /?key=guessed",
            "PUT /?{key}",
            "GET /api/broken?{key}",
            "GET",
        )
        for line in lines:
            answer = exchange(server, head(server, line, "Connection: close")).lower()
            for wanted in (
                b"content-security-policy: default-src 'none'",
                b"frame-ancestors 'none'",
                b"x-content-type-options: nosniff",
                b"referrer-policy: no-referrer",
                b"cache-control: no-store",
                b"x-frame-options: deny",
                b"cross-origin-resource-policy: same-origin",
            ):
                assert wanted in answer, (line, wanted)
            assert b"server:" not in answer

    def test_a_defect_is_one_line_without_a_traceback(self, server, capsys):
        answer = exchange(server, head(server, "GET /api/broken?{key}", "Connection: close"))
        assert (status(answer), said(answer)) == (500, "the request failed; see the terminal for details")
        shown = capsys.readouterr()
        assert shown.err == "error: /api/broken: ZeroDivisionError: a defect\n"

    def test_a_refusal_is_one_line_of_at_most_300_characters(self, server):
        answer = exchange(server, head(server, "GET /api/refused?{key}", "Connection: close"))
        assert status(answer) == 422
        assert said(answer).startswith("one line long")
        assert len(said(answer)) == 300

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"])
    def test_other_methods_are_refused(self, server, method):
        assert status(exchange(server, head(server, f"{method} /?{{key}}", "Connection: close"))) == 405
        assert status(exchange(server, head(server, f"{method} /api/about?{{key}}", "Connection: close"))) == 405

    def test_a_head_has_no_body(self, server):
        assert exchange(server, head(server, "HEAD /?{key}", "Connection: close")).endswith(b"\r\n\r\n")

    @pytest.mark.parametrize(
        "path",
        [
            "/nothing",
            "/../etc/passwd",
            "/%2e%2e/etc/passwd",
            "//",
            "/index.html",
            "/api/",
            "/api/about/",
            "/report/",
            "/%00",
            "http://evil/",
        ],
    )
    def test_other_paths_are_not_there(self, server, path):
        assert status(exchange(server, head(server, f"GET {path}?{{key}}", "Connection: close"))) == 404


class TestBodies:
    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (b"", "not JSON: Expecting value at character 1"),
            (b"{", "not JSON: Expecting property name"),
            (b"\xff\xfe", "not UTF-8 at byte 0"),
            ("{}".encode("utf-16"), "not UTF-8 at byte 0"),
            (b'"\xed\xa0\x80"', "not UTF-8 at byte 1"),
            (b'{"note": "a \\ud800 b"}', "unpaired surrogate at character 3"),
            (b'{"\\udfff": 1}', "unpaired surrogate at character 1"),
            (b"[" * 100_000, "at most 20 deep"),
            (b"[" * 21 + b"]" * 21, "at most 20 deep"),
            (b'{"a":' * 21 + b"1" + b"}" * 21, "at most 20 deep"),
            (b"1" * 5000, "an integer has thousands of digits"),
        ],
    )
    def test_what_cannot_be_read_is_one_line(self, server, answers, body, message):
        answer = post(server, body)
        assert status(answer) == 400
        assert message in said(answer)
        assert answers.bodies == []

    def test_whole_pairs_and_twenty_levels_are_read(self, server, answers):
        assert status(post(server, b'"\\ud83d\\ude00"')) == 200
        assert status(post(server, b"[" * 20 + b"]" * 20)) == 200
        assert answers.bodies[0] == "\N{GRINNING FACE}"

    @pytest.mark.parametrize(
        "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "json"]
    )
    def test_what_a_form_could_send_is_refused(self, server, answers, kind):
        sent = head(server, POST, f"Content-Type: {kind}", "Content-Length: 2", "Connection: close") + b"{}"
        assert (status(exchange(server, sent)), answers.bodies) == (415, [])

    def test_a_type_with_a_charset_is_json(self, server):
        sent = head(
            server, POST, "Content-Type: Application/JSON; charset=utf-8", "Content-Length: 2", "Connection: close"
        )
        assert status(exchange(server, sent + b"{}")) == 200

    def test_the_largest_body_is_read_and_one_byte_more_is_not(self, server, answers):
        body = b'"' + b"a" * (LARGEST - 2) + b'"'
        assert status(post(server, body)) == 200
        answer = post(server, body + b" ")
        assert (status(answer), said(answer), len(answers.bodies)) == (
            413,
            "expected a body of at most 1000000 bytes",
            1,
        )

    def test_a_body_whose_length_is_too_large_is_refused_before_it_comes(self, server):
        with connected(server) as client:
            client.sendall(head(server, POST, JSON, f"Content-Length: {10**19}"))
            assert status(answered(client)) == 413

    @pytest.mark.parametrize(
        "length", ["-1", "+2", "2 2", "0x2", "2,3", "", "1e3", "\N{SUPERSCRIPT TWO}", "9" * 21, "9" * 5000]
    )
    @pytest.mark.parametrize("key", ["{key}", "key=guessed"])
    def test_a_length_that_is_no_number_is_refused(self, server, capfd, length, key):
        sent = (
            head(server, f"POST /api/echo?{key}", JSON, f"Content-Length: {length}".encode().decode("latin-1")) + b"{}"
        )
        assert status(exchange(server, sent)) == 400
        assert capfd.readouterr().err == ""

    def test_chunks_without_end_are_cut_off(self, server, answers):
        with connected(server) as client:
            client.sendall(head(server, POST, JSON, "Transfer-Encoding: chunked"))
            chunk = b"10000\r\n" + b"a" * 65536 + b"\r\n"
            for _ in range(2 * LARGEST // 65536):
                client.sendall(chunk)
            assert status(answered(client)) == 413
        assert answers.bodies == []

    def test_chunks_after_a_refusal_are_cut_off_too(self, impatient):
        with connected(impatient) as client:
            client.sendall(head(impatient, "POST /api/echo?key=guessed", JSON, "Transfer-Encoding: chunked"))
            assert status(answered(client)) == 403
            assert ends(client, b"1\r\na\r\n")


class TestRequestsInOneAnother:
    """There is no proxy in front of the server, but a request that could be parsed as two is still refused."""

    @pytest.mark.parametrize(
        "headers",
        [
            ("Content-Length: 4", "Transfer-Encoding: chunked"),
            ("Transfer-Encoding: chunked", "Content-Length: 4"),
            ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
            ("Transfer-Encoding: chunked, identity",),
            ("Transfer-Encoding: xchunked",),
            ("Transfer-Encoding : chunked",),
            ("Transfer-Encoding: identity",),
            ("Content-Length: 4", "Content-Length: 5"),
            ("Content-Length : 4",),
            ("Content-Length: 4", " Content-Length: 5"),
            ("Host: evil.example",),
            ("X: a\0b",),
            ("X: a\rb",),
            ("X\ty: a",),
            (": a",),
            ("no colon",),
        ],
    )
    def test_doubtful_headers_are_refused(self, server, answers, headers):
        body = b"2\r\n{}\r\n0\r\n\r\n"
        answer = exchange(server, head(server, POST, JSON, *headers, "Connection: close") + body)
        assert (status(answer), answers.bodies) == (400, [])
        assert answer.count(b"HTTP/1.1") == 1

    @pytest.mark.parametrize(
        "chunks",
        [
            b"-1\r\n\r\n",
            b"zz\r\n\r\n",
            b"2\r\n{}XX0\r\n\r\n",
            b"fffffffffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
            b"2;" + b"a" * 40_000,
        ],
    )
    def test_broken_chunks_are_refused(self, server, answers, capfd, chunks):
        answer = exchange(server, head(server, POST, JSON, "Transfer-Encoding: chunked") + chunks)
        assert (status(answer), answers.bodies) == (400, [])
        assert capfd.readouterr().err == ""

    def test_broken_chunks_after_an_answer_end_the_connection(self, server, capfd):
        with connected(server) as client:
            client.sendall(head(server, "POST /api/echo?key=guessed", JSON, "Transfer-Encoding: chunked"))
            assert status(answered(client)) == 403
            client.sendall(b"zz\r\n\r\n")
            assert until_closed(client) == b""
        assert capfd.readouterr().err == ""

    @pytest.mark.parametrize(
        "sent",
        [
            b"\0" * 100,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"GET /\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET " + b"/" * 40_000,
            b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000,
        ],
        ids=["zeros", "tls", "no version", "no host", "long line", "long head"],
    )
    def test_what_is_no_http_request_is_refused(self, server, capfd, sent):
        assert status(exchange(server, sent)) == 400
        assert capfd.readouterr().err == ""

    @pytest.mark.parametrize(
        "sent", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"]
    )
    def test_a_request_without_a_host_gets_nothing(self, server, sent):
        assert status(exchange(server, sent)) == 403

    def test_requests_in_a_row_are_answered_in_their_order(self, server):
        sent = head(server, GET) + head(server, "GET /nothing?{key}") + head(server, GET, "Connection: close")
        found = exchange(server, sent)
        assert [int(part[:3]) for part in found.split(b"HTTP/1.1 ")[1:]] == [200, 404, 200]

    def test_an_upgrade_is_ignored(self, server):
        upgrades = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: eA==", "Sec-WebSocket-Version: 13")
        with connected(server) as client:
            client.sendall(head(server, GET, *upgrades))
            assert status(answered(client)) == 200

    def test_garbage_never_makes_a_traceback(self, server, capfd):
        rng = random.Random(7)
        whole = head(server, POST, JSON, "Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n"
        for _ in range(150):
            sent = bytearray(whole)
            for _ in range(rng.randrange(1, 6)):
                place = rng.randrange(len(sent))
                sent[place : place + rng.randrange(3)] = rng.randbytes(rng.randrange(4))
            exchange(server, bytes(sent), half_close=True)
        assert status(exchange(server, head(server, GET, "Connection: close"))) == 200
        assert capfd.readouterr().err == ""


class TestSlowAndIdleClients:
    @pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET /?{key} HTTP/1.1\r\nHost: x\r\n"])
    def test_a_head_that_does_not_come_is_not_waited_for_without_end(self, impatient, sent):
        with connected(impatient) as client:
            client.sendall(sent)
            assert until_closed(client) == b""

    def test_a_head_that_drips_is_not_waited_for_without_end(self, impatient):
        with connected(impatient) as client:
            client.sendall(b"GET / HTTP/1.1\r\n")
            assert ends(client, b"X")

    def test_a_body_that_does_not_come_is_not_waited_for_without_end(self, impatient, answers):
        with connected(impatient) as client:
            client.sendall(head(impatient, POST, JSON, "Content-Length: 10") + b"{")
            answer = until_closed(client)
        assert (status(answer), said(answer)) == (408, "the body did not arrive within 1 seconds")
        assert answers.bodies == []

    def test_answers_that_are_not_taken_are_not_kept(self, impatient, capfd):
        large = b'"' + b"a" * 900_000 + b'"'
        sent = head(impatient, POST, JSON, f"Content-Length: {len(large)}") + large
        # Nothing is read, so sending soon blocks until the server closes the connection.
        with connected(impatient) as client, pytest.raises(ConnectionError):
            client.sendall(50 * sent)
        assert capfd.readouterr().err == ""

    def test_a_client_that_closes_its_side_after_a_whole_request_is_answered(self, server):
        assert status(exchange(server, head(server, "GET /?{key}"), half_close=True)) == 200
        sent = head(server, POST, JSON, "Content-Length: 2") + b"{}"
        assert exchange(server, sent, half_close=True).endswith(b'{"got":{}}')

    def test_a_client_that_closes_its_side_is_let_go(self, server):
        exchange(server, b"", half_close=True)
        exchange(server, b"GET / HT", half_close=True)
        exchange(server, head(server, POST, JSON, "Content-Length: 10") + b"{", half_close=True)
        assert status(exchange(server, head(server, GET, "Connection: close"))) == 200

    def test_a_thousand_idle_connections_keep_nobody_out(self, server, capfd):
        with ExitStack() as stack:
            idle = []
            for _ in range(1000):
                idle.append(stack.enter_context(connected(server)))
                if len(idle) % 250 == 0:
                    assert status(exchange(server, head(server, GET, "Connection: close"))) == 200
            still = [one for one in idle if not closed(one)]
            assert len(still) <= serving.MOST_CONNECTIONS
        assert capfd.readouterr().err == ""

    def test_connections_that_stopped_in_the_middle_of_a_request_keep_nobody_out(self, server):
        with ExitStack() as stack:
            for _ in range(200):
                stack.enter_context(connected(server)).sendall(b"POST / HTTP/1.1\r\nHost: ")
            assert status(exchange(server, head(server, GET, "Connection: close"))) == 200

    def test_an_answer_under_way_outlives_idle_connections(self, server, answers):
        with ExitStack() as stack:
            waiting = stack.enter_context(connected(server))
            waiting.sendall(head(server, "GET /api/wait?{key}", "Connection: close"))
            # A connection whose request has not been read yet is an idle one.
            assert answers.waiting.wait(30)
            for _ in range(200):
                stack.enter_context(connected(server))
            assert status(exchange(server, head(server, GET, "Connection: close"))) == 200
            answers.hold.set()
            assert status(until_closed(waiting)) == 200


def ends(client, drop):
    """Return whether the server disconnects a client that sends one chunk after the other."""
    while not closed(client):
        client.setblocking(True)
        try:
            client.sendall(drop)
        except ConnectionError:
            return True
        time.sleep(0.02)
    return True


def closed(client):
    """Return whether the server has closed the connection."""
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


class TestItsLife:
    def test_only_loopback_is_listened_on(self, server):
        assert server.server_address[0] == "127.0.0.1"
        assert server.url.startswith(f"http://127.0.0.1:{server.server_port}/?key=")

    def test_a_port_that_is_taken_is_one_clear_line(self, server, answers):
        with pytest.raises(BadInput, match=f"--port {server.server_port}: cannot be used"):
            Loopback(answers, server.server_port)

    def test_no_two_servers_have_one_key(self, answers):
        with Loopback(answers) as one, Loopback(answers) as other:
            assert one.secret != other.secret
            assert len(one.secret) >= 24

    @pytest.mark.parametrize("module", ["starlette", "uvicorn"])
    def test_a_missing_package_names_the_command(self, answers, monkeypatch, module):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingExtra, match=r"pip install 'potstill\[serve\]'"):
            Loopback(answers)

    def test_an_interrupt_ends_a_review_with_what_was_judged(self, tmp_path):
        run = labelled_run(tmp_path)
        command = [sys.executable, "-c", "from potstill.cli import main; main()"]
        command += ["review", str(run.folder), "--reviewer", "Ann"]
        started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with started, ExitStack() as stack:
            assert started.stderr.readline() == "20 articles to review, 0 reviewed; press Ctrl-C to stop\n"
            port = urlsplit(started.stderr.readline()).port
            clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60)) for _ in range(4)]
            for client in clients[1:]:
                client.sendall(b"GET / HTTP/1.1\r\n")
            # An answer shows that the server is running.
            clients[0].sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert status(answered(clients[0])) == 403
            os.kill(started.pid, signal.SIGINT)
            out, err = started.communicate(timeout=60)
        assert (out, started.returncode) == ("0 of 20 articles reviewed, 0 corrected\n", 0)
        assert err == f"\nnext: potstill dataset {run.folder}\n"
