"""Which part of the scale the training labels reach."""

import numpy as np
import pytest

from potstill.dataset.reach import Reach, reach_of, unreached


def reach(*, rows=100, low=0.0, high=10.0, lowest=0.0, highest=10.0):
    return Reach(rows=rows, low=low, high=high, lowest=lowest, highest=highest)


@pytest.mark.threshold(name="FEWEST_LABELS_AT_END")
@pytest.mark.parametrize(("high_scores", "high"), [(4, 3), (5, 9), (6, 9)])
def test_five_labels_are_needed_for_a_part_of_the_scale_to_be_reached(high_scores, high):
    labels = np.array([0.0] * 20 + [3.0] * 20 + [9.0] * high_scores)
    found = reach_of(labels[:, None], ["gain"])["gain"]
    assert (found.low, found.high, found.highest) == (0, high, 9)
    mirrored = reach_of(10 - labels[:, None], ["gain"])["gain"]
    assert (mirrored.low, mirrored.high, mirrored.lowest) == (10 - high, 10, 1)


def test_masked_labels_do_not_count_and_a_dimension_without_labels_is_left_out():
    scores = np.array([[1.0, np.nan]] * 6 + [[np.nan, np.nan]])
    assert reach_of(scores, ["gain", "near"]) == {"gain": reach(rows=6, low=1, high=1, lowest=1, highest=1)}


def test_fewer_labels_than_that_reach_nothing():
    found = reach_of(np.array([[0.0], [10.0]]), ["gain"])
    assert unreached(found, 0, 10) == (
        "fewer than 5 labels above 0 in 1 of 1 dimensions (gain): high scores cannot be learned",
        "fewer than 5 labels below 10 in 1 of 1 dimensions (gain): low scores cannot be learned",
    )


@pytest.mark.threshold(name="EMPTY_END")
@pytest.mark.parametrize(("high", "warned"), [(6.9, True), (7.0, True), (7.1, False)])
def test_three_points_without_labels_at_an_end_are_warned_of(high, warned):
    assert bool(unreached({"gain": reach(high=high, highest=high)}, 0, 10)) is warned
    assert bool(unreached({"gain": reach(low=10 - high, lowest=10 - high)}, 0, 10)) is warned


def test_the_width_of_the_end_is_a_share_of_the_scale():
    assert unreached({"gain": reach(low=1, high=3.9, lowest=1, highest=3.9)}, 1, 5) == ()
    assert unreached({"gain": reach(low=1, high=3.8, lowest=1, highest=3.8)}, 1, 5)


def test_the_warning_names_the_dimensions_and_how_far_each_reaches():
    found = {"a": reach(high=3, highest=3), "b": reach(high=1, highest=2), "c": reach()}
    assert unreached(found, 0, 10) == (
        "no label above 3 in 2 of 3 dimensions (a above 3, b above 1): high scores cannot be learned",
    )


def test_a_few_labels_at_the_end_are_said_to_be_few():
    found = {"a": reach(high=3, highest=9), "b": reach(high=3, highest=3)}
    assert unreached(found, 0, 10) == (
        "fewer than 5 labels above 3 in 2 of 2 dimensions (a, b): high scores cannot be learned",
    )


def test_a_dimension_whose_labels_are_all_equal_is_left_to_another_warning():
    assert unreached({"a": reach(low=2, high=2, lowest=2, highest=2), "b": reach()}, 0, 10) == ()
