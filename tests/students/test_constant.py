from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from headlines import headlines

from potstill.errors import DatasetError
from potstill.students.constant import fit_constant
from potstill.students.recipes import ConstantRecipe

RECIPE = ConstantRecipe(name="constant", student="constant")


def test_every_text_gets_the_medians_of_the_labels_that_are_there():
    train = headlines(masked=True)
    student = fit_constant(RECIPE, train)
    expected = [np.nanmedian(train.scores[:, 0]), np.nanmedian(train.scores[:, 1])]
    assert student.predict(pl.DataFrame({"text": ["war", ""]})).tolist() == [expected, expected]


def test_a_dimension_without_any_label_is_refused_by_name():
    train = headlines()
    train.scores[:, 1] = np.nan
    with pytest.raises(DatasetError, match="dimension wonder: none of 20 training rows"):
        fit_constant(RECIPE, train)


def test_rows_chosen_by_a_predicted_score_are_left_out_if_there_are_others():
    train = headlines()
    every = train.scores.copy()
    every[-8:] = 10.0
    marks = pl.Series("sampling", [None] * (len(train) - 8) + ["high"] * 8)
    marked = replace(train, scores=every, frame=train.frame.with_columns(marks))
    assert np.array_equal(fit_constant(RECIPE, marked).values, np.median(every[:-8], axis=0))
    assert fit_constant(RECIPE, marked.take(marked.targeted)).values.tolist() == [10.0, 10.0]
