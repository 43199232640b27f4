"""Redact secrets in everything that a server or a library returns, before it is stored or shown.

Input: the key, the headers set by the user, and the passwords of addresses and proxies. Output: texts without them in
any spelling: plain, escaped for JSON, a URL or HTML, in base64 (as in Basic authentication), in any letter case, or
truncated.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit
from urllib.request import getproxies

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from potstill.oracle.protocol import Failure, Reply

REDACTED = "[redacted]"
"""The replacement for a secret."""

_PART = 8
"""Number of initial characters of a key that identify a truncated key."""

_SHORT = 6
"""Secrets shorter than this are ordinary words (`EMPTY`, `x`) and are only searched after a header name."""

# Nested JSON doubles the backslash, and a URL encodes it.
_ESCAPE = r"(?:\\|%5c|%255c){1,8}"
_HEADER = r"(?:bearer|basic|authorization|(?:api|goog|access)[\w-]*key|token|password)\W{1,12}"
_SECRET_HEADERS = re.compile("auth|key|token|secret|cookie|password", re.IGNORECASE)
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;", " ": "+"}


class Redaction:
    """A redactor that removes secrets from texts.

    Args:
        keys: secrets that are also redacted in part.
        phrases: secrets that are redacted only as a whole, because they may start with a common word.
    """

    def __init__(self, keys: Iterable[str] = (), phrases: Iterable[str] = ()) -> None:
        self._forms: list[_Form] = []
        self._known: set[str] = set()
        self.add(keys, phrases)

    def add(self, keys: Iterable[str] = (), phrases: Iterable[str] = ()) -> None:
        """Add secrets."""
        for secret, part in [*((key, _PART) for key in keys), *((phrase, None) for phrase in phrases)]:
            if (known := secret.strip()) and known not in self._known:
                self._known.add(known)
                self._forms += _forms(known, part)
        self._forms.sort(key=lambda form: -form.length)

    def hide(self, text: str) -> str:
        """Return the text without secrets."""
        # Most texts contain no escapes; a search for a secret's first characters is then sufficient to exclude it.
        plain = None if any(mark in text for mark in "\\%&") else text.lower()
        for form in self._forms:
            if plain is None or form.start is None or form.start in plain:
                text = form.hide(text)
        return text

    def reply(self, reply: Reply) -> Reply:
        """Return a reply whose texts contain no secret."""
        if not self._forms:
            return reply
        return replace(
            reply, evidence=self.hide(reply.evidence), raw=self.hide(reply.raw), doubt=self.hide(reply.doubt)
        )

    def failure(self, failure: Failure) -> Failure:
        """Redact the texts of a failure, and return it."""
        failure.detail, failure.raw = self.hide(failure.detail), self.hide(failure.raw)
        failure.doubt = self.hide(failure.doubt)
        return failure


class _Form:
    """One spelling of a secret."""

    def __init__(self, text: str, part: int | None, before: str = "", *, base64: bool = False) -> None:
        self.length = len(text)
        enough = self.length if part is None else min(part, self.length)
        # The string that a text without escapes must contain, in lower case; None if this is uncertain.
        certain = text.isascii() and not before and not any(letter in text[:enough] for letter in " +/")
        self.start = text[:enough].lower() if certain else None
        letters = [_letter_of_base64(letter) if base64 else _letter(letter) for letter in text]
        end = r"(?!\w)" if before else ""
        self._head = re.compile(f"({before}){''.join(letters[:enough])}{end}", re.IGNORECASE)
        self._whole = re.compile("".join(letters[enough:]), re.IGNORECASE)
        self._rest = [re.compile(letter, re.IGNORECASE) for letter in letters[enough:]]

    def hide(self, text: str) -> str:
        pieces: list[str] = []
        at = 0
        while (found := self._head.search(text, at)) is not None:
            pieces += [text[at : found.end(1)], REDACTED]
            at = self._end(text, found.end())
        return "".join([*pieces, text[at:]]) if pieces else text

    def _end(self, text: str, at: int) -> int:
        """Return where a secret ends whose first characters end at `at`: all of it, or the part that is present."""
        if (whole := self._whole.match(text, at)) is not None:
            return whole.end()
        for letter in self._rest:
            if (more := letter.match(text, at)) is None:
                break
            at = more.end()
        return at


def _forms(secret: str, part: int | None) -> Iterator[_Form]:
    if len(secret) < _SHORT:
        yield _Form(secret, None, _HEADER)
        return
    yield _Form(secret, part)
    # In base64, the letters of a secret depend on its offset within the encoded text; there are three cases.
    raw = secret.encode()
    for ahead, first in ((0, 0), (1, 2), (2, 3)):
        last = (ahead + len(raw)) * 8 // 6
        core = b64encode(b"\0" * ahead + raw)[first:last].decode()
        if len(core) >= _SHORT:
            yield _Form(core, part, base64=True)


def _letter(letter: str) -> str:
    """Return a pattern for a character in plain form and as JSON, URLs and HTML may escape it."""
    code = ord(letter)
    percent = letter.encode(errors="replace")
    # The literal character is last, because other forms start with the same character.
    ways = [
        f"{_ESCAPE}{re.escape(letter)}" if letter in '"\\/' else "",
        f"{_ESCAPE}u{code:04x}" if code < 0x10000 else "",
        "".join(f"%{byte:02x}" for byte in percent),
        "".join(f"%25{byte:02x}" for byte in percent),
        f"&#0*{code};",
        f"&#x0*{code:x};",
        re.escape(_NAMED.get(letter, "")),
        re.escape(letter),
    ]
    return f"(?:{'|'.join(way for way in ways if way)})"


def _letter_of_base64(letter: str) -> str:
    """Return the same for a character of base64; two of these are spelled differently in URLs."""
    other = {"+": "-", "/": "_"}.get(letter)
    return _letter(letter) if other is None else f"(?:{_letter(letter)}|{_letter(other)})"


def secret_headers(headers: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the secrets in headers: keys, recognised by the header's name or by their form, and other values."""
    keys: list[str] = []
    phrases: list[str] = []
    for name, value in headers.items():
        scheme, _, rest = value.strip().partition(" ")
        if rest and scheme.lower() in {"bearer", "basic", "token"}:
            keys.append(rest)
        elif _SECRET_HEADERS.search(name):
            keys.append(value)
        else:
            phrases.append(value)
    return keys, phrases


def secrets_of_address(address: str) -> list[str]:
    """Return the secrets in a URL: its password (or its user name if there is no password) and its query values."""
    try:
        parts = urlsplit(address)
        user, password = parts.username, parts.password
    except ValueError:
        return []
    values = [password or user or "", *(value for _, value in parse_qsl(parts.query))]
    return [spelling for secret in values if len(secret) >= 4 for spelling in dict.fromkeys((secret, unquote(secret)))]


def secrets_around() -> tuple[list[str], list[str]]:
    """Return what the environment adds to a request: proxy passwords, and headers that a library reads."""
    keys = [secret for proxy in getproxies().values() for secret in secrets_of_address(proxy)]
    lines = os.environ.get("ANTHROPIC_CUSTOM_HEADERS", "").splitlines()
    values = {name.strip(): value for name, colon, value in (line.partition(":") for line in lines) if colon}
    more, phrases = secret_headers(values)
    return keys + more, phrases
