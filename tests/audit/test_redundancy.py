import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from labels import WEATHER, rows_with

from potstill.audit.redundancy import participation, redundancy_of
from potstill.audit.repeats import repeats_of

_PAIR = np.array([[1, 1], [1, -1]])
HADAMARD = functools.reduce(np.kron, [_PAIR] * 6)[:, 1:]
"""Columns of 1 and -1 that are uncorrelated."""


class TestRedundancy:
    def test_eight_names_for_one_thing_are_one_dimension(self):
        level = np.random.default_rng(0).uniform(0, 10, 100)
        found = redundancy_of(np.tile(level[:, None], (1, 8)), list("abcdefgh"), np.arange(100))
        assert found.effective == pytest.approx(1.0)
        assert found.warning
        assert len(found.high) == 28

    def test_independent_dimensions_are_all_different(self):
        scores = np.random.default_rng(0).uniform(0, 10, (2000, 4))
        found = redundancy_of(scores, list("abcd"), np.arange(2000))
        assert found.effective == pytest.approx(4.0, abs=0.05)
        assert not found.warning
        assert sum(component.share for component in found.components) == pytest.approx(1.0, abs=1e-5)

    def test_noise_makes_one_thing_look_like_two_until_it_is_taken_out(self):
        rng = np.random.default_rng(0)
        truth = rng.uniform(3, 7, (400, 1, 1))
        rows = rows_with(np.clip(truth + rng.normal(0, 0.8, (400, 2, 2)), 0, 10))
        found = redundancy_of(rows.scores, WEATHER.dimension_names, rows.clusters, repeats_of(rows))
        assert found.effective > 1.15
        assert found.without_noise == pytest.approx(1.0, abs=0.05)

    def test_a_dimension_that_never_varies_is_named_and_left_out(self):
        scores = np.random.default_rng(0).uniform(0, 10, (50, 3))
        scores[:, 1] = 4
        found = redundancy_of(scores, list("abc"), np.arange(50))
        assert (found.dimensions, found.constant) == (("a", "c"), ("b",))

    def test_a_pilot_of_twenty_is_too_small_to_say(self):
        assert redundancy_of(np.random.default_rng(0).uniform(0, 10, (20, 3)), list("abc"), np.arange(20)) is None

    @given(st.integers(2, 8), st.integers(0, 10_000))
    def test_the_effective_number_lies_between_one_and_all(self, dimensions, seed):
        rng = np.random.default_rng(seed)
        mixed = rng.normal(size=(40, dimensions)) @ rng.normal(size=(dimensions, dimensions))
        ratio = participation(np.corrcoef(mixed.T))
        values = np.linalg.eigvalsh(np.corrcoef(mixed.T))
        assert 1 - 1e-9 <= ratio <= dimensions + 1e-9
        assert ratio == pytest.approx(values.sum() ** 2 / (values**2).sum())

    @pytest.mark.threshold(name="FEWEST_ROWS_FOR_REDUNDANCY")
    @pytest.mark.parametrize(("rows", "known"), [(29, False), (30, True), (31, True)])
    def test_thirty_rows_are_needed(self, rows, known):
        scores = np.random.default_rng(0).uniform(0, 10, (rows, 3))
        assert (redundancy_of(scores, list("abc"), np.arange(rows), resamples=10) is not None) is known

    @pytest.mark.threshold(name="NEARLY_IDENTICAL")
    @pytest.mark.parametrize(("differing", "identical"), [(102, False), (100, True), (98, True)])
    @pytest.mark.parametrize("sign", [1, -1])
    def test_two_dimensions_that_correlate_at_80_percent_are_nearly_identical(self, differing, identical, sign):
        # Of 1,000 scores that are 4 or 6, the second dimension has some on the other side: r = 1 - differing / 500.
        first = np.repeat([1.0, -1.0], 500)
        second = np.where(np.arange(1000) % 500 < differing // 2, -first, first)
        scores = 5 + np.column_stack([first, sign * second])
        found = redundancy_of(scores, list("ab"), np.arange(1000), resamples=10)
        assert [pair.r for pair in found.high] == ([sign * (1 - differing / 500)] if identical else [])
        assert found.warning is identical

    @pytest.mark.threshold(name="FEW_DISTINCT")
    @pytest.mark.parametrize(("common", "redundant"), [(0.99, False), (1.0, False), (1.01, True)])
    def test_five_names_for_fewer_than_two_and_a_half_things_are_redundant(self, common, redundant):
        # Each dimension is a common part and one of its own; with equal parts every two correlate at 0.5.
        scores = common * HADAMARD[:, :1] + HADAMARD[:, 1:6]
        found = redundancy_of(scores, list("abcde"), np.arange(64), resamples=10)
        assert found.high == ()
        assert found.effective == pytest.approx(2.5, abs=0.05)
        assert found.warning is redundant
