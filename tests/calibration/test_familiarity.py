"""Tests of p-values of distances from the training articles, and of what is widened by them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.calibration import Calibration, Familiarity, Residuals, fit_calibration, no_calibration
from potstill.calibration.familiarity import FEWEST_DISTANCES, MOST_DISTANCES, WIDEST, fit_familiarity
from potstill.errors import BundleError
from potstill.filters import parse_filter

ONE_TO_99 = Familiarity(n=99, distances=tuple(float(number) for number in range(1, 100)))

FILTER = parse_filter(
    """
name: one
version: 1
description: One dimension.
text: {max_chars: 600, keep: head}
dimensions: {good: {weight: 1.0, description: How good}}
tiers:
  - {name: high, when: overall >= 6, positive: true}
  - {name: low}
""",
    "Score it.",
    "one",
)


class TestPValues:
    def test_the_p_value_is_the_share_of_articles_at_least_as_far_away(self):
        assert ONE_TO_99.p_values(np.array([0.0, 50.0, 99.0, 100.0])).tolist() == [1, 0.51, 0.02, 0.01]

    def test_a_distance_that_is_not_finite_has_none(self):
        assert np.isnan(ONE_TO_99.p_values(np.array([np.nan, np.inf]))).all()

    @pytest.mark.parametrize("rows", [200, 5_000])
    def test_about_5_percent_of_the_same_kind_are_below_5_percent(self, rows):
        rng = np.random.default_rng(0)
        shares = [
            (fit_familiarity(rng.gamma(3, size=rows)).p_values(rng.gamma(3, size=2_000)) < 0.05).mean()
            for _ in range(50)
        ]
        assert np.mean(shares) == pytest.approx(0.05, abs=0.01)

    @given(st.lists(st.floats(0, 100), min_size=FEWEST_DISTANCES, max_size=60), st.floats(0, 200), st.floats(0, 200))
    @settings(max_examples=50, deadline=None)
    def test_a_farther_article_has_no_larger_p_value_and_no_narrower_interval(self, known, one, other):
        found = fit_familiarity(np.array(known))
        both = np.sort([one, other])
        near, far = found.p_values(both)
        assert 0 < far <= near <= 1
        narrow, wide = found.widening(both)
        assert 1 <= narrow <= wide <= WIDEST


class TestWidening:
    @pytest.mark.threshold(name="NOVEL")
    @pytest.mark.parametrize(
        ("distance", "p_value", "wider"),
        [(95, 0.06, False), (95.1, 0.05, True), (96.1, 0.04, True)],
    )
    def test_only_the_farthest_5_percent_have_wider_intervals(self, distance, p_value, wider):
        assert ONE_TO_99.p_values(np.array([distance]))[0] == pytest.approx(p_value)
        assert (ONE_TO_99.widening(np.array([distance]))[0] > 1) is np.bool_(wider)

    def test_the_factor_is_the_square_of_the_distance_in_units_of_the_usual_one_and_has_a_limit(self):
        assert ONE_TO_99.usual == 95
        assert ONE_TO_99.widening(np.array([95 * 1.2, 95 * 9.0])).tolist() == [pytest.approx(1.44), WIDEST]

    def test_without_a_distance_nothing_is_widened(self):
        assert ONE_TO_99.widening(np.array([np.nan, np.inf])).tolist() == [1, 1]

    def test_if_no_training_article_is_at_any_distance_every_other_one_is_widened(self):
        same = fit_familiarity(np.zeros(50))
        assert same.widening(np.array([0.0, 0.1])).tolist() == [1, WIDEST]


class TestFit:
    def test_many_distances_are_kept_as_a_sample_of_their_ranks(self):
        found = fit_familiarity(np.arange(10_000.0)[::-1])
        assert found.n == 10_000
        assert len(found.distances) == MOST_DISTANCES
        assert (found.distances[0], found.distances[-1]) == (0, 9_999)

    def test_fewer_articles_than_needed_give_none_and_rows_without_a_distance_do_not_count(self):
        enough = np.arange(float(FEWEST_DISTANCES))
        assert fit_familiarity(enough).n == FEWEST_DISTANCES
        enough[0] = np.nan
        assert fit_familiarity(enough) is None

    def test_a_record_whose_distances_decrease_is_refused(self):
        with pytest.raises(ValueError, match="must not decrease"):
            Familiarity(n=2, distances=(2.0, 1.0))


class TestCalibration:
    def test_intervals_reach_farther_on_both_sides_by_the_factor_and_stay_on_the_scale(self):
        rng = np.random.default_rng(0)
        raw = rng.uniform(2, 8, (80, 1))
        fitted = fit_calibration(
            raw, np.clip(raw + rng.normal(0, 0.5, raw.shape), 0, 10), np.arange(80), dimensions=("good",)
        )
        at = np.array([[5.0], [5.0], [9.5]])
        scores, low, high = fitted.scores_and_intervals(at, 0.9, np.array([1.0, 2.0, 3.0]))
        assert (scores[1] - low[1]) == pytest.approx(2 * (scores[0] - low[0]))
        assert (high[1] - scores[1]) == pytest.approx(2 * (high[0] - scores[0]))
        assert high[2] == 10
        assert (scores == fitted.apply(at)).all()

    def test_tiers_become_less_certain(self):
        calibration = no_calibration(("good",)).model_copy(
            update={"residuals": Residuals(n=3, step=None, rows=((-1.0,), (0.0,), (1.0,)))}
        )
        scores = np.array([[7.5], [7.5]])
        odds = calibration.tier_odds(scores, FILTER, widening=np.array([1.0, 3.0]))
        assert odds[:, 0].tolist() == [1, pytest.approx(2 / 3)]

    def test_it_is_read_again_and_an_older_calibration_has_none(self, tmp_path):
        calibration = no_calibration(("good",)).model_copy(update={"familiarity": ONE_TO_99})
        calibration.save(tmp_path / "calibration.json")
        assert Calibration.from_file(tmp_path / "calibration.json").familiarity == ONE_TO_99
        no_calibration(("good",)).save(tmp_path / "calibration.json")
        assert Calibration.from_file(tmp_path / "calibration.json").familiarity is None

    def test_distances_that_are_not_numbers_are_refused(self, tmp_path):
        path = tmp_path / "calibration.json"
        no_calibration(("good",)).model_copy(update={"familiarity": ONE_TO_99}).save(path)
        path.write_text(path.read_text().replace("99.0", '"far"'))
        with pytest.raises(BundleError, match="familiarity"):
            Calibration.from_file(path)
