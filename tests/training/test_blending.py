"""Tests of blend weights: not negative, sum 1, least error on held-out rows, and near equal if there are few rows."""

import numpy as np
import polars as pl
import pytest
from headlines import LetterEncoder, headlines
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.dataset import Examples
from potstill.students.recipes import parse_recipe
from potstill.training import fit, fitter
from potstill.training.blending import FOLDS, blend_weights, choose_weights, fit_blend, simplex_weights

RECIPE = parse_recipe("name: mine\nstudent: blend\nmembers: [constant, tfidf-ridge]\n", "mine.yaml")


def rows(count, seed=0):
    scores = np.random.default_rng(seed).uniform(0, 10, (count, 2))
    frame = pl.DataFrame({"id": [str(i) for i in range(count)], "text": [f"{a:.3f}" for a in scores[:, 0]]})
    return Examples(tuple(frame["id"]), frame, scores, np.arange(count), ("a", "b"))


class Off:
    """Returns the true scores of known rows plus its own noise."""

    dimensions = ("a", "b")

    def __init__(self, train, noise, seed):
        self.truth = dict(zip(train.ids, train.scores, strict=True))
        self.noise, self.seed = noise, seed

    def predict(self, frame):
        own = [np.random.default_rng([self.seed, int(name)]).normal(0, self.noise, 2) for name in frame["id"]]
        return np.array([self.truth[name] for name in frame["id"]]) + np.array(own)


@given(
    st.integers(2, 5),
    st.integers(1, 60),
    st.booleans(),
    st.integers(0, 10_000),
)
@settings(max_examples=60, deadline=None)
def test_weights_are_those_of_a_mean_and_no_member_alone_errs_less(members, count, squared, seed):
    rng = np.random.default_rng(seed)
    off = rng.normal(rng.normal(0, 1, members), rng.uniform(0, 3, members), (count, members))
    weights = simplex_weights(off, squared=squared)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)

    def error(chosen):
        return ((off @ chosen) ** 2).mean() if squared else np.abs(off @ chosen).mean()

    alone = min(error(np.eye(members)[member]) for member in range(members))
    drawn = min(error(one) for one in rng.dirichlet(np.ones(members), 200))
    # The squared error is minimised exactly, the absolute error by reweighting only approximately.
    assert error(weights) <= min(alone, drawn) * (1.000001 if squared else 1.02) + 1e-9


def test_the_one_who_is_right_counts_for_all():
    off = np.random.default_rng(0).normal(0, 1, (300, 3))
    off[:, 1] = 0
    assert simplex_weights(off, squared=False) == pytest.approx([0, 1, 0], abs=1e-3)
    assert simplex_weights(off, squared=True) == pytest.approx([0, 1, 0], abs=1e-6)


def test_each_dimension_has_weights_of_its_own_and_few_rows_keep_them_near_equal():
    truth = rows(2000)
    rng = np.random.default_rng(1)
    noise = np.array([[0.1, 5.0], [5.0, 0.1]])[:, None]
    unseen = truth.scores + rng.normal(0, 1, (2, 2000, 2)) * noise
    many = blend_weights("absolute-error", unseen, truth)
    assert many[0] == pytest.approx([0.98, 0.02], abs=0.02)
    few = blend_weights("absolute-error", unseen[:, :50], truth.take(np.arange(50)))
    assert few[0] == pytest.approx([0.75, 0.25], abs=0.02)
    assert blend_weights("equal", unseen, truth) == pytest.approx(0.5)


def test_near_copies_count_as_one_row_when_it_is_asked_how_many_there_are():
    truth = rows(200)
    copies = Examples(truth.ids, truth.frame, truth.scores, np.arange(200) // 20, truth.dimensions)
    unseen = np.stack([truth.scores, truth.scores + 3])
    assert blend_weights("absolute-error", unseen, truth)[0] == pytest.approx(200 / 250 + 0.5 * 50 / 250, abs=1e-3)
    assert blend_weights("absolute-error", unseen, copies)[0] == pytest.approx(10 / 60 + 0.5 * 50 / 60, abs=1e-3)


def test_a_dimension_without_labels_in_common_has_equal_weights():
    truth = rows(40)
    truth.scores[:, 1] = np.nan
    assert blend_weights("absolute-error", np.zeros((2, 40, 2)), truth)[:, 1].tolist() == [0.5, 0.5]


def test_weights_and_scores_of_unseen_rows_come_from_other_rows_alone():
    truth = rows(60)
    seen = []

    class Noting(Off):
        def __init__(self, train, noise, seed):
            super().__init__(truth, noise, seed)
            self.known = set(train.ids)

        def predict(self, frame):
            seen.append(self.known & set(frame["id"]))
            return super().predict(frame)

    student, weights = fit_blend(RECIPE, [lambda t: Noting(t, 1, 1), lambda t: Noting(t, 1, 2)], truth)
    held_out = weights.scores
    assert seen == [set()] * (2 * FOLDS)
    assert np.isfinite(held_out).all()
    # Averaging two independent errors halves their variance.
    assert (
        np.abs(held_out - truth.scores).mean()
        < 0.8 * np.abs(student.members[0].predict(truth.frame) - truth.scores).mean()
    )


def test_a_member_that_counts_for_nothing_is_left_out():
    truth = rows(1000)
    student, weights = fit_blend(RECIPE, [lambda _: Off(truth, 0.1, 1), lambda _: Off(truth, 9.0, 2)], truth)
    assert len(student.members) == 1
    assert student.weights.tolist() == [[1.0, 1.0]]
    assert weights.notes(("good", "bad"), ("a", "b")) == (
        "weights of good, in this order: a 1.00; b 1.00",
        "left out, with weights below 0.05: bad",
    )


def test_too_few_rows_for_folds_have_equal_weights():
    truth = rows(1)
    student, weights = fit_blend(RECIPE, [lambda _: Off(truth, 1, 1), lambda _: Off(truth, 1, 2)], truth)
    assert student.weights.tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert np.isnan(weights.scores).all()


def test_fits_like_any_student_and_says_how_it_weighed(tmp_path):
    train = headlines()
    fitted = fit(RECIPE, train, train, workdir=tmp_path)
    assert np.isfinite(fitted.held_out).all()
    assert fitted.notes[0].startswith("weights of constant, tfidf-ridge, in this order: urgency 0.")
    # The weights are chosen on these predictions, so they are there in any case.
    again = fit(RECIPE, train, train, workdir=tmp_path, crossfit=0).held_out
    assert np.array_equal(again, fitted.held_out)


def test_is_fitted_on_an_encoder_that_was_opened_before():
    recipe = parse_recipe("name: mine\nstudent: blend\nmembers: [minilm-ridge, minilm-svr, tfidf-ridge]\n", "mine.yaml")
    train = headlines()
    student = fitter(recipe, encoder=LetterEncoder())(train)
    assert len(student.parts) == 1
    assert student.predict(train.frame)[:10, 0].min() > student.predict(train.frame)[10:, 0].max()


def test_fitted_students_are_weighed_and_one_that_is_worth_nothing_is_left_out():
    truth = rows(3000)
    noise = np.random.default_rng(1).normal(0, [[[1.0]], [[1.0]], [[60.0]]], (3, 3000, 2))
    kept, weights, scores = choose_weights("squared-error", truth.scores + noise, truth)
    assert kept.tolist() == [0, 1]
    assert weights.sum(axis=0) == pytest.approx(1)
    assert weights == pytest.approx(0.5, abs=0.1)
    # The mean of two members with an error of 1 each has an error of 0.7, on rows not used for the weights.
    assert np.sqrt(((scores - truth.scores) ** 2).mean()) == pytest.approx(0.71, abs=0.05)
