import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from labels import rows_of

from potstill.audit.learning import advise, curve_of, power_law, sizes
from potstill.audit.repeats import repeats_of


class TestPowerLaw:
    def test_a_law_is_found_again(self):
        n = np.array([40.0, 80, 160, 320, 640, 1280])
        law = power_law(n, 0.5 + 4 * n**-0.5)
        assert (law.asymptote, law.factor, law.exponent) == (
            pytest.approx(0.5, abs=0.02),
            pytest.approx(4, abs=0.2),
            pytest.approx(0.5, abs=0.02),
        )
        assert law.at(5120) == pytest.approx(0.5 + 4 * 5120**-0.5, abs=0.01)

    def test_no_law_goes_below_the_floor(self):
        n = np.array([40.0, 80, 160, 320])
        assert power_law(n, 5 * n**-0.4, least=0.3).asymptote >= 0.3

    def test_errors_that_rise_with_labels_give_a_flat_law(self):
        n = np.array([40.0, 80, 160])
        assert power_law(n, np.array([1.0, 1.1, 1.2])).at(10_000) == pytest.approx(1.1)

    @given(st.lists(st.floats(0.1, 5), min_size=3, max_size=6))
    def test_more_labels_never_raise_the_expected_error(self, errors):
        n = 50.0 * 2.0 ** np.arange(len(errors))
        law = power_law(n, np.array(errors))
        assert law.at(100) >= law.at(1000) >= law.at(100_000) >= 0


class TestCurve:
    def test_labels_that_follow_from_words_are_learned_better_with_more_of_them(self):
        rows = rows_of(160, noise=0.2)
        found = curve_of(rows, repeats_of(rows, resamples=50), seeds=2)
        errors = [point.mae for point in found.points]
        assert errors[-1] < 0.7 * errors[0]
        assert found.now.rows == 160
        assert (found.more.rows, found.twice.rows) == (1160, 320)
        assert found.now.mae >= found.twice.mae >= found.more.mae >= found.floor
        assert found.gain == pytest.approx(found.now.mae - found.more.mae, abs=1e-5)
        assert len(found.points[0].errors) == 2

    @pytest.mark.threshold(name="FEWEST_ROWS_FOR_CURVE")
    @pytest.mark.parametrize(("rows", "known"), [(99, False), (100, True), (101, True)])
    def test_a_curve_needs_a_hundred_rows(self, rows, known):
        assert (curve_of(rows_of(rows), seeds=1) is not None) is known

    def test_subsets_grow_evenly_and_end_with_all(self):
        assert sizes(280) == [40, 59, 87, 129, 190, 280]
        assert sizes(6400) == [200, 400, 800, 1600, 3200, 6400]


class TestAdvice:
    @pytest.mark.parametrize(
        ("error", "doubling", "low", "floor", "signal", "advice"),
        [
            (1.2, 0.12, 0.1, 0.2, 0.95, "more labels"),
            (1.2, 0.12, -0.01, 0.2, 0.95, "stop"),
            (1.2, 0.01, 0.005, 0.2, 0.95, "stop"),
            (1.2, 0.01, 0.005, None, None, "measure the floor"),
            (1.2, 0.12, 0.1, None, None, "more labels"),
            (0.5, 0.05, 0.04, 0.4, 0.7, "better prompt"),
            (0.5, 0.05, 0.04, 0.4, 0.9, "stop"),
            (1.2, 0.12, 0.1, 0.2, 0.4, "better prompt"),
        ],
    )
    def test_the_rule_says(self, error, doubling, low, floor, signal, advice):
        found, reason = advise(error, doubling, low, floor, signal)
        assert found == advice
        assert reason

    @pytest.mark.threshold(name="MOSTLY_NOISE")
    @pytest.mark.parametrize(
        ("signal", "advice"), [(0.499, "better prompt"), (0.5, "more labels"), (0.501, "more labels")]
    )
    def test_labels_that_are_mostly_noise_need_a_better_prompt(self, signal, advice):
        assert advise(1.2, 0.12, 0.1, 0.2, signal)[0] == advice

    @pytest.mark.threshold(name="LOW_SIGNAL")
    @pytest.mark.parametrize(("signal", "advice"), [(0.799, "better prompt"), (0.8, "stop"), (0.801, "stop")])
    def test_near_the_floor_noisy_labels_need_a_better_prompt(self, signal, advice):
        assert advise(0.5, 0.05, 0.04, 0.4, signal)[0] == advice

    @pytest.mark.threshold(name="FLOOR_NEAR_ERROR")
    @pytest.mark.parametrize(("floor", "advice"), [(1.99, "more labels"), (2.0, "stop"), (2.01, "stop")])
    def test_a_floor_of_two_thirds_of_the_error_leaves_little_to_gain(self, floor, advice):
        assert advise(3.0, 0.3, 0.2, floor, 0.95)[0] == advice

    @pytest.mark.threshold(name="WORTHWHILE_GAIN")
    @pytest.mark.parametrize(("gain", "advice"), [(0.0299, "stop"), (0.03, "more labels"), (0.0301, "more labels")])
    def test_more_labels_must_take_three_percent_off_the_error(self, gain, advice):
        assert advise(1.0, gain, 0.01, 0.2, 0.95)[0] == advice

    @pytest.mark.parametrize(("low", "advice"), [(-0.001, "stop"), (0.0, "stop"), (0.001, "more labels")])
    def test_the_interval_of_the_gain_must_lie_above_0(self, low, advice):
        assert advise(1.0, 0.1, low, 0.2, 0.95)[0] == advice
