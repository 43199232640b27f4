"""Tests of the scikit-learn estimator."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks as checks

from potstill.sklearn import ScoreRegressor

TEXTS = [f"{word} weather in {place}" for word in ("fine", "foul") for place in "abcdefghijklmno"]
SCORES = np.array([5.0] * 15 + [1.0] * 15)


def strip(texts):
    return [text.strip() for text in texts]


def test_it_predicts_one_score_or_several():
    one = ScoreRegressor().fit(TEXTS, SCORES)
    assert one.predict(["fine weather", "foul weather"]).shape == (2,)
    assert one.score(TEXTS, SCORES) > 0.8
    several = ScoreRegressor().fit(TEXTS, np.column_stack([SCORES, 6 - SCORES]))
    predicted = several.predict(["fine weather", "foul weather"])
    assert predicted.shape == (2, 2)
    assert predicted[0, 0] > predicted[1, 0]
    assert predicted[0, 1] < predicted[1, 1]
    assert several.n_outputs_ == 2


def test_it_works_in_cross_validation_pipelines_and_searches():
    model = make_pipeline(FunctionTransformer(strip), ScoreRegressor())
    order = np.random.default_rng(0).permutation(len(TEXTS))
    texts, scores = [TEXTS[row] for row in order], SCORES[order]
    assert cross_val_score(model, texts, scores, cv=3).min() > 0.3
    search = GridSearchCV(ScoreRegressor(), {"recipe": ["constant", "tfidf-ridge"]}, cv=3).fit(texts, scores)
    assert search.best_params_ == {"recipe": "tfidf-ridge"}


def test_a_clone_has_the_parameters_and_nothing_learned():
    model = ScoreRegressor("tfidf-median", random_state=3).fit(TEXTS, SCORES)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        copy.predict(TEXTS)


def test_series_arrays_and_columns_of_texts_are_the_same():
    expected = ScoreRegressor().fit(TEXTS, SCORES).predict(TEXTS)
    for texts in (np.array(TEXTS), np.array(TEXTS, dtype=object), pd.Series(TEXTS), np.array(TEXTS)[:, None]):
        assert np.array_equal(ScoreRegressor().fit(texts, pd.Series(SCORES)).predict(texts), expected)


def test_missing_scores_are_masked():
    scores = np.column_stack([SCORES, np.where(np.arange(30) % 3, SCORES, np.nan)])
    assert np.isfinite(ScoreRegressor().fit(TEXTS, scores).predict(TEXTS)).all()


@pytest.mark.parametrize(
    ("texts", "scores", "message"),
    [
        ("a text", [1.0], "X is one text"),
        ([1, 2], [1.0, 2.0], "X holds int at row 0; expected texts"),
        (TEXTS, SCORES[:5], r"y has shape \(5,\); expected \(30,\) or \(30, outputs\)"),
        (TEXTS, np.full(30, np.nan), "an output of y has no score"),
        (TEXTS, np.full(30, np.inf), "y holds an infinite score"),
        ([], [], "an output of y has no score"),
    ],
)
def test_what_cannot_be_fitted_is_refused(texts, scores, message):
    with pytest.raises(ValueError, match=message):
        ScoreRegressor().fit(texts, scores)


def test_a_recipe_that_trains_a_network_needs_rows_to_select_its_epoch():
    with pytest.raises(ValueError, match="validation_fraction=0 leaves 0 of 30 texts for validation"):
        ScoreRegressor("minilm-lora", validation_fraction=0).fit(TEXTS, SCORES)


@pytest.mark.parametrize(
    "check",
    [
        checks.check_estimator_cloneable,
        checks.check_estimator_repr,
        checks.check_valid_tag_types,
        checks.check_no_attributes_set_in_init,
        checks.check_do_not_raise_errors_in_init_or_set_params,
        checks.check_mixin_order,
        checks.check_parameters_default_constructible,
        checks.check_get_params_invariance,
        checks.check_set_params,
    ],
)
def test_scikit_learns_checks_that_need_no_table_of_numbers_pass(check):
    """Scikit-learn itself runs none of its checks on an estimator whose input is not a table of numbers."""
    check("ScoreRegressor", ScoreRegressor())
