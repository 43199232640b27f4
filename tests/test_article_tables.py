"""Tests of reading tables of any columns from files."""

import json

import polars as pl
import pytest

from potstill.articles import read_table_file
from potstill.errors import ArticleError


def read(path, **how):
    frames = list(read_table_file(path, **how))
    return pl.concat([frame for frame, _ in frames]), [number for _, numbers in frames for number in numbers]


def test_csv_is_text_with_the_line_of_each_row(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('a,b\n1,"two\nlines"\n,x\n')
    frame, numbers = read(path)
    assert frame.to_dicts() == [{"a": "1", "b": "two\nlines"}, {"a": None, "b": "x"}]
    assert numbers == [3, 4]


def test_json_lines_keep_types_and_mixed_values_become_json_text(tmp_path):
    path = tmp_path / "t.jsonl"
    rows = [
        {"id": 26650408983, "n": 1, "m": "x", "s": {"a": 1.5}, "big": 2**70, "b": True},
        {"id": 2, "n": 1.5, "m": [1], "s": None, "big": 1, "b": None, "late": "y"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    frame, numbers = read(path)
    assert frame.to_dicts() == [
        {"id": 26650408983, "n": 1.0, "m": "x", "s": '{"a": 1.5}', "big": 2.0**70, "b": "true", "late": None},
        {"id": 2, "n": 1.5, "m": "[1]", "s": None, "big": 1.0, "b": None, "late": "y"},
    ]
    assert numbers == [1, 2]


def test_a_field_that_a_batch_lacks_is_missing_there(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": 1, "b": 2}\n{"a": 3}\n')
    assert [frame.columns for frame, _ in read_table_file(path, batch_size=1)] == [["a", "b"], ["a", "b"]]


def test_parquet_keeps_types_and_counts_rows_across_batches(tmp_path):
    path = tmp_path / "t.parquet"
    pl.DataFrame({"a": [1, 2, 3]}).write_parquet(path)
    frame, numbers = read(path, batch_size=2)
    assert frame["a"].to_list() == numbers == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.jsonl", '{"a": 1}\n{"a": "\\ud800"}', 't.jsonl: line 2: field "a": unpaired surrogate at character 1'),
        ("t.jsonl", '{"\\ud800": 1}', "line 1: the name of a field: unpaired surrogate"),
        ("t.jsonl", '{"a": [1e999]}', 'line 1: field "a": a number is too large'),
        ("t.jsonl", "[1]", "line 1: expected a JSON object, got a list"),
        ("t.csv", "a,a\n1,2\n", 't.csv: line 1: the column "a" occurs twice'),
        ("t.csv", "a,b\n1\n", "line 2: 1 fields, but the header has 2"),
        ("t.parquet", "no", "t.parquet: not a readable Parquet file"),
        ("t.txt", "a", "unknown kind of file, expected one of .jsonl"),
    ],
)
def test_a_broken_file_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ArticleError, match=message.replace(".", r"\.").replace("[", r"\[")):
        list(read_table_file(path))
