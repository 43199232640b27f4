"""Define the text window: the part of an article that both oracle and student read.

Input: a title and a content. Output: one string of at most `max_chars` characters, cut between graphemes. The length is
counted in characters, so that it depends on the labels' filter and not on any tokenizer.
"""

from __future__ import annotations

from typing import Literal

import regex
from pydantic import Field

from potstill.records import Part

JOINT = "\n[...]\n"
"""The separator that replaces the omitted middle in `head_tail`."""

_GRAPHEME = regex.compile(r"\X")
# Longer runs of combined characters do not occur in real text; in such a run, the cut may fall inside a grapheme.
_LONGEST_GRAPHEME = 64


class Window(Part):
    """How much of an article is read: its first `max_chars` characters, or its head and its tail in equal parts."""

    max_chars: int = Field(default=2500, ge=len(JOINT) + 2, le=100_000)
    keep: Literal["head", "head_tail"] = "head"

    def of(self, title: str, content: str) -> str:
        """Return the window of an article: title, blank line, content, cut to `max_chars` characters.

        NUL characters, which many databases reject, become spaces; white space at both ends is removed.
        """
        whole = _join(title, content)
        if len(whole) <= self.max_chars:
            return whole
        room = self.max_chars - len(JOINT)
        head = whole[: _boundary_before(whole, room - room // 2)].rstrip()
        tail = whole[_boundary_after(whole, len(whole) - room // 2) :].lstrip()
        # A tiny window may not have room for a whole grapheme at each end.
        if self.keep == "head_tail" and head and tail:
            return head + JOINT + tail
        return whole[: _boundary_before(whole, self.max_chars)].rstrip()

    def cuts(self, title: str, content: str) -> bool:
        """Return whether the window loses some of the article."""
        return len(_join(title, content)) > self.max_chars


def _join(title: str, content: str) -> str:
    parts = (part.replace("\0", " ").strip() for part in (title, content))
    return "\n\n".join(part for part in parts if part)


def _boundaries(text: str, at: int) -> list[int]:
    """Return the grapheme boundaries around position `at`, without reading the whole text."""
    start = max(0, at - _LONGEST_GRAPHEME)
    # Flags are pairs of letters, so the start of a flag depends on where the run of flag letters starts.
    while start > 0 and _is_flag_letter(text[start]) and _is_flag_letter(text[start - 1]):
        start -= 1
    near = text[start : at + _LONGEST_GRAPHEME]
    edges = [start + match.end() for match in _GRAPHEME.finditer(near)]
    return [0, *edges] if start == 0 and edges and edges[0] <= _LONGEST_GRAPHEME else edges


def _is_flag_letter(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _between_ascii(text: str, at: int) -> bool:
    """Return whether `at` is between two ASCII characters, which are one grapheme only if they are CR and LF."""
    pair = text[at - 1 : at + 1] if at > 0 else ""
    return len(pair) == 2 and pair.isascii() and pair != "\r\n"


def _boundary_before(text: str, at: int) -> int:
    if _between_ascii(text, at):
        return at
    return max((edge for edge in _boundaries(text, at) if edge <= at), default=at)


def _boundary_after(text: str, at: int) -> int:
    if _between_ascii(text, at):
        return at
    return min((edge for edge in _boundaries(text, at) if edge >= at), default=at)
