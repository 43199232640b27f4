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
