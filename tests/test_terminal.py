"""What a person sees while work goes on."""

import io
import re
import sys

import pytest
from rich.console import Console

from potstill import terminal


@pytest.fixture
def screen(monkeypatch):
    """What is drawn on a terminal of 120 columns."""
    drawn = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=drawn, force_terminal=True, width=120, color_system=None))
    return drawn


def last(screen):
    """The last line that was drawn, without what moves the cursor."""
    lines = re.split(r"[\r\n]", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()))
    return next(line for line in reversed(lines) if line.strip())


def test_a_bar_says_how_far_it_is_and_how_things_stand(screen):
    with terminal.steps("labelling", 3) as advance:
        advance(1)
        advance(1, "spent 0.2")
    assert re.search(r"labelling .* 2/3 .* spent 0\.2", last(screen))


def test_a_total_that_was_an_estimate_grows(screen):
    with terminal.steps("labelling", 2) as advance:
        for _ in range(5):
            advance(1)
    assert "5/5" in last(screen)


def test_what_is_said_is_made_into_words_only_when_it_is_drawn(screen):
    class Standing:
        asked = 0

        def __str__(self):
            Standing.asked += 1
            return "standing"

    with terminal.steps("labelling", 5000) as advance:
        for _ in range(5000):
            advance(1, Standing())
    assert "standing" in last(screen)
    assert Standing.asked < 500


def test_nothing_is_drawn_where_nobody_looks(monkeypatch, capsys):
    monkeypatch.setattr(terminal, "console", Console(file=sys.stderr))
    with terminal.steps("labelling", 2) as advance:
        advance(2, "done")
    assert capsys.readouterr().err == ""
