"""Tests of the pairs of texts that behaviour tests compare."""

import pytest
from tiny_bundle import FILTER

from potstill.filters import Probes
from potstill.filters.probes import Negation
from potstill.probing import CHANGES, CHECKS, MOVES, Text, build_cases
from potstill.probing.cases import drawn

PROBES = Probes(
    ramps={"gain": (("A fire.", "A school.", "A school and a clinic."),)},
    negations={"near": (Negation(text="In our street.", negated="Not in our street."),)},
    paraphrases=(("A new bridge.", "A bridge that is new."),),
)


def pairs(cases, check):
    return [
        (cases.texts[one.first].content, cases.texts[one.second].content, one.dimension)
        for one in cases.cases
        if one.check == check
    ]


def test_each_step_of_a_ramp_is_compared_with_the_next():
    cases = build_cases(PROBES, FILTER, [])
    assert pairs(cases, "ramps") == [
        ("A fire.", "A school.", "gain"),
        ("A school.", "A school and a clinic.", "gain"),
    ]


def test_a_negated_text_comes_first_because_it_must_score_lower():
    assert pairs(build_cases(PROBES, FILTER, []), "negation") == [("Not in our street.", "In our street.", "near")]


def test_paraphrases_are_compared_in_every_dimension():
    assert pairs(build_cases(PROBES, FILTER, []), "paraphrase") == [("A new bridge.", "A bridge that is new.", None)]


def test_each_article_is_compared_with_each_of_its_changes():
    cases = build_cases(PROBES, FILTER, [Text("The Bridge is open again.")])
    for name, change in CHANGES.items():
        assert pairs(cases, name) == [(*change("The Bridge is open again."), None)]
    assert {one.check for one in cases.cases} == set(CHECKS)
    assert set(MOVES) < set(CHECKS)


def test_a_text_that_occurs_in_several_pairs_is_scored_once():
    cases = build_cases(PROBES, FILTER, [Text("A fire."), Text("A fire.")])
    assert len(set(cases.texts)) == len(cases.texts)
    assert [text.content for text in cases.texts].count("A fire.") == 1


def test_a_change_beyond_the_window_is_counted_and_not_compared():
    long = "Word " * 200
    cases = build_cases(PROBES, FILTER, [Text(long)])
    assert pairs(cases, "padding") == []
    assert cases.unchanged == {"padding": 1}
    assert len(pairs(cases, "praise")) == 1


def test_a_text_in_lower_case_has_no_change_of_case():
    assert build_cases(PROBES, FILTER, [Text("a bridge")]).unchanged == {"case": 1}


def test_the_source_of_an_article_is_changed_with_the_names_in_its_text():
    articles = [Text("The Bridge is open.", "Echo"), Text("The Harbour is closed.", "Herald")]
    cases = build_cases(PROBES, FILTER, articles)
    found = [
        (cases.texts[one.first].source, cases.texts[one.second].source) for one in cases.cases if one.check == "sources"
    ]
    assert found == [("Echo", "Herald"), ("Herald", "Echo")]
    assert {cases.texts[one.second].source for one in cases.cases if one.check == "padding"} == {"Echo", "Herald"}


@pytest.mark.parametrize("number", [1, 2, 3, 9])
def test_a_larger_sample_contains_the_smaller_one_and_no_empty_text(number):
    texts = [Text("one"), Text("two"), Text(" "), Text("three"), Text("two")]
    sample = drawn(texts, number, seed=1)
    assert len(sample) == min(number, 3)
    assert sample == drawn(texts, 9, seed=1)[:number]
    assert all(text.content.strip() for text in sample)
