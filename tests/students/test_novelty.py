"""Tests of the distance of a text from the training texts."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bundle import examples, neural_student, tfidf_student

from potstill.errors import BundleError
from potstill.students import Outputs, outputs_of
from potstill.students.blend import BlendStudent
from potstill.students.constant import ConstantStudent
from potstill.students.novelty import (
    MOST_VECTORS,
    NEIGHBOURS,
    FeatureNovelty,
    WordNovelty,
    novelty_arrays,
    novelty_from,
    unseen_distances,
)
from potstill.students.tfidf import TfidfStudent


def cloud(rows, seed=0, width=16, at=0):
    """Features of one kind of text: they differ in the three directions after `at`, and hardly in any other."""
    rng = np.random.default_rng(seed)
    features = rng.normal(0, 0.01, (rows, width))
    features[:, at] += 1
    features[:, at + 1 : at + 4] += rng.normal(0, 0.5, (rows, len(range(width)[at + 1 : at + 4])))
    return features


class TestFeatures:
    def test_texts_of_another_kind_are_farther_than_any_of_the_same_kind(self):
        novelty = FeatureNovelty.fit(cloud(300), [16])
        own, other = novelty.distances(cloud(100, 1)), novelty.distances(cloud(100, 2, at=5))
        assert own.max() < other.min()

    def test_the_distance_is_the_mean_over_the_nearest_training_texts(self):
        features = np.random.default_rng(0).normal(size=(40, 8))
        novelty = FeatureNovelty.fit(features, [8])
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        ready = unit - unit.mean(axis=0)
        apart = np.sqrt(((ready[:, None] - ready[None]) ** 2).sum(axis=2))
        expected = np.sort(apart, axis=1)[:, :NEIGHBOURS].mean(axis=1)
        assert novelty.distances(features) == pytest.approx(expected, abs=0.01)

    def test_texts_far_from_the_mean_are_far_whatever_their_direction(self):
        """All training texts are near one direction; a text beyond one of them is farther than they are apart."""
        rng = np.random.default_rng(0)
        features = np.ones((100, 8)) + rng.normal(0, 0.05, (100, 8))
        novelty = FeatureNovelty.fit(features, [8])
        beyond = features[:1] + 20 * (features[:1] - features.mean(axis=0))
        assert novelty.distances(beyond)[0] > 3 * novelty.distances(features).max()

    def test_what_the_components_leave_out_counts(self):
        """All training texts lie in a plane, and a text at a right angle to it is far from every one of them."""
        rng = np.random.default_rng(0)
        flat = np.zeros((60, 300))
        flat[:, :2] = rng.normal(1, 0.1, (60, 2))
        novelty = FeatureNovelty.fit(flat, [300])
        aside = np.zeros((1, 300))
        aside[0, 200] = 1
        assert novelty.distances(aside)[0] > 1
        assert len(novelty.components) < 300

    def test_a_joined_encoder_counts_each_part_alike(self):
        """Features of the second part are a thousand times longer, and the first still tells texts apart."""
        join = np.hstack([cloud(200, 0), 1000 * cloud(200, 1)])
        same = np.hstack([cloud(50, 2), 1000 * cloud(50, 3)])
        other = np.hstack([cloud(50, 4, at=9), 1000 * cloud(50, 5)])
        novelty = FeatureNovelty.fit(join, [16, 16])
        assert novelty.distances(same).max() < np.median(novelty.distances(other))

    def test_many_training_texts_are_sampled(self):
        novelty = FeatureNovelty.fit(cloud(MOST_VECTORS + 50, width=4), [4])
        assert novelty.vectors.shape == (MOST_VECTORS, 4)

    def test_more_texts_than_a_block_give_the_same_distances(self):
        novelty, texts = FeatureNovelty.fit(cloud(50), [16]), cloud(600, 3)
        one_by_one = np.concatenate([novelty.distances(row[None]) for row in texts])
        assert novelty.distances(texts) == pytest.approx(one_by_one, abs=1e-5)

    def test_no_text_has_no_distance(self):
        assert FeatureNovelty.fit(cloud(50), [16]).distances(np.empty((0, 16))).shape == (0,)


class TestWords:
    def test_the_distance_is_the_share_of_different_words_that_no_training_text_has(self):
        novelty = WordNovelty.fit(["The river rose.", "A bridge fell"])
        assert novelty.distances(["the RIVER fell fell", "the river sings", "", "sings loudly"]).tolist() == [
            0, pytest.approx(1 / 3), 1, 1,
        ]  # fmt: skip

    @given(st.lists(st.text(), min_size=1))
    @settings(max_examples=50, deadline=None)
    def test_no_word_of_a_training_text_is_unknown(self, texts):
        for text, share in zip(texts, WordNovelty.fit(texts).distances(texts), strict=True):
            assert share == 0 or len(text) < 2 or not any(c.isalnum() or c == "_" for c in text) or share == 1

    @given(st.text(), st.text())
    @settings(max_examples=50, deadline=None)
    def test_it_is_a_share(self, known, text):
        assert 0 <= WordNovelty.fit([known + " word"]).distances([text])[0] <= 1


class TestStudents:
    def test_a_student_that_measures_novelty_gives_distances_with_its_scores(self):
        rows = examples(60)
        student = neural_student()
        features = student.features(rows.texts)
        novel = NeuralWithNovelty(student, FeatureNovelty.fit(features, [32]))
        raw, tiers, distances = outputs_of(novel, rows.frame)
        assert (raw == student.predict(rows.frame)).all()
        assert tiers is None
        assert distances == pytest.approx(novel.novelty.distances(features))

    def test_tf_idf_measures_words(self):
        student = tfidf_student()
        novel = TfidfStudent(
            student.dimensions, student.blocks, student.bias, student.alpha, novelty=WordNovelty.fit(examples().texts)
        )
        given_ = outputs_of(novel, pl.DataFrame({"text": [examples().texts[0], "wholly unheard of"]}))
        assert given_.distances[0] == 0
        assert given_.distances[1] == 1
        assert (given_.raw == novel.predict(pl.DataFrame({"text": [examples().texts[0], "wholly unheard of"]}))).all()

    def test_a_constant_has_only_scores(self):
        student = ConstantStudent(("gain",), np.array([5.0]))
        assert outputs_of(student, pl.DataFrame({"text": ["a"]})) == Outputs(np.array([[5.0]]), None, None)

    def test_a_blend_measures_by_its_first_member_with_an_encoder_and_encodes_once(self):
        rows, member = examples(60), neural_student()
        read = []

        class Counting:
            width = member.encoder.width

            def encode(self, texts):
                read.append(len(texts))
                return member.encoder.encode(texts)

            def truncated(self, texts):
                return member.encoder.truncated(texts)

        one = member.on(Counting())
        novelty = FeatureNovelty.fit(member.features(rows.texts), [32])
        blend = BlendStudent(one.dimensions, (tfidf_student(), one), np.full((2, 2), 0.5), novelty)
        assert blend.outputs(rows.frame).distances == pytest.approx(novelty.distances(member.features(rows.texts)))
        assert read == [60]

    def test_a_blend_without_an_encoder_measures_words(self):
        texts = examples().texts
        blend = BlendStudent(("gain", "near"), (tfidf_student(),), np.ones((1, 2)), WordNovelty.fit(texts))
        assert blend.outputs(pl.DataFrame({"text": ["wholly unheard of", texts[0]]})).distances.tolist() == [1, 0]


def NeuralWithNovelty(student, novelty):  # noqa: N802 - reads as the class that it makes
    import dataclasses

    return dataclasses.replace(student, novelty=novelty)


class TestArrays:
    @pytest.mark.parametrize("novelty", [FeatureNovelty.fit(cloud(50), [16]), WordNovelty.fit(["a river", "bridges"])])
    def test_it_is_the_same_after_a_round_trip(self, novelty):
        again = novelty_from(novelty_arrays(novelty) | {"bias": np.zeros(2)})
        texts = cloud(9, 4) if isinstance(novelty, FeatureNovelty) else ["river", "moon"]
        assert again.distances(texts).tolist() == novelty.distances(texts).tolist()

    def test_a_student_without_it_has_no_arrays(self):
        assert novelty_from({"bias": np.zeros(2)}) is None
        assert novelty_arrays(None) == {}

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"novelty.vectors": np.zeros((5, 3), np.float16)}, "do not fit together"),
            ({"novelty.vectors": np.zeros((0, 16), np.float16)}, "do not fit together"),
            ({"novelty.mean": np.zeros(15)}, "do not fit together"),
            ({"novelty.widths": np.array([8, 9])}, "do not fit together"),
            ({"novelty.other": np.zeros(1)}, "unknown arrays"),
        ],
    )
    def test_arrays_that_do_not_fit_are_refused(self, change, message):
        with pytest.raises(BundleError, match=message):
            novelty_from(novelty_arrays(FeatureNovelty.fit(cloud(50), [16])) | change)

    @pytest.mark.parametrize("hashes", [np.array([2, 1], np.uint32), np.array([1, 2]), np.empty(0, np.uint32)])
    def test_hashes_that_are_not_sorted_numbers_are_refused(self, hashes):
        with pytest.raises(BundleError, match="not sorted 32-bit numbers"):
            novelty_from({"novelty.hashes": hashes})


def test_rows_are_measured_against_the_rows_of_the_other_folds():
    asked = []

    def distances(inside, outside):
        asked.append((inside.tolist(), outside.tolist()))
        return outside * 1.0

    assert unseen_distances(4, np.array([0, 1, 0, 1]), distances).tolist() == [0, 1, 2, 3]
    assert asked == [([1, 3], [0, 2]), ([0, 2], [1, 3])]
