import numpy as np
import pytest
from sklearn.linear_model import Ridge

from potstill.students.ridge import choose, dual, primal

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 6))
Y = X @ RNG.normal(size=(6, 3)) + RNG.normal(size=(30, 3)) + 5.0
MASKED = Y.copy()
MASKED[[0, 4, 9], 1] = np.nan


@pytest.mark.parametrize("alpha", [0.01, 1.0, 100.0])
def test_both_forms_give_scikit_learns_ridge_with_masked_labels_left_out(alpha):
    weights, bias = primal(X, MASKED, alpha)
    coefficients, bias_of_dual = dual(X @ X.T, MASKED, alpha)
    for column in range(3):
        known = ~np.isnan(MASKED[:, column])
        reference = Ridge(alpha=alpha).fit(X[known], MASKED[known, column])
        assert weights[:, column] == pytest.approx(reference.coef_, abs=1e-9)
        assert X.T @ coefficients[:, column] == pytest.approx(reference.coef_, abs=1e-9)
        assert bias[column] == pytest.approx(reference.intercept_, abs=1e-9)
        assert bias_of_dual[column] == pytest.approx(reference.intercept_, abs=1e-9)


def test_the_choice_of_least_error_wins():
    def shifted(_inside, outside, shift):
        return Y[outside] + shift

    assert choose((3.0, -0.5, 1.0), shifted, MASKED, np.arange(30), 0) == -0.5


def test_rows_of_one_cluster_are_held_out_together():
    clusters = np.arange(30) // 3
    seen = []

    def spy(inside, outside, _choice):
        seen.append((set(clusters[inside]), set(clusters[outside])))
        return Y[outside]

    choose((1.0, 2.0), spy, Y, clusters, 0)
    assert len(seen) == 10
    assert all(not inside & outside for inside, outside in seen)


def test_with_one_cluster_there_is_nothing_to_hold_out_and_the_middle_is_taken():
    assert choose((1.0, 2.0, 3.0), lambda *_: 1 / 0, Y, np.zeros(30, dtype=np.int64), 0) == 2.0
