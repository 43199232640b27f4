import time
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill import dataset
from potstill.dataset import (
    DEFAULT_FRACTIONS,
    MISSED,
    PARTS,
    Dataset,
    Examples,
    Fractions,
    assemble,
    bands,
    check_labels,
    clusters_of,
    folds,
    near_duplicates,
    split,
)
from potstill.errors import DatasetError, LabelError, MissingExtra
from potstill.filters import parse_filter

STORY = "the minister opened the new bridge over the river on monday morning in front of a crowd"
LEE_IDENTICAL = [(104, 112), (115, 119), (117, 120), (150, 156), (230, 236), (263, 271), (281, 288)]
LEE_NEAR = [(232, 241), (59, 72), (98, 107), (182, 191)]


def shingles_by_hand(text):
    """Three-word shingles, as plain as can be."""
    words = text.lower().split()
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}


def jaccard_by_hand(a, b):
    one, two = shingles_by_hand(a), shingles_by_hand(b)
    return len(one & two) / len(one | two) if one | two else 0.0


def indices(pairs):
    return [(i, j) for i, j, _ in pairs]


@pytest.fixture(scope="session")
def lee():
    if find_spec("gensim") is None:
        pytest.skip("gensim, which ships the Lee corpus, is not installed")
    path = Path(find_spec("gensim").origin).parent / "test" / "test_data" / "lee_background.cor"
    return path.read_text(encoding="ascii").splitlines()


class TestNearDuplicates:
    def test_the_lee_background_file_has_eleven_pairs_and_no_others(self, lee):
        pairs = near_duplicates(lee)
        assert indices(pairs) == sorted(LEE_IDENTICAL + LEE_NEAR)
        assert [(i, j) for i, j, jaccard in pairs if jaccard == 1] == LEE_IDENTICAL

    def test_the_lee_pairs_are_those_of_a_count_over_all_44850(self, lee):
        sets = [shingles_by_hand(text) for text in lee]
        by_hand = [
            (i, j) for i, j in combinations(range(300), 2) if len(sets[i] & sets[j]) > 0.5 * len(sets[i] | sets[j])
        ]
        assert indices(near_duplicates(lee)) == by_hand

    def test_case_accents_width_and_punctuation_do_not_hide_a_copy(self):
        texts = ["Ärzte fordern, mehr Geld!", "ÄRZTE FORDERN MEHR GELD", "\uff21rzte fordern mehr Geld"]
        assert near_duplicates(texts) == [(0, 1, 1.0)]

    def test_one_changed_word_in_a_story_is_still_a_near_duplicate(self):
        pairs = near_duplicates([STORY, STORY.replace("monday", "tuesday"), "quite another tale of the sea"])
        # 15 shingles each, of which the word touches three.
        assert pairs == [(0, 1, 12 / 18)]

    def test_exactly_half_alike_is_not_above_the_threshold(self):
        # Three shingles each, two of them shared: 2 of 4.
        assert jaccard_by_hand("a b c d e", "x b c d e") == 0.5
        assert near_duplicates(["a b c d e", "x b c d e"]) == []
        assert near_duplicates(["a b c d e", "x b c d e"], threshold=0.49) == [(0, 1, 0.5)]

    def test_han_text_without_spaces_is_compared_by_characters(self):
        one = "今天上午市长在河边为新桥剪彩，数百名市民到场观看，仪式持续了一个小时。"  # noqa: RUF001
        texts = [one, one.replace("上午", "下午"), "股价周五大幅下跌，投资者担心利率将继续上升。"]  # noqa: RUF001
        assert indices(near_duplicates(texts)) == [(0, 1)]

    def test_han_text_in_a_frame_of_latin_words_is_not_judged_by_the_frame(self):
        texts = ["BBC News 今天上午市长在河边为新桥剪彩", "BBC News 股价周五大幅下跌投资者担心利率"]
        assert near_duplicates(texts) == []

    def test_thai_text_is_compared_by_characters(self):
        one = "นายกเทศมนตรีเปิดสะพานใหม่ข้ามแม่น้ำเมื่อเช้าวันจันทร์ต่อหน้าประชาชนหลายร้อยคน"
        texts = [one, one.replace("จันทร์", "ศุกร์"), "ราคาหุ้นร่วงลงอย่างหนักในวันศุกร์เพราะนักลงทุนกังวลเรื่องดอกเบี้ย"]
        assert indices(near_duplicates(texts)) == [(0, 1)]

    def test_texts_of_one_or_two_words_match_only_when_they_are_the_same(self):
        assert near_duplicates(["Rain", "rain.", "rain today", "Rain today", "today rain"]) == [
            (0, 1, 1.0),
            (2, 3, 1.0),
        ]

    def test_empty_texts_are_like_nothing_and_signs_alone_are_compared_whole(self):
        assert near_duplicates(["", " \n", "", "!!!", "!!!", "???"]) == [(3, 4, 1.0)]

    def test_nothing_at_all_has_no_pairs(self):
        assert near_duplicates([]) == []

    def test_a_thousand_copies_give_999_pairs_with_the_first(self):
        pairs = near_duplicates([STORY] * 1000)
        assert indices(pairs) == [(0, j) for j in range(1, 1000)]

    def test_a_near_duplicate_is_paired_with_the_first_of_several_copies(self):
        near = STORY.replace("monday", "tuesday")
        pairs = near_duplicates([STORY, near, STORY, near])
        assert indices(pairs) == [(0, 1), (0, 2), (1, 3)]
        assert clusters_of(4, pairs).tolist() == [0, 0, 0, 0]

    @pytest.mark.parametrize("threshold", [0.0, 1.0, -1.0, float("nan")])
    def test_a_threshold_outside_0_to_1_is_refused(self, threshold):
        with pytest.raises(ValueError, match="threshold"):
            near_duplicates(["a"], threshold=threshold)

    def test_without_datasketch_the_command_that_installs_it_is_named(self, monkeypatch):
        def missing(module, extra):
            raise MissingExtra(module, extra)

        monkeypatch.setattr(dataset, "require", missing)
        with pytest.raises(MissingExtra, match=r"pip install 'potstill\[train\]'"):
            near_duplicates(["one two three", "four five six"])

    @settings(deadline=None, max_examples=60)
    @given(st.lists(st.lists(st.sampled_from("abcd"), min_size=3, max_size=9).map(" ".join), max_size=12))
    def test_clusters_are_those_of_a_count_over_all_pairs(self, texts):
        by_hand = [
            (i, j, 0.0) for i, j in combinations(range(len(texts)), 2) if jaccard_by_hand(texts[i], texts[j]) > 0.5
        ]
        found = near_duplicates(texts)
        assert clusters_of(len(texts), found).tolist() == clusters_of(len(texts), by_hand).tolist()
        assert all(jaccard_by_hand(texts[i], texts[j]) == jaccard for i, j, jaccard in found)
        assert set(indices(found)) <= set(indices(by_hand))

    @pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 0.8, 0.95])
    def test_a_pair_at_the_threshold_is_missed_less_than_once_in_a_hundred_million(self, threshold):
        count, rows = bands(threshold)
        assert (1 - threshold**rows) ** count <= MISSED
        assert rows == 2 or count * rows <= 256

    def test_at_one_half_there_are_65_bands_of_two(self):
        assert bands(0.5) == (65, 2)


class TestClusters:
    def test_a_chain_of_pairs_is_one_cluster(self):
        assert clusters_of(6, [(1, 4, 0.6), (4, 5, 0.7)]).tolist() == [0, 1, 2, 3, 1, 1]

    def test_without_pairs_each_row_stands_alone(self):
        assert clusters_of(3, []).tolist() == [0, 1, 2]


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
        # The hundred rows after the first 800 are of two days, and most of the second belong to the test.
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
        assert dataset._with_groups(clusters, sources).tolist() == [0, 0, 0, 0, 1, 2, 2]

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
            (20, {"groups": ["ap", "bbc"] * 10}, "20 rows in too few distinct sources to fill the part"),
            (20, {"times": np.zeros(20)}, "20 rows in too few distinct times to fill the part"),
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
        with pytest.raises(DatasetError, match=f"{found} clusters cannot make {k} folds"):
            folds(np.array([0, 1, 2, 2]), some_rows(4), k, seed=0)


class TestFractions:
    @pytest.mark.parametrize("text", ["80/10/10", "0.8/0.1/0.1", "80/10/0/10"])
    def test_shares_and_per_cents_mean_the_same(self, text):
        assert Fractions.parse(text) == Fractions(train=0.8, validation=0.1, test=0.1)

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


FILTER = parse_filter(
    """
name: weather
version: 1
description: How bad the weather is.
text: {max_chars: 40, keep: head}
dimensions:
  wind: {weight: 0.5, description: How strong}
  rain: {weight: 0.5, description: How wet}
tiers:
  - {name: storm, when: overall >= 6, positive: true}
  - {name: calm}
""",
    "Judge the weather.",
    "weather",
)


def some_articles(n=20, **columns):
    rng = np.random.default_rng(0)
    contents = [" ".join(rng.choice(["gale", "drizzle", "sun", "hail", "fog", "thaw"], 6)) for _ in range(n)]
    return pl.DataFrame({"id": [f"a{i}" for i in range(n)], "title": [None] * n, "content": contents, **columns})


def some_labels(n=20, oracle="rehearsal", **changed):
    rng = np.random.default_rng(1)
    columns = {
        "article": [f"a{i}" for i in range(n)],
        "oracle": [oracle] * n,
        "samples": [2] * n,
        "evidence": [""] * n,
        "y_wind": rng.uniform(0, 10, n),
        "s_wind": [0.1] * n,
        "y_rain": rng.uniform(0, 10, n),
        "s_rain": [0.0] * n,
        **changed,
    }
    return pl.DataFrame(columns, schema_overrides={"y_wind": pl.Float64, "y_rain": pl.Float64})


class TestAssemble:
    def test_rows_are_the_labelled_articles_in_their_order(self):
        made, record, _ = assemble(some_articles(25), some_labels(20).reverse(), FILTER)
        assert made.frame["id"].to_list() == [f"a{i}" for i in range(20)]
        assert made.frame.columns == [
            *("id", "title", "text", "cut", "cluster", "split"),
            *("y_wind", "s_wind", "y_rain", "s_rain", "samples"),
        ]
        assert record.unlabelled == 5
        assert record.parts == {"train": 16, "validation": 2, "test": 2}
        assert record.oracle == "rehearsal"
        assert record.calibration == "cross-fitted"
        assert any("calibration is cross-fitted" in note for note in record.notes)

    def test_the_text_is_the_window_of_the_filter(self):
        articles = some_articles().with_columns(title=pl.lit("Storm"), content=pl.lit("rain " * 20))
        articles = articles.with_columns(content=pl.concat_str(pl.col("id"), pl.lit(" "), pl.col("content")))
        made, record, _ = assemble(articles, some_labels(), FILTER)
        assert made.frame["text"][3] == "Storm\n\na3 rain rain rain rain rain rain"
        assert record.cut == 20

    def test_copies_share_a_cluster_and_a_part(self):
        articles = some_articles().with_columns(
            content=pl.when(pl.col("id").is_in(["a3", "a17"])).then(pl.lit("snow in may")).otherwise("content")
        )
        made, record, pairs = assemble(articles, some_labels(), FILTER)
        assert (3, 17, 1.0) in pairs
        assert made.frame["cluster"][3] == made.frame["cluster"][17]
        assert made.frame["split"][3] == made.frame["split"][17]
        assert record.near_duplicates == len(pairs)

    def test_masked_labels_stay_masked(self):
        labels = some_labels(y_rain=[None] * 3 + [float(i) / 2 for i in range(17)])
        made, record, _ = assemble(some_articles(), labels, FILTER)
        assert record.masked == {"wind": 0, "rain": 3}
        assert np.isnan(made.all().scores[:3, 1]).all()
        assert made.frame["y_rain"].null_count() == 3

    def test_an_article_without_any_label_is_left_out_and_counted(self):
        labels = some_labels(y_rain=[None, *np.arange(19.0) / 2], y_wind=[float("nan"), *np.arange(19.0) / 2])
        _, record, _ = assemble(some_articles(), labels, FILTER)
        assert record.rows == 19
        assert record.unlabelled == 1
        assert "1 articles whose labels are all masked are left out" in record.notes

    def test_source_language_and_time_come_from_columns_or_from_extra(self):
        typed = some_articles(source=["bbc"] * 20, language=["en"] * 20)
        as_json = some_articles(extra=['{"source": "bbc", "language": "en", "published": null, "n": 3}'] * 20)
        for articles in (typed, as_json):
            made, _, _ = assemble(articles, some_labels(), FILTER)
            assert made.frame["source"].to_list() == ["bbc"] * 20
            assert made.all().frame["language"].to_list() == ["en"] * 20
            assert "published" not in made.frame.columns

    def test_a_dimension_of_one_value_is_remarked_on(self):
        _, record, _ = assemble(some_articles(), some_labels(y_rain=[4.0] * 20), FILTER)
        assert "rain: every label is 4; nothing can be learnt of it" in record.notes

    def test_a_dimension_without_labels_is_remarked_on(self):
        _, record, _ = assemble(some_articles(), some_labels(y_rain=[None] * 20), FILTER)
        assert "rain: no label at all; nothing can be learnt of it" in record.notes

    def test_labels_that_never_vary_are_refused(self):
        with pytest.raises(DatasetError, match=r"no dimension's labels vary.*wind: every label is 2.*rain"):
            assemble(some_articles(), some_labels(y_rain=[4.0] * 20, y_wind=[2.0] * 20), FILTER)

    @pytest.mark.parametrize("value", [10.5, -0.1, float("inf"), float("-inf")])
    def test_a_label_off_the_scale_names_article_dimension_and_scale(self, value):
        labels = some_labels(y_rain=[5.0] * 7 + [value] + [3.0] * 12)
        with pytest.raises(LabelError, match=f"article a7: rain: {value:g} is not on the scale 0 to 10"):
            assemble(some_articles(), labels, FILTER)

    def test_no_labels_and_no_labelled_article_are_told_apart(self):
        with pytest.raises(DatasetError, match="the ledger holds no label"):
            assemble(some_articles(), some_labels(0), FILTER)
        with pytest.raises(DatasetError, match="no labelled article"):
            assemble(some_articles().with_columns(id=pl.lit("b") + pl.col("id")), some_labels(), FILTER)

    def test_an_article_that_comes_twice_is_named(self):
        with pytest.raises(DatasetError, match="article a0 comes twice"):
            assemble(pl.concat([some_articles(), some_articles(1)], how="vertical_relaxed"), some_labels(), FILTER)

    def test_several_oracles_ask_for_a_choice(self):
        labels = pl.concat([some_labels(), some_labels(oracle="second")])
        with pytest.raises(DatasetError, match=r"labels of 2 oracles: .*rehearsal \(20\).*choose one"):
            assemble(some_articles(), labels, FILTER)
        _, record, _ = assemble(some_articles(), labels, FILTER, oracle="second")
        assert record.oracle == "second"
        assert record.rows == 20
        with pytest.raises(DatasetError, match="no labels of oracle 'third'"):
            assemble(some_articles(), labels, FILTER, oracle="third")

    def test_sources_are_kept_whole_on_request(self):
        sources = [f"s{i % 6}" for i in range(60)]
        made, record, _ = assemble(some_articles(60, source=sources), some_labels(60), FILTER, whole="source")
        assert made.frame.group_by("source").agg(pl.col("split").n_unique())["split"].max() == 1
        assert record.whole == "source"

    def test_without_any_source_they_cannot_be(self):
        with pytest.raises(DatasetError, match="no article has a field 'source'"):
            assemble(some_articles(), some_labels(), FILTER, whole="source")

    def test_sources_tied_by_shared_stories_are_remarked_on(self):
        articles = some_articles(20, source=["ap"] * 15 + [f"s{i}" for i in range(5)])
        _, record, _ = assemble(articles, some_labels(), FILTER, whole="source")
        assert any("sources tied by shared stories holds" in note for note in record.notes)

    def test_by_time_reads_iso_and_mail_dates_and_takes_no_zone_for_utc(self):
        published = [f"2024-05-{day:02d}T10:00:00" for day in range(1, 19)]
        published += ["Sun, 19 May 2024 10:00:00 GMT", "2024-05-20T10:00:00+02:00"]
        articles = some_articles(published=published)
        # All different, or clusters would tie days together.
        articles = articles.with_columns(content=pl.col("id"))
        made, _, _ = assemble(articles, some_labels(), FILTER, whole="time")
        assert made.frame["split"].to_list() == ["train"] * 16 + ["validation"] * 2 + ["test"] * 2

    def test_a_time_without_a_zone_does_not_depend_on_the_machine(self, monkeypatch):
        monkeypatch.setenv("TZ", "Pacific/Auckland")
        time.tzset()
        try:
            assert dataset._seconds("a0", "1970-01-01T01:00:00") == dataset._seconds("a0", "1970-01-01T01:00:00Z")
        finally:
            monkeypatch.undo()
            time.tzset()

    @pytest.mark.parametrize(
        ("published", "message"),
        [(None, "article a0: no field 'published'"), ("yesterday", "article a0: published: 'yesterday' is no time")],
    )
    def test_a_time_that_cannot_be_read_is_named(self, published, message):
        articles = some_articles(published=[published] + ["2024-05-01"] * 19)
        with pytest.raises(DatasetError, match=message):
            assemble(articles, some_labels(), FILTER, whole="time")


def test_nan_passes_as_a_masked_label():
    check_labels(np.array([[float("nan"), 10.0]]), ["a"], ["wind", "rain"], 0, 10)


class TestDataset:
    def test_it_comes_back_as_it_was_saved(self, tmp_path):
        made, _, _ = assemble(some_articles(), some_labels(), FILTER)
        made.save(tmp_path / "rows.parquet")
        back = Dataset.load(tmp_path / "rows.parquet", FILTER.dimension_names)
        assert back.frame.equals(made.frame)
        assert sum(len(back.part(part)) for part in PARTS) == len(back.all()) == 20
        assert not back.has_calibration_part

    def test_a_part_holds_its_rows_alone(self):
        made, _, _ = assemble(some_articles(), some_labels(), FILTER)
        test = made.part("test")
        rows = made.frame.filter(pl.col("split") == "test")
        assert list(test.ids) == rows["id"].to_list()
        assert test.texts == rows["text"].to_list()
        assert test.scores.tolist() == rows.select("y_wind", "y_rain").to_numpy().tolist()
        assert test.clusters.tolist() == rows["cluster"].to_list()

    def test_an_unmade_part_is_empty_and_an_unknown_one_an_error(self):
        made, _, _ = assemble(some_articles(), some_labels(), FILTER)
        assert len(made.part("calibration")) == 0
        assert made.part("calibration").scores.shape == (0, 2)
        with pytest.raises(DatasetError, match="no part 'dev'; parts: train, validation, calibration, test"):
            made.part("dev")

    def test_missing_broken_and_foreign_files_are_named(self, tmp_path):
        with pytest.raises(DatasetError, match=r"absent\.parquet: no such file"):
            Dataset.load(tmp_path / "absent.parquet", ("wind",))
        (tmp_path / "broken.parquet").write_bytes(b"PAR?")
        with pytest.raises(DatasetError, match=r"broken\.parquet: not a Parquet file"):
            Dataset.load(tmp_path / "broken.parquet", ("wind",))
        pl.DataFrame({"id": ["a"]}).write_parquet(tmp_path / "foreign.parquet")
        with pytest.raises(DatasetError, match="no column 'text'"):
            Dataset.load(tmp_path / "foreign.parquet", ("wind",))


class TestExamples:
    def some(self):
        return Examples(
            ids=("a", "b", "c"),
            frame=pl.DataFrame({"id": ["a", "b", "c"], "text": ["one", "two", "three"]}),
            scores=np.array([[1.0], [2.0], [np.nan]]),
            clusters=np.array([0, 1, 1]),
            dimensions=("wind",),
        )

    def test_rows_are_taken_by_mask_or_by_position_in_the_order_wanted(self):
        by_mask = self.some().take(np.array([True, False, True]))
        by_place = self.some().take([2, 0])
        assert by_mask.ids == ("a", "c")
        assert by_place.ids == ("c", "a")
        assert by_place.texts == ["three", "one"]
        assert by_place.clusters.tolist() == [1, 0]
        assert by_place.scores[1, 0] == 1.0

    def test_taking_nothing_leaves_nothing(self):
        assert len(self.some().take([])) == 0
        assert len(self.some().take(np.zeros(3, dtype=bool))) == 0

    def test_parts_that_do_not_match_are_refused(self):
        good = self.some()
        with pytest.raises(DatasetError, match=r"scores have shape \(3, 1\), expected \(2, 1\)"):
            Examples(("a", "b"), good.frame, good.scores, good.clusters, good.dimensions)
        with pytest.raises(DatasetError, match="do not match"):
            Examples(good.ids, good.frame, good.scores, good.clusters[:2], good.dimensions)
        with pytest.raises(DatasetError, match="need a column text"):
            Examples(good.ids, good.frame.drop("text"), good.scores, good.clusters, good.dimensions)
