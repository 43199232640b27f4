import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.errors import BadInput, DatasetError
from potstill.sampling import at_random, choose, far_apart

sys.path.append(str(Path(__file__).parent / "audit"))
from labels import WEATHER, news, rows_of, rows_with


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

    def test_without_labels_nothing_is_known_to_be_high(self, pool):
        with pytest.raises(DatasetError, match="start with a random sample"):
            choose(pool, 10, "high", WEATHER)


class TestUncertain:
    def test_articles_of_a_kind_on_which_labels_contradict_come_first(self):
        rng = np.random.default_rng(0)
        places = rng.permutation(400).reshape(2, 200)
        calm = [f"quiet harbour morning w{a}" for a in places[0, :40]]
        odd = [f"sudden squall warning w{a}" for a in places[1, :40]]
        scores = [[2, 2]] * 40 + [[0, 0] if i % 2 else [10, 10] for i in rng.permutation(40)]
        known = rows_with(scores, calm + odd).examples()
        new = [f"quiet harbour morning v{i}" for i in range(10)] + [f"sudden squall warning v{i}" for i in range(10)]
        pool = pl.DataFrame({"id": [f"u{i}" for i in range(20)], "title": [""] * 20, "content": new})
        chosen = choose(pool, 10, "uncertain", WEATHER, known)["id"].to_list()
        assert sum(int(id_[1:]) >= 10 for id_ in chosen) == 10


class TestDiverse:
    def test_one_of_each_kind_comes_before_a_second_of_any(self):
        kinds = ["football goals league", "election parliament vote", "hurricane wind coast"]
        texts = [f"{kind} report{i}" for i in range(5) for kind in kinds]
        assert {place % 3 for place in far_apart(texts, [], 3).tolist()} == {0, 1, 2}

    def test_kinds_that_are_labelled_already_come_last(self):
        texts = ["hurricane wind coast again", "election parliament vote", "football goals league"]
        order = far_apart(texts, ["hurricane wind coast report"], 3).tolist()
        assert order[-1] == 0

    def test_no_article_is_chosen_twice(self):
        order = far_apart([f"word{i % 4}" for i in range(12)], [], 50).tolist()
        assert sorted(order) == list(range(12))


@pytest.mark.parametrize(("n", "how", "message"), [(0, "random", "at least 1"), (5, "best", "no way 'best' to choose")])
def test_what_makes_no_sense_is_refused(n, how, message):
    with pytest.raises(BadInput, match=message):
        choose(pl.DataFrame({"id": ["a"], "title": [""], "content": ["x"]}), n, how, WEATHER)


def test_the_order_is_that_of_worth():
    assert np.array_equal(at_random(["a"]), [0])
