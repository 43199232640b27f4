import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.dataset import (
    DEFAULT_FRACTIONS,
    PARTS,
    Fractions,
    folds,
    split,
    splitting,
)
from potstill.errors import DatasetError


def some_rows(n, seed=0, dimensions=3):
    return np.random.default_rng(seed).uniform(0, 10, (n, dimensions))


def counts(parts):
    return {part: int((parts == part).sum()) for part in PARTS if (parts == part).any()}


class TestSplit:
    def test_350_rows_are_split_80_10_10_and_calibration_gets_no_part(self):
        parts = split(some_rows(350), np.arange(350), seed=0)
        assert counts(parts) == {"train": 280, "validation": 35, "test": 35}

    def test_1000_rows_have_a_calibration_part_of_100(self):
        parts = split(some_rows(1000), np.arange(1000), seed=0)
        assert counts(parts) == {"train": 700, "validation": 100, "calibration": 100, "test": 100}

    def test_990_rows_have_none(self):
        assert "calibration" not in counts(split(some_rows(990), np.arange(990), seed=0))

    def test_a_calibration_part_left_small_by_large_blocks_is_not_made(self):
        # The hundred rows after the first 800 are from two days, and most rows of the second day are in the test part.
        days = np.repeat([0.0, 1.0, 2.0, 3.0], [700, 100, 50, 150])
        parts = split(some_rows(1000), np.arange(1000), seed=0, times=days)
        assert counts(parts) == {"train": 800, "validation": 50, "test": 150}
        assert days[(parts == "train").to_numpy()].max() < days[(parts == "validation").to_numpy()].min()

    def test_a_calibration_part_left_small_by_large_clusters_is_not_made(self):
        clusters = np.repeat(np.arange(12), 90)
        assert "calibration" not in counts(split(some_rows(1080), clusters, seed=0))

    def test_every_part_holds_low_and_high_articles_alike(self):
        scores = some_rows(500, dimensions=1)
        parts = split(scores, np.arange(500), seed=3)
        low, high = np.quantile(scores, [0.1, 0.9])
        for part in ("validation", "test"):
            inside = scores[(parts == part).to_numpy(), 0]
            assert (inside <= low).sum() == (inside >= high).sum() == 5

    def test_strata_follow_the_weights_of_the_filter(self):
        scores = some_rows(500, dimensions=2)
        parts = split(scores, np.arange(500), seed=3, weights=np.array([0.0, 1.0]))
        high = np.quantile(scores[:, 1], 0.9)
        assert (scores[(parts == "test").to_numpy(), 1] >= high).sum() == 5

    def test_another_seed_gives_another_split(self):
        scores, clusters = some_rows(100), np.arange(100)
        assert (split(scores, clusters, seed=0) != split(scores, clusters, seed=1)).any()

    def test_a_cluster_of_most_rows_trains_and_the_other_parts_are_filled(self):
        clusters = np.r_[np.zeros(700, dtype=int), np.arange(1, 301)]
        parts = split(some_rows(1000), clusters, seed=0)
        assert counts(parts) == {"train": 700, "validation": 100, "calibration": 100, "test": 100}

    def test_sources_stay_whole(self):
        sources = np.random.default_rng(0).choice(["ap", "bbc", "cbs", "dpa", "efe", "afp"], 300).tolist()
        parts = split(some_rows(300), np.arange(300), seed=0, groups=sources)
        frame = pl.DataFrame({"source": sources, "part": parts})
        assert frame.group_by("source").agg(pl.col("part").n_unique())["part"].to_list() == [1] * 6
        assert set(parts) == {"train", "validation", "test"}

    def test_rows_without_a_source_stand_alone(self):
        parts = split(some_rows(100), np.arange(100), seed=0, groups=[None] * 100)
        assert counts(parts) == {"train": 80, "validation": 10, "test": 10}

    def test_a_story_shared_by_two_sources_ties_them_together(self):
        sources = ["ap", "ap", "bbc", "bbc", "cbs", None, None]
        clusters = np.array([0, 1, 1, 2, 3, 4, 4])
        assert splitting.with_groups(clusters, sources).tolist() == [0, 0, 0, 0, 1, 2, 2]

    def test_by_time_the_test_part_comes_last(self):
        times = np.random.default_rng(0).permutation(200).astype(float)
        parts = split(some_rows(200), np.arange(200), seed=0, times=times).to_numpy()
        assert counts(pl.Series(parts)) == {"train": 160, "validation": 20, "test": 20}
        assert times[parts == "train"].max() < times[parts == "validation"].min()
        assert times[parts == "validation"].max() < times[parts == "test"].min()

    def test_by_time_a_cluster_counts_as_its_latest_row(self):
        clusters = np.arange(100)
        clusters[99] = clusters[0]
        parts = split(some_rows(100), clusters, seed=0, times=np.arange(100.0))
        assert parts[0] == parts[99] == "test"

    def test_by_time_rows_of_one_day_stay_together(self):
        days = np.repeat(np.arange(20.0), 7)
        parts = split(some_rows(140), np.arange(140), seed=0, times=days)
        frame = pl.DataFrame({"day": days, "part": parts})
        assert frame.group_by("day").agg(pl.col("part").n_unique())["part"].max() == 1

    def test_masked_labels_are_placed_by_the_known_ones(self):
        scores = some_rows(100)
        scores[::2, 0] = np.nan
        scores[5] = np.nan
        assert counts(split(scores, np.arange(100), seed=0)) == {"train": 80, "validation": 10, "test": 10}

    @pytest.mark.parametrize(
        ("rows", "settings_", "message"),
        [
            (9, {}, "9 labelled rows are too few"),
            (0, {}, "0 labelled rows are too few"),
            (20, {"groups": ["ap", "bbc"] * 10}, "20 rows have too few distinct sources to fill the split"),
            (20, {"times": np.zeros(20)}, "20 rows have too few distinct times to fill the split"),
            (20, {"times": np.full(20, np.nan)}, "row 0: no time"),
            (20, {"times": np.arange(20.0), "groups": ["ap"] * 20}, "not both"),
        ],
    )
    def test_rows_that_cannot_fill_every_part_are_refused(self, rows, settings_, message):
        with pytest.raises(DatasetError, match=message):
            split(some_rows(rows), np.arange(rows), seed=0, **settings_)

    def test_one_cluster_cannot_be_split(self):
        with pytest.raises(DatasetError, match="too few distinct clusters"):
            split(some_rows(50), np.zeros(50, dtype=int), seed=0)

    @settings(deadline=None, max_examples=80)
    @given(
        clusters=st.lists(st.integers(0, 60), min_size=10, max_size=200),
        seed=st.integers(0, 2**31),
        masked=st.floats(0, 0.5),
    )
    def test_no_cluster_crosses_parts_and_every_row_has_one(self, clusters, seed, masked):
        index = np.array(clusters)
        if len(set(clusters)) < 3:
            return
        scores = some_rows(len(clusters), seed=1)
        scores[np.random.default_rng(2).random(scores.shape) < masked] = np.nan
        parts = split(scores, index, seed=seed)
        assert len(parts) == len(clusters)
        assert set(parts) == {"train", "validation", "test"}
        together = pl.DataFrame({"cluster": index, "part": parts}).group_by("cluster").agg(pl.col("part").n_unique())
        assert together["part"].max() == 1
        assert parts.equals(split(scores, index, seed=seed))

    @settings(deadline=None, max_examples=50)
    @given(rows=st.integers(10, 400), seed=st.integers(0, 1000))
    def test_single_rows_fill_the_parts_to_within_one_row(self, rows, seed):
        parts = counts(split(some_rows(rows), np.arange(rows), seed=seed))
        assert abs(parts["train"] - 0.8 * rows) <= 1.5
        assert abs(parts["validation"] - 0.1 * rows) <= 1
        assert abs(parts["test"] - 0.1 * rows) <= 1


class TestFolds:
    def test_ten_folds_of_350_rows_hold_35_each(self):
        assert np.bincount(folds(np.arange(350), some_rows(350), 10, seed=0)).tolist() == [35] * 10

    def test_clusters_stay_whole(self):
        clusters = np.random.default_rng(0).integers(0, 40, 200)
        fold = folds(clusters, some_rows(200), 5, seed=0)
        assert all(len(set(fold[clusters == c])) == 1 for c in set(clusters.tolist()))
        assert set(fold.tolist()) == set(range(5))

    @pytest.mark.parametrize(("k", "found"), [(4, 3), (1, 3)])
    def test_more_folds_than_clusters_are_refused(self, k, found):
        with pytest.raises(DatasetError, match=f"{found} clusters cannot be divided into {k} folds"):
            folds(np.array([0, 1, 2, 2]), some_rows(4), k, seed=0)


class TestFractions:
    @pytest.mark.parametrize("text", ["80/10/10", "0.8/0.1/0.1", "80/10/0/10"])
    def test_shares_and_per_cents_mean_the_same(self, text):
        assert Fractions.parse(text) == Fractions(train=0.8, validation=0.1, test=0.1)

    def test_without_calibration_its_share_trains_and_is_recorded_as_a_round_number(self):
        assert str(DEFAULT_FRACTIONS.without_calibration().train) == "0.8"

    def test_four_numbers_come_in_the_order_of_use(self):
        assert Fractions.parse("60/20/15/5") == Fractions(train=0.6, validation=0.2, calibration=0.15, test=0.05)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("80/20", "expected three or four numbers"),
            ("most/some/few", "expected three or four numbers"),
            ("80/10/20", "they sum to 1.1, expected 1"),
            ("100/0/0", "train: Input should be less than 1"),
            ("110/-20/10", "train: Input should be less than 1"),
            ("nan/0.5/0.5", "train"),
        ],
    )
    def test_anything_else_is_refused_with_what_came(self, text, message):
        with pytest.raises(DatasetError, match=f"fractions '{text}'.*{message}"):
            Fractions.parse(text)

    def test_the_default_is_80_10_10_below_1000_rows(self):
        assert DEFAULT_FRACTIONS.for_rows(994).calibration == 0
        assert DEFAULT_FRACTIONS.for_rows(994).train == pytest.approx(0.8)
        assert DEFAULT_FRACTIONS.for_rows(1000).calibration == 0.1
