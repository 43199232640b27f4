import json

import numpy as np
import pytest
from labels import WEATHER, news

from potstill.audit import Answer, labelled, of_files
from potstill.errors import DatasetError, LabelError


def written(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


class TestFilesOfLabels:
    def test_scores_samples_and_oracles_are_understood(self, tmp_path):
        file = written(
            tmp_path / "labels.jsonl",
            {"id": "a", "scores": {"wind": 1, "rain": 2}, "evidence": "a leaf moved"},
            {"id": "b", "samples": [{"scores": {"wind": 3, "rain": 4}}, {"wind": 5, "rain": None}]},
            {"id": "c", "oracles": {"x": {"wind": 6, "rain": 7}, "y": {"wind": 8}}},
        )
        _, _, oracles = of_files(file, None, WEATHER)
        assert oracles["the oracle"]["a"].scores.tolist() == [[1, 2]]
        assert oracles["the oracle"]["a"].evidence == "a leaf moved"
        np.testing.assert_array_equal(oracles["the oracle"]["b"].scores, [[3, 4], [5, np.nan]])
        np.testing.assert_array_equal(oracles["y"]["c"].scores, [[8, np.nan]])

    def test_a_field_may_hold_scores_by_pass(self, tmp_path):
        row = {"id": "a", "storm": {"b": {"wind": 3}, "a": {"wind": 1}}, "storm_evidence": {"a": "hats flew"}}
        filter_, _, oracles = of_files(written(tmp_path / "labels.jsonl", row), field="storm")
        assert filter_.dimension_names == ("wind",)
        assert oracles["the oracle"]["a"].scores.tolist() == [[1], [3]]
        assert oracles["the oracle"]["a"].evidence == "hats flew"

    def test_without_a_filter_dimensions_weigh_alike_and_there_are_no_tiers(self, tmp_path):
        file = written(tmp_path / "2026_labels.jsonl", {"id": "a", "scores": {"x": 3, "y": 5}})
        filter_, articles, _ = of_files(file, scale=(1, 5))
        assert (filter_.scale.min, filter_.scale.max) == (1, 5)
        assert filter_.weights.tolist() == [0.5, 0.5]
        assert filter_.tier_names == ("all",)
        assert articles["content"].to_list() == [""]

    def test_texts_beside_the_labels_are_taken_with_them(self, tmp_path):
        row = {"id": "a", "content": "rain", "language": "en", "scores": {"wind": 1, "rain": 2}}
        _, articles, _ = of_files(written(tmp_path / "labels.jsonl", row), None, WEATHER)
        assert articles.select("content", "language").rows() == [("rain", "en")]

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ({"id": "a", "scores": {"wind": 11, "rain": 0}}, r"line 2: wind: got 11, legal are numbers from 0 to 10"),
            ({"id": "a", "scores": {"wind": True, "rain": 0}}, r"line 2: wind: got True"),
            ({"id": "a", "scores": {"fog": 1}}, r"line 2: unknown dimension 'fog'; the dimensions are wind, rain"),
            ({"id": "a", "scores": [3]}, r"line 2: expected scores by dimension, got int"),
            ({"scores": {"wind": 1}}, r"line 2: field id: expected text"),
            ({"id": "a", "marks": {"wind": 1}}, r"line 2: expected the field scores, samples or oracles"),
            ({"id": "first", "scores": {"wind": 1}}, r"line 2: id 'first' comes twice"),
        ],
    )
    def test_a_bad_row_is_named_with_its_line(self, tmp_path, row, message):
        file = written(tmp_path / "labels.jsonl", {"id": "first", "scores": {"wind": 0, "rain": 0}}, row)
        with pytest.raises(LabelError, match=message):
            of_files(file, None, WEATHER)


class TestLabelled:
    def test_labels_are_means_and_a_masked_dimension_stays_masked(self):
        articles, answers = news(12)
        answers["n0"] = Answer(np.array([[2.0, np.nan], [4.0, np.nan]]))
        rows = labelled(articles, {"x": answers}, WEATHER)
        assert rows.scores[0, 0] == 3.0
        assert np.isnan(rows.scores[0, 1])
        assert rows.samples[0] == 2

    def test_the_oracle_with_most_labels_is_taken_and_no_person(self):
        articles, answers = news(30)
        few = dict(list(answers.items())[:12])
        assert labelled(articles, {"few": few, "many": answers}, WEATHER).oracle == "many"
        assert labelled(articles, {"few": few, "human:ada": answers}, WEATHER).oracle == "few"

    def test_an_oracle_that_is_not_there_is_told_with_those_that_are(self):
        articles, answers = news(12)
        with pytest.raises(DatasetError, match=r"no labels of oracle 'z'; available: x \(12\)"):
            labelled(articles, {"x": answers}, WEATHER, "z")

    def test_nine_labels_are_too_few(self):
        articles, answers = news(9)
        with pytest.raises(DatasetError, match="9 labelled articles of x are too few"):
            labelled(articles, {"x": answers}, WEATHER)

    @pytest.mark.parametrize("count", [10, 11])
    def test_ten_labels_are_enough(self, count):
        articles, answers = news(count)
        assert len(labelled(articles, {"x": answers}, WEATHER)) == count
