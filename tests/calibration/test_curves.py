import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.calibration import (
    LEVELS,
    Calibration,
    Curve,
    fit_calibration,
    no_calibration,
)
from potstill.calibration import curves as fitting
from potstill.errors import BadInput, BundleError, DatasetError

NAMES = ("agency", "progress", "wonder")


def good_student(rows, seed=0, noise=0.8):
    """Return labels, and the scores of a student whose errors are only noise."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(1.5, 8.5, (rows, 3))
    return truth, np.clip(truth + rng.normal(0, noise, truth.shape), 0, 10)


def fitted(predicted, y, clusters=None, **options):
    clusters = np.arange(len(y)) if clusters is None else clusters
    return fit_calibration(predicted, y, clusters, dimensions=NAMES, **options)


def methods(calibration):
    return [curve.method for curve in calibration.curves]


class TestEarningItsPlace:
    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("rows", [60, 300])
    def test_on_labels_that_are_noise_it_is_dropped(self, seed, rows):
        predicted, _ = good_student(rows, seed)
        noise = np.random.default_rng(seed + 100).uniform(0, 10, predicted.shape)
        calibration = fitted(predicted, noise)
        assert methods(calibration) == ["none"] * 3
        assert "do not rank the labels" in calibration.curves[0].reason
        assert calibration.apply(predicted).tolist() == predicted.tolist()

    @pytest.mark.parametrize("seed", range(5))
    def test_for_a_student_that_is_right_already_it_is_dropped(self, seed):
        calibration = fitted(*good_student(300, seed))
        assert methods(calibration) == ["none"] * 3
        assert "no curve lowers the error by more than noise" in calibration.curves[0].reason
        assert all(curve.before == curve.after for curve in calibration.curves)

    @pytest.mark.parametrize("shift", [-1.5, 1.5])
    def test_on_shifted_scores_it_is_kept_and_takes_the_shift_back(self, shift):
        predicted, y = good_student(200)
        calibration = fitted(predicted + shift, y)
        assert methods(calibration) == ["linear"] * 3
        assert calibration.apply(predicted + shift) == pytest.approx(predicted, abs=0.5)
        for curve in calibration.curves:
            assert curve.after < curve.before - 0.5

    def test_a_student_that_exaggerates_is_drawn_to_the_middle(self):
        predicted, y = good_student(300)
        calibration = fitted(5 + 2 * (predicted - 5), y)
        assert methods(calibration) == ["linear"] * 3
        assert calibration.apply(np.array([[11.0] * 3]))[0] == pytest.approx(np.full(3, 8.0), abs=0.4)

    def test_a_bent_student_needs_the_isotonic_curve(self):
        predicted, y = good_student(1500, noise=0.4)
        bent = 10 * (predicted / 10) ** 3
        calibration = fitted(bent, y)
        assert methods(calibration) == ["isotonic"] * 3
        assert np.abs(calibration.apply(bent) - predicted).mean() < 0.3

    def test_the_held_out_gain_is_had_again_on_fresh_rows(self):
        predicted, y = good_student(600)
        calibration = fitted(predicted + 1, y)
        fresh, labels = good_student(5000, seed=9)
        error = np.abs(calibration.apply(fresh + 1) - labels).mean(axis=0)
        assert error == pytest.approx([curve.after for curve in calibration.curves], abs=0.06)

    def test_each_dimension_is_judged_for_itself(self):
        predicted, y = good_student(300)
        calibration = fitted(predicted + np.array([0.0, 2.0, 0.0]), y)
        assert methods(calibration) == ["none", "linear", "none"]

    def test_twenty_articles_are_too_few_to_judge_a_curve(self):
        predicted, y = good_student(20)
        calibration = fitted(predicted + 2, y)
        assert methods(calibration) == ["none"] * 3
        assert "20 independent rows are too few" in calibration.curves[0].reason

    def test_many_copies_of_twenty_articles_are_still_too_few(self):
        predicted, y = good_student(20)
        calibration = fitted(
            np.repeat(predicted + 2, 10, axis=0), np.repeat(y, 10, axis=0), np.repeat(np.arange(20), 10)
        )
        assert methods(calibration) == ["none"] * 3

    def test_a_student_that_runs_the_wrong_way_is_not_turned_round(self):
        predicted, y = good_student(300)
        assert methods(fitted(10 - predicted, y)) == ["none"] * 3

    @pytest.mark.parametrize("fit", [fitting._line, fitting._isotonic])
    def test_rows_that_fall_or_stay_level_have_no_curve(self, fit):
        x = np.linspace(0, 10, 50)
        for y in (10 - x, np.full(50, 4.0)):
            assert fit(fitting._Rows(x, y, np.arange(50), 0.0, 10.0)) is None
            assert fit(fitting._Rows(y, x, np.arange(50), 0.0, 10.0)) is None

    def test_a_constant_student_is_left_alone(self):
        _, y = good_student(300)
        calibration = fitted(np.full_like(y, 5.0), y)
        assert methods(calibration) == ["none"] * 3
        assert "rank correlation undefined" in calibration.curves[0].reason

    def test_two_distinct_predictions_are_enough_to_try(self):
        _, y = good_student(300)
        assert methods(fitted(np.where(y > 5, 9.0, 8.0), y)) != ["none"] * 3

    def test_the_same_rows_and_seed_give_the_same_record(self):
        predicted, y = good_student(120)
        assert fitted(predicted + 1, y, seed=4) == fitted(predicted + 1, y, seed=4)


class TestMaskedRows:
    def test_masked_labels_and_rows_never_held_out_are_skipped(self):
        predicted, y = good_student(300)
        y[:50, 1] = np.nan
        predicted[250:] = np.nan
        assert [curve.n for curve in fitted(predicted, y).curves] == [250, 200, 250]

    def test_a_dimension_without_labels_has_no_curve_and_no_figures(self):
        predicted, y = good_student(100)
        y[:, 2] = np.nan
        curve = fitted(predicted, y).curves[2]
        assert (curve.method, curve.n, curve.before, curve.after, curve.reason) == ("none", 0, None, None, "no rows")
        assert set(curve.widths) == {None}

    def test_shapes_that_do_not_match_are_refused(self):
        with pytest.raises(DatasetError, match=r"predictions of shape \(4, 3\), labels \(5, 3\) and 5 clusters"):
            fitted(np.ones((4, 3)), np.ones((5, 3)))


class TestApplying:
    def shifted(self):
        predicted, y = good_student(200)
        return fitted(predicted + 1.5, y)

    def test_scores_are_clipped_to_the_scale(self):
        assert no_calibration(NAMES).apply(np.array([[-3.0, 5.0, 12.0]])).tolist() == [[0, 5, 10]]
        assert no_calibration(NAMES, low=1, high=5).apply(np.array([[-3.0, 3.0, 12.0]])).tolist() == [[1, 3, 5]]

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
    def test_what_is_not_finite_is_never_clipped_into_a_score(self, value):
        for calibration in (no_calibration(NAMES), self.shifted()):
            raw = np.array([[value, 5.0, 5.0]])
            assert np.isnan(calibration.apply(raw)[0, 0])
            assert all(np.isnan(end[0, 0]) for end in calibration.intervals(raw))

    def test_the_array_that_came_is_left_as_it_was(self):
        raw = np.array([[12.0, 5.0, 5.0]])
        self.shifted().apply(raw)
        assert raw.tolist() == [[12, 5, 5]]

    def test_another_number_of_dimensions_is_refused(self):
        with pytest.raises(ValueError, match=r"shape \(1, 2\), expected \(rows, 3\)"):
            no_calibration(NAMES).apply(np.ones((1, 2)))

    @settings(deadline=None, max_examples=25)
    @given(seed=st.integers(0, 10_000), bend=st.floats(0.4, 2.5), shift=st.floats(-2, 2))
    def test_a_higher_raw_score_never_becomes_a_lower_one(self, seed, bend, shift):
        predicted, y = good_student(120, seed)
        calibration = fitted(10 * (predicted / 10).clip(0) ** bend + shift, y)
        ladder = np.linspace(-3, 13, 200)[:, None].repeat(3, axis=1)
        scores = calibration.apply(ladder)
        assert (np.diff(scores, axis=0) >= 0).all()
        assert (scores >= 0).all()
        assert (scores <= 10).all()


class TestIntervals:
    def test_with_too_few_rows_the_interval_is_the_whole_scale_and_this_is_said(self):
        predicted, y = good_student(6)
        calibration = fitted(predicted, y)
        low, high = calibration.intervals(predicted)
        assert (low == 0).all()
        assert (high == 10).all()
        assert calibration.caution() == (
            "6 rows are too few for intervals of 90%; the interval is the whole scale for: agency, progress, wonder"
        )

    def test_with_enough_rows_there_is_nothing_to_say(self):
        assert fitted(*good_student(100)).caution() is None

    @pytest.mark.parametrize("level", [0.0, 1.0, float("nan")])
    def test_a_level_outside_0_to_1_is_refused(self, level):
        with pytest.raises(ValueError, match="is not between 0 and 1"):
            no_calibration(NAMES).intervals(np.ones((1, 3)), level=level)

    def test_they_lie_around_the_score_and_on_the_scale(self):
        calibration = fitted(*good_student(300))
        raw = np.linspace(-2, 12, 50)[:, None].repeat(3, axis=1)
        low, high = calibration.intervals(raw)
        scores = calibration.apply(raw)
        assert ((low >= 0) & (low <= scores) & (scores <= high) & (high <= 10)).all()

    @pytest.mark.parametrize("bend", [0.0, 1.5])
    @pytest.mark.by_example(2)
    def test_over_many_samples_they_hold_the_label_as_often_as_they_say(self, bend):
        held = {0.5: [], 0.8: [], 0.9: []}
        fresh, labels = good_student(2000, seed=999)
        for seed in range(40):
            predicted, y = good_student(60, seed)
            calibration = fitted(predicted + bend, y, seed=seed)
            for level, shares in held.items():
                low, high = calibration.intervals(fresh + bend, level)
                shares.append(((low <= labels) & (labels <= high)).mean())
        for level, shares in held.items():
            # Residuals are cross-fitted on fewer rows than the final curve, so coverage is slightly too high, not too
            # low.
            assert level - 0.01 <= np.mean(shares) <= level + 0.04

    @pytest.mark.long
    def test_labels_that_are_integers_do_not_make_them_hold_more(self):
        # Most labels are 0 or 1, and the curve that is kept has a step for each integer.
        def labelled(rows, seed):
            rng = np.random.default_rng(seed)
            truth = rng.gamma(0.7, 2.5, (rows, 3))
            return 4 * truth**0.4, np.clip(np.rint(truth + rng.normal(0, 0.7, truth.shape)), 0, 10)

        fresh, wanted = labelled(5000, 99)
        held = []
        for seed in range(8):
            calibration = fitted(*labelled(1000, seed), seed=seed)
            assert methods(calibration) == ["isotonic"] * 3
            low, high = calibration.intervals(fresh)
            held.append(((low <= wanted) & (wanted <= high)).mean(axis=0))
        assert np.mean(held, axis=0) == pytest.approx(np.full(3, 0.9), abs=0.02)

    @pytest.mark.long
    def test_choosing_a_curve_does_not_make_them_too_narrow(self):
        # Labels are random and the choice between curves is close: whichever is chosen, it was chosen without the row.
        held = []
        for seed in range(60):
            rng = np.random.default_rng(seed)
            predicted, y = rng.uniform(0, 10, (2, 2060, 3))
            y = np.where(rng.random(y.shape) < 0.4, predicted, y)
            calibration = fitted(predicted[:60], y[:60], seed=seed)
            low, high = calibration.intervals(predicted[60:])
            held.append(((low <= y[60:]) & (y[60:] <= high)).mean())
        assert np.mean(held) >= 0.89


class TestRecord:
    def test_it_goes_through_json_unchanged(self):
        predicted, y = good_student(200)
        calibration = fitted(predicted + 1.5, y, origin="out-of-fold")
        back = Calibration.model_validate_json(calibration.model_dump_json())
        assert back == calibration
        assert back.apply(predicted).tolist() == calibration.apply(predicted).tolist()
        assert back.dimensions == NAMES

    @pytest.mark.parametrize("version", [2, 6])
    def test_a_record_of_another_version_is_refused(self, version):
        record = json.loads(no_calibration(NAMES).model_dump_json())
        with pytest.raises(BundleError, match="schema_version"):
            Calibration.from_json(record | {"schema_version": version}, "calibration.json")

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"y": [0.0, 4.0, 3.0]}, "strictly increasing"),
            ({"x": [0.0, 5.0, 5.0]}, "strictly increasing"),
            ({"x": [0.0, 5.0]}, "same number of knots"),
            ({"method": "none"}, "same number of knots"),
            ({"method": "linear", "x": [], "y": []}, "same number of knots"),
            ({"y": [0.0, 4.0, float("nan")]}, "finite"),
            ({"widths": [1.0]}, "widths"),
        ],
    )
    def test_a_curve_that_no_fit_could_have_made_is_refused(self, changed, message):
        good = {
            "dimension": "agency",
            "method": "isotonic",
            "x": [0.0, 5.0, 10.0],
            "y": [0.0, 4.0, 10.0],
            "n": 100,
            "before": 1.0,
            "after": 0.9,
            "reason": "it pays",
            "widths": [1.0] * len(LEVELS),
        }
        assert Curve.validated(good, "a curve").method == "isotonic"
        with pytest.raises(BadInput, match=message):
            Curve.validated(good | changed, "a curve")
