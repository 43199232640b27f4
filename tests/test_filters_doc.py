"""Tests of docs/filters.md: its examples work, and its statements about words are true."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

from potstill.conditions import parse
from potstill.filters import Filter, lint, parse_filter
from potstill.filters.model import RESERVED
from potstill.operating_points import GOALS
from potstill.prefilter import TermRule, fold_all, matcher

DOC = (Path(__file__).parents[1] / "docs" / "filters.md").read_text(encoding="utf-8")


EXAMPLES = re.findall(r"```yaml\n(.+?)```", DOC, re.DOTALL)


def test_the_example_is_a_filter_that_lints():
    found = parse_filter(EXAMPLES[0], "collective_benefit and wonder", "docs/filters.md")
    assert lint(found) == []


@pytest.mark.parametrize("decide", EXAMPLES[1:])
def test_the_examples_of_operating_points_fit_into_the_filter(decide):
    assert decide.startswith("decide:")
    found = parse_filter(EXAMPLES[0] + decide, "collective_benefit and wonder", "docs/filters.md")
    assert found.decide.keys() == {"impact", "connection"}


def test_every_goal_of_an_operating_point_is_named():
    (sentence,) = re.findall(r"A goal is one of .+", DOC)
    assert set(GOALS) <= set(re.findall(r"`(\w+)", sentence))


def test_the_conditions_are_conditions():
    (block,) = re.findall(r"```text\n(.+?)```", DOC, re.DOTALL)
    names = ("overall", "collective_benefit", "wonder", "evidence", "agency", "progress")
    assert [str(parse(line, names)) for line in block.splitlines()]


def test_every_key_has_a_row():
    rows = re.findall(r"^\| (`[a-z_`, ]+) \|", DOC, re.MULTILINE)
    assert set(re.findall(r"\w+", " ".join(rows))) == set(Filter.model_fields) - {"rubric"}


def test_every_reserved_name_is_listed():
    (sentence,) = re.findall(r"It can't be `overall`.+", DOC)
    assert set(RESERVED) <= set(re.findall(r"`(\w+)`", sentence))


@pytest.mark.parametrize(
    ("term", "text", "found"),
    [
        ("war", "the war's end", True),
        ("war", "war-torn", True),
        ("war", "award", False),
        ("war", "wars", False),
        ("股价", "公司股价上涨", True),
        ("ai", "使用AI技术", True),
        ("open source", "open-source", True),
        ("series a", "the World Series a record crowd saw", True),
    ],
)
def test_the_examples_of_words_are_true(term, text, found):
    assert f"`{term}`" in DOC
    assert text in DOC or text in {"award", "wars"}
    assert pl.DataFrame({"folded": fold_all([text])}).select(matcher(TermRule(any=(term,)))).item() is found
