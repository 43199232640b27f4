"""Articles that were chosen by a predicted score are used for training and for nothing else."""

import numpy as np
import polars as pl
import pytest
from weather import FILTER, some_articles, some_labels

from potstill.dataset import assemble
from potstill.errors import DatasetError

COUNT = 60
TARGETED = [f"a{i}" for i in range(40, COUNT)]


def sampled(**columns):
    """60 articles, of which the last 20 were chosen by a predicted score, and their labels."""
    return some_articles(COUNT, sampling=[None] * 40 + ["high"] * 10 + ["high by wind"] * 10, **columns)


def parts_of(made):
    return dict(made.frame.select("id", "split").iter_rows())


class TestSplit:
    def test_they_are_training_rows_and_the_other_rows_are_split_as_without_them(self):
        made, record, _ = assemble(sampled(), some_labels(COUNT), FILTER)
        alone, _, _ = assemble(sampled().head(40), some_labels(COUNT).head(40), FILTER)
        parts = parts_of(made)
        assert {parts[id_] for id_ in TARGETED} == {"train"}
        assert {id_: part for id_, part in parts.items() if id_ not in TARGETED} == parts_of(alone)
        assert "20 rows were chosen by a predicted score and are used for training only" in record.notes
        assert record.rows == COUNT
        assert made.all().targeted.tolist() == [False] * 40 + [True] * 20
        assert made.all().untargeted().ids == alone.all().ids

    @pytest.mark.parametrize("value", [None, "random", "highlights of the week", "very high", ""])
    def test_other_values_of_that_column_change_nothing(self, value):
        made, record, _ = assemble(some_articles(sampling=[value] * 20), some_labels(), FILTER)
        assert parts_of(made) == parts_of(assemble(some_articles(), some_labels(), FILTER)[0])
        assert not made.all().targeted.any()
        assert not any("predicted score" in note for note in record.notes)

    def test_one_that_resembles_a_held_out_row_is_left_out(self):
        parts = parts_of(assemble(sampled(), some_labels(COUNT), FILTER)[0])
        held, learned = (next(id_ for id_ in parts if parts[id_] == part) for part in ("test", "train"))
        texts = dict(sampled().select("id", "content").iter_rows())
        copies = {"a40": texts[held], "a41": texts[learned]}
        articles = sampled().with_columns(
            content=pl.col("id").replace_strict(copies, default=pl.col("content"), return_dtype=pl.String)
        )
        made, record, pairs = assemble(articles, some_labels(COUNT), FILTER)
        assert "a40" not in made.frame["id"]
        assert parts_of(made)["a41"] == "train"
        ids = made.frame["id"].to_list()
        assert (learned, "a41") in {(ids[i], ids[j]) for i, j, _ in pairs}
        assert all(i < len(ids) and j < len(ids) for i, j, _ in pairs)
        assert any(note.startswith("1 more are left out") for note in record.notes)
        assert record.rows == COUNT - 1
        assert sum(record.parts.values()) == COUNT - 1
        assert len(made.all()) == COUNT - 1

    def test_with_whole_sources_those_of_a_held_out_source_are_left_out(self):
        sources = [f"s{i % 20}" for i in range(COUNT)]
        made, record, _ = assemble(sampled(source=sources), some_labels(COUNT), FILTER, whole="source")
        of_source = made.frame.group_by("source").agg(pl.col("split").n_unique())
        assert of_source["split"].to_list() == [1] * 20
        kept = set(TARGETED) & set(made.frame["id"])
        assert 0 < len(kept) < 20
        assert record.clusters == made.frame["cluster"].n_unique()
        assert {parts_of(made)[id_] for id_ in kept} == {"train"}

    def test_with_a_split_by_time_those_as_new_as_held_out_rows_are_left_out(self):
        days = [f"2024-01-{1 + i % 20:02}" for i in range(COUNT)]
        made, _, _ = assemble(sampled(published=days), some_labels(COUNT), FILTER, whole="time")
        held = made.frame.filter(pl.col("split") != "train")["published"].min()
        kept = made.frame.filter(pl.col("id").is_in(TARGETED))
        assert 0 < kept.height < 20
        assert kept["published"].max() < held

    def test_those_that_another_run_holds_out_are_left_out(self):
        other, _, _ = assemble(sampled().drop("sampling"), some_labels(COUNT), FILTER, seed=3)
        held = {id_ for id_, part in parts_of(other).items() if part != "train"}
        made, _, _ = assemble(sampled(), some_labels(COUNT), FILTER, like=other)
        assert held & set(TARGETED)
        assert not held & set(TARGETED) & set(made.frame["id"])
        assert set(TARGETED) - held <= set(made.frame["id"])

    def test_too_few_random_rows_are_refused(self):
        articles = some_articles(sampling=[None] * 9 + ["high"] * 11)
        with pytest.raises(DatasetError, match=r"9 of 20 labelled articles were sampled at random, and at least 10"):
            assemble(articles, some_labels(), FILTER)


def test_a_row_in_extra_is_recognised():
    articles = some_articles(COUNT, extra=['{"sampling": null}'] * 40 + ['{"sampling": "high"}'] * 20)
    made, _, _ = assemble(articles, some_labels(COUNT), FILTER)
    assert np.flatnonzero(made.all().targeted).tolist() == list(range(40, COUNT))
