"""Tests of the verdict: weighted mean, gates, caps, tiers, and what never gets a tier."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.bundle.boundaries import boundary_rows
from potstill.errors import BadInput
from potstill.filters import load_filter
from potstill.prefilter import fold_all
from potstill.verdict import Cap, Gate, Tier, cap_hits, cap_hits_of, decide, judge, tiers_of

TIERS = (Tier(name="high", when="overall >= 7", positive=True), Tier(name="low"))


@dataclass
class Rules:
    """The minimal interface of a filter."""

    dimension_names: tuple[str, ...] = ("good", "sound")
    weights: np.ndarray = field(default_factory=lambda: np.array([0.5, 0.5]))
    gates: tuple[Gate, ...] = ()
    caps: tuple[Cap, ...] = ()
    tiers: tuple[Tier, ...] = TIERS


def verdicts(rules, good, sound, hits=None):
    scores = pl.DataFrame({"good": good, "sound": sound}, schema={"good": pl.Float64, "sound": pl.Float64})
    return decide(scores, rules, hits)


def one(rules, good, sound, hits=None):
    return verdicts(rules, [good], [sound], hits).row(0, named=True)


def test_the_columns_of_a_verdict_and_their_types():
    found = verdicts(Rules(), [8.0, None], [8.0, 1.0])
    assert dict(found.schema) == {
        "overall": pl.Float64, "tier": pl.String, "gates": pl.List(pl.String), "caps": pl.List(pl.String),
    }  # fmt: skip


def test_no_rows_give_no_verdicts():
    rules = Rules(gates=(Gate(when="good < 1", cap=1.0, reason="r"),), caps=(Cap(any=("x",), cap=1.0, reason="c"),))
    found = verdicts(rules, [], [], cap_hits([], rules))
    assert found.height == 0
    assert found.columns == ["overall", "tier", "gates", "caps"]


def test_overall_is_the_weighted_mean():
    assert one(Rules(weights=np.array([0.9, 0.1])), 10.0, 0.0)["overall"] == 9.0


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=2).filter(any), st.integers(0, 20))
def test_the_same_score_in_every_dimension_is_the_overall_whatever_the_weights(parts, halves):
    weights = np.array(parts, dtype=float) / sum(parts)
    assert one(Rules(weights=weights), halves / 2, halves / 2)["overall"] == halves / 2


@pytest.mark.parametrize("missing", [None, math.nan, math.inf, -math.inf])
def test_a_score_that_is_missing_or_not_finite_is_unscored_and_never_a_tier(missing):
    rules = Rules(
        gates=(Gate(when="sound >= 7", cap=1.0, reason="gate"), Gate(when="good < 99", cap=2.0, reason="always")),
        tiers=(Tier(name="high", when="good >= 7 OR sound >= 7", positive=True), Tier(name="low")),
    )
    for good, sound in ((missing, 9.0), (9.0, missing), (missing, missing)):
        assert one(rules, good, sound) == {"overall": None, "tier": "unscored", "gates": [], "caps": []}


def test_a_dimension_without_weight_is_needed_all_the_same():
    assert one(Rules(weights=np.array([1.0, 0.0])), 9.0, math.nan)["tier"] == "unscored"


def test_a_quotient_that_does_not_exist_is_unscored():
    rules = Rules(tiers=(Tier(name="ratio", when="NOT good / sound < 1"), Tier(name="low")))
    assert one(rules, 5.0, 0.0)["tier"] == "unscored"
    assert one(rules, 5.0, 1.0)["tier"] == "ratio"
    gated = Rules(gates=(Gate(when="good / sound > 1", cap=1.0, reason="r"),))
    assert one(gated, 5.0, 0.0)["tier"] == "unscored"


def test_numbers_too_large_to_add_up_are_unscored():
    assert one(Rules(weights=np.array([1.0, 1.0])), 1.7e308, 1.7e308)["tier"] == "unscored"


def test_unscored_rows_leave_their_neighbours_alone():
    found = verdicts(Rules(), [8.0, math.nan, 2.0], [8.0, 8.0, 2.0])
    assert found["tier"].to_list() == ["high", "unscored", "low"]
    assert found["overall"].to_list() == [8.0, None, 2.0]


def test_the_lowest_limit_holds_and_all_that_fire_are_named():
    rules = Rules(
        gates=(
            Gate(when="good < 9", cap=6.0, reason="first"),
            Gate(when="good < 8", cap=4.0, reason="second"),
            Gate(when="good < 7", cap=5.0, reason="third"),
        )
    )
    found = verdicts(rules, [9.0, 8.5, 7.5, 6.5, 1.0], [9.0, 8.5, 8.5, 9.5, 1.0])
    assert found["overall"].to_list() == [9.0, 6.0, 4.0, 4.0, 1.0]
    assert found["gates"].to_list() == [
        [], ["first"], ["first", "second"], ["first", "second", "third"], ["first", "second", "third"],
    ]  # fmt: skip


def test_gates_read_the_mean_and_tiers_what_is_left_of_it():
    rules = Rules(
        gates=(Gate(when="good < 9", cap=3.0, reason="a"), Gate(when="overall >= 8", cap=5.0, reason="b")),
        tiers=(Tier(name="high", when="overall >= 8"), Tier(name="middle", when="overall >= 3"), Tier(name="low")),
    )
    assert one(rules, 8.0, 9.0) == {"overall": 3.0, "tier": "middle", "gates": ["a", "b"], "caps": []}


def test_the_first_tier_that_matches_wins():
    rules = Rules(tiers=(Tier(name="a", when="good >= 5"), Tier(name="b", when="sound >= 5"), Tier(name="c")))
    assert verdicts(rules, [5.0, 4.9, 4.9], [5.0, 5.0, 4.9])["tier"].to_list() == ["a", "b", "c"]


SHOP = Cap(any=("product launch",), unless=("open source",), when="good < 6", cap=4.0, reason="business news")
GUNS = Cap(any=("warship",), cap=2.0, reason="build-up")


@pytest.mark.parametrize(
    ("text", "good", "overall", "caps"),
    [
        ("A Product Launch", 5.99, 4.0, ["business news"]),
        ("A Product Launch", 6.0, 8.0, []),
        ("A product launch of an open-source tool", 5.0, 7.5, []),
        ("A warship", 10.0, 2.0, ["build-up"]),
        ("The product launch on a warship", 5.0, 2.0, ["business news", "build-up"]),
        ("Warships", 5.0, 7.5, []),
        ("A <b>product</b>&nbsp;launch on a _warship_", 5.0, 2.0, ["business news", "build-up"]),
        ("A product launch of an open&#8209;source tool", 5.0, 7.5, []),
    ],
)
def test_caps_read_the_text_and_the_scores(text, good, overall, caps):
    rules = Rules(caps=(SHOP, GUNS))
    found = one(rules, good, 10.0, cap_hits([text], rules))
    assert (found["overall"], found["caps"]) == (overall, caps)


def test_cap_hits_are_a_column_per_cap_in_order():
    rules = Rules(caps=(SHOP, GUNS))
    hits = cap_hits(["warship", "product launch", "", None], rules)
    assert hits.to_dict(as_series=False) == {
        "cap_0": [False, True, False, None], "cap_1": [True, False, False, None],
    }  # fmt: skip
    assert cap_hits_of(fold_all(["warship", "product launch", "", None]), rules).equals(hits)


def test_a_filter_without_caps_has_a_row_of_hits_for_each_text_all_the_same():
    hits = cap_hits(["a", "b", "c"], Rules())
    assert hits.shape == (3, 0)
    assert hits.filter(pl.Series([True, False, True])).shape == (2, 0)
    assert verdicts(Rules(), [8.0] * 3, [8.0] * 3, hits)["tier"].to_list() == ["high"] * 3


def test_a_text_that_nobody_could_read_is_unscored_where_caps_depend_on_it():
    rules = Rules(caps=(GUNS,))
    assert one(rules, 9.0, 9.0, cap_hits([None], rules))["tier"] == "unscored"


def test_without_texts_no_cap_fires():
    assert one(Rules(caps=(GUNS,)), 9.0, 9.0) == {"overall": 9.0, "tier": "high", "gates": [], "caps": []}


def test_sixty_caps_are_all_named():
    rules = Rules(caps=tuple(Cap(any=(f"word{n}",), cap=1.0, reason=f"reason {n}") for n in range(60)))
    found = one(rules, 9.0, 9.0, cap_hits(["word0 word59 word7"], rules))
    assert found["caps"] == ["reason 0", "reason 7", "reason 59"]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (pl.DataFrame({"good": [1.0]}), "no column sound"),
        (pl.DataFrame({"good": [1.0], "sound": ["9"]}), "column sound is String, expected numbers"),
    ],
)
def test_scores_that_are_no_scores_are_refused(scores, message):
    with pytest.raises(BadInput, match=message):
        decide(scores, Rules())


def test_cap_hits_of_other_rows_or_caps_are_refused():
    rules = Rules(caps=(GUNS,))
    scores = pl.DataFrame({"good": [1.0], "sound": [1.0]})
    with pytest.raises(BadInput, match="2 rows for 1 rows"):
        decide(scores, rules, cap_hits(["a", "b"], rules))
    with pytest.raises(BadInput, match="expected \\['cap_0'\\]"):
        decide(scores, rules, pl.DataFrame({"other": [True]}))


def test_whole_numbers_and_further_columns_are_fine():
    found = decide(pl.DataFrame({"overall": [0], "good": [9], "sound": [8], "tier": ["x"]}), Rules())
    assert found.row(0, named=True) == {"overall": 8.5, "tier": "high", "gates": [], "caps": []}


anything = st.one_of(st.none(), st.floats(0, 10), st.sampled_from([math.nan, math.inf, -math.inf]))


@given(st.lists(st.tuples(anything, anything, st.sampled_from([True, False, None])), max_size=20))
def test_a_tier_is_given_exactly_where_all_is_known_and_no_limit_is_passed(rows):
    rules = Rules(gates=(Gate(when="good < 5", cap=3.0, reason="g"),), caps=(GUNS,))
    hits = pl.DataFrame({"cap_0": [row[2] for row in rows]}, schema={"cap_0": pl.Boolean})
    found = verdicts(rules, [row[0] for row in rows], [row[1] for row in rows], hits)
    for (good, sound, hit), verdict in zip(rows, found.iter_rows(named=True), strict=True):
        known = all(value is not None and math.isfinite(value) for value in (good, sound)) and hit is not None
        assert (verdict["tier"] == "unscored") is not known
        assert (verdict["overall"] is None) is not known
        if known:
            assert verdict["overall"] <= min(3.0 if good < 5 else 10.0, 2.0 if hit else 10.0)
            assert verdict["gates"] == (["g"] if good < 5 else [])
            assert verdict["caps"] == (["build-up"] if hit else [])


@pytest.mark.parametrize("name", ["uplifting", "investment-risk", "front-page"])
def test_tiers_of_many_draws_are_those_of_the_verdicts(name):
    rules = load_filter(name)
    scores, hits = boundary_rows(rules)
    assert len(scores) > 20
    expected = judge(scores, rules, hits).tiers
    assert tiers_of(scores, rules, hits).tolist() == expected.tolist()
    assert [int(tiers_of(row[None], rules, hit[None])[0]) for row, hit in zip(scores, hits, strict=True)] == (
        expected.tolist()
    )
