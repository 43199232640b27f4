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


def graded_by(rule):
    return functools.partial(grade, rule)


BOUNDARIES = [
    # The error just below and just above the largest one for a rating, if the constant's error is 10.
    pytest.param(
        ("rating", "excellent"), rating_of, (1.99, "excellent"), (2.0, "excellent"), (2.01, "good"),
        marks=pytest.mark.threshold(name="RATED_EXCELLENT"),
    ),
    pytest.param(
        ("rating", "good"), rating_of, (3.99, "good"), (4.0, "good"), (4.01, "fair"),
        marks=pytest.mark.threshold(name="RATED_GOOD"),
    ),
    pytest.param(
        ("rating", "fair"), rating_of, (6.99, "fair"), (7.0, "fair"), (7.01, "weak"),
        marks=pytest.mark.threshold(name="RATED_FAIR"),
    ),
    # The best error so far is 100.
    pytest.param(
        ("epoch", "improving"), progress_to, (98.99, "improving"), (99.0, "improving"), (99.01, "slightly better"),
        marks=pytest.mark.threshold(name="IMPROVING_EPOCH"),
    ),
    pytest.param(
        ("epoch", "improving"), progress_to, (100.99, "plateau"), (101.0, "plateau"), (101.01, "worse"),
        marks=pytest.mark.threshold(name="IMPROVING_EPOCH"),
    ),
    pytest.param(
        ("tiers", "suited"), graded_by("tiers"), (0.599, "with care"), (0.6, "suited"), (0.601, "suited"),
        marks=pytest.mark.threshold(name="SUITED_KAPPA"),
    ),
    pytest.param(
        ("tiers", "with care"), graded_by("tiers"), (0.399, "not suited"), (0.4, "with care"), (0.401, "with care"),
        marks=pytest.mark.threshold(name="USABLE_KAPPA"),
    ),
    pytest.param(
        ("ranking", "suited"), graded_by("ranking"), (0.799, "with care"), (0.8, "suited"), (0.801, "suited"),
        marks=pytest.mark.threshold(name="SUITED_RANK_CORRELATION"),
    ),
    pytest.param(
        ("ranking", "with care"), graded_by("ranking"), (0.599, "not suited"), (0.6, "with care"), (0.601, "with care"),
        marks=pytest.mark.threshold(name="USABLE_RANK_CORRELATION"),
    ),
    pytest.param(
        ("exact", "suited"), graded_by("exact"), (0.099, "suited"), (0.1, "suited"), (0.101, "with care"),
        marks=pytest.mark.threshold(name="SUITED_HALF_WIDTH"),
    ),
    pytest.param(
        ("exact", "with care"), graded_by("exact"), (0.199, "with care"), (0.2, "with care"), (0.201, "not suited"),
        marks=pytest.mark.threshold(name="USABLE_HALF_WIDTH"),
    ),
    # One label that the interval missed: by chance this has a probability of 1 minus the nominal coverage.
    pytest.param(
        ("coverage", "chance"), missed_at, (0.9499, True), (0.95, True), (0.9501, False),
        marks=pytest.mark.threshold(name="SIGNIFICANCE"),
    ),
]  # fmt: skip
ELSEWHERE = {("gap", "wide"), ("rows", "judged"), ("rows", "high"), ("cut", "many")}
"""Thresholds that no function of the rules uses; test_conclusions.py tests their boundaries."""


@pytest.mark.parametrize(("path", "rule", "below", "at", "above"), BOUNDARIES)
def test_each_threshold_holds_just_below_it_at_it_and_just_above_it(path, rule, below, at, above):
    assert [rule(value) for value, _ in (below, at, above)] == [word for _, word in (below, at, above)], path


def test_every_threshold_has_its_boundaries_tested():
    known = {(group, name) for group, names in RULES.content.items() for name in names}
    assert known == {case.values[0] for case in BOUNDARIES} | ELSEWHERE


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
