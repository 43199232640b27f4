"""Tests of inputs and outputs of scoring: protected files, columns that a format cannot store, and pipes."""

import datetime as dt
import json
import os
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
from tiny_bundle import articles

from potstill.articles import open_writer
from potstill.errors import ArticleError, BadInput
from potstill.scorer import score_file


@pytest.fixture
def news(tmp_path):
    frame, _ = articles(7)
    with open_writer(tmp_path / "news.jsonl") as writer:
        writer.write(frame)
    return tmp_path / "news.jsonl"


@contextmanager
def nothing_scored(scorer, monkeypatch):
    def finish(prepared):
        pytest.fail("an article was scored")

    with monkeypatch.context() as patched:
        patched.setattr(scorer, "finish", finish)
        yield


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


# -- files that must not be overwritten


@pytest.mark.parametrize("how", ["itself", "link", "hard link"])
def test_results_without_texts_do_not_replace_the_articles(tfidf, news, tmp_path, monkeypatch, how):
    target, before = tmp_path / "other.jsonl", news.read_bytes()
    if how == "link":
        target.symlink_to(news)
    elif how == "hard link":
        target.hardlink_to(news)
    else:
        target = news
    with nothing_scored(tfidf, monkeypatch), pytest.raises(BadInput, match=r"is also the input"):
        score_file(tfidf, news, target)
    assert news.read_bytes() == before


def test_results_with_texts_may(tfidf, news, tmp_path):
    (tmp_path / "link.jsonl").symlink_to(news)
    score_file(tfidf, tmp_path / "link.jsonl", tmp_path / "link.jsonl", keep_text=True)
    assert (tmp_path / "link.jsonl").is_symlink()
    assert [row["content"] for row in lines_of(news)] == articles(7)[0]["content"].to_list()


@pytest.mark.parametrize(("kind", "bundle"), [("tfidf", "tfidf"), ("two", "tfidf"), ("two", "far")])
@pytest.mark.parametrize("name", ["out.csv", "golden.jsonl"])
def test_no_result_goes_into_a_bundle(request, folders, news, monkeypatch, kind, bundle, name):
    scorer, before = request.getfixturevalue(kind), names(folders[bundle])
    with (
        nothing_scored(scorer, monkeypatch),
        pytest.raises(BadInput, match="must not change; choose another output path"),
    ):
        score_file(scorer, news, folders[bundle] / name)
    assert names(folders[bundle]) == before


@pytest.mark.parametrize(("name", "message"), [("", "is a folder"), ("gone/out.jsonl", "there is no folder .*gone")])
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_scored(
    tfidf, news, tmp_path, monkeypatch, name, message
):
    (tmp_path / "folder.jsonl").mkdir()
    with nothing_scored(tfidf, monkeypatch), pytest.raises(BadInput, match=message):
        score_file(tfidf, news, tmp_path / (name or "folder.jsonl"))
    assert names(tmp_path) == ["folder.jsonl", "news.jsonl"]


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_a_private_result_stays_private(tfidf, news, tmp_path, ending):
    target = tmp_path / f"out{ending}"
    target.write_text("old")
    target.chmod(0o600)
    (tmp_path / f"link{ending}").symlink_to(target.name)
    modes = []
    finish = tfidf.finish

    def noting(prepared):
        modes.extend(stat.S_IMODE(path.stat().st_mode) & 0o077 for path in tmp_path.glob(".*"))
        return finish(prepared)

    tfidf.finish = noting
    try:
        score_file(tfidf, news, tmp_path / f"link{ending}", batch_size=2)
    finally:
        del tfidf.finish
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert len(modes) > 3
    assert set(modes) == {0}
    assert names(tmp_path) == sorted(["news.jsonl", target.name, f"link{ending}"])


def test_what_a_kill_left_of_another_target_stays(tfidf, news, tmp_path):
    (tmp_path / ".o1.jsonl.abc.part").write_text("another's")
    score_file(tfidf, news, tmp_path / "o[12].jsonl")
    assert names(tmp_path) == [".o1.jsonl.abc.part", "news.jsonl", "o[12].jsonl"]


# -- columns that a format cannot store


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
@pytest.mark.parametrize("name", ["picture", "tier"])
def test_a_column_of_bytes_is_refused_before_anything_is_scored(tfidf, tmp_path, monkeypatch, ending, name):
    source, target = tmp_path / "in.parquet", tmp_path / f"out{ending}"
    pl.DataFrame({"content": ["library"] * 9, name: [b"x"] * 9}).write_parquet(source)
    with nothing_scored(tfidf, monkeypatch), pytest.raises(BadInput, match=f"column {name} has the type Binary, which"):
        score_file(tfidf, source, target, batch_size=2)
    assert names(tmp_path) == ["in.parquet"]
    score_file(tfidf, source, tmp_path / "out.parquet", batch_size=2)
    kept = "input_tier" if name == "tier" else name
    assert pl.read_parquet(tmp_path / "out.parquet")[kept].to_list() == [b"x"] * 9


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_a_date_that_no_calendar_has_is_refused_where_text_is_written(tfidf, tmp_path, capfd, ending):
    days = pl.Series([0, 2**31 - 1], dtype=pl.Int32).cast(pl.Date)
    frame = pl.DataFrame({"content": ["library", "school"], "day": days, "days": days.reshape((2, 1)).arr.to_list()})
    frame.write_parquet(tmp_path / "in.parquet")
    if ending == ".parquet":
        score_file(tfidf, tmp_path / "in.parquet", tmp_path / "out.parquet")
        assert pl.read_parquet(tmp_path / "out.parquet")["day"].equals(frame["day"])
    else:
        with pytest.raises(ArticleError, match="column day: a date or time that cannot be written as text"):
            score_file(tfidf, tmp_path / "in.parquet", tmp_path / f"out{ending}")
    assert capfd.readouterr().err == ""


def test_durations_times_and_lists_of_them_are_written(tfidf, tmp_path):
    took = [dt.timedelta(seconds=90), None]
    frame = pl.DataFrame({"content": ["library", "school"], "took": took, "each": [[t] for t in took]})
    frame.write_parquet(tmp_path / "in.parquet")
    for ending in (".jsonl", ".csv"):
        score_file(tfidf, tmp_path / "in.parquet", tmp_path / f"out{ending}")
    rows = lines_of(tmp_path / "out.jsonl")
    assert [(row["took"], row["each"]) for row in rows] == [("PT90S", ["PT90S"]), (None, [None])]
    table = pl.read_csv(tmp_path / "out.csv")
    assert table.select("took", "each").rows() == [("PT90S", '["PT90S"]'), (None, "[null]")]


# -- kinds of files


@pytest.mark.parametrize(("name", "nested"), [("o.JSONL", True), ("o.jsonl.csv", False), ("o.jsonl.parquet", False)])
def test_the_last_ending_alone_says_whether_scores_are_nested(tfidf, news, tmp_path, name, nested):
    score_file(tfidf, news, tmp_path / name)
    if nested:
        assert lines_of(tmp_path / name)[0]["scores"].keys() == {"gain", "near"}
        return
    read = pl.read_csv if name.endswith("csv") else pl.read_parquet
    assert {"score_gain", "low_gain", "tier"} <= set(read(tmp_path / name).columns)


# -- no rows


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("to", ["jsonl", "csv", "parquet"])
def test_no_articles_give_the_columns_of_a_verdict_and_no_rows(tfidf, tmp_path, form, to):
    empty = pl.DataFrame(schema={"id": pl.String, "content": pl.String, "source": pl.String, "tier": pl.String})
    with open_writer(tmp_path / f"in.{form}") as writer:
        writer.write(empty)
    summary = score_file(tfidf, tmp_path / f"in.{form}", tmp_path / f"out.{to}")
    assert (summary.articles, sum(summary.only.tiers.values())) == (0, 0)
    expected = ["id", "title", *(["source", "input_tier"] if form != "jsonl" else [])]
    expected += [f"{what}_{name}" for what in ("score", "low", "high") for name in ("gain", "near")]
    expected += ["overall", "tier", "gates", "caps", "reason", "probability", "cut", "why"]
    if to == "jsonl":
        assert (tmp_path / "out.jsonl").read_bytes() == b""
    elif to == "csv":
        assert (tmp_path / "out.csv").read_text().splitlines() == [",".join(expected)]
    else:
        found = pl.read_parquet(tmp_path / "out.parquet")
        assert (found.columns, found.height) == (expected, 0)
        assert found.schema["gates"] == pl.List(pl.String)


def test_no_articles_for_several_filters_give_their_columns_too(two, tmp_path):
    (tmp_path / "in.csv").write_text("content\n")
    score_file(two, tmp_path / "in.csv", tmp_path / "out.csv")
    assert {"good-news.tier", "far-news.tier"} <= set((tmp_path / "out.csv").read_text().strip().split(","))


# -- files that change, and pipes


def shortened(path, rows):
    if path.suffix == ".parquet":
        pl.read_parquet(path).head(rows).write_parquet(path)
    else:
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[: rows + (path.suffix == ".csv")]))


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
@pytest.mark.parametrize("rows", [0, 3])
def test_a_file_that_is_cut_short_after_it_was_counted_is_no_smaller_file(tfidf, tmp_path, monkeypatch, ending, rows):
    source = tmp_path / f"in{ending}"
    with open_writer(source) as writer:
        writer.write(articles(9)[0])
    import potstill.scorer.files

    counted = potstill.scorer.files.count_articles

    def and_then_cut(path):
        total = counted(path)
        shortened(source, rows)
        return total

    monkeypatch.setattr(potstill.scorer.files, "count_articles", and_then_cut)
    message = f"in{ending}: has changed while it was read: it held 9 articles at first, and {rows} were read"
    with pytest.raises(BadInput, match=message):
        score_file(tfidf, source, tmp_path / f"out{ending}")
    assert not (tmp_path / f"out{ending}").exists()


def test_a_file_that_grows_is_read_as_far_as_it_goes(tfidf, news, tmp_path, monkeypatch):
    import potstill.scorer.files

    monkeypatch.setattr(potstill.scorer.files, "count_articles", lambda _: 3)
    assert score_file(tfidf, news, tmp_path / "out.jsonl").articles == 7


@pytest.mark.parametrize("name", ["in.jsonl", "in", "in.csv"])
def test_a_named_pipe_is_scored_as_the_file_is(tfidf, news, tmp_path, name):
    score_file(tfidf, news, tmp_path / "expected.jsonl")
    copy = news
    if name.endswith("csv"):
        copy = tmp_path / "news.csv"
        pl.read_ndjson(news).write_csv(copy)
    pipe = tmp_path / name
    os.mkfifo(pipe)
    feeder = threading.Thread(target=lambda: pipe.write_bytes(copy.read_bytes()))
    feeder.start()
    score_file(tfidf, pipe, tmp_path / "out.jsonl")
    feeder.join()
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "expected.jsonl").read_bytes()
    with pytest.raises(BadInput, match="--resume needs a file"):
        score_file(tfidf, pipe, tmp_path / "out.jsonl", resume=True)


SCORE = [sys.executable, "-c", "from potstill.cli import main; main()", "-q", "score"]


@pytest.mark.parametrize("options", [(), ("--processes", "2"), ("--batch-size", "1")])
def test_a_stream_is_answered_while_it_goes_on(tfidf, news, tmp_path, options):
    score_file(tfidf, news, tmp_path / "expected.jsonl")
    scoring = subprocess.Popen(
        [*SCORE, tfidf.bundle.folder, "-", *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    answers = []
    for lines in (news.read_bytes().splitlines(keepends=True)[:2], news.read_bytes().splitlines(keepends=True)[2:]):
        # Nothing more is sent until all of these are answered; a stream that waited for a full batch would block here.
        scoring.stdin.write(b"".join(lines))
        scoring.stdin.flush()
        answers += [json.loads(scoring.stdout.readline()) for _ in lines]
    scoring.stdin.close()
    assert (scoring.stdout.read(), scoring.wait()) == (b"", 0)
    scoring.stdout.close()
    assert answers == rounded(lines_of(tmp_path / "expected.jsonl"))


def rounded(value):
    """Return lines as standard output has them, with at most 4 decimals."""
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return round(value, 4) if isinstance(value, float) else value


def test_a_reader_of_a_named_pipe_that_has_seen_enough_is_no_error(tfidf, tmp_path):
    with open_writer(tmp_path / "in.jsonl") as writer:
        writer.write(articles(3000)[0])
    os.mkfifo(tmp_path / "out")
    scoring = subprocess.Popen(
        [*SCORE, tfidf.bundle.folder, tmp_path / "in.jsonl", "-o", tmp_path / "out", "--batch-size", "10"],
        stderr=subprocess.PIPE,
    )
    with (tmp_path / "out").open("rb") as pipe:
        assert json.loads(pipe.readline())["id"] == "a0"
    assert (scoring.stderr.read(), scoring.wait()) == (b"", 0)
    scoring.stderr.close()


def test_a_full_disk_behind_standard_output_is_one_line(tfidf, news):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*SCORE, tfidf.bundle.folder, news], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert done.stderr.decode() == "error: standard output: cannot be written (No space left on device)\n"
