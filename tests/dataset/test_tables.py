"""Tests of reading texts and scores that people already have."""

import math

import polars as pl
import pytest

from potstill.dataset.tables import Columns, read_articles, read_table
from potstill.errors import ArticleError, LabelError
from potstill.filters import Filter

ESSAYS = Filter("essays", ["cohesion", "syntax"], scale=(1, 5))


def test_columns_named_like_the_dimensions_are_read():
    table = read_table(pl.DataFrame({"text": ["one", "two"], "cohesion": [1, 5], "syntax": [2.5, None]}), ESSAYS)
    assert table.articles.select("id", "title", "content").rows() == [("1", "", "one"), ("2", "", "two")]
    assert table.labels.select("article", "oracle", "samples", "y_cohesion", "y_syntax").rows() == [
        ("1", "imported", 1, 1.0, 2.5),
        ("2", "imported", 1, 5.0, None),
    ]


@pytest.mark.parametrize(
    ("scores", "frame"),
    [
        (None, {"y_cohesion": [3.0], "y_syntax": [4.0]}),
        ({"cohesion": "c", "syntax": "s"}, {"c": [3.0], "s": [4.0]}),
        (None, {"scores": [{"cohesion": 3.0, "syntax": 4.0}]}),
        ("marks", {"marks": [{"cohesion": 3.0, "syntax": 4.0}]}),
        ("marks", {"marks": ['{"cohesion": 3, "syntax": 4}']}),
        (None, {"cohesion": ["3"], "syntax": ["4.0"]}),
    ],
)
def test_scores_may_have_any_of_these_forms(scores, frame):
    table = read_table(pl.DataFrame({"text": ["one"], **frame}), ESSAYS, Columns(scores=scores))
    assert table.labels.select("y_cohesion", "y_syntax").rows() == [(3.0, 4.0)]


def test_a_missing_score_is_masked_whatever_its_form():
    frame = pl.DataFrame({"text": ["a", "b", "c"], "cohesion": [math.nan, None, 2.0], "syntax": ["", "3", None]})
    labels = read_table(frame, ESSAYS).labels
    assert labels["y_cohesion"].to_list() == [None, None, 2.0]
    assert labels["y_syntax"].to_list() == [None, 3.0, None]


def test_repeated_rows_are_answers_about_one_article():
    frame = pl.DataFrame({"id": ["a", "a", "b"], "text": ["x", "x", "y"], "cohesion": [2, 4, 5], "syntax": [1, 1, 1]})
    table = read_table(frame, ESSAYS)
    assert table.articles["id"].to_list() == ["a", "b"]
    assert table.labels.select("samples", "y_cohesion", "s_cohesion").rows() == [(2, 3.0, 1.0), (1, 5.0, 0.0)]


def test_several_oracles_are_kept_apart():
    frame = pl.DataFrame(
        {"id": [1, 1], "text": ["x", "x"], "oracle": ["ann", "bob"], "cohesion": [2, 4], "syntax": [1, 1]}
    )
    labels = read_table(frame, ESSAYS).labels
    assert labels.select("article", "oracle", "y_cohesion").rows() == [("1", "ann", 2.0), ("1", "bob", 4.0)]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"cohesion": [1, 6]}, LabelError, "^essays.csv: row 2: cohesion: got 6, expected a number from 1 to 5$"),
        ({"cohesion": [0.5, 1]}, LabelError, "row 1: cohesion: got 0.5, expected"),
        ({"cohesion": [1, math.inf]}, LabelError, "row 2: cohesion: got inf, expected"),
        ({"cohesion": ["1", "good"]}, LabelError, "row 2: cohesion: got 'good', expected"),
        ({"cohesion": [True, False]}, LabelError, "row 1: cohesion: got True, expected"),
        ({"cohesion": [None, None], "syntax": [None, None]}, LabelError, "none of the 2 rows has a score"),
        ({"text": ["one", " "]}, ArticleError, "row 2: text: is empty"),
        ({"text": [1, 2]}, ArticleError, "text: expected text, got Int64"),
        ({"id": ["a", None]}, ArticleError, "row 2: id: is empty"),
        ({"id": ["a", "a"]}, ArticleError, "row 2: id 'a' has another text than in an earlier row"),
        ({"oracle": ["ann", None]}, LabelError, "row 2: oracle: no name of an oracle"),
    ],
)
def test_a_broken_row_is_named(change, error, message):
    frame = pl.DataFrame({"text": ["one", "two"], "cohesion": [1, 2], "syntax": [1, 2], **change}, strict=False)
    with pytest.raises(error, match=message):
        read_table(frame, ESSAYS, where="essays.csv")


@pytest.mark.parametrize(
    ("frame", "columns", "error", "message"),
    [
        ({"words": ["a"]}, Columns(), ArticleError, "no column of text: tried content, text, body, full_text"),
        ({"text": ["a"]}, Columns(text="words"), ArticleError, "no column 'words'; the columns are text"),
        ({"text": ["a"]}, Columns(), LabelError, "no scores of cohesion: expected a column cohesion or y_cohesion"),
        ({"text": ["a"]}, Columns(scores={"cohesion": "c"}), LabelError, "cohesion: the scores are in the column 'c'"),
        ({"text": ["a"], "scores": ["3"]}, Columns(), LabelError, "row 1: scores: expected scores by dimension"),
        ({"text": []}, Columns(), LabelError, "the table has no rows"),
    ],
)
def test_a_missing_column_is_named(frame, columns, error, message):
    with pytest.raises(error, match=message):
        read_table(pl.DataFrame(frame), ESSAYS, columns)


def test_articles_are_read_without_labels_and_keep_what_is_known_of_them():
    frame = pl.DataFrame({"headline": ["H"], "body": ["one"], "source": ["paper"], "n": [1]})
    assert read_articles(frame, Columns(title="headline")).to_dicts() == [
        {"id": "1", "title": "H", "content": "one", "source": "paper"}
    ]
