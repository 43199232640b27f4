import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.dataset.examples import targeted_rows
from potstill.errors import BadInput, DatasetError
from potstill.sampling import at_random, choose

sys.path.append(str(Path(__file__).parent / "audit"))
from labels import WEATHER, news, rows_of


@pytest.fixture(scope="module")
def known():
    return rows_of(80, noise=0.2).examples()


@pytest.fixture(scope="module")
def pool():
    return news(60, seed=5)[0].with_columns(id=pl.format("p{}", pl.int_range(60)))


class TestRandom:
    def test_a_larger_sample_holds_the_smaller_one(self, pool):
        few, many = (choose(pool, n, "random", WEATHER)["id"].to_list() for n in (10, 20))
        assert many[:10] == few

    def test_another_seed_gives_another_sample(self, pool):
        assert (
            choose(pool, 10, "random", WEATHER)["id"].to_list()
            != choose(pool, 10, "random", WEATHER, seed=1)["id"].to_list()
        )

    @given(st.lists(st.text(), unique=True, max_size=30), st.integers(0, 100))
    def test_every_article_has_one_place(self, ids, seed):
        assert sorted(at_random(ids, seed).tolist()) == list(range(len(ids)))


class TestWhatIsLeftOut:
    def test_labelled_articles_and_their_copies_are_not_bought_again(self, pool, known):
        copy = pl.DataFrame({"id": ["copy"], "title": [""], "content": [known.texts[0]]})
        same = pl.DataFrame({"id": [known.ids[1]], "title": [""], "content": ["something else"]})
        every = pl.concat([pool.select("id", "title", "content"), copy, same])
        chosen = choose(every, 100, "random", WEATHER, known)["id"].to_list()
        assert sorted(chosen) == sorted(pool["id"].to_list())

    def test_of_two_copies_in_the_pool_one_is_enough_and_nothing_is_not_asked_about(self):
        twins = pl.DataFrame({"id": ["a", "b", "c"], "title": [""] * 3, "content": ["rain", "rain", " "]})
        assert choose(twins, 5, "random", WEATHER)["id"].to_list() == ["a"]


class TestHigh:
    def test_hurricanes_and_floods_come_before_still_air(self, pool, known):
        chosen = choose(pool, 10, "high", WEATHER, known)
        words = ("gale", "hurricane", "steady rain", "floods")
        assert sum(any(word in text for word in words) for text in chosen["content"]) == 10
        assert not any("still air and dry" in text for text in chosen["content"])

    @pytest.mark.parametrize(
        ("dimension", "expected"), [("wind", ("gale", "hurricane")), ("rain", ("steady rain", "floods"))]
    )
    def test_the_highest_of_one_dimension_come_first_whatever_the_other_is(self, pool, known, dimension, expected):
        chosen = choose(pool, 10, "high", WEATHER, known, dimension=dimension)["content"].to_list()
        assert all(any(word in text for word in expected) for text in chosen)

    @pytest.mark.parametrize(("dimension", "mark"), [(None, "high"), ("wind", "high by wind")])
    def test_the_chosen_articles_are_marked_and_a_dataset_uses_them_for_training_only(
        self, pool, known, dimension, mark
    ):
        chosen = choose(pool, 4, "high", WEATHER, known, dimension=dimension)
        assert chosen["sampling"].to_list() == [mark] * 4
        assert targeted_rows(chosen).all()

    def test_a_random_sample_is_not_marked_and_keeps_earlier_marks(self, pool, known):
        assert choose(pool, 4, "random", WEATHER, known).columns == pool.columns
        marked = pool.with_columns(sampling=pl.lit("high"))
        assert targeted_rows(choose(marked, 4, "random", WEATHER, known)).all()

    def test_a_column_of_that_name_with_other_content_is_not_overwritten(self, pool, known):
        with pytest.raises(BadInput, match=r"column sampling of the articles has the type Int64, .* rename the column"):
            choose(pool.with_columns(sampling=pl.lit(3, dtype=pl.Int64)), 4, "high", WEATHER, known)

    def test_an_empty_pool_gives_no_article(self, pool, known):
        assert choose(pool.clear(), 10, "high", WEATHER, known).is_empty()

    def test_without_labels_nothing_is_known_to_be_high(self, pool):
        with pytest.raises(DatasetError, match="start with a random sample"):
            choose(pool, 10, "high", WEATHER)


@pytest.mark.parametrize(
    ("n", "how", "message"),
    [
        (0, "random", "at least 1"),
        (5, "best", "unknown sampling method 'best'; methods: random, high"),
        (5, "uncertain", r"'uncertain' was removed: .* \(MAE 1.240, at random 1.230\); use random or high"),
        (5, "diverse", r"'diverse' was removed: .* \(MAE 1.232, at random 1.230\); use random or high"),
    ],
)
def test_what_makes_no_sense_is_refused(n, how, message):
    with pytest.raises(BadInput, match=message):
        choose(pl.DataFrame({"id": ["a"], "title": [""], "content": ["x"]}), n, how, WEATHER)


@pytest.mark.parametrize(
    ("how", "dimension", "message"),
    [
        ("high", "snow", "unknown dimension 'snow'; the dimensions of weather are wind, rain"),
        ("random", "wind", r"a dimension \('wind'\) is used by the sampling method 'high' only; .* is 'random'"),
    ],
)
def test_a_dimension_that_cannot_be_used_is_refused(pool, known, how, dimension, message):
    with pytest.raises(BadInput, match=message):
        choose(pool, 5, how, WEATHER, known, dimension=dimension)


def test_the_order_is_that_of_worth():
    assert np.array_equal(at_random(["a"]), [0])
