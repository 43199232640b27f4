"""Tests of the judgement of scores by behaviour tests."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_bundle import FILTER

from potstill.errors import BadInput
from potstill.filters import Probes
from potstill.filters.probes import Negation
from potstill.probing import CHECKS, MOVES, Text, build_cases, findings_of, judge_cases, relative_to, targets_of
from potstill.probing.judging import passes
from potstill.probing.records import Check, Passes, Probed
from potstill.records import Interval

PROBES = Probes(
    ramps={"gain": (("A fire.", "A School.", "A School and a clinic."),)},
    negations={"near": (Negation(text="In our street.", negated="Not in our street."),)},
    paraphrases=(("A new bridge.", "A bridge that is new."),),
)
CASES = build_cases(PROBES, FILTER, [Text("The harbour is open.")])


def judged(gain=lambda text: 5.0, near=lambda text: 5.0):
    scores = np.array([[gain(text.content), near(text.content)] for text in CASES.texts])
    return judge_cases(CASES, scores, FILTER)


def probed(passed, compared, check="ramps", dimension="gain", change=0.0):
    one = counted(passed, compared, change)
    return Probed(name="student", checks={check: Check(overall=one, dimensions={dimension: one})})


def counted(passed, compared, change=0.0, low=0.6):
    return Passes(
        passed=passed,
        compared=compared,
        rate=passed / compared,
        interval=Interval(low=low, high=1.0),
        change=change,
    )


def test_a_scorer_that_follows_the_texts_passes_every_test():
    rising = {"A fire.": 1.0, "A School.": 2.0, "A School and a clinic.": 3.0}
    checks, failing = judged(lambda text: rising.get(text, 5.0), lambda text: 1.0 if "Not" in text else 4.0)
    assert list(checks) == list(CHECKS)
    assert {check.overall.rate for check in checks.values()} == {1.0}
    assert failing == ()


def test_a_constant_passes_no_ramp_and_no_negation_and_everything_else():
    checks, failing = judged()
    assert {name: check.overall.rate for name, check in checks.items()} == {
        name: 0.0 if name in MOVES else 1.0 for name in CHECKS
    }
    assert {one.check for one in failing} == set(MOVES)


def test_a_test_of_one_dimension_says_nothing_of_the_others():
    checks, _ = judged()
    assert list(checks["ramps"].dimensions) == ["gain"]
    assert list(checks["negation"].dimensions) == ["near"]
    assert list(checks["praise"].dimensions) == ["gain", "near"]
    assert checks["praise"].overall.compared == 2


def test_a_failing_example_shows_both_texts_with_their_scores():
    _, failing = judged(lambda text: {"A School.": 1.0}.get(text, 5.0))
    first = failing[0]
    assert (first.check, first.dimension, first.first, first.second) == ("ramps", "gain", "A fire.", "A School.")
    assert (first.first_score, first.second_score) == (5.0, 1.0)


def test_the_mean_change_tells_which_way_scores_move():
    checks, _ = judged(lambda text: 9.0 if "essential reading" in text else 5.0)
    assert checks["praise"].dimensions["gain"].change == 4.0
    assert checks["praise"].dimensions["near"].change == 0.0
    assert checks["praise"].overall.passed == 1


def test_a_text_without_a_score_is_neither_passed_nor_failed():
    checks, failing = judged(lambda text: float("nan") if text == "A fire." else 5.0)
    ramps = checks["ramps"].overall
    assert (ramps.passed, ramps.compared, ramps.unscored) == (0, 1, 1)
    assert all("fire" not in one.first for one in failing)


def test_where_no_text_has_a_score_there_is_no_rate():
    checks, _ = judged(lambda _: float("nan"), lambda _: float("nan"))
    assert checks["ramps"].overall == Passes(passed=0, compared=0, unscored=2)
    assert findings_of({"student": Probed(name="none", checks=checks)}, None) == ()


@pytest.mark.threshold(name="RAMP_RISE")
@pytest.mark.parametrize(("rise", "passed"), [(0.0999, False), (0.1, True), (0.1001, True), (-3.0, False)])
def test_a_step_is_in_order_if_the_score_rises_by_a_hundredth_of_the_scale(rise, passed):
    assert bool(passes(np.array([rise]), moves=True, filter_=FILTER)[0]) is passed


@pytest.mark.threshold(name="STEADY_SHIFT")
@pytest.mark.parametrize(("shift", "passed"), [(0.4999, True), (0.5, True), (0.5001, False), (-0.5001, False)])
def test_a_score_is_steady_if_it_moves_by_at_most_a_twentieth_of_the_scale(shift, passed):
    assert bool(passes(np.array([shift]), moves=False, filter_=FILTER)[0]) is passed


@given(st.floats(-10, 10), st.booleans())
def test_more_of_the_wanted_change_never_fails_where_less_passes(change, moves):
    def of(value):
        return bool(passes(np.array([value]), moves=moves, filter_=FILTER)[0])

    better = change + 1 if moves else change / 2
    assert of(better) or not of(change)


@given(st.lists(st.floats(0, 10), min_size=len(CASES.texts), max_size=len(CASES.texts)))
def test_counts_add_up_and_rates_lie_in_their_intervals(scores):
    checks, _ = judge_cases(CASES, np.column_stack([scores, scores]), FILTER)
    for check in checks.values():
        one = check.overall
        assert one.passed == sum(part.passed for part in check.dimensions.values())
        assert one.compared == sum(part.compared for part in check.dimensions.values())
        assert one.interval.low <= one.rate <= one.interval.high


class TestTargets:
    @property
    def checks(self):
        return {name: Check(overall=counted(passed, 10), dimensions={}) for name, passed in (("ramps", 8), ("case", 9))}

    def outcomes(self, *wanted):
        return {one.check: (one.least, one.met) for one in targets_of(wanted, self.checks)}

    def test_a_share_applies_to_every_test(self):
        assert self.outcomes("0.9") == {"ramps": (0.9, False), "case": (0.9, True)}

    def test_a_test_that_is_named_has_its_own_share_in_either_order(self):
        assert self.outcomes("ramps=0.8", "0.9") == self.outcomes("0.9", "ramps=0.8") == {
            "ramps": (0.8, True),
            "case": (0.9, True),
        }  # fmt: skip

    def test_nothing_asked_for_is_no_target(self):
        assert targets_of((), self.checks) == ()

    @pytest.mark.parametrize("text", ["", "high", "1.1", "-0.1", "nan", "slopes=0.9", "ramps="])
    def test_anything_else_is_refused_with_what_is_expected(self, text):
        with pytest.raises(BadInput, match=r"--least: got .* expected a share from 0 to 1, such as 0\.9"):
            targets_of([text], self.checks)

    def test_a_test_that_compares_nothing_here_is_refused(self):
        with pytest.raises(BadInput, match="no tests of this kind; tests: ramps, case"):
            targets_of(["negation=0.5"], self.checks)


class TestFindings:
    def rules(self, student, relative=None):
        return {found.rule: found for found in findings_of({"student": student}, relative)}

    @pytest.mark.threshold(name="MOSTLY_PASSED")
    @pytest.mark.parametrize(
        ("passed", "rule"), [(899, "ramps-partly-in-order"), (900, "ramps-in-order"), (901, "ramps-in-order")]
    )
    def test_nine_of_ten_steps_in_order_are_good(self, passed, rule):
        found = self.rules(probed(passed, 1000))
        assert set(found) == {rule}
        assert f"{passed} of 1000 steps" in found[rule].text

    @pytest.mark.threshold(name="MOSTLY_PASSED")
    @pytest.mark.parametrize(("passed", "rule"), [(899, "scores-move"), (900, "scores-stay"), (901, "scores-stay")])
    def test_nine_of_ten_steady_scores_are_good(self, passed, rule):
        assert set(self.rules(probed(passed, 1000, check="praise"))) == {rule}

    def test_changes_that_move_scores_are_named_with_their_direction(self):
        text = self.rules(probed(5, 10, check="praise", change=1.25))["scores-move"].text
        assert "praise 50%, mean change +1.25" in text

    @pytest.mark.threshold(name="IN_ORDER_BY_CHANCE")
    @pytest.mark.parametrize(
        ("low", "rules"),
        [(0.4999, {"ramps-by-chance"}), (0.5, {"ramps-by-chance"}), (0.5001, {"ramps-in-order"})],
    )
    def test_an_interval_that_reaches_half_is_reported_as_chance(self, low, rules):
        one = counted(19, 20, low=low)
        assert set(self.rules(Probed(name="s", checks={"ramps": Check(overall=one, dimensions={})}))) == rules

    def test_dimensions_whose_order_chance_explains_are_named(self):
        each = {"gain": counted(9, 9, low=0.66), "near": counted(6, 9, low=0.3)}
        found = self.rules(
            Probed(name="s", checks={"ramps": Check(overall=counted(15, 18, low=0.59), dimensions=each)})
        )
        assert found["dimensions-by-chance"].evidence == {"dimensions": "near"}

    @pytest.mark.threshold(name="MOSTLY_PASSED")
    @pytest.mark.parametrize(
        ("passed", "rule"), [(809, "below-the-oracle"), (810, "near-the-oracle"), (811, "near-the-oracle")]
    )
    def test_nine_tenths_of_the_oracles_rate_are_near_the_oracle(self, passed, rule):
        relative = relative_to(probed(passed, 1000), probed(900, 1000))
        assert rule in self.rules(probed(passed, 1000), relative)

    def test_an_oracle_without_a_step_in_order_has_no_ratio(self):
        assert relative_to(probed(5, 10), probed(0, 10)).overall is None
