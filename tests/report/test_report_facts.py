from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.report.blocks import Shown, write
from potstill.report.facts import Record, pointer
from potstill.report.markdown import _escape

RECORD = Record("evaluation.json", "ab" * 32, {"ladder": [{"a/b": 1.25, "name": "ridge"}], "none": None}, Any)


def test_a_fact_knows_its_place():
    fact = RECORD.at("ladder", 0, "a/b")
    assert (fact.value, fact.file, fact.field) == (1.25, "evaluation.json", "/ladder/0/a~1b")


@pytest.mark.parametrize("path", [("ladder", 1), ("ladder", 0, "x", "y"), ("none",), ("ladder", "0")])
def test_what_is_not_there_is_no_fact_but_keeps_its_place(path):
    fact = RECORD.at(*path)
    assert not fact.recorded
    assert fact.field == pointer(*path)
    assert str(Shown(fact, "score")) == "not recorded"


def test_a_missing_record_has_no_facts():
    missing = Record("history.json", None, None, Any)
    assert not missing.recorded
    assert missing.at("x").value is None
    assert (missing.keys("x"), missing.size()) == ((), 0)


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0.9456, "score", "0.946"),
        (-0.9456, "score", "\N{MINUS SIGN}0.946"),
        (0.125, "signed", "+0.12"),
        (-0.001, "signed", "0.00"),
        (-1.5, "signed", "\N{MINUS SIGN}1.50"),
        (0.414, "percent", "41%"),
        (-0.004, "percent", "0%"),
        (-0.0004, "score", "0.000"),
        (1543714304, "count", "1,543,714,304"),
        (9.04, "milliseconds", "9.0"),
        (1234.5, "milliseconds", "1,234"),
        (5.26, "rate", "5.3"),
        (527.4, "rate", "527"),
        (90.0, "seconds", "90.0 s"),
        (180.0, "seconds", "3.0 min"),
        (0.15, "plain", "0.15"),
        ("0123456789abcdef", "hash", "0123456789ab"),
        ("2026-01-02T03:04:05+00:00", "date", "2026-01-02 03:04"),
        (["lead", "front"], "text", "lead, front"),
        (True, "plain", "yes"),
    ],
)
def test_values_are_written_as_readers_write_them(value, kind, text):
    assert write(value, kind) == text


@given(st.text())
def test_no_text_breaks_a_markdown_table(text):
    escaped = _escape(text)
    assert "\n" not in escaped
    assert escaped.count("|") == escaped.count("\\|")
