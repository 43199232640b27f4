"""Tests of `potstill sample`: chosen articles keep all their fields, and no input file is overwritten."""

import json

import polars as pl
import pytest
from evaluated_run import bundled_run, stories
from tiny_bundle import articles
from tiny_run import started
from typer.testing import CliRunner

from potstill.cli import build
from potstill.errors import BadInput


@pytest.fixture
def run(tmp_path):
    return started(tmp_path / "run").folder


@pytest.fixture
def pool(tmp_path):
    """Nine articles, of which the prefilter drops the first; each has its own reason."""
    frame = articles(9)[0].with_columns(reason=pl.format("mine {}", "id"))
    frame = frame.with_columns(
        content=pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("git clone")).otherwise("content")
    )
    frame.write_parquet(tmp_path / "pool.parquet")
    return tmp_path / "pool.parquet"


def sample(*arguments):
    done = CliRunner().invoke(build(), ["sample", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.mark.parametrize(("options", "count"), [((), 8), (("--dropped",), 1)])
def test_a_column_called_reason_is_kept(run, pool, tmp_path, options, count):
    sample(run, "--articles", pool, "-o", tmp_path / "out.jsonl", *options)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(rows) == count
    assert all(row["reason"] == f"mine {row['id']}" for row in rows)


def test_nothing_to_choose_from_gives_the_columns(run, pool, tmp_path):
    pl.read_parquet(pool).clear().write_parquet(pool)
    sample(run, "--articles", pool, "-o", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "id,title,content,reason\n"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("pool.parquet", "is also the input .*pool.parquet"),
        ("run/dataset/rows.parquet", "is also the input .*rows.parquet"),
        ("run/bundle/out.jsonl", "which must not change|there is no folder"),
        ("gone/out.jsonl", "there is no folder"),
        ("out.txt", "unknown kind of file"),
        ("run", "unknown kind of file|is a folder"),
    ],
)
def test_a_place_that_must_not_be_written_is_refused(run, pool, tmp_path, place, message):
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"}
    with pytest.raises(BadInput, match=message):
        sample(run, "--articles", pool, "-o", tmp_path / place)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_column_that_the_result_cannot_hold_is_refused(run, pool, tmp_path):
    pl.read_parquet(pool).with_columns(picture=pl.lit(b"x")).write_parquet(pool)
    with pytest.raises(BadInput, match="column picture has the type Binary, which JSON lines cannot represent"):
        sample(run, "--articles", pool, "-o", tmp_path / "out.jsonl")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--how", "high", "--dimension", "snow"), "unknown dimension 'snow'; the dimensions of .* are "),
        (("--dimension", "quality"), "is used by the sampling method 'high' only; the method is 'random'"),
    ],
)
def test_a_dimension_that_cannot_be_used_is_refused(run, pool, tmp_path, options, message):
    with pytest.raises(BadInput, match=message):
        sample(run, "--articles", pool, "-o", tmp_path / "out.jsonl", *options)
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("options", "mark"), [(("--how", "high"), "high"), (("--how", "high", "--dimension", "near"), "high by near")]
)
def test_articles_chosen_by_expected_scores_are_marked_in_the_file(tmp_path, options, mark):
    run = bundled_run(tmp_path, 60)
    articles, _ = stories(30, seed=5)
    lines = [json.dumps({**article, "id": f"new-{number}"}) + "\n" for number, article in enumerate(articles)]
    (tmp_path / "new.jsonl").write_text("".join(lines))
    done = sample(run.folder, "--articles", tmp_path / "new.jsonl", "-n", 5, "-o", tmp_path / "out.jsonl", *options)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["sampling"] for row in rows] == [mark] * 5
    assert "marked in the column sampling: a dataset uses them for training only" in done.stderr
