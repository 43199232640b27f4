"""Tests of the window: never longer than requested, and never cut inside a grapheme."""

from __future__ import annotations

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from potstill.text import JOINT, Window

# Letters, combining marks, flags, joined emoji, conjuncts, line ends, and some other characters.
pieces = st.one_of(
    st.sampled_from(
        [
            "a", " ", "\n", "\r\n", "é", "e\u0301", "\u0301", "🇳🇱", "🇳", "👩\u200d🚀", "👍🏽", "क्षि", "각",
            "\u1100", "\u0600", "界", "ก\u0e33", "\u200d", "\0", "\u2028", "Z\u0351\u036b\u0343",
        ]
    ),
    st.text(max_size=3),
)  # fmt: skip
texts = st.lists(pieces, max_size=60).map("".join)
sizes = st.integers(9, 60)


def edges(text: str) -> set[int]:
    """Return the positions where a text may be cut, computed from the whole text."""
    return {0} | {match.end() for match in regex.finditer(r"\X", text)}


def whole(title: str, content: str) -> str:
    return Window(max_chars=100_000).of(title, content)


@given(texts, texts, sizes, st.sampled_from(["head", "head_tail"]))
def test_a_window_is_never_longer_than_asked(title, content, size, keep):
    assert len(Window(max_chars=size, keep=keep).of(title, content)) <= size


@given(texts, texts, sizes, st.sampled_from(["head", "head_tail"]))
def test_what_fits_is_kept_and_what_is_cut_is_said_to_be(title, content, size, keep):
    window = Window(max_chars=size, keep=keep)
    kept = window.of(title, content) == whole(title, content)
    assert window.cuts(title, content) is (len(whole(title, content)) > size)
    assert kept is not window.cuts(title, content)


@given(texts, texts, sizes)
@example("", "🇳🇱" * 60, 9)
@example("", "a" + "🇳🇱" * 60, 40)
def test_a_head_ends_between_graphemes(title, content, size):
    everything = whole(title, content)
    found = Window(max_chars=size).of(title, content)
    assert everything.startswith(found)
    # White space at the cut is removed. The rest must end at the end of a grapheme of the whole text, or at the start
    # of white space that belongs to no grapheme.
    rest = everything[len(found) :]
    gap = len(rest) - len(rest.lstrip())
    assert {len(found) + step for step in range(gap + 1)} & edges(everything)


@given(texts, texts, sizes)
@example("", "🇳🇱" * 60, 60)
@example("", "a" * 40 + " \u0301b", 9)
def test_a_head_and_a_tail_are_cut_between_graphemes(title, content, size):
    everything = whole(title, content)
    found = Window(max_chars=size, keep="head_tail").of(title, content)
    if len(everything) <= size or JOINT not in found:
        return
    # The text may contain the joint's own characters, so any matching position is accepted.
    cuts = [place for place in range(len(found)) if found.startswith(JOINT, place)]
    fits = [
        (place, len(everything) - (len(found) - place - len(JOINT)))
        for place in cuts
        if everything.startswith(found[:place]) and everything.endswith(found[place + len(JOINT) :])
    ]
    assert fits
    allowed = edges(everything)
    for head, tail in fits:
        after = len(everything[head:]) - len(everything[head:].lstrip())
        before = len(everything[:tail]) - len(everything[:tail].rstrip())
        if {head + step for step in range(after + 1)} & allowed and {
            tail - step for step in range(before + 1)
        } & allowed:
            return
    raise AssertionError((everything, found))


@given(texts, texts, sizes, st.sampled_from(["head", "head_tail"]))
def test_a_window_has_no_nul_and_no_white_space_at_its_ends(title, content, size, keep):
    found = Window(max_chars=size, keep=keep).of(title, content)
    assert "\0" not in found
    assert found == found.strip()


@pytest.mark.parametrize(
    ("title", "content", "window"),
    [
        ("Title", "Content.", "Title\n\nContent."),
        (" Title\n", "\tContent. ", "Title\n\nContent."),
        ("", "Content.", "Content."),
        ("Title", "", "Title"),
        ("Title", " \0 ", "Title"),
        ("", "", ""),
        ("a\0b", "c", "a b\n\nc"),
    ],
)
def test_title_and_content_make_one_text(title, content, window):
    assert Window().of(title, content) == window


def test_head_keeps_the_beginning():
    assert Window(max_chars=10).of("", "0123456789abc") == "0123456789"


def test_head_tail_keeps_both_ends():
    assert Window(max_chars=15, keep="head_tail").of("", "0123456789abcdefghij") == "0123\n[...]\nghij"


def test_a_family_is_not_torn_apart():
    family = "👨\u200d👩\u200d👧"
    assert Window(max_chars=9).of("", "abcdef" + family) == "abcdef"


def test_a_flag_is_not_cut_in_two_however_many_there_are():
    assert Window(max_chars=201).of("", "🇳🇱" * 400) == "🇳🇱" * 100


def test_a_monster_of_joined_marks_still_gets_a_window():
    assert Window(max_chars=100).of("", "a" + "\u0301" * 100_000) == "a" + "\u0301" * 99


@pytest.mark.parametrize(
    "fields", [{"max_chars": 8}, {"max_chars": 100_001}, {"max_chars": "x"}, {"keep": "tail"}, {"x": 1}]
)
def test_windows_that_make_no_sense_are_refused(fields):
    with pytest.raises(ValidationError):
        Window(**fields)
