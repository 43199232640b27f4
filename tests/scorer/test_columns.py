"""Tests of repeated scoring: an earlier verdict keeps its columns, in every kind of file and however often."""

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_bundle import articles

from potstill.articles import open_writer, read_all
from potstill.scorer import Scorer, score_file
from potstill.scorer.columns import with_columns

FORMS = ("jsonl", "jsonl.gz", "csv", "parquet")
OF_A_VERDICT = ("overall", "tier", "gates", "caps", "reason")


@pytest.fixture(scope="module")
def scorer(folders):
    return Scorer.load(folders["tfidf"], probabilities=True)


@pytest.fixture
def labelled(tmp_path):
    """Three articles with a tier that a person gave."""
    frame, _ = articles(3)
    path = tmp_path / "0.jsonl"
    rows = [dict(row, tier=f"mine {number}") for number, row in enumerate(frame.iter_rows(named=True))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(path):
    """Return the rows of any kind of file, with the field `extra` expanded."""
    rows = []
    for row in read_all(path).to_dicts():
        rows.append({**row, **json.loads(row.pop("extra", None) or "{}")})
        rows[-1].pop("extra", None)
    return rows


@pytest.mark.parametrize("form", FORMS)
def test_every_verdict_is_kept_at_the_second_third_and_fourth_time(scorer, labelled, form):
    source = labelled.with_name(f"0.{form}")
    with open_writer(source) as writer:
        writer.write(pl.read_ndjson(labelled))
    for time in range(1, 5):
        target = labelled.with_name(f"{time}.{form}")
        score_file(scorer, source, target, keep_text=True)
        source = target
    names = ["input_tier", "input_tier_2", "input_tier_3", "input_tier_4"]
    for number, row in enumerate(rows_of(source)):
        verdict = row["tier"]
        assert [row[name] for name in names] == [f"mine {number}", verdict, verdict, verdict]
        assert row["input_overall_2"] == row["input_overall_3"] == row["input_overall_4"] == row["overall"]
        assert "input_overall" not in row
        assert "input_tier_5" not in row


@pytest.mark.parametrize("forms", [("csv", "jsonl", "parquet"), ("jsonl", "csv", "jsonl"), ("parquet", "csv", "csv")])
def test_no_value_is_lost_on_the_way_through_other_kinds_of_file(scorer, labelled, forms):
    source = labelled
    for time, form in enumerate(forms, start=1):
        target = labelled.with_name(f"{time}.{form}")
        score_file(scorer, source, target, keep_text=True)
        before, after = values_of(source), values_of(target)
        assert len(after) >= len(before) + len(OF_A_VERDICT)
        assert "mine 0" in after
        source = target


def values_of(path):
    """Return the non-null values of the first row; CSV reads empty fields as null."""
    return [value for value in rows_of(path)[0].values() if value not in (None, "")]


@pytest.mark.parametrize("form", FORMS)
def test_a_file_with_a_tier_and_an_input_tier_keeps_both(scorer, tmp_path, form):
    frame = pl.DataFrame({"id": ["1"], "title": [""], "content": ["library"], "input_tier": ["a"], "tier": ["b"]})
    source = tmp_path / f"in.{form}"
    with open_writer(source) as writer:
        writer.write(frame)
    score_file(scorer, source, tmp_path / f"out.{form}", keep_text=True)
    row = rows_of(tmp_path / f"out.{form}")[0]
    assert (row["input_tier"], row["input_tier_2"]) == ("a", "b")
    assert row["tier"] in scorer.bundle.filter.tier_names


def test_several_filters_keep_earlier_verdicts_too(two, labelled, tmp_path):
    source = labelled
    for time in range(3):
        target = tmp_path / f"t{time}.parquet"
        score_file(two, source, target, keep_text=True)
        source = target
    frame = pl.read_parquet(source)
    assert frame["input_far-news.tier"].equals(frame["far-news.tier"], null_equal=True)
    assert frame["input_far-news.tier_2"].equals(frame["far-news.tier"])
    lines = tmp_path / "lines.jsonl"
    for time in range(3):
        score_file(two, labelled if not time else lines, lines, keep_text=True)
    row = rows_of(lines)[0]
    assert row["verdicts"] == row["input_verdicts"] == row["input_verdicts_2"]


def test_lines_that_differ_in_their_fields_each_keep_theirs(scorer, tmp_path):
    rows = [
        {"content": "library", "tier": 1},
        {"content": "library", "tier": 1, "input_tier": 2},
        {"content": "library", "input_tier": 2},
        {"content": "library", "n\ud800": "tier", "tier": "\ud83d"},
        {"content": "library", "kind": "tier"},
    ]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    score_file(scorer, source, tmp_path / "out.jsonl")
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    kept = [{name: value for name, value in row.items() if name.startswith(("input", "n", "kind"))} for row in found]
    assert kept == [
        {"input_tier": 1},
        {"input_tier": 2, "input_tier_2": 1},
        {"input_tier": 2},
        {"n\ud800": "tier", "input_tier": "\ud83d"},
        {"kind": "tier"},
    ]


def test_a_field_in_the_column_extra_gives_way_to_a_column_of_the_table(scorer, tmp_path):
    extra = json.dumps({"tier": "in extra", "input_tier": "in extra too", "id": "x", "source": "abc"})
    frame = pl.DataFrame({"id": ["1"], "content": ["library"], "tier": ["column"], "extra": [extra]})
    frame.write_parquet(tmp_path / "in.parquet")
    score_file(scorer, tmp_path / "in.parquet", tmp_path / "out.jsonl")
    row = json.loads((tmp_path / "out.jsonl").read_text())
    assert row["id"] == "1"
    assert {name: row[name] for name in row if name.startswith("input")} | {"source": row["source"]} == {
        "input_tier": "column",
        "input_tier_2": "in extra",
        "input_tier_3": "in extra too",
        "input_id_2": "x",
        "source": "abc",
    }


NAMES = st.sampled_from(["tier", "input_tier", "input_tier_2", "input_input_tier", "tier_2", "reason", "input_reason"])


@given(st.lists(NAMES, unique=True), st.dictionaries(NAMES, st.integers()))
def test_whatever_the_names_no_value_is_lost_and_no_name_comes_twice(columns, extra):
    articles_ = pl.DataFrame({name: [f"value of {name}"] for name in columns} | {"extra": [json.dumps(extra)]})
    added = [pl.Series("tier", ["new"]), pl.Series("reason", ["new"])]
    row = with_columns(articles_, added).row(0, named=True)
    fields = json.loads(row.pop("extra"))
    assert (row["tier"], row["reason"]) == ("new", "new")
    assert sorted(row.values()) == sorted([*(f"value of {name}" for name in columns), "new", "new"])
    assert sorted(fields.values()) == sorted(extra.values())
    assert not fields.keys() & row.keys()
    assert all(row[name] == f"value of {name}" for name in columns if name not in {"tier", "reason"})
