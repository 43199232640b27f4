"""Tests of the findings of an audit, on records with figures just below, at and just above each threshold."""

import pytest

from potstill.audit.advice import findings_of
from potstill.audit.records import (
    Audit,
    Baselines,
    Boilerplate,
    Duplicates,
    Marked,
    Pair,
    Phrase,
    Repeat,
    Repeats,
    Scores,
    Spread,
    Truncation,
)
from potstill.records import Interval

ABOVE_0 = Interval(low=0.01, high=0.9)


def tones(section, words="", **parts):
    """Return the tones of a section's findings with these words, in an audit with these parts only."""
    audit = Audit.model_construct(
        oracle="judge", scores=parts.pop("scores", Scores.model_construct(dimensions=())), **parts
    )
    return [one.tone for one in findings_of(audit) if one.section == section and words in one.text]


def spread(**figures):
    values = {"dimension": "wind", "rows": 100, "used": 0.6, "at_floor": 0.0, "at_ceiling": 0.0} | figures
    return Scores.model_construct(dimensions=(Spread.model_construct(**values),))


def repeats(difference=0.5, signal=0.9):
    return Repeats.model_construct(
        mean_difference=difference, dimensions=(Repeat.model_construct(dimension="wind", signal=signal),)
    )


@pytest.mark.threshold(name="NARROW_SPREAD")
@pytest.mark.parametrize(("used", "narrow"), [(0.199, True), (0.2, False), (0.201, False)])
def test_labels_that_use_less_than_a_fifth_of_the_scale_are_narrow(used, narrow):
    assert tones("scores", "lie within 20% of the scale", scores=spread(used=used)) == ["caution"] * narrow


@pytest.mark.threshold(name="CROWDED_END")
@pytest.mark.parametrize(("share", "crowded"), [(0.499, False), (0.5, False), (0.501, True)])
@pytest.mark.parametrize(("end", "name"), [("at_floor", "minimum"), ("at_ceiling", "maximum")])
def test_an_end_of_the_scale_with_more_than_half_of_the_labels_is_crowded(share, crowded, end, name):
    found = tones("scores", f"More than 50% of the labels are at the {name}", scores=spread(**{end: share}))
    assert found == ["caution"] * crowded


@pytest.mark.threshold(name="LOW_SIGNAL")
@pytest.mark.parametrize(("signal", "noisy"), [(0.799, True), (0.8, False), (0.801, False)])
def test_labels_with_less_than_80_percent_signal_are_noisy(signal, noisy):
    assert tones("repeats", "Less than 80%", repeats=repeats(signal=signal)) == ["caution"] * noisy


@pytest.mark.threshold(name="REPEAT_MULTIPLE")
@pytest.mark.parametrize(("difference", "larger"), [(0.99, False), (1.0, False), (1.01, True)])
def test_oracles_that_differ_by_more_than_twice_their_repeats_are_said_to(difference, larger):
    pair = Pair.model_construct(first="a", second="b", rows=9, mean_difference=difference, mean_bias=0.1)
    assert tones("oracles", "more than 2 times", pairs=(pair,), repeats=repeats(0.5)) == ["neutral"] * larger


@pytest.mark.threshold(name="REPEAT_MULTIPLE")
@pytest.mark.parametrize(("difference", "larger"), [(0.99, False), (1.0, False), (1.01, True)])
def test_copies_whose_labels_differ_by_more_than_twice_the_repeats_are_a_caution(difference, larger):
    found = Duplicates.model_construct(pairs=1, clusters=1, rows=2, same_text=0, difference=difference)
    assert tones("duplicates", "more than 2 times", duplicates=found, repeats=repeats(0.5)) == ["caution"] * larger


@pytest.mark.threshold(name="LARGE_SOURCE_GAIN")
@pytest.mark.parametrize(("gain", "large"), [(0.099, False), (0.1, True), (0.101, True)])
def test_sources_that_tell_a_tenth_of_the_labels_are_a_caution(gain, large):
    found = Baselines.model_construct(source_gain=gain, source_gain_interval=ABOVE_0)
    assert tones("baselines", baselines=found) == ["caution"] * large


@pytest.mark.parametrize(("low", "sure"), [(-0.001, False), (0.0, False), (0.001, True)])
def test_a_gain_by_sources_must_be_more_than_chance(low, sure):
    found = Baselines.model_construct(source_gain=0.2, source_gain_interval=Interval(low=low, high=0.3))
    assert tones("baselines", baselines=found) == ["caution"] * sure


def truncation(**figures):
    values = {"rows": 1000, "max_chars": 200, "difference": None, "difference_interval": None, "open_ended": 0}
    return Truncation.model_construct(**(values | figures))


@pytest.mark.threshold(name="TRUNCATION_DIFFERENCE")
@pytest.mark.parametrize(("difference", "tone"), [(0.0499, "neutral"), (0.05, "caution"), (0.0501, "caution")])
def test_high_scorers_that_are_truncated_more_often_by_five_points_are_a_caution(difference, tone):
    found = truncation(difference=difference, difference_interval=ABOVE_0)
    assert tones("truncation", truncation=found) == [tone]


@pytest.mark.threshold(name="MANY_OPEN_ENDED")
@pytest.mark.parametrize(("texts", "many"), [(99, False), (100, False), (101, True)])
def test_more_than_a_tenth_of_the_texts_truncated_before_import_are_a_caution(texts, many):
    assert tones("truncation", truncation=truncation(open_ended=texts)) == ["caution"] * many


@pytest.mark.threshold(name="FREQUENT_PHRASE")
@pytest.mark.parametrize(("share", "frequent"), [(0.499, False), (0.5, True), (0.501, True)])
def test_a_source_with_a_phrase_in_half_of_its_articles_is_counted(share, frequent):
    phrase = Phrase(source="herald", phrase="read more", articles=9, share=share)
    found = Boilerplate(declared=(), repeated=(phrase,), rule="")
    assert (
        tones("boilerplate", "1 sources repeat a phrase in at least 50%", boilerplate=found) == ["caution"] * frequent
    )


@pytest.mark.threshold(name="MUCH_MARKUP")
@pytest.mark.parametrize(("texts", "reported"), [(99, False), (100, True), (101, True)])
def test_markup_in_a_tenth_of_the_texts_is_reported(texts, reported):
    found = Marked.model_construct(rows=1000, marked=texts, taken=0.01)
    assert tones("markup", markup=found) == ["neutral"] * reported


@pytest.mark.threshold(name="MUCH_MARKUP")
@pytest.mark.parametrize(("taken", "tone"), [(0.099, "neutral"), (0.1, "caution"), (0.101, "caution")])
def test_markup_that_takes_up_a_tenth_of_the_window_is_a_caution(taken, tone):
    assert tones("markup", markup=Marked.model_construct(rows=1000, marked=900, taken=taken)) == [tone]


def test_the_most_severe_findings_come_first():
    audit = Audit.model_construct(
        oracle="judge",
        scores=spread(used=0.1),
        repeats=repeats(),
        markup=Marked.model_construct(rows=10, marked=9, taken=0.01),
    )
    assert [one.tone for one in findings_of(audit)] == ["caution", "neutral", "neutral"]
