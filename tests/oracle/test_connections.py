"""Tests that unsent calls cost nothing and that errors name the cause: certificates, TLS, proxies, timeouts."""

import asyncio
import os
import socket

import pytest
from asking import KEYS, PROMPT, SCORES, address, said
from loopback_proxy import LoopbackProxy
from scripted_server import Answer, ScriptedServer
from tls import self_made

from potstill.oracle import Failure, Settings, open_oracle

LIVE = sorted(KEYS)


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in {"SSL_CERT_FILE", "SSL_CERT_DIR"}:
            monkeypatch.delenv(name)
    for name in KEYS.values():
        monkeypatch.setenv(name, "k3y")


def ask(spec, url, **settings):
    """Return the reply or the failure of one question."""

    async def one():
        oracle = open_oracle(spec, Settings(**{"base_url": address(spec, url), "timeout": 20.0} | settings))
        try:
            return await oracle.ask(PROMPT.request("a", "Bridge fell."))
        except Failure as failure:
            return failure
        finally:
            await oracle.close()

    return asyncio.run(one())


@pytest.mark.parametrize("spec", LIVE)
def test_a_certificate_that_is_not_trusted_costs_nothing_and_a_trusted_one_is_asked(spec, tmp_path, monkeypatch):
    certificate, tls = self_made(tmp_path)
    with ScriptedServer(lambda request, number: said(spec), tls=tls) as server:
        failure = ask(spec, server.url)
        assert (failure.reason, failure.charged) == ("connection", "nothing")
        assert "certificate verify failed" in failure.detail
        assert "set SSL_CERT_FILE to a file of trusted certificates" in failure.detail
        assert server.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert ask(spec, server.url).scores == SCORES


@pytest.mark.parametrize("spec", LIVE)
def test_https_where_the_server_speaks_http_costs_nothing(spec):
    async def serve():
        async def answer(reader, writer):
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with server:
            return await asyncio.to_thread(ask, spec, url)

    failure = asyncio.run(serve())
    assert (failure.reason, failure.charged) == ("connection", "nothing")
    assert "the server may use http://, not https://" in failure.detail


@pytest.mark.parametrize("spec", LIVE)
def test_a_host_that_takes_the_connection_and_never_speaks_tls_costs_nothing(spec):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        failure = ask(spec, f"https://127.0.0.1:{silent.getsockname()[1]}/v1", timeout=0.5)
    assert (failure.reason, failure.charged) == ("connection", "nothing")
    assert failure.detail.startswith("no connection within ")


@pytest.mark.parametrize("spec", LIVE)
def test_a_question_that_left_and_was_not_answered_in_time_may_cost(spec):
    with ScriptedServer(lambda request, number: Answer(delay=60.0)) as server:
        failure = ask(spec, server.url, timeout=2.0)
        assert len(server.requests) == 1
    assert (failure.reason, failure.charged) == ("timeout", "unknown")


@pytest.mark.parametrize("spec", LIVE)
@pytest.mark.parametrize(
    ("scheme", "variable"), [("http", "http_proxy"), ("https", "HTTPS_PROXY"), ("http", "all_proxy")]
)
def test_a_proxy_that_is_not_there_costs_nothing_and_is_named_without_its_password(spec, scheme, variable, monkeypatch):
    monkeypatch.setenv(variable, "http://ann:s3cret@127.0.0.1:9")
    failure = ask(spec, f"{scheme}://example.invalid/v1")
    assert (failure.reason, failure.charged) == ("connection", "nothing")
    assert f"through the proxy http://127.0.0.1:9 from {variable}" in failure.detail
    assert "s3cret" not in failure.detail


@pytest.mark.parametrize("spec", LIVE)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_with_a_login_is_asked_with_it_and_one_that_wants_another_says_so(spec, scheme, tmp_path, monkeypatch):
    certificate, tls = self_made(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with (
        LoopbackProxy("ann:s3cret") as proxy,
        ScriptedServer(lambda request, number: said(spec), tls=tls if scheme == "https" else None) as server,
    ):
        monkeypatch.setenv(f"{scheme}_proxy", f"http://ann:s3cret@127.0.0.1:{proxy.port}")
        assert ask(spec, server.url).scores == SCORES
        assert len(proxy.asked) == 1
        monkeypatch.setenv(f"{scheme}_proxy", f"http://ann:0ther@127.0.0.1:{proxy.port}")
        failure = ask(spec, server.url)
        assert failure.charged == "nothing"
        assert failure.reason in {"connection", "not_allowed"}
        assert "407" in failure.detail
        assert "0ther" not in failure.detail
        assert len(server.requests) == 1


@pytest.mark.parametrize("spec", LIVE)
@pytest.mark.parametrize(
    "said_first",
    [b"220 mail.example ESMTP\r\n\r\n", b"HTTP/1.1 200 OK\r\nno header\r\n\r\n", b"SSH-2.0-x\r\n",
     b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000 + b"\r\n\r\n{}",
     b"HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-16\r\ncontent-length: 4\r\n\r\n{}{}",
     b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n{}{}"],
)  # fmt: skip
def test_a_server_of_another_kind_is_a_failure_and_no_exception(spec, said_first):
    async def serve():
        async def answer(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(said_first)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with server:
            return await asyncio.to_thread(ask, spec, url)

    failure = asyncio.run(serve())
    assert isinstance(failure, Failure)
    assert failure.reason in {"connection", "malformed"}
    assert failure.charged == "unknown"
    assert "\n" not in failure.detail
