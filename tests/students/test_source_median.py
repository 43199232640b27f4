from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from headlines import headlines

from potstill.errors import DatasetError
from potstill.students.recipes import SourceMedianRecipe
from potstill.students.source_median import fit_source_median

RECIPE = SourceMedianRecipe(name="source-median", student="source-median")


def test_a_known_source_gets_its_own_medians_and_an_unknown_one_everybodys():
    train = headlines(masked=True)
    student = fit_source_median(RECIPE, train)
    scores = student.predict(pl.DataFrame({"text": ["", "", ""], "source": ["wire", "elsewhere", None]}))
    assert scores[0].tolist() == np.nanmedian(train.scores[:10], axis=0).tolist()
    assert scores[1].tolist() == scores[2].tolist() == np.nanmedian(train.scores, axis=0).tolist()


def test_a_source_whose_labels_are_all_masked_gets_everybodys_median():
    train = headlines()
    train.scores[:10, 1] = np.nan
    student = fit_source_median(RECIPE, train)
    assert student.predict(train.frame)[0, 1] == np.nanmedian(train.scores[:, 1])


def test_articles_without_sources_are_refused():
    student = fit_source_median(RECIPE, headlines())
    with pytest.raises(DatasetError, match="column 'source'"):
        student.predict(pl.DataFrame({"text": ["x"]}))


def test_rows_chosen_by_a_predicted_score_move_neither_the_medians_of_their_source_nor_everybodys():
    train = headlines()
    scores = train.scores.copy()
    scores[[0, 1, 2, 3, 4, 5, 10]] = 10.0
    marks = pl.Series("sampling", ["high" if row in {0, 1, 2, 3, 4, 5, 10} else None for row in range(20)])
    marked = replace(train, scores=scores, frame=train.frame.with_columns(marks))
    student, expected = fit_source_median(RECIPE, marked), fit_source_median(RECIPE, train.take(~marked.targeted))
    assert np.array_equal(student.medians, expected.medians)
    assert np.array_equal(student.overall, expected.overall)
