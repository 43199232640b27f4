"""Tests of an oracle's environment variables: an error is one line that names the variable at fault."""

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from potstill.errors import MissingExtra, OracleError
from potstill.oracle import Settings, open_oracle
from potstill.oracle.environment import (
    api_key,
    check_address,
    check_environment,
    printable,
    proxy_of,
    set_up,
    without_logins,
)

LIVE = ("openai:m", "anthropic:m", "gemini:m")
KEYS = {"openai:m": "OPENAI_API_KEY", "anthropic:m": "ANTHROPIC_API_KEY", "gemini:m": "GEMINI_API_KEY"}
ADDRESSES = {
    "openai:m": "OPENAI_BASE_URL",
    "anthropic:m": "ANTHROPIC_BASE_URL",
    "gemini:m": "GOOGLE_GEMINI_BASE_URL",
}


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    """An environment without proxies, certificates, keys and addresses."""
    known = {"SSLKEYLOGFILE", "SSL_CERT_FILE", "SSL_CERT_DIR", "GOOGLE_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"}
    known |= {*KEYS.values(), *ADDRESSES.values()}
    for name in list(os.environ):
        if name in known or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def refused(spec, **settings):
    with pytest.raises(OracleError) as caught:
        open_oracle(spec, Settings(**settings))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Addresses.

WRONG = {
    "127.0.0.1:8080/v1": "begins with http:// or https://, got '127.0.0.1:8080/v1'",
    "localhost:8080": "begins with http:// or https://, got 'localhost:8080'",
    "localhost": "begins with http:// or https://, got 'localhost'",
    "example.org/v1": "begins with http:// or https://, got 'example.org/v1'",
    "sk-s3cret": "begins with http:// or https://",
    "ann:s3cret@example.org/v1": "begins with http:// or https://",
    "/v1": "begins with http:// or https://",
    "ftp://example.org/v1": "begins with http:// or https://, got ftp://",
    "file:///etc/passwd": "begins with http:// or https://, got file://",
    "htp://example.org": "begins with http:// or https://, got htp://",
    "http://": "has no host",
    "http:///v1": "has no host",
    "http://:8080/v1": "has no host",
    "http://127.0.0.1:88999/v1": "the port is not a number from 1 to 65535",
    "http://127.0.0.1:-1/v1": "the port is not a number from 1 to 65535",
    "http://127.0.0.1:0/v1": "the port is not a number from 1 to 65535",
    "http://127.0.0.1:/v1": "the port is not a number from 1 to 65535",
    "http://127.0.0.1:8o8o/v1": "the port is not a number from 1 to 65535",
    "http://::1:8080/v1": "the port is not a number from 1 to 65535",
    "http://[::1/v1": "is not an IPv6 address",
    "http://[zz::1]/v1": "is not an IPv6 address",
    "http://[1.2.3.4]/v1": "is not an IPv6 address",
    "http://ann:s3cret@example.org/v1": "a user name or a password",
    "http://s3cret@example.org/v1": "a user name or a password",
    "http://example.org/v1\n": "a line break",
    "http://exam ple.org/v1": "a space",
    "http://exam\u200bple.org/v1": "an invisible character",
    "http://example..org/v1": "not a valid host name",
    f"http://{'a' * 70}.org/v1": "not a valid host name",
}


@pytest.mark.parametrize("spec", LIVE)
@pytest.mark.parametrize("url", WRONG)
def test_an_address_that_cannot_be_asked_is_refused_before_any_call(spec, url, monkeypatch):
    said = refused(spec, base_url=url)
    assert said.startswith("the oracle's address: ")
    assert WRONG[url] in said
    assert "s3cret" not in said
    monkeypatch.setenv(ADDRESSES[spec], url)
    assert refused(spec) == said.replace("the oracle's address", ADDRESSES[spec])


@pytest.mark.parametrize(
    "url",
    ["http://localhost:8080/v1", "https://example.org", "HTTP://EXAMPLE.ORG/v1/", "http://[::1]:8080/v1",
     "http://[fe80::1%25eth0]/v1", "https://b\u00fccher.example/v1", "https://my_host.internal/openai?api-version=2"],
)  # fmt: skip
def test_an_address_that_can_be_asked_is_taken(url):
    check_address(url, "--base-url")


@given(st.text(max_size=40) | st.text("htps:/[]@.:0189a %\u00fc#?", max_size=40))
@example("http://[::1]@x")
@example("http://a@[::1")
def test_any_text_is_an_address_or_one_line_that_names_its_origin(text):
    said = complaint(text)
    assert said == "" or (said.startswith("MY_URL: ") and "\n" not in said)


def complaint(url):
    try:
        check_address(url, "MY_URL")
    except OracleError as error:
        return str(error)
    return ""


LOGIN = st.text("abcXYZ0189:!$&-._~", min_size=1, max_size=20)


@given(st.sampled_from(["", "http://", "ftp://", "https://"]), LOGIN, st.text("abc.:/0189", max_size=20))
def test_what_is_printed_of_an_address_is_never_its_login_or_its_query(scheme, login, rest):
    secret = f"{login}SECRET"
    assert "SECRET" not in printable(f"{scheme}{secret}@{rest}?key={secret}#{secret}")
    assert "SECRET" not in without_logins(f"cannot reach http://{secret}@{rest} through 'https://{secret}@x'")
    with pytest.raises(OracleError) as caught:
        check_address(f"{scheme}{secret}@{rest}", "--base-url")
    assert "SECRET" not in str(caught.value)


# Keys.


@pytest.mark.parametrize("spec", LIVE)
@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("sk-s3cret\n", "contains a line break"),
        ("sk-\r\ns3cret", "contains a line break"),
        ("\u201csk-s3cret\u201d", "contains the character U+201C (left double quotation mark)"),
        ("sk-s3cr\u00e9t", "contains the character U+00E9 (latin small letter e with acute)"),
        ("sk-s3cret\t", "contains the character U+0009 (a control character)"),
        ("sk-s3cret\x7f", "contains the character U+007F (a control character)"),
        ("sk-s3cret\u00a0", "contains the character U+00A0 (no-break space)"),
    ],
)
def test_a_key_that_no_header_can_hold_is_named_by_its_variable_and_not_shown(spec, key, what, monkeypatch):
    monkeypatch.setenv(KEYS[spec], key)
    said = refused(spec, base_url="http://127.0.0.1:9")
    assert said.startswith(f"{KEYS[spec]}: {what}")
    assert "s3c" not in said
    monkeypatch.setenv("MY_KEY", key)
    assert refused(spec, base_url="http://127.0.0.1:9", api_key_env="MY_KEY").startswith(f"MY_KEY: {what}")


def test_other_variables_that_are_sent_as_headers_are_looked_at_too(monkeypatch):
    monkeypatch.setenv("OPENAI_ORG_ID", "org-\u00e9")
    assert refused("openai:m", base_url="http://127.0.0.1:9").startswith("OPENAI_ORG_ID: ")


@pytest.mark.parametrize("told", ["sk-s3cret", "AIzaSyS3cret-abcdefghijklmnopqrstuvwxyz", "s3cret=1", "s3cret\0"])
def test_a_key_in_place_of_its_variables_name_is_not_shown(told):
    with pytest.raises(OracleError) as caught:
        api_key(("OPENAI_API_KEY",), told)
    assert "s3cret" not in str(caught.value).lower()
    assert str(caught.value).startswith("the variable of the API key: expected the name of an environment variable")


# Proxies.

PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


@pytest.mark.parametrize("spec", LIVE)
@pytest.mark.parametrize("variable", PROXIES)
@pytest.mark.parametrize(
    ("proxy", "what"),
    [
        ("socks://127.0.0.1:9", "a socks:// proxy cannot be used"),
        ("socks5://ann:s3cret@127.0.0.1:9", "a socks5:// proxy cannot be used"),
        ("http://127.0.0.1:88999", "the port is not a number from 1 to 65535"),
        ("http://ann:s3cret@127.0.0.1:x", "the port is not a number from 1 to 65535"),
        ("http://ann:s3cret@[::1", "is not an IPv6 address"),
        ("[::1:8080", "is not an IPv6 address"),
        ("ftp://127.0.0.1:21", "got ftp://"),
        ("http://", "has no host"),
        ("http://ann:s3 cret@127.0.0.1:9", "contains a space"),
    ],
)
@pytest.mark.by_example(4)
def test_a_proxy_that_cannot_be_used_is_named_by_its_variable(spec, variable, proxy, what, monkeypatch):
    monkeypatch.setenv(KEYS[spec], "k")
    monkeypatch.setenv(variable, proxy)
    said = refused(spec, base_url="http://127.0.0.1:9")
    assert said.startswith(f"{variable}: ")
    assert what in said
    assert "s3cret" not in said
    # Proxies are not checked if no address uses one.
    monkeypatch.setenv("no_proxy", "*")
    open_oracle(spec, Settings(base_url="http://127.0.0.1:9"))


@pytest.mark.parametrize("spec", LIVE)
@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "127.0.0.1:9", "http://ann:s3cret@127.0.0.1:9", " "])
def test_a_proxy_that_can_be_used_is_taken(spec, proxy, monkeypatch):
    monkeypatch.setenv(KEYS[spec], "k")
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    open_oracle(spec, Settings(base_url="https://example.org"))


def test_the_proxy_before_an_address_is_known_by_its_variable(monkeypatch):
    assert proxy_of("https://example.org/v1") is None
    monkeypatch.setenv("ALL_PROXY", "http://ann:s3cret@one:1")
    monkeypatch.setenv("https_proxy", "two:2")
    monkeypatch.setenv("no_proxy", "localhost,inside.example")
    assert str(proxy_of("http://example.org/v1")) == "the proxy http://one:1 from ALL_PROXY"
    assert str(proxy_of("https://example.org/v1")) == "the proxy http://two:2 from https_proxy"
    assert proxy_of("https://www.inside.example") is None
    assert proxy_of("http://localhost:8080") is None
    monkeypatch.setenv("HTTPS_PROXY", "http://three:3")
    assert str(proxy_of("https://example.org")) == "the proxy http://two:2 from https_proxy"


# Certificates.


@pytest.mark.parametrize("spec", LIVE)
def test_a_file_of_certificates_that_is_none_is_named_by_its_variable(spec, tmp_path, monkeypatch):
    monkeypatch.setenv(KEYS[spec], "k")
    nothing, text = tmp_path / "nothing.pem", tmp_path / "text.pem"
    text.write_text("hello")
    for path, what in ((nothing, "No such file"), (text, "contains no certificates"), (tmp_path, "irectory")):
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        said = refused(spec, base_url="http://127.0.0.1:9")
        assert said.startswith(f"SSL_CERT_FILE: {path}: ")
        assert what in said
    monkeypatch.setenv("SSL_CERT_FILE", "")
    open_oracle(spec, Settings(base_url="http://127.0.0.1:9"))


def test_a_file_for_keys_of_sessions_that_cannot_be_written_is_named_by_its_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "nowhere" / "keys.log"))
    with pytest.raises(OracleError, match=r"^SSLKEYLOGFILE: cannot be written"):
        check_environment()


# Unexpected errors.


def test_a_library_that_cannot_be_set_up_is_one_line_without_logins():
    def fails():
        raise ValueError("no such proxy:\n http://ann:s3cret@[::1")

    with pytest.raises(OracleError) as caught:
        set_up("openai", fails)
    assert str(caught.value).startswith(
        "openai: its library could not be initialised (ValueError: no such proxy: http://[::1)"
    )
    with pytest.raises(MissingExtra):
        set_up("openai", lambda: (_ for _ in ()).throw(MissingExtra("aiohttp", "oracle")))
