import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from potstill.students.levels import MOST_LEVELS, Levels

SCORES = np.array([[0.0, 5.0], [2.0, 5.5], [2.0, np.nan], [7.0, 6.0]])


def test_targets_say_level_by_level_what_a_score_does_not_exceed():
    levels = Levels.of(SCORES)
    assert levels.counts.tolist() == [3, 3]
    assert levels.targets(SCORES)[[0, 1, 3]].tolist() == [[1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0]]
    assert np.isnan(levels.targets(SCORES)[2]).tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    ("outputs", "score"),
    [
        ([0.6, 0.9], 0.0),
        ([0.53, 0.53], 0.0),
        # Probability 0.5 of more than 0 and of more than 2: halfway to 2, and halfway from there to 7.
        ([0.5, 0.5], 3.5),
        ([0.49, 0.9], 1.5),
        ([0.4, 0.9], 2.0),
        ([0.1, 0.4], 7.0),
        # Two learners that contradict each other: the curve between 0.7 and 0.4 is 0.55 at both levels.
        ([0.7, 0.4], 0.0),
        ([0.45, 0.3], 7.0),
    ],
)
def test_the_score_is_the_lowest_level_that_is_as_likely_reached_as_exceeded(outputs, score):
    assert Levels.of(SCORES[:, :1]).median(np.array([outputs])) == pytest.approx(np.array([[score]]))


def test_labels_of_many_values_are_cut_at_values_that_some_label_has():
    labels = np.random.default_rng(0).normal(size=(500, 1))
    levels = Levels.of(labels)
    assert levels.counts.tolist() == [MOST_LEVELS]
    assert set(levels.values) <= set(labels[:, 0])
    assert (levels.values[0], levels.values[-1]) == (labels.min(), labels.max())


def test_a_dimension_of_one_level_needs_no_output():
    levels = Levels.of(np.array([[3.0, 0.0], [3.0, 1.0]]))
    assert levels.outputs == 1
    assert levels.median(np.array([[0.9], [0.1]])).tolist() == [[3.0, 0.0], [3.0, 1.0]]


@settings(max_examples=50, deadline=None)
@given(arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.integers(0, 10).map(float)))
def test_targets_lead_back_to_the_scores_they_were_made_of(scores):
    levels = Levels.of(scores)
    assert levels.median(levels.targets(scores)).tolist() == scores.tolist()
    assert (
        Levels.from_arrays(levels.arrays(), levels.outputs).median(levels.targets(scores)).tolist() == scores.tolist()
    )
