import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.evaluation.ranking import average_precision, in_order, ndcg_at, recall_at

WANTED = np.array([True, False, True, False])


def test_recall_counts_what_stands_among_the_first():
    score = np.array([4.0, 3.0, 2.0, 1.0])
    assert [recall_at(WANTED, score, k) for k in (1, 2, 3, 4)] == [0.5, 0.5, 1.0, 1.0]


def test_tied_rows_are_all_their_orders_at_once():
    assert recall_at(WANTED, np.zeros(4), 1) == pytest.approx(0.25)
    assert in_order(np.array([1.0, 0.0, 5.0]), np.array([2.0, 2.0, 9.0])).tolist() == [5.0, 0.5, 0.5]


def test_average_precision_of_known_orders():
    assert average_precision(WANTED, np.array([4.0, 3.0, 2.0, 1.0])) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(WANTED, np.array([4.0, 1.0, 3.0, 2.0])) == 1.0
    assert average_precision(WANTED, np.zeros(4)) == 0.5


def test_ndcg_is_one_for_the_best_order_and_less_for_any_other():
    gains = np.array([3.0, 2.0, 0.0])
    assert ndcg_at(gains, np.array([9.0, 5.0, 1.0]), 3) == pytest.approx(1)
    swapped = (2 + 3 / np.log2(3)) / (3 + 2 / np.log2(3))
    assert ndcg_at(gains, np.array([5.0, 9.0, 1.0]), 3) == pytest.approx(swapped)


def test_nothing_wanted_is_no_figure():
    nothing = np.zeros(3, dtype=bool)
    assert np.isnan([recall_at(nothing, np.arange(3.0), 1), average_precision(nothing, np.arange(3.0))]).all()
    assert np.isnan(ndcg_at(np.zeros(3), np.arange(3.0), 2))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=1, max_size=12))
def test_recall_grows_with_depth_to_one(rows):
    wanted, score = np.array([w for w, _ in rows]), np.array([float(s) for _, s in rows])
    if wanted.any():
        found = [recall_at(wanted, score, k) for k in range(len(rows) + 1)]
        assert np.all(np.diff(found) >= -1e-12)
        assert found[-1] == pytest.approx(1)
        assert wanted.mean() / 2 < average_precision(wanted, score) <= 1
