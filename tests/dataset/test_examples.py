import numpy as np
import polars as pl
import pytest

from potstill.dataset import (
    Examples,
)
from potstill.errors import DatasetError


class TestExamples:
    def some(self):
        return Examples(
            ids=("a", "b", "c"),
            frame=pl.DataFrame({"id": ["a", "b", "c"], "text": ["one", "two", "three"]}),
            scores=np.array([[1.0], [2.0], [np.nan]]),
            clusters=np.array([0, 1, 1]),
            dimensions=("wind",),
        )

    def test_rows_are_taken_by_mask_or_by_position_in_the_order_wanted(self):
        by_mask = self.some().take(np.array([True, False, True]))
        by_place = self.some().take([2, 0])
        assert by_mask.ids == ("a", "c")
        assert by_place.ids == ("c", "a")
        assert by_place.texts == ["three", "one"]
        assert by_place.clusters.tolist() == [1, 0]
        assert by_place.scores[1, 0] == 1.0

    def test_taking_nothing_leaves_nothing(self):
        assert len(self.some().take([])) == 0
        assert len(self.some().take(np.zeros(3, dtype=bool))) == 0

    def test_parts_that_do_not_match_are_refused(self):
        good = self.some()
        with pytest.raises(DatasetError, match=r"scores have shape \(3, 1\), expected \(2, 1\)"):
            Examples(("a", "b"), good.frame, good.scores, good.clusters, good.dimensions)
        with pytest.raises(DatasetError, match="do not match"):
            Examples(good.ids, good.frame, good.scores, good.clusters[:2], good.dimensions)
        with pytest.raises(DatasetError, match="need a column text"):
            Examples(good.ids, good.frame.drop("text"), good.scores, good.clusters, good.dimensions)
