"""Whether a student is better than the constant, and how many labels it would take to show it."""

import numpy as np
import pytest
from tiny_bundle import FILTER, examples

from potstill.audit.learning import PowerLaw
from potstill.dataset import Examples
from potstill.errors import NoSkill
from potstill.evaluation.skill import Claim, Compared, held_out_skill, number_of_labels, proven_skill
from potstill.students.recipes import load_recipe
from potstill.training import fitter, predict_out_of_fold

RIDGE = load_recipe("tfidf-ridge")


def claim(rows, predicted=None, *, recipe=RIDGE, tiny=False):
    """Return a student's claim on rows that it was trained on, out of fold."""
    if predicted is None:
        predicted = predict_out_of_fold(fitter(recipe), rows, 5, 0)
    return Claim("the student", recipe, tiny, rows, rows, predicted, "out of fold", len(rows), FILTER)


def noisy(rows, noise, seed=0):
    """Return the rows with labels that are partly or wholly those of other rows."""
    rng = np.random.default_rng(seed)
    others = rows.scores[rng.permutation(len(rows))]
    return with_scores(rows, (1 - noise) * rows.scores + noise * others)


def with_scores(rows, scores, clusters=None):
    return Examples(rows.ids, rows.frame, scores, rows.clusters if clusters is None else clusters, rows.dimensions)


def skill_of(rows, predicted, **how):
    return held_out_skill(Compared.of(predicted, rows, FILTER, **how), "out of fold")


class TestTheSkill:
    def test_a_student_that_reads_the_text_is_better_than_the_constant(self):
        found = proven_skill(claim(examples(120)))
        assert found.shown
        assert found.skill == pytest.approx(1 - found.mae / found.constant_mae, abs=1e-5)
        assert 0.2 < found.interval.low < found.skill < found.interval.high
        assert found.labels is None

    def test_the_labels_themselves_have_a_skill_of_1(self):
        rows = examples(60)
        assert skill_of(rows, rows.scores).skill == 1

    def test_the_median_of_the_other_rows_has_a_skill_of_0(self):
        rows = examples(60)
        found = skill_of(rows, np.broadcast_to(np.median(rows.scores, axis=0), rows.scores.shape))
        assert found.skill == pytest.approx(0, abs=0.03)
        assert not found.shown

    def test_predictions_are_calibrated_before_they_are_compared(self):
        rows = examples(120)
        assert skill_of(rows, 0.2 * rows.scores + 1).skill > 0.9

    def test_masked_labels_and_rows_chosen_by_a_predicted_score_do_not_count(self):
        rows = examples(60)
        scores = rows.scores.copy()
        scores[:5, 0] = np.nan
        frame = rows.frame.with_columns(sampling=np.array(["high"] * 20 + [""] * 40))
        rows = Examples(rows.ids, frame, scores, rows.clusters, rows.dimensions)
        predicted = np.where(np.isnan(scores), 9.0, scores)
        predicted[:20] = 10 - predicted[:20]
        found = skill_of(rows, predicted)
        assert (found.rows, found.skill) == (40, 1)

    def test_near_duplicates_count_once_in_the_interval(self):
        rows = examples(60)
        predicted = rows.scores + np.random.default_rng(0).normal(0, 2, rows.scores.shape)
        alone = skill_of(rows, predicted)
        twice = rows.take(np.repeat(np.arange(60), 4))
        repeated = skill_of(twice, np.repeat(predicted, 4, axis=0))
        width = repeated.interval.high - repeated.interval.low
        assert width == pytest.approx(alone.interval.high - alone.interval.low, rel=0.35)

    def test_the_constant_of_training_rows_is_the_one_to_beat_on_a_calibration_part(self):
        rows = examples(60)
        learned = with_scores(rows, np.full_like(rows.scores, 10.0))
        found = skill_of(rows, rows.scores, learned=learned)
        assert found.constant_mae == pytest.approx(np.abs(10 - rows.scores).mean(), abs=1e-5)

    @pytest.mark.threshold(name="FEWEST_CLUSTERS_FOR_SKILL")
    @pytest.mark.parametrize(("clusters", "shown"), [(19, False), (20, True), (21, True)])
    def test_nothing_is_shown_on_fewer_than_twenty_clusters(self, clusters, shown):
        rows = examples(40)
        rows = with_scores(rows, rows.scores, np.minimum(np.arange(40), clusters - 1))
        found = skill_of(rows, rows.scores)
        assert found.skill == 1
        assert found.shown is shown

    def test_labels_that_are_all_equal_leave_no_skill_to_show(self):
        rows = examples(40)
        rows = with_scores(rows, np.full_like(rows.scores, 3.0))
        with pytest.raises(NoSkill, match=r"skill unknown on 40 held-out rows; .*the constant has no error"):
            proven_skill(claim(rows, rows.scores))


class TestTheLabelsNeeded:
    def test_a_student_of_noise_gets_no_number(self):
        with pytest.raises(NoSkill, match=r"no number of labels is in sight .*unrelated to the labels; now 120"):
            proven_skill(claim(noisy(examples(120), 1.0)))

    def test_a_student_of_few_and_noisy_labels_gets_a_number_that_more_rows_confirm(self):
        rows = noisy(examples(36, seed=2), 0.5)
        few = proven_skill(claim(rows), anyway=True)
        assert not few.shown
        assert few.labels.articles is not None
        assert 36 < few.labels.articles <= few.labels.searched == 20 * 36
        assert few.labels.low <= few.labels.articles
        assert few.labels.student == "tfidf-ridge"
        assert [point.rows for point in few.labels.points] == sorted(point.rows for point in few.labels.points)
        assert proven_skill(claim(noisy(examples(360, seed=2), 0.5))).shown

    def test_rows_that_are_too_few_for_a_curve_are_said_to_be(self):
        with pytest.raises(NoSkill, match=r"too few labels to fit a curve to; now 12"):
            proven_skill(claim(examples(12)))

    def test_a_student_that_takes_minutes_has_the_curve_of_a_cheap_one(self):
        rows = noisy(examples(36, seed=2), 0.5)
        predicted = predict_out_of_fold(fitter(RIDGE), rows, 5, 0)
        found = proven_skill(claim(rows, predicted, recipe=load_recipe("minilm-full")), anyway=True)
        assert found.labels.student == "tfidf-words-characters"

    @pytest.mark.threshold(name="LABELS_IN_SIGHT")
    @pytest.mark.parametrize(("multiple", "in_sight"), [(19.99, True), (20.0001, False), (20.01, False)])
    def test_twenty_times_the_labels_are_searched(self, multiple, in_sight):
        # With a constant skill, the labels needed grow with the square of its standard error.
        skill, error = 0.1, 0.1 * np.sqrt(multiple) / 2.8
        number = number_of_labels(PowerLaw(1 - skill, 0.0, 1.0), 1.0, error, 100)
        assert (number <= 2000) is in_sight

    @pytest.mark.parametrize(("error", "expected"), [(0.01, 100), (0.1 / 2.8 * 2, 400), (0.1 / 2.8 * 3, 900)])
    def test_the_number_grows_with_the_square_of_the_error_of_the_skill(self, error, expected):
        assert number_of_labels(PowerLaw(0.9, 0.0, 1.0), 1.0, error, 100) == pytest.approx(expected, rel=0.016)

    def test_a_steeper_curve_needs_fewer_labels(self):
        flat, steep = (number_of_labels(PowerLaw(0.7, 3.0, power), 1.0, 0.05, 100) for power in (0.5, 0.7))
        assert steep < flat

    def test_labels_that_do_not_train_are_counted(self):
        law = PowerLaw(0.7, 3.0, 0.5)
        assert number_of_labels(law, 1.0, 0.001, 100, ratio=2) == pytest.approx(
            2 * number_of_labels(law, 1.0, 0.001, 100), rel=0.04
        )


class TestWhatIsShippedAllTheSame:
    def test_anyway_returns_the_skill_with_the_reason(self):
        found = proven_skill(claim(noisy(examples(60), 1.0)), anyway=True)
        assert found.caution.startswith("shipped with --anyway, not shown to be better than the constant: skill ")
        assert "no number of labels is in sight" in found.caution

    def test_a_student_of_tiny_stand_ins_is_treated_as_if_anyway_were_given(self):
        assert proven_skill(claim(noisy(examples(60), 1.0), tiny=True)).caution

    def test_the_constant_claims_nothing(self):
        rows = examples(40)
        found = proven_skill(claim(rows, np.full_like(rows.scores, 5.0), recipe=load_recipe("constant")))
        assert found.baseline
        assert "constant baseline" in found.caution
