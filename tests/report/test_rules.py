import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.report.rules import RATINGS, RULES, epoch_status, grade, holds, rate

ERROR = st.floats(0.01, 5)


def rating_of(mae):
    return rate(mae, 10.0, None)


def progress_to(error):
    return epoch_status([100.0, error], 1)


def missed_at(level):
    return holds(0.0, 1, level)


@pytest.mark.parametrize(
    ("mae", "constant", "floor", "rating"),
    [
        (0.3, 2.0, None, "excellent"),
        (0.7, 2.0, None, "good"),
        (1.0, 2.0, None, "fair"),
        (1.8, 2.0, None, "weak"),
        (2.0, 2.0, None, "none"),
        # Half of the constant's error is gone, but the labels' noise leaves little more to remove.
        (1.0, 2.0, 0.8, "excellent"),
    ],
)
def test_a_dimension_is_rated_by_how_much_of_what_could_go_is_gone(mae, constant, floor, rating):
    assert rate(mae, constant, floor) == rating


def test_a_skill_that_may_be_nothing_is_rated_none():
    assert rate(0.3, 2.0, None, lowest_skill=-0.01) == "unproven"


def test_without_a_constant_there_is_no_rating():
    assert rate(0.3, None, None) is None
    assert rate(None, 1.0, None) is None


@given(ERROR, ERROR, ERROR, st.one_of(st.none(), ERROR))
def test_a_smaller_error_is_never_rated_worse(first, second, constant, floor):
    better, worse = sorted((first, second))
    assert RATINGS.index(rate(better, constant, floor)) <= RATINGS.index(rate(worse, constant, floor))


def test_epochs_are_told_apart_by_what_they_did_to_the_best_so_far():
    errors = [1.4, 1.0, 0.995, 0.997, 1.1, None]
    words = [epoch_status(errors, place, kept=2) for place in range(len(errors))]
    assert words == ["first", "improving", "best, slightly better", "plateau", "worse", None]


@pytest.mark.parametrize(
    ("rule", "value", "word"),
    [
        ("tiers", 0.7, "suited"),
        ("tiers", 0.5, "with care"),
        ("tiers", 0.3, "not suited"),
        ("exact", 0.05, "suited"),
        ("exact", 0.15, "with care"),
        ("exact", 0.5, "not suited"),
        ("ranking", None, None),
    ],
)
def test_uses_are_graded(rule, value, word):
    assert grade(rule, value) == word


BOUNDARIES = [
    # The largest error for each rating, if the constant's error is 10.
    *(
        (("rating", name), rating_of, (left - 0.01, name), (left, name), (left + 0.01, below))
        for name, left, below in (("excellent", 2.0, "good"), ("good", 4.0, "fair"), ("fair", 7.0, "weak"))
    ),
    # The best error so far is 100.
    (("epoch", "improving"), progress_to, (98.9, "improving"), (99.0, "improving"), (99.1, "slightly better")),
    (("epoch", "improving"), progress_to, (100.9, "plateau"), (101.0, "plateau"), (101.1, "worse")),
    *(
        ((rule, word), functools.partial(grade, rule), (at - 0.001, below), (at, word), (at + 0.001, above))
        for rule, word, at, below, above in (
            ("tiers", "suited", 0.6, "with care", "suited"),
            ("tiers", "with care", 0.4, "not suited", "with care"),
            ("ranking", "suited", 0.8, "with care", "suited"),
            ("ranking", "with care", 0.6, "not suited", "with care"),
            ("exact", "suited", 0.1, "suited", "with care"),
            ("exact", "with care", 0.2, "with care", "not suited"),
        )
    ),
    # One label that the interval missed: by chance this has a probability of 1 minus the nominal coverage.
    (("coverage", "chance"), missed_at, (0.9499, True), (0.95, True), (0.9501, False)),
]
ELSEWHERE = {("gap", "wide"), ("rows", "judged"), ("rows", "high"), ("cut", "many")}
"""Thresholds that no function of the rules uses; test_conclusions.py tests their boundaries."""


@pytest.mark.parametrize(("path", "rule", "below", "at", "above"), BOUNDARIES)
def test_each_threshold_holds_just_below_it_at_it_and_just_above_it(path, rule, below, at, above):
    assert [rule(value) for value, _ in (below, at, above)] == [word for _, word in (below, at, above)], path


def test_every_threshold_has_its_boundaries_tested():
    known = {(group, name) for group, names in RULES.content.items() for name in names}
    assert known == {path for path, *_ in BOUNDARIES} | ELSEWHERE


def test_thresholds_carry_their_hash():
    assert RULES.at("rating", "good").sha256 == RULES.sha256


@pytest.mark.parametrize(
    ("share", "rows", "looks", "verdict"),
    [
        (0.9, 1000, 1, True),
        (0.97, 1000, 1, True),
        (0.87, 1000, 1, False),
        # 29 of 35 happens by chance one time in eight; 24 of 35 does not.
        (29 / 35, 35, 1, True),
        (24 / 35, 35, 8, False),
        # One dimension in eight may look this bad by chance where a single one would not.
        (27 / 35, 35, 1, False),
        (27 / 35, 35, 8, True),
        (None, 35, 1, None),
        (0.9, None, 1, None),
    ],
)
def test_intervals_fall_short_only_beyond_chance(share, rows, looks, verdict):
    assert holds(share, rows, 0.9, looks) is verdict


@given(st.integers(1, 300), st.integers(0, 300), st.integers(1, 20))
def test_more_held_labels_never_turn_a_promise_kept_into_one_broken(rows, held, looks):
    held = min(held, rows)
    fewer = max(0, held - 1)
    assert holds(held / rows, rows, 0.9, looks) >= holds(fewer / rows, rows, 0.9, looks)
