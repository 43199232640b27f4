"""Tests of tier outputs: what they are fitted to, that scores stay the same, and which arrays are refused."""

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge

from potstill.errors import BundleError
from potstill.students.head_fitting import fit_head
from potstill.students.heads import LinearHead, rbf
from potstill.students.levels import Levels
from potstill.students.ordinal import OrdinalHead
from potstill.students.recipes import KernelRidgeHead, RidgeHead
from potstill.students.tier_head import (
    KERNEL_PENALTY,
    LINEAR_PENALTY,
    TierHead,
    base_of,
    fit_tier_head,
    out_of_fold_tiers,
    scores_and_tiers,
    widened,
)

RNG = np.random.default_rng(0)
FEATURES = (RNG.normal(size=(60, 8)) + 3.0).astype(np.float32)
SCORES = np.clip(np.round(np.stack([FEATURES[:, 0] * 1.5, 9 - FEATURES[:, 1] * 1.5], axis=1)), 0, 10).astype(float)
BELONGS = np.stack([SCORES.mean(axis=1) >= 5.5, SCORES.mean(axis=1) >= 4], axis=1).astype(float)
RBF = KernelRidgeHead(kind="rbf-ridge", alphas=(0.1,), gamma=(0.5,))


def head_of(recipe, learns="score"):
    return fit_head(recipe, FEATURES, SCORES, np.arange(60), learns=learns)


def chance():
    """Return features and tiers that have nothing to do with each other, with nearly as many features as rows."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(120, 100)), (rng.random((120, 1)) < 0.5).astype(float)


def outputs(head, tiers, features):
    return scores_and_tiers(head, widened(head, tiers).predict(features))[1]


def test_outputs_out_of_fold_know_nothing_about_tiers_of_chance_though_fitted_ones_seem_to():
    features, belongs = chance()
    head = LinearHead(np.zeros((100, 2)), np.zeros(2))
    fitted = outputs(head, fit_tier_head(head, features, belongs), features)
    unseen = out_of_fold_tiers(head, features, belongs, np.arange(120) % 10)
    assert np.corrcoef(fitted[:, 0], belongs[:, 0])[0, 1] > 0.8
    assert abs(np.corrcoef(unseen[:, 0], belongs[:, 0])[0, 1]) < 0.3


def test_those_of_a_kernel_head_are_kernel_ridge_regression_on_the_tiers():
    head = head_of(RBF)
    ready = head.centring.apply(FEATURES)
    middle = BELONGS.mean(axis=0)
    kernel = rbf(ready, head.vectors.astype(float), float(head.gamma[0]))
    wanted = KernelRidge(alpha=KERNEL_PENALTY, kernel="precomputed").fit(kernel, BELONGS - middle).predict(kernel)
    found = outputs(head, fit_tier_head(head, FEATURES, BELONGS), FEATURES)
    assert found == pytest.approx(wanted + middle, abs=1e-3)
    assert ((found - middle) ** 2).mean() < ((BELONGS - middle) ** 2).mean()


def test_those_of_a_linear_head_are_ridge_regression_on_the_tiers():
    head = head_of(RidgeHead(kind="ridge"))
    ready = FEATURES.astype(float) if head.centring is None else head.centring.apply(FEATURES)
    wanted = Ridge(alpha=LINEAR_PENALTY).fit(ready, BELONGS).predict(ready)
    assert outputs(head, fit_tier_head(head, FEATURES, BELONGS), FEATURES) == pytest.approx(wanted, abs=1e-4)


HEADS = {
    "scores of a linear head": lambda: head_of(RidgeHead(kind="ridge")),
    "scores of a kernel head": lambda: head_of(RBF),
    "medians of a linear head": lambda: head_of(RidgeHead(kind="ridge"), "distribution"),
    "medians of a kernel head": lambda: head_of(RBF, "distribution"),
    "grades of an ordinal head": lambda: OrdinalHead(
        LinearHead(RNG.normal(size=(8, 4)), RNG.normal(size=4)),
        Levels.of(np.array([[0, 2], [1, 5], [3, 9]])),
        "corn",
        "median",
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_the_scores_of_a_head_stay_the_same_beside_tier_outputs(name):
    head = HEADS[name]()
    scores, tiers = scores_and_tiers(head, widened(head, fit_tier_head(head, FEATURES, BELONGS)).predict(FEATURES))
    assert scores == pytest.approx(head.predict(FEATURES), abs=1e-4)
    assert tiers.shape == (60, 2)
    assert np.corrcoef(tiers[:, 1], BELONGS[:, 1])[0, 1] > 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bias": None}, r"tier head: has the arrays weights and bias, got \['weights'\]"),
        ({"weights": np.zeros((7, 2))}, r"weights \(7, 2\) and bias \(2,\) do not fit the student's head"),
        ({"bias": np.zeros(3)}, r"weights \(\d+, 2\) and bias \(3,\) do not fit the student's head"),
        ({"bias": np.array([0.0, np.nan])}, "holds a number that is not finite"),
        ({"weights": np.full((8, 2), np.inf)}, "holds a number that is not finite"),
    ],
)
def test_arrays_that_fit_no_head_are_refused(changes, message):
    head = head_of(RidgeHead(kind="ridge"))
    fitting = fit_tier_head(head, FEATURES, BELONGS).arrays()
    assert TierHead.from_arrays(fitting, head).outputs == 2
    assert len(fitting["weights"]) == base_of(head).width == 8
    arrays = {name: array for name, array in (fitting | changes).items() if array is not None}
    with pytest.raises(BundleError, match=message):
        TierHead.from_arrays(arrays, head)
