"""Tests that a multilingual student is trained by default if enough texts are not in English."""

import sys

import polars as pl
import pytest
from tiny_run import started

from potstill.dataset import Dataset
from potstill.errors import MissingModel
from potstill.pipeline.train import DEFAULT_RECIPES, default_recipes


@pytest.fixture
def run_in(tmp_path):
    def made(dutch):
        """Return a run in whose training part, of 80 rows, so many are Dutch; all rows of the other parts are."""
        run = started(tmp_path)
        rows = Dataset.load(run.path("rows"), run.filter.dimension_names).frame
        language = ["nl"] * dutch + ["en"] * (80 - dutch) + ["nl"] * 40
        Dataset(rows.with_columns(pl.Series("language", language)), run.filter.dimension_names).save(run.path("rows"))
        return run

    return made


@pytest.mark.parametrize(("dutch", "share"), [(8, "10%"), (25, "31%")])
def test_a_multilingual_student_is_added_and_a_line_says_why(run_in, capsys, dutch, share):
    assert default_recipes([run_in(dutch)], tiny=True) == (*DEFAULT_RECIPES, "e5-median")
    assert f"{share} of the texts are not English: e5-median is trained too\n" in capsys.readouterr().err


def test_english_texts_need_none(run_in, capsys):
    assert default_recipes([run_in(7)]) == DEFAULT_RECIPES
    assert "not English" not in capsys.readouterr().err


def test_a_multilingual_network_that_is_not_here_is_left_out_with_the_reason(run_in, capsys, monkeypatch):
    def absent(_recipe):
        raise MissingModel("e5: not on this machine")

    monkeypatch.setattr(sys.modules["potstill.pipeline.train"], "_find_backbones", absent)

    assert default_recipes([run_in(25)]) == DEFAULT_RECIPES
    said = "31% of the texts are not English, but e5-median is not trained: e5: not on this machine"
    assert said in capsys.readouterr().err
