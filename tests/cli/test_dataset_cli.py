import json

import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from potstill.cli import dataset as command
from potstill.dataset import Dataset, DatasetRecord
from potstill.errors import BadInput, DatasetError, RunError
from potstill.filters import parse_filter
from potstill.oracle.replay import ReplayOracle
from potstill.pipeline.label import label_run
from potstill.pipeline.run import LAYOUT, Run

FILTER = parse_filter(
    """
name: weather
version: 1
description: How bad the weather is.
dimensions:
  wind: {weight: 0.5, description: How strong}
  rain: {weight: 0.5, description: How wet}
tiers:
  - {name: storm, when: overall >= 6, positive: true}
  - {name: calm}
""",
    "Judge the weather.",
    "weather",
)


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def an_article(i):
    town = f"town{i} hill{i} lake{i}"
    return {
        "id": f"a{i}",
        "title": f"Weather in {town}",
        "content": f"Rain and wind over {town}.",
        "source": f"s{i % 7}",
    }


def recorded(i):
    return {"id": f"a{i}", "scores": {"wind": i % 11, "rain": (7 * i) % 11}}


@pytest.fixture
def run_folder(tmp_path):
    """Thirty labelled articles; the last is a copy of the first."""
    articles = [an_article(i) for i in range(29)] + [an_article(0) | {"id": "a29"}]
    write_lines(tmp_path / "articles.jsonl", articles)
    write_lines(tmp_path / "scores.jsonl", [recorded(i) for i in range(30)])
    oracle = ReplayOracle(tmp_path / "scores.jsonl")
    label_run(tmp_path / "run", FILTER, tmp_path / "articles.jsonl", oracle)
    return tmp_path / "run"


def call(*arguments):
    app = typer.Typer()
    # With a second command, Typer requires the name of the first.
    app.command("other")(lambda: None)
    command.register(app)
    result = CliRunner().invoke(app, ["dataset", *map(str, arguments)])
    if isinstance(result.exception, BadInput):
        raise result.exception
    return result


def rows(folder):
    return Dataset.load(folder / LAYOUT["rows"], FILTER.dimension_names).frame


def test_a_run_gets_its_rows_pairs_and_record(run_folder):
    result = call(run_folder)
    assert result.exit_code == 0
    assert "train 24, validation 3, test 3" in result.stdout
    assert "1 near-duplicate pairs, 29 clusters, each in one part" in result.stdout
    frame = rows(run_folder)
    assert frame.height == 30
    assert frame["split"][0] == frame["split"][29]
    assert json.loads((run_folder / LAYOUT["pairs"]).read_text())["pairs"] == [["a0", "a29", 1.0]]
    assert {one.stage: one.state for one in Run.open(run_folder).status()}["dataset"] == "done"
    assert Run.open(run_folder).manifest.stages["dataset"].parameters["record"]["rows"] == 30


def test_json_prints_the_record_alone(run_folder):
    record = DatasetRecord.model_validate_json(call(run_folder, "--json", "--seed", 3).stdout)
    assert record.seed == 3
    assert record.parts == {"train": 24, "validation": 3, "test": 3}


def test_the_same_seed_gives_the_same_file_and_another_another(run_folder):
    def split(seed):
        call(run_folder, "--seed", seed)
        return rows(run_folder)["split"].to_list()

    assert split(1) == split(1)
    assert split(1) != split(2)


def test_fractions_and_whole_sources_are_taken(run_folder):
    record = DatasetRecord.model_validate_json(
        call(run_folder, "--fractions", "50/25/25", "--keep-whole", "source", "--json").stdout
    )
    assert record.whole == "source"
    assert record.fractions == {"train": 0.5, "validation": 0.25, "test": 0.25, "calibration": 0.0}
    together = rows(run_folder).group_by("source").agg(pl.col("split").n_unique())
    assert together["split"].max() == 1


def test_bad_fractions_are_refused_and_the_old_rows_stay(run_folder):
    call(run_folder)
    before = (run_folder / LAYOUT["rows"]).read_bytes()
    with pytest.raises(DatasetError, match="fractions '50/20': expected three or four numbers"):
        call(run_folder, "--fractions", "50/20")
    with pytest.raises(DatasetError, match="no labels of oracle 'nobody'"):
        call(run_folder, "--labels-of", "nobody")
    assert (run_folder / LAYOUT["rows"]).read_bytes() == before


def test_a_run_without_labels_names_the_command_that_gets_them(tmp_path):
    Run.create(tmp_path / "new", FILTER)
    with pytest.raises(RunError, match="potstill label"):
        call(tmp_path / "new")


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="not a run folder"):
        call(tmp_path)


def test_labels_of_one_value_are_refused(tmp_path):
    write_lines(tmp_path / "articles.jsonl", [an_article(i) for i in range(30)])
    write_lines(tmp_path / "scores.jsonl", [recorded(i) | {"scores": {"wind": 3, "rain": 3}} for i in range(30)])
    label_run(tmp_path / "run", FILTER, tmp_path / "articles.jsonl", ReplayOracle(tmp_path / "scores.jsonl"))
    with pytest.raises(DatasetError, match="no dimension's labels vary"):
        call(tmp_path / "run")


def test_help_says_what_it_does():
    shown = call("--help").stdout
    assert "near-duplicates together" in shown
    assert "--keep-whole" in shown
