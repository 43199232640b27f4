import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.kernel_ridge import KernelRidge
from sklearn.svm import SVR

from potstill.errors import BundleError
from potstill.students import head_fitting
from potstill.students.head_fitting import fit_head
from potstill.students.heads import Centring, LinearHead, from_arrays, rbf
from potstill.students.recipes import KernelHead, KernelRidgeHead, RidgeHead

RNG = np.random.default_rng(0)
FEATURES = (RNG.normal(size=(40, 8)) + 3.0).astype(np.float32)
SCORES = np.stack([5 + FEATURES[:, 0], 4 - FEATURES[:, 1] * FEATURES[:, 2] / 3], axis=1).astype(np.float64)
CLUSTERS = np.arange(40)
RIDGE = RidgeHead(kind="ridge")
KERNEL = KernelHead(kind="support-vectors", C=(10.0,), gamma=(0.5,))
RBF_RIDGE = KernelRidgeHead(kind="rbf-ridge", alphas=(0.1,), gamma=(0.5,))
EVERY = [
    (RIDGE, "score"),
    (KERNEL, "score"),
    (RBF_RIDGE, "score"),
    (RIDGE, "distribution"),
    (RBF_RIDGE, "distribution"),
]
"""Every head, with the objectives that it supports."""


def test_a_linear_head_is_a_product_and_a_sum():
    head = LinearHead(np.array([[1.0], [2.0]], dtype=np.float32), np.array([0.5], dtype=np.float32))
    assert head.predict(np.array([[1.0, 1.0], [0.0, 3.0]], dtype=np.float32)).tolist() == [[3.5], [6.5]]


def test_centred_features_have_length_one_and_do_not_care_for_length():
    centring = Centring.of(FEATURES, [8])
    ready = centring.apply(FEATURES)
    assert np.linalg.norm(ready, axis=1) == pytest.approx(1.0)
    assert centring.apply(FEATURES * 7.0) == pytest.approx(ready, abs=1e-6)


def test_joined_encoders_weigh_alike_whatever_their_size():
    joined = np.concatenate([FEATURES, FEATURES[:, :3] * 100.0], axis=1)
    ready = Centring.of(joined, [8, 3]).apply(joined)
    assert np.linalg.norm(ready[:, :8], axis=1) == pytest.approx(np.sqrt(0.5))
    assert np.linalg.norm(ready[:, 8:], axis=1) == pytest.approx(np.sqrt(0.5))


def test_features_of_length_zero_stay_finite():
    assert np.isfinite(Centring.of(FEATURES, [8]).apply(np.zeros((1, 8), dtype=np.float32))).all()


def test_support_vectors_give_scikit_learns_scores_with_masked_labels_left_out():
    scores = SCORES.copy()
    scores[:7, 1] = np.nan
    head = fit_head(KERNEL, FEATURES, scores, CLUSTERS)
    ready = Centring.of(FEATURES, [8]).apply(FEATURES)
    for column in range(2):
        known = ~np.isnan(scores[:, column])
        reference = SVR(C=10.0, gamma=0.5, epsilon=0.1, tol=1e-3).fit(ready[known], scores[known, column])
        assert head.predict(FEATURES)[:, column] == pytest.approx(reference.predict(ready), abs=1e-3)


def test_a_kernel_is_one_where_a_row_meets_itself():
    rows = RNG.normal(size=(5, 8))
    kernel = rbf(rows, rows, 2.0)
    assert np.diag(kernel) == pytest.approx(1.0)
    assert kernel[0, 1] == pytest.approx(np.exp(-2.0 * ((rows[0] - rows[1]) ** 2).sum()))


def test_rbf_ridge_gives_scikit_learns_scores_on_centred_labels():
    scores = SCORES.copy()
    scores[:7, 1] = np.nan
    head = fit_head(RBF_RIDGE, FEATURES, scores, CLUSTERS)
    ready = Centring.of(FEATURES, [8]).apply(FEATURES)
    for column in range(2):
        known = ~np.isnan(scores[:, column])
        kernel = rbf(ready, ready[known], 0.5)
        # The intercept is not penalised: the kernel is centred on the training rows, and so are the labels.
        middle = kernel[known].mean(axis=0)
        centred = kernel - middle - kernel.mean(axis=1, keepdims=True) + middle.mean()
        target = scores[known, column]
        ridge = KernelRidge(alpha=0.1, kernel="precomputed").fit(centred[known], target - target.mean())
        assert head.predict(FEATURES)[:, column] == pytest.approx(ridge.predict(centred) + target.mean(), abs=1e-5)


def test_where_either_of_two_scores_may_be_true_a_distribution_gives_the_likelier_and_not_their_mean():
    # Six in ten of each kind of text are worth 0 or 10, and nothing in the text tells which of them.
    features = np.tile([[1.0, 0.0], [0.0, 1.0]], (50, 1))
    scores = np.array(
        [[0.0 if (row // 2) % 10 < 6 else 8.0, 10.0 if (row // 2) % 10 < 6 else 8.0] for row in range(100)]
    )
    mean = fit_head(RIDGE, features, scores, np.arange(100)).predict(features)
    median = fit_head(RIDGE, features, scores, np.arange(100), learns="distribution").predict(features)
    assert mean[0] == pytest.approx([3.2, 9.2], abs=0.1)
    assert median.tolist() == [[0.0, 10.0]] * 100


def test_what_is_open_is_chosen_on_some_of_many_rows(monkeypatch):
    monkeypatch.setattr(head_fitting, "CHOICE_ROWS", 20)
    open_ = KernelRidgeHead(kind="rbf-ridge", alphas=(0.1, 1e6), gamma=(0.5,))
    chosen = fit_head(open_, FEATURES, SCORES, CLUSTERS)
    assert chosen.vectors.shape == (40, 8)
    assert chosen.predict(FEATURES) == pytest.approx(fit_head(RBF_RIDGE, FEATURES, SCORES, CLUSTERS).predict(FEATURES))


@pytest.mark.parametrize(("recipe", "learns"), EVERY)
def test_a_head_comes_back_from_its_arrays_bit_for_bit(recipe, learns):
    head = fit_head(recipe, FEATURES, SCORES, CLUSTERS, learns=learns)
    again = from_arrays(head.kind, head.arrays())
    assert again.width == 8
    assert again.predict(FEATURES).tobytes() == head.predict(FEATURES).tobytes()


@pytest.mark.parametrize(("recipe", "learns"), EVERY)
def test_a_head_learns_what_there_is_to_learn(recipe, learns):
    error = np.abs(fit_head(recipe, FEATURES, SCORES, CLUSTERS, learns=learns).predict(FEATURES) - SCORES).mean(axis=0)
    constant = np.abs(np.median(SCORES, axis=0) - SCORES).mean(axis=0)
    assert (error < constant).all()


@pytest.mark.parametrize(
    ("recipe", "learns"), [*EVERY, (KernelHead(kind="support-vectors"), "score"), (RidgeHead(kind="ridge"), "score")]
)
def test_labels_that_are_all_the_same_are_given_back(recipe, learns):
    head = fit_head(recipe, FEATURES, np.full((40, 2), 3.0), CLUSTERS, learns=learns)
    assert head.predict(FEATURES) == pytest.approx(np.full((40, 2), 3.0))
    assert from_arrays(head.kind, head.arrays()).predict(FEATURES) == pytest.approx(3.0)


def test_the_choice_is_made_with_clusters_whole(monkeypatch):
    chosen = fit_head(KernelHead(kind="support-vectors", C=(0.001, 10.0), gamma=(0.5,)), FEATURES, SCORES, CLUSTERS)
    fixed = fit_head(KERNEL, FEATURES, SCORES, CLUSTERS)
    assert chosen.predict(FEATURES).tobytes() == fixed.predict(FEATURES).tobytes()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 39))
def test_a_row_scores_the_same_whatever_stands_beside_it(start):
    head = fit_head(KERNEL, FEATURES, SCORES, CLUSTERS)
    assert head.predict(FEATURES[start:]) == pytest.approx(head.predict(FEATURES)[start:], abs=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("dual"), "has the arrays"),
        (lambda arrays: arrays.update(extra=np.zeros(1)), "has the arrays"),
        (lambda arrays: arrays.update(bias=np.zeros(3)), "do not fit"),
        (lambda arrays: arrays.update(bias=np.array([np.nan, 0.0])), "not finite"),
        (lambda arrays: arrays.update(mean=np.zeros(5)), "do not fit"),
        (lambda arrays: arrays.update(vectors=arrays["vectors"][:-1]), "do not fit"),
    ],
)
def test_arrays_that_are_no_head_are_refused(change, message):
    arrays = dict(fit_head(KERNEL, FEATURES, SCORES, CLUSTERS).arrays())
    change(arrays)
    with pytest.raises(BundleError, match=message):
        from_arrays("support-vectors", arrays)


def test_an_unknown_kind_is_refused():
    with pytest.raises(BundleError, match="unknown kind 'forest'"):
        from_arrays("forest", {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("levels"), "has finite levels"),
        (lambda arrays: arrays.update(levels=arrays["levels"] * np.nan), "has finite levels"),
        (lambda arrays: arrays.update(levels=arrays["levels"][::-1].copy()), "do not rise"),
        (lambda arrays: arrays.update(level_counts=arrays["level_counts"] + 1), "do not fit"),
    ],
)
def test_levels_that_do_not_fit_their_head_are_refused(change, message):
    head = fit_head(RBF_RIDGE, FEATURES, np.rint(SCORES), CLUSTERS, learns="distribution")
    arrays = dict(head.arrays())
    change(arrays)
    with pytest.raises(BundleError, match=message):
        from_arrays(head.kind, arrays)
