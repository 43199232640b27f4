import numpy as np
import pytest

from potstill.speed.proving import Answers, change_of, objection

ROWS = 500


def said(scores, tiers=None):
    return Answers(scores, scores, tiers or ["page"] * len(scores))


@pytest.fixture
def portable():
    return said(np.full((ROWS, 2), 5.0))


def labels(value):
    return np.full((ROWS, 2), value)


def test_what_changes_nothing_may_be_used(portable):
    change = change_of(portable, portable, labels(4.0))
    assert (change.largest, change.mae, change.changed) == (0, 0, 0)
    assert objection(change, 10, 0.02) is None


def test_an_error_that_moves_by_more_than_a_hundredth_is_refused(portable):
    change = change_of(portable, said(portable.scores + 0.011), labels(4.0))
    assert change.mae == pytest.approx(0.011)
    assert "mean absolute error changes by 0.0110" in objection(change, 10, 0.02)
    assert objection(change_of(portable, said(portable.scores + 0.009), labels(4.0)), 10, 0.02) is None


def test_an_error_that_gets_better_by_as_much_is_refused_too(portable):
    change = change_of(portable, said(portable.scores - 0.011), labels(4.0))
    assert change.mae == pytest.approx(-0.011)
    assert objection(change, 10, 0.02)


def test_without_labels_the_mean_difference_stands_for_the_error(portable):
    swayed = np.where(np.arange(ROWS)[:, None] % 2, 0.02, -0.02) + portable.scores
    change = change_of(portable, said(swayed), labels(np.nan))
    assert (change.labelled, change.mae) == (0, None)
    assert "the mean score changes by 0.0200" in objection(change, 10, 0.02)


def test_tiers_may_change_no_more_often_than_the_bound(portable):
    tiers = ["lead"] * 4 + ["page"] * (ROWS - 4)
    change = change_of(portable, said(portable.scores, tiers), labels(4.0))
    # The one-sided Clopper-Pearson 95% bound for 4 of 500.
    assert change.changed == 4
    assert change.changed_bound == pytest.approx(0.01823, abs=1e-4)
    assert objection(change, 10, 0.02) is None
    assert "4 of 500 articles change tier" in objection(change, 10, 0.018)


def test_a_few_articles_prove_nothing(portable):
    few = Answers(portable.raw[:30], portable.scores[:30], portable.tiers[:30])
    found = objection(change_of(few, few, labels(4.0)[:30]), 10, 0.02)
    assert "0 of 30 articles change tier, so up to 9.5% may" in found
