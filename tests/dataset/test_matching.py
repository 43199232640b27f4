"""Tests of datasets of the same articles: a story is recognised in a different window and keeps its part."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weather import FILTER, some_articles, some_labels

from potstill.dataset import Dataset, Fractions, assemble, parts_like, stories
from potstill.errors import DatasetError

WORDS = ("gale", "drizzle", "sun", "hail", "fog", "thaw", "frost", "squall", "haze", "sleet")
THREE = Fractions(train=0.7, validation=0.15, test=0.15)


def texts(n, seed=0, words=30):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, words)) + f" number {seed}-{row}" for row in range(n)]


def dataset(own, parts):
    frame = pl.DataFrame({"id": [f"o{row}" for row in range(len(own))], "text": own, "split": parts})
    return Dataset(frame.with_columns(cluster=pl.int_range(len(own)), y_a=pl.lit(1.0)), ("a",))


class TestStories:
    def test_the_same_text_is_one_story_in_every_dataset(self):
        one = texts(4)
        first, second = stories([one, [one[2], *texts(2, seed=1), one[0]]])
        assert first.tolist() == [0, 1, 2, 3]
        assert second[[0, 3]].tolist() == [2, 0]
        assert not set(second[[1, 2]]) & set(first)

    def test_a_copy_with_a_word_changed_is_the_same_story(self):
        one = texts(3)
        first, second = stories([one, [one[1].replace("number", "no.")]])
        assert second.tolist() == [first[1]]

    def test_an_article_is_known_again_in_a_window_of_another_length(self):
        whole = texts(5, words=200)
        short = [text[:150] for text in whole]
        first, second = stories([whole, short[::-1]])
        assert second.tolist() == first[::-1].tolist()

    def test_a_window_of_head_and_tail_is_compared_by_its_head(self):
        whole = texts(5, words=200)
        first, second = stories(
            [[f"{text[:300]}\n[...]\n{text[-300:]}" for text in whole], [text[:200] for text in whole]]
        )
        assert second.tolist() == first.tolist()


class TestPartsLike:
    @given(seed=st.integers(0, 50), shared=st.integers(10, 40))
    @settings(max_examples=15)
    def test_a_story_has_the_part_that_it_has_there_and_the_rest_every_part(self, seed, shared):
        rng = np.random.default_rng(seed)
        known = texts(40)
        there = rng.permutation(["train"] * 26 + ["validation"] * 7 + ["test"] * 7).tolist()
        mine = [*known[:shared], *texts(30, seed=1)]
        parts, count = parts_like(
            mine, rng.uniform(0, 10, (len(mine), 2)), dataset(known, there), seed=seed, fractions=THREE
        )
        assert count == shared
        assert parts.to_list()[:shared] == there[:shared]
        assert set(parts.to_list()[shared:]) == {"train", "validation", "test"}

    def test_of_several_parts_the_most_guarded_counts(self):
        known = texts(3)
        other = dataset([known[0], known[0] + " again", known[1], known[2]], ["train", "test", "validation", "train"])
        parts, _ = parts_like([*known], np.ones((3, 1)), other, seed=0, fractions=THREE)
        assert parts.to_list() == ["test", "validation", "train"]

    def test_a_small_calibration_part_trains(self):
        known = texts(8)
        other = dataset(known, ["train"] * 2 + ["validation"] * 2 + ["calibration"] * 2 + ["test"] * 2)
        parts, _ = parts_like(known, np.ones((8, 1)), other, seed=0, fractions=THREE)
        assert parts.to_list() == ["train"] * 2 + ["validation"] * 2 + ["train"] * 2 + ["test"] * 2

    def test_a_part_without_rows_is_named(self):
        known = texts(4)
        other = dataset(known, ["train", "train", "validation", "test"])
        with pytest.raises(DatasetError, match="no row belongs to the split 'test' of the other run"):
            parts_like(known[:3], np.ones((3, 1)), other, seed=0, fractions=THREE)


class TestAssembled:
    def test_two_runs_of_the_same_articles_agree_and_it_is_noted(self):
        # The stories are long enough that none is similar to another by chance.
        articles = some_articles(40).with_columns(pl.Series("content", texts(40, words=5)))
        first, _, _ = assemble(articles, some_labels(40), FILTER, seed=1)
        labels = some_labels(40).with_columns(pl.col("y_wind").reverse())
        alone, _, _ = assemble(articles, labels, FILTER, seed=2)
        second, record, _ = assemble(articles, labels, FILTER, seed=2, like=first)
        assert second.frame["split"].to_list() == first.frame["split"].to_list() != alone.frame["split"].to_list()
        assert "40 of 40 rows have the same split as their story in the other run" in record.notes

    def test_another_runs_parts_and_whole_sources_do_not_go_together(self):
        articles = some_articles(20, source=["a", "b"] * 10)
        first, _, _ = assemble(articles, some_labels(20), FILTER)
        with pytest.raises(DatasetError, match="--keep-whole source"):
            assemble(articles, some_labels(20), FILTER, like=first, whole="source")
