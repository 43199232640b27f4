"""Tests that tables of other libraries go in and come out as they were."""

import datasets
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from potstill.errors import BadInput
from potstill.frames import like, to_polars

ROWS = [{"text": "one", "score": 1.5, "tags": ["a"]}, {"text": "two", "score": None, "tags": []}]
FRAME = pl.DataFrame(ROWS)

TABLES = {
    "polars": FRAME,
    "lazy": FRAME.lazy(),
    "pandas": pd.DataFrame(ROWS),
    "pyarrow": pa.Table.from_pylist(ROWS),
    "datasets": datasets.Dataset.from_list(ROWS),
    "rows": ROWS,
    "columns": {name: [row[name] for row in ROWS] for name in ROWS[0]},
}


@pytest.mark.parametrize("kind", TABLES)
def test_every_kind_of_table_is_read_as_the_same_frame(kind):
    assert to_polars(TABLES[kind]).to_dicts() == ROWS


@pytest.mark.parametrize("kind", TABLES)
def test_a_result_is_of_the_kind_that_came_in(kind):
    table = TABLES[kind]
    result = FRAME.rename({"score": "input_score"}).with_columns(score=pl.Series([7.0, 8.0]))
    found = like(result, table)
    assert type(found) is type(table)
    assert to_polars(found).to_dicts() == result.to_dicts()


def test_a_pandas_table_keeps_its_index_and_its_types():
    table = pd.DataFrame({"n": pd.array([1, None], dtype="Int64"), "c": pd.Categorical(["x", "y"])}, index=["r1", "r2"])
    found = like(to_polars(table).with_columns(score=pl.Series([0.5, None])), table)
    assert list(found.index) == ["r1", "r2"]
    assert [str(kind) for kind in found.dtypes] == ["Int64", "category", "float64"]


def test_nan_is_missing_and_mixed_numbers_are_numbers():
    assert to_polars([{"a": 1}, {"a": float("nan")}, {"a": 2.5}, {"b": "x"}]).to_dicts() == [
        {"a": 1.0, "b": None},
        {"a": None, "b": None},
        {"a": 2.5, "b": None},
        {"a": None, "b": "x"},
    ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("a text", r"a table is needed .*; got str"),
        (7, r"a table is needed .*; got int"),
        ([{"a": 1}, 2], "row 2: expected a dict, got int"),
        ({"a": [1, 2], "b": [1]}, "the columns have different lengths: a 2, b 1"),
    ],
)
def test_what_is_no_table_is_refused(table, message):
    with pytest.raises(BadInput, match=message):
        to_polars(table)


def test_every_kind_of_missing_value_of_pandas_is_missing():
    whole = pd.Series([1, None, 3], dtype="Int64")
    days = pd.Series([pd.Timestamp("2024-01-01"), pd.NaT, pd.NaT])
    table = pd.DataFrame({"whole": whole, "text": pd.Series(["a", None, "c"], dtype="string"), "days": days})
    frame = to_polars(table)
    assert frame["whole"].to_list() == [1, None, 3]
    assert frame["text"].to_list() == ["a", None, "c"]
    assert frame["days"].null_count() == 2


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"text": "abc"}, "column text: expected a list of values, one per row; got str"),
        ({"text": 5}, "column text: expected a list of values, one per row; got int"),
        ([{"text": "fine"}, {"text": "half \ud800"}], "column 'text': row 2: unpaired surrogate"),
        ([{"half \ud800": "fine"}], r"column 'half \\ud800': its name: unpaired surrogate"),
        (pd.DataFrame([["a", "b"]], columns=["text", "text"]), "the names of the columns must differ; got text, text"),
        (pd.DataFrame([["a", "b"]]), "the names of the columns must be texts; got 0"),
        (pl.scan_csv("no such file.csv"), "the table cannot be computed .*no such file.csv"),
    ],
)
def test_a_table_with_a_fault_is_refused_in_one_line(table, message):
    with pytest.raises(BadInput, match=rf"\A{message}[^\n]*\Z"):
        to_polars(table)
