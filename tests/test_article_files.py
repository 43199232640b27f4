"""Tests of article and result files: kinds of files by name, pipes, devices, columns, and empty files."""

import datetime as dt
import decimal
import gzip
import json
import os
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest
import zstandard

from potstill.articles import (
    check_columns,
    count_articles,
    form_of,
    open_writer,
    read_all,
    read_articles,
)
from potstill.articles.arriving import arriving
from potstill.errors import ArticleError, BadInput

FRAME = pl.DataFrame({"id": ["1", "2"], "title": ["", ""], "content": ["a library", "a school"]})


def write(path, *frames):
    with open_writer(path) as writer:
        for frame in frames:
            writer.write(frame)


class Feeder(threading.Thread):
    """Writes bytes to a pipe in the background."""

    def __init__(self, path, data):
        super().__init__()
        self.path, self.data = path, data
        self.start()

    def run(self):
        with self.path.open("wb") as stream:
            stream.write(self.data)


def fifo(path):
    os.mkfifo(path)
    return path


# -- kinds of files by name


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("o.jsonl", ".jsonl"),
        ("o.JSONL", ".jsonl"),
        ("o.JsonL.GZ", ".jsonl.gz"),
        ("o.jsonl.Zst", ".jsonl.zst"),
        ("o.jsonl.csv", ".csv"),
        ("o.csv.jsonl", ".jsonl"),
        ("o.jsonl.parquet", ".parquet"),
        ("o.jsonl.gz.CSV", ".csv"),
        ("O.PARQUET", ".parquet"),
        ("-", ".jsonl"),
        ("/dev/stdout", ".jsonl"),
    ],
)
def test_the_last_ending_says_what_a_file_is_in_whatever_letters(name, form):
    assert form_of(name) == form


@pytest.mark.parametrize("name", ["o.txt", "o", "o.csv.gz", "o.jsonl.", "jsonl", "o.jsonl.bak"])
def test_a_name_that_says_nothing_is_refused(name):
    with pytest.raises(ArticleError, match=r"unknown kind of file, expected one of \.jsonl, "):
        form_of(name)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("o.JSONL", pl.read_ndjson),
        ("o.jsonl.csv", lambda path: pl.read_csv(path, schema_overrides={"id": pl.String})),
        ("o.jsonl.parquet", pl.read_parquet),
        ("o.JSONL.GZ", lambda path: pl.read_ndjson(gzip.decompress(path.read_bytes()))),
    ],
)
def test_what_is_written_is_what_the_name_says(tmp_path, name, read):
    write(tmp_path / name, FRAME)
    assert read(tmp_path / name)["content"].to_list() == ["a library", "a school"]
    assert read_all(tmp_path / name)["content"].to_list() == ["a library", "a school"]


# -- pipes and devices


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("in.jsonl", bytes),
        ("in", bytes),
        ("in.jsonl.gz", gzip.compress),
        ("in.jsonl.zst", zstandard.compress),
        ("in.csv", lambda _: b"id,content\n1,a\n2,b\n"),
    ],
)
def test_articles_come_through_a_named_pipe_and_are_read_once(tmp_path, name, pack):
    pipe = fifo(tmp_path / name)
    feeder = Feeder(pipe, pack(b'{"id": "1", "content": "a"}\n\n{"id": "2", "content": "b"}'))
    assert count_articles(pipe) is None
    assert read_all(pipe).select("id", "content").rows() == [("1", "a"), ("2", "b")]
    feeder.join()


def test_parquet_through_a_pipe_is_refused_and_not_waited_for(tmp_path):
    with pytest.raises(ArticleError, match="Parquet cannot be read from a pipe"):
        read_all(fifo(tmp_path / "in.parquet"))


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".csv", ".parquet", ""])
def test_a_named_pipe_gets_the_result_and_stays_a_pipe(tmp_path, ending):
    pipe, copy = fifo(tmp_path / f"out{ending}"), tmp_path / f"copy{ending or '.jsonl'}"
    reader = threading.Thread(target=lambda: copy.write_bytes(pipe.read_bytes()))
    reader.start()
    write(pipe, FRAME[:1], FRAME[1:])
    reader.join()
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert read_all(copy).select("id", "content").rows() == [("1", "a library"), ("2", "a school")]


def test_rows_go_through_a_pipe_as_soon_as_they_are_written(tmp_path):
    pipe, got = fifo(tmp_path / "out"), []

    def read():
        with pipe.open("rb") as stream:
            got.append(stream.readline())
            first.set()
            got.append(stream.read())

    first = threading.Event()
    reader = threading.Thread(target=read)
    reader.start()
    with open_writer(pipe) as writer:
        writer.write(FRAME[:1])
        assert first.wait(60)
        writer.write(FRAME[1:])
    reader.join()
    assert [json.loads(line)["id"] for line in got] == ["1", "2"]


@pytest.mark.parametrize("name", ["/dev/full", "full.csv", "full.parquet", "full.jsonl.gz"])
def test_a_device_without_room_is_named(tmp_path, name):
    path = tmp_path / name
    if not path.exists():
        path.symlink_to("/dev/full")
    with pytest.raises(BadInput, match=r"cannot be written \(No space left on device\)"):
        write(path, FRAME)
    assert stat.S_ISCHR(path.stat().st_mode)


def test_a_full_disk_behind_standard_output_is_one_line_and_nothing_more():
    program = (
        "import sys, polars as pl; from potstill.articles import open_writer; from potstill.errors import BadInput\n"
        "try:\n"
        "    with open_writer('-') as writer: writer.write(pl.DataFrame({'id': ['1']}))\n"
        "except BadInput as error: print(error, file=sys.stderr); sys.exit(2)\n"
    )
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert done.stderr.decode() == "standard output: cannot be written (No space left on device)\n"


def test_closed_standard_streams_are_named(tmp_path):
    program = (
        "import sys; from potstill.articles import *; from potstill.errors import BadInput\n"
        "for use in (lambda: list(read_articles('-')), lambda: open_writer('-').__enter__()):\n"
        "    try: use()\n"
        "    except BadInput as error: print(error, file=sys.stderr)\n"
    )
    (tmp_path / "program.py").write_text(program)
    shell = f"exec '{sys.executable}' '{tmp_path / 'program.py'}' <&- >&-"
    done = subprocess.run(["sh", "-c", shell], stderr=subprocess.PIPE, check=False, text=True)
    assert done.stderr == "stdin: is closed\nstandard output: is closed\n"


# -- streaming of lines


class TestArriving:
    @pytest.fixture
    def pipe(self):
        out, into = os.pipe()
        with os.fdopen(out, "rb", buffering=0) as stream, os.fdopen(into, "wb", buffering=0) as sink:
            yield stream, sink

    def test_what_has_come_is_given_although_more_may_follow(self, pipe):
        stream, sink = pipe
        lists = arriving("stdin", stream, 512)
        sink.write(b"one\ntwo\nthr")
        assert next(lists) == [(1, b"one"), (2, b"two")]
        sink.write(b"ee\n")
        assert next(lists) == [(3, b"three")]

    def test_lines_that_trickle_do_not_put_off_those_before_them(self, pipe):
        stream, sink = pipe
        lists = arriving("stdin", stream, 512)
        stop = threading.Event()

        def trickle():
            while not stop.is_set():
                sink.write(b"line\n")
                time.sleep(0.05)

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            assert 1 <= len(next(lists)) < 512
        finally:
            stop.set()
            thread.join()

    def test_a_pause_after_a_full_list_is_told_once(self, pipe):
        stream, sink = pipe
        lists = arriving("stdin", stream, 2)
        sink.write(b"one\ntwo\n")
        assert [next(lists), next(lists)] == [[(1, b"one"), (2, b"two")], []]
        sink.write(b"three\n")
        assert next(lists) == [(3, b"three")]

    def test_full_lists_come_at_once_and_the_rest_at_the_end(self, pipe):
        stream, sink = pipe
        sink.write(b"".join(b"%d\n" % number for number in range(7)) + b"last")
        sink.close()
        assert [len(lines) for lines in arriving("stdin", stream, 3)] == [3, 3, 2]

    def test_a_line_without_end_is_refused(self, pipe):
        stream, sink = pipe

        def endless():
            with suppress(BrokenPipeError):
                while True:
                    sink.write(b"x" * 60_000)

        thread = threading.Thread(target=endless)
        thread.start()
        with pytest.raises(ArticleError, match=r"stdin: line 1: the line is longer than 16,000,000 bytes"):
            list(arriving("stdin", stream, 3))
        stream.close()
        thread.join()


# -- columns that a kind of file cannot store


HELD = {
    "name": pl.String,
    "day": pl.Date,
    "at": pl.Datetime("us", "Europe/Paris"),
    "clock": pl.Time,
    "price": pl.Decimal(20, 3),
    "kind": pl.Enum(["a", "b"]),
    "group": pl.Categorical,
    "nothing": pl.Null,
    "large": pl.Int128,
    "took": pl.Duration("us"),
    "tags": pl.List(pl.Struct({"name": pl.String, "took": pl.Duration("ms")})),
    "pair": pl.Array(pl.Float32, 2),
}

VALUES = {
    "name": "x",
    "day": dt.date(2020, 1, 2),
    "at": dt.datetime(2020, 1, 2, 3, tzinfo=dt.UTC),
    "clock": dt.time(1, 2, 3),
    "price": decimal.Decimal("1.500"),
    "kind": "a",
    "group": "a",
    "nothing": None,
    "large": 2**100,
    "took": dt.timedelta(days=1, seconds=1.5),
    "tags": [{"name": "x", "took": dt.timedelta(seconds=1)}],
    "pair": [1.5, None],
}


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_columns_of_other_types_are_held_by_every_kind_of_file(tmp_path, ending):
    frame = pl.DataFrame([VALUES, dict.fromkeys(VALUES)], schema=HELD)
    check_columns(tmp_path / f"out{ending}", frame.schema)
    write(tmp_path / f"out{ending}", frame)
    if ending == ".parquet":
        assert pl.read_parquet(tmp_path / "out.parquet").equals(frame)
        return
    if ending == ".csv":
        rows = pl.read_csv(tmp_path / "out.csv", infer_schema=False).to_dicts()
        rows[0] |= {name: json.loads(rows[0][name]) for name in ("tags", "pair")}
    else:
        rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert rows[0]["took"] == "PT86401.5S"
    assert rows[0]["tags"] == [{"name": "x", "took": "PT1S"}]
    assert rows[0]["pair"] == [1.5, None]
    assert (rows[0]["day"], str(rows[0]["price"]), str(rows[0]["large"])) == ("2020-01-02", "1.500", str(2**100))
    assert set(rows[1].values()) == {None}


@pytest.mark.parametrize(
    ("dtype", "inside"),
    [
        (pl.Binary(), ""),
        (pl.List(pl.Binary), " that contains Binary"),
        (pl.Array(pl.Binary, 2), " that contains Binary"),
        (pl.List(pl.Struct({"name": pl.String, "data": pl.Binary})), " that contains Binary"),
        (pl.Object(), ""),
    ],
)
@pytest.mark.parametrize(("ending", "kind"), [(".jsonl", "JSON lines"), (".jsonl.gz", "JSON lines"), (".csv", "CSV")])
def test_a_column_of_bytes_is_refused_where_text_is_written(tmp_path, dtype, inside, ending, kind):
    path = tmp_path / f"out{ending}"
    with pytest.raises(BadInput) as caught:
        check_columns(path, {"id": pl.String(), "picture": dtype})
    named = str(dtype).replace("\n", " ")
    assert str(caught.value) == (
        f"{path}: column picture has the type {named}{inside}, which {kind} cannot represent; "
        "write .parquet, or remove the column from the input"
    )


@pytest.mark.parametrize("dtype", [pl.Struct({}), pl.List(pl.Struct({})), pl.Object()])
def test_what_parquet_cannot_hold_is_refused_there(dtype):
    with pytest.raises(
        BadInput, match=r"out\.parquet: column odd has the type .*, which Parquet cannot represent; remove the column"
    ):
        check_columns("out.parquet", {"odd": dtype})


@pytest.mark.parametrize(
    ("value", "dtype", "name"),
    [
        (b"x", pl.Binary, "bytes"),
        (dt.date(2020, 1, 2), pl.Date, "a date"),
        (dt.timedelta(1), pl.Duration("us"), "a duration"),
        (decimal.Decimal(1), pl.Decimal(5, 1), "a number"),
        (["x"], pl.List(pl.String), "a list"),
    ],
)
def test_a_content_that_is_no_text_is_called_what_it_is(tmp_path, value, dtype, name):
    pl.DataFrame({"content": [value]}, schema={"content": dtype}).write_parquet(tmp_path / "in.parquet")
    with pytest.raises(ArticleError, match=rf"row 1: field content: expected text, got {name}"):
        read_all(tmp_path / "in.parquet")


# -- the column for further fields of a JSON line


@pytest.mark.parametrize(
    ("values", "dtype", "out"),
    [
        ([["x"], None], pl.List(pl.String), [["x"], None]),
        ([dt.date(2020, 1, 2), None], pl.Date, ["2020-01-02", None]),
        ([1, None], pl.Int64, [1, None]),
        (['{"n": NaN}', "[" * 100_000], pl.String, ['{"n": NaN}', "[" * 100_000]),
        (['{"n": 1e999}', "9" * 5000], pl.String, ['{"n": 1e999}', "9" * 5000]),
    ],
)
def test_a_users_own_column_called_extra_comes_out_as_it_was(tmp_path, values, dtype, out):
    frame = FRAME.with_columns(pl.Series("extra", values, dtype=dtype))
    frame.write_parquet(tmp_path / "in.parquet")
    write(tmp_path / "out.jsonl", read_all(tmp_path / "in.parquet"))
    assert [json.loads(line)["extra"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == out


def test_bytes_in_a_column_called_extra_are_refused(tmp_path):
    FRAME.with_columns(extra=pl.lit(b"x")).write_parquet(tmp_path / "in.parquet")
    with pytest.raises(
        ArticleError, match="column extra: has the type Binary, which JSON cannot represent; rename the column"
    ):
        read_all(tmp_path / "in.parquet")


# -- no rows


def test_a_table_without_rows_keeps_its_columns(tmp_path):
    (tmp_path / "in.csv").write_text("content,source,id\n")
    pl.DataFrame(schema={"content": pl.String, "n": pl.Int64}).write_parquet(tmp_path / "in.parquet")
    (tmp_path / "in.jsonl").write_text("\n\n")
    columns = {ending: read_all(tmp_path / f"in.{ending}").columns for ending in ("csv", "parquet", "jsonl")}
    assert columns == {
        "csv": ["id", "title", "content", "source"],
        "parquet": ["id", "title", "content", "n"],
        "jsonl": ["id", "title", "content"],
    }
    assert [frame.height for frame in read_articles(tmp_path / "in.csv")] == [0]


def test_a_table_without_rows_and_without_content_is_refused(tmp_path):
    (tmp_path / "in.csv").write_text("id,words\n")
    pl.DataFrame(schema={"id": pl.String, "words": pl.String}).write_parquet(tmp_path / "in.parquet")
    for name in ("in.csv", "in.parquet"):
        with pytest.raises(ArticleError, match='1: field content is missing; the fields are "id", "words"'):
            read_all(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "out"), [("o.jsonl", b""), ("o.csv", b"id,title,content\n"), ("o.jsonl.gz", None), ("o.parquet", None)]
)
def test_no_rows_are_written_with_their_columns(tmp_path, name, out):
    write(tmp_path / name, FRAME.clear())
    if out is not None:
        assert (tmp_path / name).read_bytes() == out
    assert read_all(tmp_path / name).equals(FRAME.clear())


@pytest.mark.parametrize("column", ["text", "body", "full_text"])
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_the_text_may_be_in_a_column_of_another_usual_name(tmp_path, column, ending):
    path = tmp_path / f"in.{ending}"
    frame = pl.DataFrame({"id": ["a", "b"], column: ["One story.", "Another."], "section": ["home", "world"]})
    getattr(frame, {"csv": "write_csv", "jsonl": "write_ndjson", "parquet": "write_parquet"}[ending])(path)
    found = read_all(path)
    assert found["content"].to_list() == ["One story.", "Another."]
    assert column not in found.columns
    assert "home" in str(found.row(0))


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_column_content_is_the_text_whatever_else_there_is(tmp_path, ending):
    path = tmp_path / f"in.{ending}"
    frame = pl.DataFrame({"text": ["a summary"], "content": ["The whole story."]})
    getattr(frame, {"csv": "write_csv", "jsonl": "write_ndjson", "parquet": "write_parquet"}[ending])(path)
    found = read_all(path)
    assert found["content"].to_list() == ["The whole story."]
    assert "a summary" in str(found.row(0))
