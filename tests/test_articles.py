"""Tests of reading and writing articles: valid ones are unchanged, invalid ones stop with one clear line."""

import gzip
import json
import re
import subprocess
import sys

import polars as pl
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.articles import (
    MAX_TEXT_CHARACTERS,
    article_id,
    count_articles,
    open_writer,
    read_all,
    read_articles,
)
from potstill.errors import ArticleError, BadInput

STORIES = [
    {"id": "a1", "title": "Bridge reopens", "content": "The bridge over the Derwent reopened.", "source": "abc"},
    {"id": "a2", "title": "", "content": "Ärzte streiken 股价", "tags": ["x", "y"], "when": {"year": 2001}},
    {"id": "a3", "title": "Only a title", "content": ""},
]


def write_lines(path, *lines):
    data = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    if path.name.endswith(".gz"):
        data = gzip.compress(data)
    elif path.name.endswith(".zst"):
        data = zstandard.compress(data)
    path.write_bytes(data)
    return path


def refusal(path, **options):
    with pytest.raises(ArticleError) as caught:
        read_all(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_json_lines_keep_every_other_field(tmp_path, ending):
    frame = read_all(write_lines(tmp_path / f"news{ending}", *STORIES))
    assert frame.columns == ["id", "title", "content", "extra"]
    assert frame["content"].to_list() == [story["content"] for story in STORIES]
    assert [json.loads(extra) for extra in frame["extra"]] == [
        {"source": "abc"},
        {"tags": ["x", "y"], "when": {"year": 2001}},
        {},
    ]


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".csv", ".parquet"])
def test_what_is_written_is_read_again(tmp_path, ending):
    frame = read_all(write_lines(tmp_path / "news.jsonl", *STORIES))
    path = tmp_path / f"out{ending}"
    with open_writer(path) as writer:
        writer.write(frame[:2])
        writer.write(frame[2:])
    assert read_all(path).equals(frame)
    assert count_articles(path) == 3


def test_json_lines_come_out_with_their_own_fields_and_results_win(tmp_path):
    frame = read_all(write_lines(tmp_path / "news.jsonl", {"id": "1", "content": "x", "tier": "old", "n": 1.5}))
    with open_writer(tmp_path / "out.jsonl") as writer:
        writer.write(frame.with_columns(pl.lit("new").alias("tier"), pl.lit(float("nan")).alias("y")))
    assert json.loads((tmp_path / "out.jsonl").read_text()) == {
        "id": "1", "title": "", "content": "x", "tier": "new", "y": None, "n": 1.5,
    }  # fmt: skip


def test_lists_and_structs_become_json_in_csv(tmp_path):
    with open_writer(tmp_path / "out.csv") as writer:
        writer.write(pl.DataFrame({"id": ["1"], "gates": [["a", "b"]], "range": [{"low": 1.0, "high": 2.0}]}))
    assert pl.read_csv(tmp_path / "out.csv").row(0) == (1, '["a", "b"]', '{"low": 1.0, "high": 2.0}')


def test_csv_values_pass_through_as_text(tmp_path):
    path = tmp_path / "news.csv"
    path.write_text('id,content,code,source\n7,"two\nlines",007,\n8,one,1e3,abc\n')
    frame = read_all(path)
    assert frame.to_dict(as_series=False) == {
        "id": ["7", "8"], "title": ["", ""], "content": ["two\nlines", "one"],
        "code": ["007", "1e3"], "source": [None, "abc"],
    }  # fmt: skip


def test_parquet_columns_keep_their_types_across_batches(tmp_path):
    path = tmp_path / "news.parquet"
    pl.DataFrame({"content": [f"story {i}" for i in range(5000)], "year": range(5000)}).write_parquet(path)
    frames = list(read_articles(path, batch_size=700))
    assert [frame.height for frame in frames] == [700, 700, 600] * 2 + [700, 300]
    assert pl.concat(frames)["year"].to_list() == list(range(5000))


@pytest.mark.parametrize("value", ["plain words", '{"of": "theirs"}', None])
def test_a_users_own_column_called_extra_survives(tmp_path, value):
    path = tmp_path / "news.parquet"
    pl.DataFrame({"content": ["a"], "extra": [value]}, schema={"content": pl.String, "extra": pl.String}).write_parquet(
        path
    )
    with open_writer(tmp_path / "out.jsonl") as writer:
        writer.write(read_all(path))
    out = json.loads((tmp_path / "out.jsonl").read_text())
    assert out == {"id": article_id("", "a"), "title": "", "content": "a"} | (
        {"of": "theirs"} if value and value.startswith("{") else {"extra": value}
    )


def test_an_article_without_an_id_gets_the_same_one_from_every_format(tmp_path):
    write_lines(tmp_path / "a.jsonl", {"title": "t", "content": "c"})
    (tmp_path / "a.csv").write_text("content,title\nc,t\n")
    pl.DataFrame({"title": ["t"], "content": ["c"]}).write_parquet(tmp_path / "a.parquet")
    ids = {read_all(tmp_path / f"a{ending}")["id"].item() for ending in (".jsonl", ".csv", ".parquet")}
    assert ids == {article_id("t", "c")}
    assert re.fullmatch(r"sha-[0-9a-f]{16}", ids.pop())
    assert article_id("tc", "") != article_id("t", "c")


GOOD = {"id": "1", "content": "fine"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id": "2", "content": ', "line 2: broken JSON at column 24 (Expecting value)"),
        (b'["a"]', "line 2: expected a JSON object, got a list"),
        (b'"text"', "line 2: expected a JSON object, got text"),
        (b'{"id": "2", "words": "x"}', 'line 2: field content is missing; the fields are "id", "words"'),
        (b'{"id": "2", "text": 5}', "line 2: field text: expected text, got a number"),
        (b'{"id": "2", "content": 5}', "line 2: field content: expected text, got a number"),
        (b'{"id": true, "content": "x"}', "line 2: field id: expected text, got true or false"),
        (b'{"id": "2", "title": ["x"], "content": "x"}', "line 2: field title: expected text, got a list"),
        (b'{"id": "2", "content": " \\n "}', "line 2: field content: the title and the content are both empty"),
        (b'{"id": "2", "content": null}', "line 2: field content: the title and the content are both empty"),
        (b'{"id": "2", "content": "a\\u0000b"}', "line 2: field content: contains a NUL character"),
        (b'{"id": "2", "content": "a\0b"}', "line 2: contains a NUL byte"),
        (b'{"id": "2", "content": "\xff"}', "line 2: not UTF-8 at byte 25"),
        (b'{"id": "2", "content": "\\ud83d"}', "line 2: field content: unpaired surrogate at character 1"),
        (b'{"id": "1", "content": "other"}', 'line 2: duplicate id "1", already at line 1'),
        (b'{"id": "2", "content": "x", "n": NaN}', "line 2: broken JSON (NaN is not JSON)"),
        (b'{"id": "2", "content": "x", "n": 1e999}', "line 2: a number is too large for a 64-bit float"),
        (b"[" * 100_000, "line 2: JSON nested too deeply"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    assert refusal(write_lines(tmp_path / "news.jsonl", GOOD, line, GOOD)) == message


@pytest.mark.parametrize("letter", ["x", "股", "🙂"])
def test_more_than_a_million_characters_are_no_article(tmp_path, letter):
    longest = letter * MAX_TEXT_CHARACTERS
    message = refusal(write_lines(tmp_path / "news.jsonl", {"id": "1", "content": longest + letter}))
    assert message == "line 1: field content: 1,000,001 characters; at most 1,000,000 are allowed"
    assert len(read_all(write_lines(tmp_path / "ok.jsonl", {"content": longest}))) == 1


def test_an_endless_line_is_refused_before_it_fills_the_memory(tmp_path):
    assert "the line is longer" in refusal(write_lines(tmp_path / "news.jsonl", b"x" * 17_000_000))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"id,title\n1,x\n", 'line 1: field content is missing; the fields are "id", "title"'),
        (b"id,content\n1,x,y\n", "line 2: 3 fields, but the header has 2"),
        (b"id,content\n1,x\n2\n", "line 3: 1 fields, but the header has 2"),
        (b'id,content\n1,"x\n', "line 2: broken CSV (unexpected end of data)"),
        (b"id,content\n1,\xff\n", "line 2: not UTF-8 at byte 3"),
        (b"id,content\n1,a\0b\n", "line 2: contains a NUL byte"),
        (b"id,content,id\n1,a,2\n", 'line 1: the column "id" occurs twice'),
        (b"id,content\n1,a\n1,b\n", 'line 3: duplicate id "1", already at line 2'),
    ],
)
def test_a_bad_row_of_a_csv_is_named(tmp_path, text, message):
    path = tmp_path / "news.csv"
    path.write_bytes(text)
    assert refusal(path) == message


def test_a_bad_row_of_a_parquet_file_is_named(tmp_path):
    path = tmp_path / "news.parquet"
    pl.DataFrame({"id": [1, 2], "content": ["x", None]}).write_parquet(path)
    assert refusal(path) == "row 2: field content: the title and the content are both empty"
    pl.DataFrame({"id": [1]}).write_parquet(path)
    assert refusal(path) == 'row 1: field content is missing; the fields are "id"'
    pl.DataFrame({"words": ["x"], "n": [1]}).write_parquet(path)
    assert refusal(path) == 'row 1: field content is missing; the fields are "words", "n"'
    path.write_bytes(b"PAR1 no PAR1")
    assert refusal(path).startswith("not a readable Parquet file (")


@pytest.mark.parametrize("ending", [".jsonl.gz", ".jsonl.zst"])
def test_a_file_cut_short_is_not_taken_for_a_whole_one(tmp_path, ending):
    path = write_lines(tmp_path / f"news{ending}", *({"content": f"story {i} {i * i}"} for i in range(500)))
    whole = path.read_bytes()
    for keep in (len(whole) - 1, len(whole) // 2):
        path.write_bytes(whole[:keep])
        assert "broken compression" in refusal(path)
    path.write_bytes(whole + whole)
    assert count_articles(path) == 1000


def test_what_cannot_be_opened_is_named(tmp_path):
    assert refusal(tmp_path / "none.jsonl") == "no such file"
    assert refusal(tmp_path / "news.txt").startswith("unknown kind of file, expected one of .jsonl, ")
    (tmp_path / "folder.csv").mkdir()
    assert refusal(tmp_path / "folder.csv") == "is a folder, expected a file"


def test_empty_texts_are_kept_when_asked(tmp_path):
    path = write_lines(tmp_path / "news.jsonl", {"id": "1", "content": None}, {"id": "2", "content": "  "})
    assert read_all(path, on_empty="keep")["content"].to_list() == ["", "  "]


@pytest.mark.parametrize("name", ["empty.jsonl", "empty.csv", "empty.jsonl.gz", "empty.jsonl.zst"])
def test_an_empty_file_holds_no_articles(tmp_path, name):
    frame = read_all(write_lines(tmp_path / name))
    assert frame.height == 0
    assert frame.columns == ["id", "title", "content"]


def test_a_byte_order_mark_and_blank_lines_are_no_fault(tmp_path):
    path = tmp_path / "news.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"content": "a"}\r\n\r\n{"content": "b"}')
    assert read_all(path)["content"].to_list() == ["a", "b"]


def test_stdin_and_stdout_are_json_lines(tmp_path):
    program = (
        "from potstill.articles import *\n"
        "with open_writer('-') as w:\n"
        "    for frame in read_articles('-'): w.write(frame)\n"
    )
    line = '{"id":"1","title":"","content":"ä\u2028b", "n": 1}\n'
    done = subprocess.run([sys.executable, "-c", program], input=line.encode(), capture_output=True, check=True)
    assert json.loads(done.stdout) == json.loads(line)
    assert done.stdout.count(b"\n") == 1


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.zst", ".csv", ".parquet"])
def test_a_full_disk_leaves_the_old_file(tmp_path, ending):
    path = tmp_path / f"out{ending}"
    path.write_text("what was there")
    # A limit on the file size makes a write fail like a full disk, without needing a small disk.
    program = (
        "import resource, sys, random, polars as pl\n"
        "from potstill.articles import open_writer\n"
        "frame = pl.DataFrame({'id': [str(i) for i in range(3000)],"
        " 'content': [random.Random(i).randbytes(40).hex() for i in range(3000)]})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "with open_writer(sys.argv[1]) as writer: writer.write(frame)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        f"potstill.errors.BadInput: {path}: cannot be written (File too large); existing content is unchanged"
    )
    assert path.read_text() == "what was there"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "out.parquet"
    path.write_text("old")

    def write_two_of_three():
        with open_writer(path) as writer:
            writer.write(pl.DataFrame({"id": ["1"]}))
            raise ArticleError("line 3")

    with pytest.raises(BadInput, match="line 3"):
        write_two_of_three()
    assert path.read_text() == "old"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.text(), JSON, max_size=4), min_size=1, max_size=5))
def test_any_fields_survive_a_journey_through_json_lines(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("journey")
    rows = [row | {"id": str(i), "title": "", "content": "x"} for i, row in enumerate(rows)]
    path = write_lines(folder / "in.jsonl", *rows)
    with open_writer(folder / "out.jsonl") as writer:
        for frame in read_articles(path, batch_size=2):
            writer.write(frame)
    assert [json.loads(line) for line in (folder / "out.jsonl").read_text().split("\n")[:-1]] == rows


def test_blank_lines_without_end_are_refused_before_they_take_minutes(tmp_path):
    blank = b"\n" * 100_000
    kept = tmp_path / "kept.jsonl.gz"
    kept.write_bytes(gzip.compress(blank + json.dumps(STORIES[0]).encode() + b"\n" + blank))
    assert read_all(kept)["id"].to_list() == ["a1"]
    for name, write in (("a.jsonl.gz", gzip.compress), ("a.jsonl.zst", zstandard.compress), ("a.jsonl", bytes)):
        (tmp_path / name).write_bytes(write(blank + b"\n"))
        assert refusal(tmp_path / name) == "line 100001: more than 100,000 blank lines in a row"
        with pytest.raises(ArticleError, match="blank lines in a row"):
            count_articles(tmp_path / name)
    (tmp_path / "a.csv").write_bytes(b"id,content\n" + blank + b"\n")
    assert refusal(tmp_path / "a.csv") == "line 100002: more than 100,000 blank lines in a row"
    wide = (b" " * 9_000_000 + b"\n") * 2
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(wide))
    assert refusal(tmp_path / "b.jsonl.gz") == "line 2: more than 16,000,000 bytes of blank lines in a row"


def test_a_stream_of_blank_lines_is_refused_as_a_file_is():
    code = "from potstill.articles import read_articles\nlist(read_articles('-'))"
    done = subprocess.run([sys.executable, "-c", code], input=b"\n" * 100_001, capture_output=True, check=False)
    assert b"stdin: line 100001: more than 100,000 blank lines in a row" in done.stderr


def test_a_compressed_file_that_expands_without_measure_is_refused(tmp_path, monkeypatch):
    rows = [{"id": str(i), "content": "It rained.", "padding": "0" * 1_000_000} for i in range(20)]
    path = write_lines(tmp_path / "bomb.jsonl.zst", *rows)
    assert read_all(path).height == 20
    monkeypatch.setattr("potstill.articles.lines._GIGABYTE", 2_000_000)
    assert refusal(path) == "line 2: expands to more than 1,000 times its size, so it cannot be a file of articles"
    plain = write_lines(tmp_path / "plain.jsonl", *rows)
    assert read_all(plain).height == 20


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_table_of_very_many_columns_is_refused_by_its_header(tmp_path, ending):
    def table(width):
        frame = pl.DataFrame({"content": ["It rained."]} | {f"c{i}": ["x"] for i in range(width - 1)})
        path = tmp_path / f"{width}{ending}"
        frame.write_csv(path) if ending == ".csv" else frame.write_parquet(path)
        return path

    assert read_all(table(5000)).width == 5002
    place = "row" if ending == ".parquet" else "line"
    assert refusal(table(5001)) == f"{place} 1: 5,001 columns; at most 5,000 are allowed"


def test_a_header_of_a_million_equal_names_is_refused_by_their_number(tmp_path):
    path = tmp_path / "wide.csv"
    path.write_text("content" + ",x" * 1_000_000 + "\n")
    assert refusal(path) == "line 1: 1,000,001 columns; at most 5,000 are allowed"
