import polars as pl
import pytest
from pydantic import ValidationError

from potstill.pages.explorer import PAGE, Explorer, Query, assemble


class Shape:
    dimensions = {}  # noqa: RUF012 - a stand-in
    name, version = "news", 1


def predictions():
    """Return predictions of three articles; `a` has two sets of scores, and the out-of-fold ones are preferred."""
    return pl.DataFrame(
        {
            "id": ["a", "a", "b", "c"],
            "source": ["test", "out-of-fold", "test", "validation"],
            "split": ["test", "test", "test", "validation"],
            "y_gain": [5.0, 5.0, 1.0, 9.0],
            "p_gain": [9.0, 6.0, 4.5, float("nan")],
            "overall_oracle": [5.0, 5.0, 1.0, 9.0],
            "overall_student": [9.0, 6.0, 4.5, None],
            "tier_oracle": ["lead", "lead", "brief", "lead"],
            "tier_student": ["lead", "lead", "lead", "unscored"],
        }
    )


@pytest.fixture
def explorer():
    rows = pl.DataFrame(
        {
            "id": ["a", "b", "c"],
            "title": ["Bridge opens", "Storm nears", None],
            "text": ["A new bridge.", "50% of (all) roofs", "Nothing"],
            "source": ["Sun", "Moon", "Sun"],
            "cut": [False, True, False],
        }
    )
    evidence = pl.DataFrame({"article": ["a"], "evidence": ["a bridge"]})
    return Explorer(assemble(predictions(), rows, evidence, ("gain",)), Shape())


def ids(explorer, **query):
    return [row["id"] for row in explorer.ask(Query(**query))["rows"]]


def test_an_article_stands_once_with_scores_of_a_student_that_had_not_seen_it(explorer):
    assert explorer.frame.height == 3
    assert explorer.article("a")["student"] == 6.0
    assert explorer.article("a")["facts"]["judged"] == "out-of-fold"


def test_the_largest_disagreement_comes_first_and_the_unknown_last(explorer):
    assert ids(explorer) == ["b", "a", "c"]
    assert ids(explorer, sort="title") == ["a", "b", "c"]
    assert ids(explorer, sort="oracle") == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("text", "found"),
    [("BRIDGE", ["a"]), ("storm roofs", ["b"]), ("50% (all", ["b"]), (".*", []), ("", ["b", "a", "c"])],
)
def test_search_finds_every_word_as_it_is_written(explorer, text, found):
    assert ids(explorer, text=text) == found


def test_facets_narrow_the_table(explorer):
    assert explorer.facets()["source"] == ["Moon", "Sun"]
    assert ids(explorer, facets={"source": "Sun", "tier_oracle": "lead"}) == ["a", "c"]
    assert ids(explorer, facets={"cut": "cut"}) == ["b"]
    assert ids(explorer, facets={"y_gain": "5"}) == []


def test_a_long_table_comes_in_pages():
    frame = pl.DataFrame({"id": [f"{i:03}" for i in range(PAGE + 7)], "title": "", "text": "", "oracle": 1.0,
                          "student": 1.0, "disagreement": 0.0, "tier_oracle": "x", "tier_student": "x"})  # fmt: skip
    explorer = Explorer(frame, Shape())
    first, second = explorer.ask(Query()), explorer.ask(Query(offset=PAGE))
    assert (first["total"], len(first["rows"]), len(second["rows"])) == (PAGE + 7, PAGE, 7)
    assert {row["id"] for row in first["rows"]} | {row["id"] for row in second["rows"]} == set(frame["id"])


def test_what_is_not_known_is_null_and_never_nan(explorer):
    assert explorer.ask(Query(text="nothing"))["rows"][0]["student"] is None
    assert explorer.frame.filter(pl.col("id") == "c")["p_gain"].to_list() == [None]


def test_an_unknown_id_is_no_article(explorer):
    assert explorer.article("z") is None


def test_an_illegal_question_is_refused():
    with pytest.raises(ValidationError):
        Query.model_validate({"sort": "id; drop"})


def test_an_article_without_a_title_is_listed_by_how_it_begins(explorer):
    rows = {row["id"]: row["title"] for row in explorer.ask(Query())["rows"]}
    assert rows == {"a": "Bridge opens", "b": "Storm nears", "c": "Nothing"}
