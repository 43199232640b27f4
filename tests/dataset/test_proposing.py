"""Tests of proposing a filter for the scores of a file."""

import json

import polars as pl
import pytest

from potstill.dataset.proposing import Found, propose_filter
from potstill.dataset.tables import read_table
from potstill.errors import ArticleError, FilterError, LabelError

TABLE = pl.DataFrame(
    {
        "": [0, 1, 2],
        "text_id": [900, 901, 902],
        "full_text": ["One essay.", "Another.", "A third."],
        "prompt": ["Sports", "Sports", "Music"],
        "Word choice": [2.5, 3.0, 4.5],
        "syntax": [1, 5, None],
    }
)


def written(folder, frame, name="essays.csv"):
    path = folder / name
    if name.endswith(".csv"):
        frame.write_csv(path)
    elif name.endswith(".parquet"):
        frame.write_parquet(path)
    else:
        frame.write_ndjson(path)
    return path


@pytest.mark.parametrize("name", ["essays.csv", "essays.parquet", "essays.jsonl"])
def test_the_columns_of_numbers_become_dimensions_of_equal_weight(tmp_path, name):
    found = propose_filter("essays", written(tmp_path, TABLE, name))
    assert found.filter.dimension_names == ("Word_choice", "syntax")
    assert found.filter.weights.tolist() == [0.5, 0.5]
    assert (found.filter.scale.min, found.filter.scale.max, found.step) == (1, 5, "steps of 0.5")
    assert (found.rows, found.text) == (3, "full_text")
    assert [(one.known, one.low, one.high) for one in found.scores.values()] == [(3, 2.5, 4.5), (2, 1, 5)]
    for name_ in found.filter.dimension_names:
        assert f"- **{name_}**" in found.filter.rubric
    # The filter finds its own columns again.
    assert read_table(TABLE, found.filter).labels["y_Word_choice"].to_list() == [2.5, 3.0, 4.5]


@pytest.mark.parametrize(
    ("scores", "scale", "step"),
    [
        ([1, 2, 3], (1, 3), "whole numbers"),
        ([1.0, 4.5], (1, 5), "steps of 0.5"),
        ([1.2, 3.9], (1, 4), "decimals"),
        ([0.03, 0.97], (0, 1), "decimals"),
        ([-1, 1], (-1, 1), "whole numbers"),
        ([3, 3], (3, 4), "whole numbers"),
    ],
)
def test_the_scale_is_the_nearest_whole_numbers(tmp_path, scores, scale, step):
    frame = pl.DataFrame({"text": ["a text"] * len(scores), "quality": scores})
    found = propose_filter("essays", written(tmp_path, frame, "essays.parquet"))
    assert (found.filter.scale.min, found.filter.scale.max) == scale
    assert found.step == step


def test_scores_in_a_mapping_or_marked_as_labels_are_preferred(tmp_path):
    frame = pl.DataFrame(
        {"text": ["a", "b"], "words": [10, 20], "scores": [{"wit": 1, "tone": 2}, {"wit": 3, "tone": 4}]}
    )
    assert propose_filter("n", written(tmp_path, frame, "n.jsonl")).filter.dimension_names == ("wit", "tone")
    frame = pl.DataFrame({"text": ["a", "b"], "words": [10, 20], "y_wit": [1, 2]})
    assert propose_filter("n", written(tmp_path, frame)).filter.dimension_names == ("wit",)


def test_dimensions_text_and_scale_can_be_chosen(tmp_path):
    frame = TABLE.rename({"full_text": "essay"})
    path = written(tmp_path, frame)
    found = propose_filter("essays", path, text="essay", dimensions=["syntax"], scale=(0, 10))
    assert found.filter.dimension_names == ("syntax",)
    assert (found.filter.scale.min, found.filter.scale.max) == (0, 10)


def test_the_window_contains_nearly_all_texts_whole(tmp_path):
    frame = pl.DataFrame({"text": ["x" * 3100] * 99 + ["x" * 9000], "quality": range(100)})
    assert propose_filter("n", written(tmp_path, frame)).filter.text.max_chars == 3500
    frame = pl.DataFrame({"text": ["x" * 100] * 99 + ["x" * 90_000], "quality": range(100)})
    assert propose_filter("n", written(tmp_path, frame)).filter.text.max_chars == 2500


@pytest.mark.parametrize(
    ("frame", "how", "error", "message"),
    [
        ({"words": ["a"], "wit": [1]}, {}, ArticleError, "no column of text: tried .* name it with --text"),
        ({"text": ["a"], "wit": ["good"]}, {}, LabelError, "no scores: expected columns of numbers"),
        ({"text": ["a"], "wit": [1]}, {"dimensions": ["tone"]}, LabelError, "no column 'tone'; the columns are text"),
        ({"text": ["a", "b"], "wit": ["1", "x"]}, {"dimensions": ["wit"]}, LabelError, "line 3: wit: got 'x'"),
        ({"text": ["a"], "wit": [7]}, {"scale": (1, 5)}, LabelError, "wit: 7 is outside the scale 1 to 5"),
        ({"text": ["a"], "w t": [1], "w-t": [2]}, {}, FilterError, "'w t' and 'w-t' are both the dimension w_t"),
        ({"text": ["a"], "overall": [1]}, {}, FilterError, "overall.*reserved"),
        ({"text": [], "wit": []}, {}, LabelError, "the table has no rows"),
    ],
)  # fmt: skip
def test_a_file_without_a_filter_is_refused_with_its_name(tmp_path, frame, how, error, message):
    path = written(tmp_path, pl.DataFrame(frame))
    with pytest.raises(error, match=message):
        propose_filter("essays", path, **how)


def test_numbers_that_are_not_finite_are_no_scores(tmp_path):
    path = tmp_path / "n.csv"
    path.write_text("text,wit,tone\na,inf,1\nb,2,nan\n")
    assert propose_filter("n", path).filter.dimension_names == ("tone",)


def test_the_record_of_a_proposal_is_json(tmp_path):
    found = json.loads(json.dumps(propose_filter("essays", written(tmp_path, TABLE)).as_dict()))
    assert found["scale"] == [1, 5]
    assert found["dimensions"]["syntax"] == {"labels": 2, "min": 1, "max": 5}


def test_a_column_numbers_the_rows_across_batches_until_a_number_is_missing():
    found = Found()
    found.add(pl.Series([1.0, 2.0, 3.0]))
    found.add(pl.Series([4.0, 5.0]))
    assert found.counts
    found.add(pl.Series([7.0]))
    assert not found.counts
