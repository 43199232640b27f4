"""Tests of training histories in a report: slopes, and the flags of every candidate model, shipped or not."""

import pytest
from evaluated_run import evaluated_run

from potstill.files import read_json, write_json
from potstill.pipeline.run import Run
from potstill.report.blocks import Findings, Table
from potstill.report.facts import collect
from potstill.report.sections.training import training


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = evaluated_run(tmp_path_factory.mktemp("histories"), 60)
    record = read_json(run.path("evaluation"))
    record["ladder"][0]["training"] = {
        "epochs": 6,
        "best_epoch": 5,
        "gap": 0.2,
        "plateau": {"epochs": 5, "slope": -0.0123, "interval": {"low": -0.03, "high": 0.005}},
        "flags": [{"rule": "only-the-head-trains", "tone": "bad", "text": "200 parameters train.", "evidence": {}}],
    }
    write_json(run.path("evaluation"), record)
    return Run.open(run.folder)


def blocks(run, kind):
    return [block for block in training(collect(run)).blocks if isinstance(block, kind)]


def test_the_slope_of_validation_stands_with_its_interval(run):
    table = next(block for block in blocks(run, Table) if "Slope" in block.caption)
    assert ["".join(map(str, cell)) for cell in table.rows[0].cells] == [
        "constant",
        "5",
        "\N{MINUS SIGN}0.012",
        "\N{MINUS SIGN}0.030 to 0.005",
    ]
    assert len(table.rows) == 1


def test_flags_of_a_rung_that_was_not_shipped_are_shown_too(run):
    (findings,) = blocks(run, Findings)
    (item,) = findings.items
    assert "".join(map(str, item.text)) == "constant: 200 parameters train."
    assert item.tone == "bad"


def test_without_histories_neither_is_there(run):
    record = read_json(run.path("evaluation"))
    bare = {**record, "ladder": [{**rung, "training": None} for rung in record["ladder"]]}
    write_json(run.path("evaluation"), bare)
    assert blocks(run, Findings) == []
    assert not [block for block in blocks(run, Table) if "Slope" in block.caption]
    write_json(run.path("evaluation"), record)
