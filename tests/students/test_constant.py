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
