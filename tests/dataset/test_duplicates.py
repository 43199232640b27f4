from importlib.util import find_spec
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.dataset import (
    MISSED,
    bands,
    clusters_of,
    duplicates,
    near_duplicates,
)
from potstill.errors import MissingExtra

STORY = "the minister opened the new bridge over the river on monday morning in front of a crowd"
LEE_IDENTICAL = [(104, 112), (115, 119), (117, 120), (150, 156), (230, 236), (263, 271), (281, 288)]
LEE_NEAR = [(232, 241), (59, 72), (98, 107), (182, 191)]


def shingles_by_hand(text):
    """Return the three-word shingles, computed in the simplest way."""
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
        # There are 15 shingles each, of which the changed word affects three.
        assert pairs == [(0, 1, 12 / 18)]

    def test_exactly_half_alike_is_not_above_the_threshold(self):
        # There are three shingles each, two of them shared: 2 of 4.
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

        monkeypatch.setattr(duplicates, "require", missing)
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
