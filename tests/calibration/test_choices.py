"""Tests of what a person is shown to choose an operating point."""

import numpy as np
import pytest
from tiny_bundle import FILTER

from potstill.calibration import PrecisionRecall, choose_cut, no_calibration
from potstill.calibration.choices import choices_of, why_by_score
from potstill.calibration.decisions import Decisions, Signal
from potstill.filters import Filter
from potstill.operating_points import MATCH, OperatingPoint


def decisions(positives=20, negatives=80, point=MATCH, *, ranked=True):
    """Return decisions about a tier whose articles come first, or are spread evenly, among 100 probabilities."""
    rows = positives + negatives
    place = np.arange(positives) if ranked else np.arange(positives) * rows // positives
    belongs = np.isin(np.arange(rows), place)
    curve = PrecisionRecall.of(np.linspace(0.99, 0.01, rows), belongs)
    signal = Signal(tier="lead", kind="residuals", reason="the only way")
    return Decisions(signals=(signal,), outputs=0, curves=(curve,), cuts=(choose_cut("lead", curve, point),))


def choices(*arguments, **options):
    return choices_of(decisions(*arguments, **options))[0]


def test_points_run_from_the_strictest_useful_cut_to_the_loosest_in_steps_of_recall():
    found = choices(point=OperatingPoint(threshold="by-score"), ranked=False)
    assert [point.recall for point in found.points] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert [point.named for point in found.points] == [6, 16, 26, 36, 46, 56, 66, 76, 86, 96]
    assert found.points[0].per_thousand == 60
    assert found.points[0].precision == pytest.approx(2 / 6, abs=1e-6)
    assert (found.rows, found.positives) == (100, 20)


def test_the_chosen_cut_is_marked_and_shown_even_between_two_steps():
    found = choices(ranked=False)
    (chosen,) = [point for point in found.points if point.chosen]
    assert chosen.cut == found.cut.probability
    assert chosen.named == found.cut.named
    strict = choices(point=OperatingPoint(volume=60), ranked=False)
    assert [point.named for point in strict.points if point.chosen] == [6]
    between = choices(point=OperatingPoint(volume=110), ranked=False)
    assert [(point.named, point.recall) for point in between.points if point.chosen] == [(11, 0.15)]
    assert len(between.points) == 11


def test_the_next_step_of_recall_says_how_many_more_articles_it_names_and_at_which_precision():
    more = choices(point=OperatingPoint(volume=110), ranked=False).next_recall
    assert (more.recall, more.instead_of, more.more_per_thousand) == (0.2, 0.15, 50)
    assert more.precision == 4 / 16


def test_from_a_full_step_the_next_one_is_a_whole_step_further():
    more = choices(point=OperatingPoint(volume=60), ranked=False).next_recall
    assert (more.recall, more.instead_of) == (0.2, 0.1)


def test_a_cut_that_finds_every_article_has_no_next_recall():
    assert choices().next_recall is None
    assert choices().cut.found == 20


def test_a_tier_that_is_decided_by_score_has_a_curve_and_no_chosen_cut():
    found = choices(point=OperatingPoint(threshold="by-score"))
    assert len(found.points) == 10
    assert not any(point.chosen for point in found.points)
    assert found.next_recall is None


@pytest.mark.threshold(name="FEWEST_TO_DECIDE")
@pytest.mark.parametrize(("positives", "shown"), [(9, False), (10, True), (11, True)])
def test_a_curve_is_shown_from_10_articles_on(positives, shown):
    found = choices(positives)
    assert bool(found.points) is shown
    assert (found.cut.note is None) is shown
    if not shown:
        assert found.cut.note == "decided by score: 9 held-out articles in lead, and 10 are needed"


def test_why_no_tier_can_be_decided_by_its_probability():
    old = no_calibration(FILTER.dimension_names)
    assert "built by an earlier version of potstill, or from too few articles" in why_by_score(old, FILTER)
    assert why_by_score(old, Filter("plain", ["gain"])) == "the filter marks no tier as positive"
    assert why_by_score(old.model_copy(update={"decisions": decisions()}), FILTER) is None
