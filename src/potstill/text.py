"""The window: what of an article is read, by oracle and student alike.

In: a title and a content. Out: one string of at most `max_chars` characters, cut between graphemes. It is
counted in characters so that it belongs to the labels and not to any tokenizer.
"""

from __future__ import annotations

from typing import Literal

import regex
from pydantic import Field

from potstill.records import Part

JOINT = "\n[...]\n"
"""Stands where `head_tail` leaves the middle out."""

_GRAPHEME = regex.compile(r"\X")
# Longer runs of joined characters than this are not writing; the cut may then fall inside one.
_LONGEST_GRAPHEME = 64


class Window(Part):
    """How much of an article is read: its first `max_chars`, or its head and its tail in equal parts."""

    max_chars: int = Field(default=2500, ge=len(JOINT) + 2, le=100_000)
    keep: Literal["head", "head_tail"] = "head"

    def of(self, title: str, content: str) -> str:
        """The window of an article: title, blank line, content, cut to `max_chars`.

        NUL characters, which many stores refuse, become spaces; white space at both ends goes.
        """
        whole = _join(title, content)
        if len(whole) <= self.max_chars:
            return whole
        room = self.max_chars - len(JOINT)
        head = whole[: _boundary_before(whole, room - room // 2)].rstrip()
        tail = whole[_boundary_after(whole, len(whole) - room // 2) :].lstrip()
        # A tiny window may have no room for a whole grapheme at each end.
        if self.keep == "head_tail" and head and tail:
            return head + JOINT + tail
        return whole[: _boundary_before(whole, self.max_chars)].rstrip()

    def cuts(self, title: str, content: str) -> bool:
        """Whether the window loses some of the article."""
        return len(_join(title, content)) > self.max_chars


def _join(title: str, content: str) -> str:
    parts = (part.replace("\0", " ").strip() for part in (title, content))
    return "\n\n".join(part for part in parts if part)


def _boundaries(text: str, at: int) -> list[int]:
    """Grapheme boundaries around position `at`, found without reading the whole text."""
    start = max(0, at - _LONGEST_GRAPHEME)
    # Flags are pairs of letters, so where one begins depends on where their row began.
    while start > 0 and _is_flag_letter(text[start]) and _is_flag_letter(text[start - 1]):
        start -= 1
    near = text[start : at + _LONGEST_GRAPHEME]
    edges = [start + match.end() for match in _GRAPHEME.finditer(near)]
    return [0, *edges] if start == 0 and edges and edges[0] <= _LONGEST_GRAPHEME else edges


def _is_flag_letter(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _boundary_before(text: str, at: int) -> int:
    return max((edge for edge in _boundaries(text, at) if edge <= at), default=at)


def _boundary_after(text: str, at: int) -> int:
    return min((edge for edge in _boundaries(text, at) if edge >= at), default=at)
