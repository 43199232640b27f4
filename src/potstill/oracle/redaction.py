"""Redaction: what is secret is taken out of whatever a server or a library says, before it is kept or shown.

In: the key, the headers that a person has set, and the passwords of addresses and proxies. Out: texts without them,
whichever way they are written: as they are, escaped for JSON, a URL or HTML, in base64 (as in Basic authentication),
in any case of letters, or cut short.
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

    from potstill.oracle import Failure, Reply

REDACTED = "[redacted]"
"""Stands where a secret was."""

_PART = 8
"""So many first characters of a key are taken for the key, cut short."""

_SHORT = 6
"""Below so many characters a secret is a word (`EMPTY`, `x`), and is looked for behind the name of a header alone."""

# JSON inside JSON doubles the backslash, and a URL writes it otherwise.
_ESCAPE = r"(?:\\|%5c|%255c){1,8}"
_HEADER = r"(?:bearer|basic|authorization|(?:api|goog|access)[\w-]*key|token|password)\W{1,12}"
_SECRET_HEADERS = re.compile("auth|key|token|secret|cookie|password", re.IGNORECASE)
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;", " ": "+"}


class Redaction:
    """Takes secrets out of texts.

    Args:
        keys: what is secret, in part too.
        phrases: what is secret as a whole alone, as it may begin with a common word.
    """

    def __init__(self, keys: Iterable[str] = (), phrases: Iterable[str] = ()) -> None:
        self._forms: list[_Form] = []
        self._known: set[str] = set()
        self.add(keys, phrases)

    def add(self, keys: Iterable[str] = (), phrases: Iterable[str] = ()) -> None:
        """Learn more secrets."""
        for secret, part in [*((key, _PART) for key in keys), *((phrase, None) for phrase in phrases)]:
            if (known := secret.strip()) and known not in self._known:
                self._known.add(known)
                self._forms += _forms(known, part)
        self._forms.sort(key=lambda form: -form.length)

    def hide(self, text: str) -> str:
        """The text without what is secret."""
        # Most texts hold no escapes, and then a secret's first characters tell at once that it is not there.
        plain = None if any(mark in text for mark in "\\%&") else text.lower()
        for form in self._forms:
            if plain is None or form.start is None or form.start in plain:
                text = form.hide(text)
        return text

    def reply(self, reply: Reply) -> Reply:
        """An answer whose texts hold no secret."""
        if not self._forms:
            return reply
        return replace(
            reply, evidence=self.hide(reply.evidence), raw=self.hide(reply.raw), doubt=self.hide(reply.doubt)
        )

    def failure(self, failure: Failure) -> Failure:
        """The failure itself, its texts without secrets."""
        failure.detail, failure.raw = self.hide(failure.detail), self.hide(failure.raw)
        failure.doubt = self.hide(failure.doubt)
        return failure


class _Form:
    """One way in which a secret may be written."""

    def __init__(self, text: str, part: int | None, before: str = "", *, base64: bool = False) -> None:
        self.length = len(text)
        enough = self.length if part is None else min(part, self.length)
        # What a text without escapes must hold, in lower case; None where that is not for certain.
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
        """Where the secret ends whose first characters end here: all of it, or as much as there is."""
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
    # Where a secret stands in what is encoded decides how its letters look: there are three ways.
    raw = secret.encode()
    for ahead, first in ((0, 0), (1, 2), (2, 3)):
        last = (ahead + len(raw)) * 8 // 6
        core = b64encode(b"\0" * ahead + raw)[first:last].decode()
        if len(core) >= _SHORT:
            yield _Form(core, part, base64=True)


def _letter(letter: str) -> str:
    """A pattern for a character as it is and as JSON, URLs and HTML may write it."""
    code = ord(letter)
    percent = letter.encode(errors="replace")
    # The literal one last, as others begin with the same character.
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
    """The same for a character of base64, two of which have another spelling in URLs."""
    other = {"+": "-", "/": "_"}.get(letter)
    return _letter(letter) if other is None else f"(?:{_letter(letter)}|{_letter(other)})"


def secret_headers(headers: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The secrets in headers: those that are keys by the name of their header or their form, and other values."""
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
    """The secrets in a URL: its password (or its user, where that stands alone) and the values of its query."""
    try:
        parts = urlsplit(address)
        user, password = parts.username, parts.password
    except ValueError:
        return []
    told = [password or user or "", *(value for _, value in parse_qsl(parts.query))]
    return [spelling for secret in told if len(secret) >= 4 for spelling in dict.fromkeys((secret, unquote(secret)))]


def secrets_around() -> tuple[list[str], list[str]]:
    """What the environment adds to a request: the passwords of proxies, and headers that a library reads from it."""
    keys = [secret for proxy in getproxies().values() for secret in secrets_of_address(proxy)]
    lines = os.environ.get("ANTHROPIC_CUSTOM_HEADERS", "").splitlines()
    told = {name.strip(): value for name, colon, value in (line.partition(":") for line in lines) if colon}
    more, phrases = secret_headers(told)
    return keys + more, phrases
