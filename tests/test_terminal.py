"""Tests of progress output."""

import io
import re
import sys
import time

import pytest
from rich.console import Console

from potstill import terminal


@pytest.fixture
def screen(monkeypatch):
    """Output for a terminal of 120 columns."""
    drawn = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=drawn, force_terminal=True, width=120, color_system=None))
    return drawn


def last(screen):
    """Return the last line that was drawn, without cursor control sequences."""
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


def test_no_bar_is_drawn_off_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(terminal, "console", Console(file=sys.stderr))
    with terminal.steps("labelling", 2) as advance:
        advance(2, "done")
    assert capsys.readouterr().err == ""


STANDING = "spent 0.2270, 3.2/s, failed calls: rate_limited 12, 16 at once"


def drawn_at(width, monkeypatch, detail=STANDING, description="labelling", done=120):
    """Return the lines of the last drawing of a bar, without cursor control sequences."""
    drawn = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=drawn, force_terminal=True, width=width, color_system=None))
    with terminal.steps(description, 2000) as advance:
        advance(done, detail)
        drawn.seek(0)
        drawn.truncate()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.getvalue()).replace("\r", "")
    return [line.rstrip() for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_a_bar_shows_every_figure_whole_at_any_width(monkeypatch, width):
    lines = drawn_at(width, monkeypatch)
    assert all(len(line) <= width for line in lines)
    words = " ".join(" ".join(lines).split())
    assert "120/2,000" in words
    assert words.endswith(STANDING)
    assert "…" not in words


def test_the_bar_shrinks_before_anything_takes_a_second_line(monkeypatch):
    assert [len(drawn_at(width, monkeypatch)) for width in (60, 80, 100, 120)] == [3, 2, 1, 1]
    narrow, wide = (drawn_at(width, monkeypatch, done=1000)[0].count("━") for width in (100, 120))
    assert 0 < narrow < wide


def test_a_name_that_is_too_long_is_cut_and_the_figures_are_not(monkeypatch):
    first = drawn_at(60, monkeypatch, detail="", description="train " + "minilm-full-median-" * 5)[0]
    assert first.startswith("train minilm-full")
    assert "…" in first
    assert "120/2,000" in first


def test_a_bar_without_a_total_shows_the_time_gone_by(screen):
    with terminal.steps("proving", None):
        pass
    assert re.search(r"proving .*0:00:00", last(screen))


class Clock:
    """A clock that a test advances."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def lines():
    """Plain progress lines, their clock, and the printed output."""
    said, clock = [], Clock()
    made = terminal.Lines(said.append, every=30.0, clock=clock)

    def later(seconds, step=None, done=0.0):
        clock.now += seconds
        if step is not None:
            step.done += done
        made.look()
        return said

    made.later = later
    return made


def test_off_a_terminal_a_line_is_said_every_half_minute(lines):
    step = lines.begin("labelling", 2000)
    assert lines.later(29, step, 100) == []
    assert lines.later(1) == ["labelling: 100 of 2,000 (5%), 30 s so far, about 10 min left"]
    assert len(lines.later(10, step, 10)) == 1
    assert lines.later(20, step, 190)[1:] == ["labelling: 300 of 2,000 (15%), 60 s so far, about 4 min left"]


def test_a_line_names_the_work_that_other_work_is_part_of_and_how_it_stands(lines):
    lines.begin("tune", None)
    step = lines.begin("train minilm-lora", 10)
    step.detail = "epoch 2"
    assert lines.later(30, step, 5) == [
        "tune, train minilm-lora: 5 of 10 (50%), 30 s so far, about 30 s left; epoch 2"
    ]  # fmt: skip
    lines.end(step)
    assert lines.later(30)[1:] == ["tune: 60 s so far"]


def test_work_that_has_ended_is_not_spoken_of(lines):
    lines.end(lines.begin("labelling", 3))
    assert lines.later(300) == []


def test_an_input_without_an_end_that_brings_nothing_is_not_spoken_of_again(lines):
    step = lines.begin("scoring", None)
    assert lines.later(30, step, 7) == ["scoring: 7 done, 30 s so far"]
    assert len(lines.later(30)) == 1
    assert lines.later(30, step, 1)[1:] == ["scoring: 8 done, 90 s so far"]


def test_the_time_left_goes_by_the_last_minutes(lines):
    step = lines.begin("labelling", 10_000)
    lines.later(30, step, 5000)  # answers that were already in the ledger
    for _ in range(terminal.RECENT):
        lines.later(30, step, 10)
    # 4,900 are left, at a rate of 10 per half minute.
    assert lines.later(30, step, 10)[-1].endswith("about 4.1 h left")


def test_the_lines_come_from_a_thread_while_the_work_is_silent(monkeypatch, capsys):
    monkeypatch.setattr(terminal, "console", Console(file=sys.stderr))
    monkeypatch.setattr(terminal._speaker, "lines", terminal.Lines(terminal._say, every=0.0))
    with terminal.working("evaluate"), terminal.steps("folds", 10) as advance:
        advance(3)
        shown = ""
        while "folds" not in shown:
            time.sleep(0.05)
            shown = capsys.readouterr().err
    assert shown.startswith("evaluate, folds: 3 of 10 (30%), ")


def test_quiet_silences_the_lines_and_the_log_has_them(monkeypatch, capsys, caplog):
    monkeypatch.setattr(terminal, "console", Console(file=sys.stderr, quiet=True))
    with caplog.at_level("INFO", logger="potstill"):
        terminal._say("evaluate: 30 s so far")
        terminal.note("minilm: done already")
    assert capsys.readouterr().err == ""
    assert caplog.messages == ["evaluate: 30 s so far", "minilm: done already"]


def test_a_bar_for_work_that_may_be_short_begins_once_it_is_long(monkeypatch):
    begun, seconds = [], [0.0]
    begin = terminal._speaker.begin

    def note_it(description, total):
        begun.append(begin(description, total))
        return begun[-1]

    monkeypatch.setattr(terminal._speaker, "begin", note_it)
    with terminal.steps_if_long("reading", 10, clock=lambda: seconds[0]) as advance:
        advance(2)
        seconds[0] = 0.9
        advance(2)
        assert begun == []
        seconds[0] = 1.0
        advance(2)
        advance(1)
    assert [(step.description, step.total, step.done) for step in begun] == [("reading", 10, 7)]


def test_notes_of_a_stage_are_indented_below_it(capsys):
    terminal.note("1/2 train")
    with terminal.indented():
        terminal.note("constant")
    terminal.note("2/2 report")
    assert capsys.readouterr().err == "1/2 train\n    constant\n2/2 report\n"
