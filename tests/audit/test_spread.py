import numpy as np
import pytest
from labels import rows_with

from potstill.audit.spread import spread, spread_of


class TestSpread:
    def test_a_dimension_that_sits_at_the_floor_says_so(self):
        found = spread("wonder", np.array([0.0] * 8 + [5.0, 10.0]), 0, 10)
        assert (found.at_floor, found.at_ceiling, found.levels) == (0.8, 0.1, 3)
        assert found.histogram == (8, 0, 0, 0, 0, 1, 0, 0, 0, 1)
        assert found.constant_mae == 1.5

    def test_labels_between_4_and_6_use_a_fifth_of_the_scale(self):
        assert spread("x", np.linspace(4, 6, 1001), 0, 10).used == pytest.approx(0.18, abs=0.001)

    def test_a_dimension_without_labels_has_no_figures(self):
        found = spread("x", np.array([np.nan]), 0, 10)
        assert (found.rows, found.mean, found.at_floor) == (0, None, None)

    def test_groups_of_fewer_than_twenty_rows_are_counted_and_not_shown(self):
        rows = rows_with([[8, 0]] * 25 + [[2, 4]] * 5, source=["herald"] * 25 + ["gazette"] * 5)
        found = spread_of(rows)
        assert [(group.name, group.rows) for group in found.by_source] == [("herald", 25)]
        herald = found.by_source[0].dimensions
        assert {name: each.mean for name, each in herald.items()} == {"wind": 8.0, "rain": 0.0, "overall": 4.0}
        assert (herald["rain"].at_floor, herald["wind"].at_ceiling, herald["wind"].used) == (1.0, 0.0, 0.0)
        assert (found.small, found.by_language) == (5, ())

    @pytest.mark.threshold(name="FEWEST_ROWS_IN_GROUP")
    @pytest.mark.parametrize(("rows", "shown", "small"), [(19, [], 19), (20, ["post"], 0), (21, ["post"], 0)])
    def test_a_source_needs_twenty_rows_for_its_own_figures(self, rows, shown, small):
        found = spread_of(rows_with([[8, 0]] * rows, source=["post"] * rows, language=["nl"] * rows))
        assert [group.name for group in found.by_source] == shown
        assert [group.rows for group in found.by_language] == [rows] * len(shown)
        assert (found.small, found.least) == (small, 20)
