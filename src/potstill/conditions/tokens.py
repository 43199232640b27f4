"""Split the text of a condition into tokens.

Input: the text. Output: its tokens in order, the last of kind `end`, each with its position; or an error that shows the
text and the position.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from potstill.errors import ConditionError

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYWORDS = frozenset({"AND", "OR", "NOT", "BETWEEN"})
"""Keywords of the language, in any case; they may not be used as names."""

_LONGEST = 10_000
_MOST_TOKENS = 500
_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
      | (?P<name>[^\W\d]\w*)
      | (?P<operator><=|>=|<>|!=|==|[<>=()+*/-])""",
    re.VERBOSE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A word or sign, with keywords in capitals, and the position of its first character, from 0."""

    kind: Literal["number", "name", "operator", "keyword", "end"]
    text: str
    at: int


def tokens_of(text: str) -> list[Token]:
    """Return the tokens of a text; the last one is of kind `end`.

    Raises:
        ConditionError: the text is too long, or contains something that is not a word or sign of the language.
    """
    if len(text) > _LONGEST:
        raise fault(text, f"is {len(text)} characters long; at most {_LONGEST} are allowed", None)
    tokens = list(_tokens(text))
    if len(tokens) > _MOST_TOKENS:
        raise fault(text, f"has more than {_MOST_TOKENS} tokens", None)
    return tokens


def fault(text: str, what: str, at: Token | None) -> ConditionError:
    """Return an error that shows the text, the fault and, if a token is given, its position."""
    place = "" if at is None else f" (at character {at.at + 1})"
    shown = text if len(text) <= 200 else text[:200] + "..."
    return ConditionError(f"condition {shown!r} {what}{place}")


def _tokens(text: str) -> Iterator[Token]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            here = Token("operator", text[at], at)
            if text[at] in "'\"`":
                raise fault(text, "contains a string or a quoted name, which conditions do not support", here)
            raise fault(text, f"contains {text[at]!r}, which conditions do not support", here)
        word, kind = match.group(), match.lastgroup
        if kind == "number":
            yield Token("number", word, at)
        elif kind == "name" and word.upper() in KEYWORDS:
            yield Token("keyword", word.upper(), at)
        elif kind == "name":
            yield Token("name", word, at)
        elif kind == "operator":
            yield Token("operator", word, at)
        at = match.end()
    yield Token("end", "", at)
