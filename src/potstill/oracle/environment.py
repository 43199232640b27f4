"""Read what an oracle takes from its environment: an address, a key, proxies and certificates.

Input: an option, or environment variables. Output: usable values, or a one-line error that names the option or
variable. Neither these errors nor the results of `printable` contain a key or a password.
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
"""The placeholder for a key if a server needs none."""

# Names that may be printed if the variable is not set. Any other text may be a key given by mistake.
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*|[A-Za-z_][A-Za-z0-9_]{0,31}")
_LOGIN = re.compile(r"(?:(?<=//)|^|(?<=[\s'\"]))[^/?#\s'\"]*@")
_SCHEMES = ("http", "https")


def printable(url: str) -> str:
    """Return an address for messages: without user name, password, query and fragment, even if it is malformed."""
    return _LOGIN.sub("", re.split(r"[?#]", url.strip(), maxsplit=1)[0])[:200]


def without_logins(text: str) -> str:
    """Remove user names and passwords of addresses from a message of another library."""
    return re.sub(r"//[^/?#\s'\"]*@", "//", text)


def address(given: str | None, variable: str) -> str | None:
    """Return the given address, else that of the environment variable; None for the provider's own.

    Raises:
        OracleError: the address is invalid.
    """
    if given:
        check_address(given, "the oracle's address")
        return given
    if found := os.environ.get(variable):
        check_address(found, variable)
        return found
    return None


def check_address(url: str, named: str) -> None:
    """Reject an invalid server address.

    Args:
        url: the address.
        named: the option or variable that contains it.

    Raises:
        OracleError: one line that describes the fault.
    """
    parts = _parts(url, named, _SCHEMES)
    if "@" in parts.netloc:
        raise OracleError(
            f"{named}: contains a user name or a password before the host; remove it, and "
            "set the key in its environment variable"
        )


def check_environment() -> None:
    """Reject proxies and certificates with which no call is possible.

    Libraries read all of these variables during setup, even those that the address does not need.

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


def api_key(variables: tuple[str, ...], given: str | None, *, needed: bool = True) -> str:
    """Return the key from the environment: from the variable `given`, else from the first one that is set.

    Raises:
        OracleError: there is no key, or it cannot be sent in a header.
    """
    wanted = variables if given is None else (given,)
    for variable in wanted:
        if key := os.environ.get(variable, ""):
            check_header(key, variable)
            return key
    if given is not None and not _VARIABLE.fullmatch(given):
        raise OracleError(
            f"the variable of the API key: expected the name of an environment variable, such as {variables[0]}; the "
            "given value is not shown, because it may be a key"
        )
    if given or needed:
        raise OracleError(
            f"no API key: set the environment variable {wanted[0]}, or name your own server, as in "
            "--oracle openai:MODEL@URL"
        )
    return NO_KEY


def check_header(value: str, variable: str) -> None:
    """Reject a variable whose value cannot be sent as a header.

    Raises:
        OracleError: one line that names the variable and the character, but not the value.
    """
    for character in value:
        if character in "\r\n":
            raise OracleError(f"{variable}: contains a line break; set it to a single line without one")
        if not (character.isascii() and character.isprintable()):
            name = unicodedata.name(character, "a control character").lower()
            raise OracleError(
                f"{variable}: contains the character U+{ord(character):04X} ({name}); it is sent as an HTTP "
                "header, which may contain only printable ASCII characters"
            )


def set_up(provider: str, made: Callable[[], T]) -> T:
    """Create a provider's client, which reads the environment.

    Raises:
        OracleError: the environment causes an error that no other check here covers.
    """
    try:
        return made()
    except PotstillError:
        raise
    except Exception as error:  # libraries raise errors of any kind
        message_text = " ".join(without_logins(str(error)).split())[:200]
        raise OracleError(
            f"{provider}: its library could not be initialised ({type(error).__name__}: {message_text}); "
            "check the proxies, certificates and keys in the environment"
        ) from error


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, and the variable that sets it; `url` has a scheme, and may contain a password."""

    variable: str
    url: str

    def __str__(self) -> str:
        """Return the address without its password."""
        return f"the proxy {printable(self.url)} from {self.variable}"


def proxy_of(url: str) -> Proxy | None:
    """Return the proxy that is used for an address; None if there is none."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    found = _proxies()
    if not found or proxy_bypass(f"{host}:{parts.port}" if parts.port else host):
        return None
    return found.get(parts.scheme, found.get("all"))


def _proxies() -> dict[str, Proxy]:
    """Return the environment's proxies by scheme, as libraries read them: lower-case variables take precedence."""
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
    """Split an address into its parts.

    Raises:
        OracleError: the address is incomplete.
    """
    if any(character.isspace() or not character.isprintable() for character in url):
        raise OracleError(f"{named}: contains a space, a line break or an invisible character")
    scheme, mark, _ = url.partition("://")
    if not mark:
        raise OracleError(f"{named}: expected an address that begins with http:// or https://{_got(url)}")
    if scheme.lower() not in schemes:
        known = f", got {scheme.lower()}://" if re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]{0,19}", scheme) else ""
        raise OracleError(f"{named}: expected an address that begins with http:// or https://{known}")
    try:
        parts = urlsplit(url)
    except ValueError:
        # urllib's message may contain the login.
        raise OracleError(f"{named}: the host in brackets is not an IPv6 address") from None
    try:
        port = parts.port
    except ValueError:
        raise OracleError(f"{named}: the port is not a number from 1 to 65535") from None
    if port == 0 or parts.netloc.endswith(":"):
        raise OracleError(f"{named}: the port is not a number from 1 to 65535")
    _check_host(parts, named)
    return parts


def _check_host(parts: SplitResult, named: str) -> None:
    host = parts.hostname
    if not host:
        raise OracleError(f"{named}: has no host after {parts.scheme}://")
    if "[" in parts.netloc:
        try:
            ipaddress.IPv6Address(host.partition("%")[0])
        except ValueError:
            raise OracleError(f"{named}: the host in brackets is not an IPv6 address") from None
        return
    try:
        host.encode("idna")
    except UnicodeError:
        raise OracleError(f"{named}: the host is not a valid host name") from None


def _got(url: str) -> str:
    """Return the given value for a message if it looks like an address without a scheme and not like a key."""
    shown = printable(url)
    looks = re.fullmatch(r"localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*(?::\d{1,5})?(?:/[\w./-]*)?", shown)
    return f", got {shown!r}" if looks and re.search(r"[.:/]|localhost", shown) else ""


def _check_certificates() -> None:
    try:
        # This is what the libraries do; it also reads SSLKEYLOGFILE.
        ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE") or None)
    except OSError as error:
        if not (path := os.environ.get("SSL_CERT_FILE")) or _reads(path):
            raise OracleError(f"SSLKEYLOGFILE: cannot be written ({error.strerror or error})") from None
        # A broken certificate is also an OSError.
        why = "contains no certificates" if isinstance(error, ssl.SSLError) else error.strerror
        raise OracleError(f"SSL_CERT_FILE: {path}: {why}") from None


def _reads(path: str) -> bool:
    """Return whether a file of certificates can be read."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError:
        return False
    return True
