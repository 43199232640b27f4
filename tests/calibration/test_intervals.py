"""Tests of intervals whose reach depends on the predicted score."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.calibration import Curve, fit_calibration
from potstill.calibration.intervals import (
    FEWEST_FOR_SPREAD,
    LEVELS,
    Spread,
    conformal_widths,
    distances,
    factor_at,
    fit_intervals,
)
from potstill.errors import BadInput

NINETY = LEVELS.index(0.9)


def growing(rows, seed=0):
    """Predictions from 1 to 8 whose errors grow from 0.15 to 1.2 points, and labels."""
    rng = np.random.default_rng(seed)
    middle = rng.uniform(1, 8, rows)
    return middle, np.clip(middle + rng.normal(0, 0.15 * middle), 0, 10)


def calibrated(middle, y, seed=0):
    return fit_calibration(
        middle[:, None], y[:, None], np.arange(len(y)), seed, dimensions=("only",), low=0.0, high=10.0, origin="test"
    )


class TestWidths:
    def test_the_factor_is_the_distance_of_rank_n_plus_1_times_the_level(self):
        widths = dict(zip(LEVELS, conformal_widths(np.arange(1.0, 20.0)[::-1]), strict=True))
        assert (widths[0.5], widths[0.9], widths[0.95], widths[0.96]) == (10, 18, 19, None)

    def test_nine_rows_can_promise_90_per_cent_and_eight_cannot(self):
        assert conformal_widths(np.arange(9.0))[NINETY] == 8
        assert conformal_widths(np.arange(8.0))[NINETY] is None
        assert set(conformal_widths(np.empty(0))) == {None}

    def test_a_level_between_two_kept_ones_gets_the_wider(self):
        factors = conformal_widths(np.arange(1000.0))
        assert factor_at(factors, 0.901) == factor_at(factors, 0.91)
        assert factor_at(factors, 0.9999) == np.inf


class TestDistances:
    def test_without_a_spread_they_are_points_of_the_scale(self):
        found = distances(np.array([2.0, 5.0]), np.array([3.0, 1.0]), None, low=0, high=10)
        assert found.tolist() == [1, 4]

    def test_a_label_at_an_end_of_the_scale_is_held_by_any_interval_beyond_it(self):
        beyond = distances(np.array([-2.0, 12.0]), np.array([0.0, 10.0]), None, low=0, high=10)
        assert beyond.tolist() == [0, 0]

    def test_they_count_in_units_of_the_reach_on_the_side_of_the_label(self):
        spread = Spread(x=(5.0,), centre=(1.0,), below=(2.0,), above=(4.0,))
        found = distances(np.array([5.0, 5.0, 5.0]), np.array([2.0, 10.0, 6.0]), spread, low=0, high=20)
        assert found.tolist() == [2, 1, 0]


class TestSpread:
    def test_it_is_wider_where_errors_are_larger(self):
        middle, y = growing(2000)
        spread, _ = fit_intervals(middle, y, np.arange(2000) % 5, low=0, high=10)
        below, above = (spread.at(np.array([2.0, 7.0]))[side] for side in (1, 2))
        # The 95% quantile of a normal error is 1.64 standard deviations away.
        assert below == pytest.approx([0.5, 1.7], rel=0.35)
        assert above == pytest.approx([0.5, 1.7], rel=0.35)

    def test_it_reaches_further_to_the_side_of_larger_errors(self):
        rng = np.random.default_rng(0)
        middle = rng.uniform(2, 4, 1000)
        spread, _ = fit_intervals(middle, middle + rng.gamma(1, 1, 1000), np.arange(1000) % 5, low=0, high=10)
        centre, below, above = spread.at(np.array([3.0]))
        assert centre[0] == pytest.approx(0.69, abs=0.2)
        assert above[0] > 2 * below[0]

    def test_too_few_rows_have_none(self):
        for rows, expected in ((FEWEST_FOR_SPREAD - 1, False), (FEWEST_FOR_SPREAD, True)):
            assert (calibrated(*growing(rows)).curves[0].spread is not None) is expected

    def test_equal_predictions_give_one_knot(self):
        y = np.random.default_rng(0).uniform(0, 10, 200)
        spread, _ = fit_intervals(np.full(200, 5.0), y, np.arange(200) % 5, low=0, high=10)
        assert spread.x == (5.0,)

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"x": (2.0, 1.0)}, "increasing knots"),
            ({"above": (1.0,)}, "each with centre"),
            ({"below": (0.0, 1.0)}, "above 0"),
            ({"centre": (0.0, float("nan"))}, "finite"),
        ],
    )
    def test_one_that_no_fit_could_have_made_is_refused(self, changed, message):
        good = {"x": (1.0, 2.0), "centre": (0.0, 0.0), "below": (1.0, 1.0), "above": (1.0, 1.0)}
        assert Spread.validated(good, "a spread").x == (1, 2)
        with pytest.raises(BadInput, match=message):
            Spread.validated(good | changed, "a spread")


class TestCoverage:
    def test_it_is_as_stated_for_low_and_for_high_predictions(self):
        held = {"low": [], "high": []}
        fresh, labels = growing(5000, seed=99)
        for seed in range(10):
            calibration = calibrated(*growing(600, seed), seed=seed)
            low, high = calibration.intervals(fresh[:, None], 0.9)
            inside = (low[:, 0] <= labels) & (labels <= high[:, 0])
            held["low"].append(inside[fresh < 3].mean())
            held["high"].append(inside[fresh > 6].mean())
        # With one width for all, they are 1.00 and 0.77.
        assert np.mean(held["low"]) == pytest.approx(0.9, abs=0.035)
        assert np.mean(held["high"]) == pytest.approx(0.9, abs=0.035)

    @settings(deadline=None, max_examples=20)
    @given(seed=st.integers(0, 10_000), level=st.sampled_from([0.5, 0.8, 0.9, 0.95]))
    def test_ends_are_on_the_scale_and_around_the_score(self, seed, level):
        calibration = calibrated(*growing(150, seed))
        raw = np.linspace(-3, 13, 40)[:, None]
        low, high = calibration.intervals(raw, level)
        scores = calibration.apply(raw)
        assert ((low >= 0) & (low <= scores) & (scores <= high) & (high <= 10)).all()

    @settings(deadline=None, max_examples=20)
    @given(seed=st.integers(0, 10_000))
    def test_an_interval_of_a_higher_level_holds_that_of_a_lower_one(self, seed):
        calibration = calibrated(*growing(150, seed))
        raw = np.linspace(0, 10, 40)[:, None]
        (low, high), (lower, higher) = (calibration.intervals(raw, level) for level in (0.8, 0.9))
        assert ((lower <= low) & (high <= higher)).all()


class TestRecord:
    def test_the_typical_half_width_is_recorded(self):
        curve = calibrated(*growing(600)).curves[0]
        low, high = calibrated(*growing(600)).intervals(growing(600)[0][:, None], 0.9)
        assert curve.half_width == pytest.approx(float(np.median(high - low)) / 2, abs=0.05)

    def test_a_curve_of_an_older_version_keeps_its_half_widths(self):
        curve = calibrated(*growing(600)).curves[0]
        old = Curve.validated(
            curve.model_dump(exclude={"spread", "half_width"}) | {"widths": [1.5] * len(LEVELS)}, "old"
        )
        assert [end.tolist() for end in old.ends(np.array([4.0]), 0.9)] == [[2.5], [5.5]]
