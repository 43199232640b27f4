"""Tests that error messages are one line and contain nothing that a terminal interprets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.errors import LONGEST_MESSAGE, one_line


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("run/bundle: not a bundle (no bundle.json)", "run/bundle: not a bundle (no bundle.json)"),
        ("first\n\n  second\tthird\r\n", "first second third"),
        ("red \x1b[31mtext\x07", r"red \x1b[31mtext\x07"),
        ("turned \u202etxet", r"turned \u202etxet"),
        ("half \ud800", r"half \ud800"),
        ("Brücke 股价 🙂", "Brücke 股价 🙂"),
    ],
)
def test_white_space_becomes_single_spaces_and_what_cannot_be_seen_is_spelled_out(message, line):
    assert one_line(message) == line


def test_a_long_message_keeps_its_beginning_and_its_end():
    line = one_line("run/bundle/filter.yaml: " + "x" * 5000 + "; run: potstill check run")
    assert line.startswith("run/bundle/filter.yaml: xxx")
    assert line.endswith("xxx; run: potstill check run")
    assert len(line) == LONGEST_MESSAGE


@given(st.text(), st.integers(20, 400))
def test_it_is_always_one_printable_line_within_the_bound_and_is_then_left_alone(message, longest):
    line = one_line(message, longest)
    assert len(line) <= longest
    assert line.isprintable()
    assert len(line.splitlines()) <= 1
