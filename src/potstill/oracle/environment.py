"""What an oracle takes from the machine it runs on: an address, a key, proxies and certificates.

In: an option, or environment variables. Out: values that can be used, or one line that names the option or variable
at fault. No such line, and nothing that `printable` gives, holds a key or a password.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import SplitResult, urlsplit
from urllib.request import proxy_bypass

from potstill.errors import OracleError, PotstillError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

NO_KEY = "none"
"""Stands for a key where a server needs none."""

# What may be printed of a name that is set nowhere; anything else may be a key in its place.
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*|[A-Za-z_][A-Za-z0-9_]{0,31}")
_LOGIN = re.compile(r"(?:(?<=//)|^|(?<=[\s'\"]))[^/?#\s'\"]*@")
_SCHEMES = ("http", "https")


def printable(url: str) -> str:
    """An address for a message: without user name, password, query and fragment, whatever stands in it."""
    return _LOGIN.sub("", re.split(r"[?#]", url.strip(), maxsplit=1)[0])[:200]


def without_logins(text: str) -> str:
    """A message of another library, without the user names and passwords of the addresses in it."""
    return re.sub(r"//[^/?#\s'\"]*@", "//", text)


def address(told: str | None, variable: str) -> str | None:
    """The address that was told, else the variable's; None for the provider's own.

    Raises:
        OracleError: it is none that can be asked.
    """
    if told:
        check_address(told, "--base-url")
        return told
    if found := os.environ.get(variable):
        check_address(found, variable)
        return found
    return None


def check_address(url: str, named: str) -> None:
    """Refuse what is no address of a server.

    Args:
        url: what was given.
        named: the option or variable that it is from.

    Raises:
        OracleError: one line that says what is wrong with it.
    """
    parts = _parts(url, named, _SCHEMES)
    if "@" in parts.netloc:
        raise OracleError(
            f"{named}: holds a user name or a password before the host; leave it out, and give a key by its variable"
        )


def check_environment() -> None:
    """Refuse proxies and certificates that no call could be made with.

    Libraries read all of these variables when they are set up, those that this address does not need too.

    Raises:
        OracleError: one line that names the variable.
    """
    for proxy in _proxies().values():
        parts = _parts(proxy.url, proxy.variable, ("http", "https", "socks", "socks4", "socks4a", "socks5", "socks5h"))
        if parts.scheme.startswith("socks"):
            raise OracleError(
                f"{proxy.variable}: a {parts.scheme}:// proxy cannot be used; name an http:// proxy, or unset "
                f"{proxy.variable} for this command"
            )
    _check_certificates()


def api_key(variables: tuple[str, ...], told: str | None, *, needed: bool = True) -> str:
    """The key from the environment: the variable that was told, else the first that is set.

    Raises:
        OracleError: there is none, or one that no header can hold.
    """
    wanted = variables if told is None else (told,)
    for variable in wanted:
        if key := os.environ.get(variable, ""):
            check_header(key, variable)
            return key
    if told is not None and not _VARIABLE.fullmatch(told):
        raise OracleError(
            f"--api-key-env: expected the name of an environment variable, such as {variables[0]}; what was given is "
            "no such name, and is not shown, as it may be a key"
        )
    if told or needed:
        raise OracleError(
            f"no API key: set the environment variable {wanted[0]}, or name a server of your own with --base-url"
        )
    return NO_KEY


def check_header(value: str, variable: str) -> None:
    """Refuse a variable whose value cannot be sent as a header.

    Raises:
        OracleError: one line that names the variable and the character, and not the value.
    """
    for character in value:
        if character in "\r\n":
            raise OracleError(f"{variable}: holds a line break; set it to one line without its end")
        if not (character.isascii() and character.isprintable()):
            name = unicodedata.name(character, "a control character").lower()
            raise OracleError(
                f"{variable}: holds the character U+{ord(character):04X} ({name}); it is sent as a header, which is "
                "made of ASCII letters, digits and signs"
            )


def set_up(provider: str, made: Callable[[], T]) -> T:
    """What a provider's library makes of the environment.

    Raises:
        OracleError: it makes nothing of it, for a reason that is not foreseen here.
    """
    try:
        return made()
    except PotstillError:
        raise
    except Exception as error:  # libraries raise what they like
        said = " ".join(without_logins(str(error)).split())[:200]
        raise OracleError(
            f"{provider}: its library cannot be set up ({type(error).__name__}: {said}); it reads the environment's "
            "proxies, certificates and keys"
        ) from error


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, and the variable that names it; `url` has a scheme, and may hold a password."""

    variable: str
    url: str

    def __str__(self) -> str:
        """Without its password."""
        return f"the proxy {printable(self.url)} that {self.variable} names"


def proxy_of(url: str) -> Proxy | None:
    """The proxy that is between this machine and an address, if one is."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    found = _proxies()
    if not found or proxy_bypass(f"{host}:{parts.port}" if parts.port else host):
        return None
    return found.get(parts.scheme, found.get("all"))


def _proxies() -> dict[str, Proxy]:
    """The environment's proxies by scheme, as libraries read them: an entry in lower case wins over one in capitals."""
    found: dict[str, Proxy] = {}
    for scheme in ("http", "https", "all"):
        for variable in (f"{scheme}_proxy".upper(), f"{scheme}_proxy"):
            if variable in os.environ:
                found.pop(scheme, None)
                if url := os.environ[variable].strip():
                    found[scheme] = Proxy(variable, url if "://" in url else f"http://{url}")
    everywhere = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))
    return {} if "*" in [host.strip() for host in everywhere.split(",")] else found


def _parts(url: str, named: str, schemes: tuple[str, ...]) -> SplitResult:
    """An address in its parts.

    Raises:
        OracleError: it has not the parts that an address has.
    """
    if any(character.isspace() or not character.isprintable() for character in url):
        raise OracleError(f"{named}: holds a space, a line break or a character that does not show")
    scheme, mark, _ = url.partition("://")
    if not mark:
        raise OracleError(f"{named}: expected an address that begins with http:// or https://{_got(url)}")
    if scheme.lower() not in schemes:
        known = scheme.lower() if re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]{0,19}", scheme) else "what it begins with"
        raise OracleError(f"{named}: expected an address that begins with http:// or https://, got {known}://")
    try:
        parts = urlsplit(url)
    except ValueError:
        # What urllib says of it may quote the login.
        raise OracleError(f"{named}: the host in brackets is no IPv6 address") from None
    try:
        port = parts.port
    except ValueError:
        raise OracleError(f"{named}: the port is no number from 1 to 65535") from None
    if port == 0 or parts.netloc.endswith(":"):
        raise OracleError(f"{named}: the port is no number from 1 to 65535")
    _check_host(parts, named)
    return parts


def _check_host(parts: SplitResult, named: str) -> None:
    host = parts.hostname
    if not host:
        raise OracleError(f"{named}: names no host after {parts.scheme}://")
    if "[" in parts.netloc:
        try:
            ipaddress.IPv6Address(host.partition("%")[0])
        except ValueError:
            raise OracleError(f"{named}: the host in brackets is no IPv6 address") from None
        return
    try:
        host.encode("idna")
    except UnicodeError:
        raise OracleError(f"{named}: the host is no name that a network knows") from None


def _got(url: str) -> str:
    """What was given, where it looks like an address without its scheme and not like a key."""
    shown = printable(url)
    looks = re.fullmatch(r"localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*(?::\d{1,5})?(?:/[\w./-]*)?", shown)
    return f", got {shown!r}" if looks and re.search(r"[.:/]|localhost", shown) else ""


def _check_certificates() -> None:
    try:
        # As the libraries do; it reads SSLKEYLOGFILE as well.
        ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE") or None)
    except OSError as error:
        if not (path := os.environ.get("SSL_CERT_FILE")) or _reads(path):
            raise OracleError(f"SSLKEYLOGFILE: cannot be written ({error.strerror or error})") from None
        # A broken certificate is an OSError too.
        why = "holds no certificates" if isinstance(error, ssl.SSLError) else error.strerror
        raise OracleError(f"SSL_CERT_FILE: {path}: {why}") from None


def _reads(path: str) -> bool:
    """Whether a file of certificates can be read."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError:
        return False
    return True
