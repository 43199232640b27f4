"""Tests of the texts that a filter's terms match: a changed or removed term no longer matches its text."""

import polars as pl
import pytest

from potstill.bundle import rule_texts as module
from potstill.bundle.rule_texts import rule_texts, samples
from potstill.errors import BundleError
from potstill.filters import builtin_filters, load_filter
from potstill.prefilter import DropRule, Prefilter, fold_all, found


def filter_with(*rules):
    return load_filter("front-page").model_copy(update={"prefilter": Prefilter(drop=rules)})


def matched(rule, texts):
    return found(rule, fold_all(texts)).to_list()


@pytest.mark.parametrize("name", builtin_filters())
def test_each_term_and_each_exception_of_the_filters_that_ship_decides_on_a_text_of_its_own(name):
    filter_ = load_filter(name)
    texts = rule_texts(filter_)
    for rule in (*filter_.prefilter.drop, *filter_.caps):
        before = matched(rule, texts)
        assert True in before
        assert False in before
        for field in ("any", "unless", "patterns"):
            terms = getattr(rule, field)
            for place in range(len(terms)):
                fewer = rule.model_copy(update={field: terms[:place] + terms[place + 1 :]})
                assert matched(fewer, texts) != before, terms[place]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"\bnext (?:amazon|tesla)\b", ["next amazon", "next tesla"]),
        (r"share price", ["share price"]),
        (r"stocks? to buy", ["stock to buy", "stocks to buy"]),
        (r"\d{3}-[a-c]+", ["777-a"]),
        (r"[^a]b.c", ["xbxc"]),
        (r"(a|b)\1", []),
        (r"\p{Han}+", []),
        (r"(", []),
        (r"((a{100}){100}){100}", []),
    ],
)
def test_a_pattern_gives_texts_that_it_may_match(pattern, expected):
    assert samples(pattern)[: len(expected)] == expected or not expected


@pytest.mark.parametrize("pattern", [r"\bnext (?:amazon|tesla)\b", r"\d{3}-[a-c]+", r"stocks? to buy (?:now|today)"])
def test_such_texts_are_matched(pattern):
    assert pl.Series(samples(pattern)).str.contains(f"(?i){pattern}").all()


def test_a_term_is_tried_within_a_word_too():
    texts = rule_texts(filter_with(DropRule(reason="ads", any=("war", "股价"))))
    assert texts == ["Qzx vqj", "Qzx war vqj", "Qzx 股价 vqj", "Qzxwarvqj"]


def test_more_terms_than_can_be_proven_are_refused(monkeypatch):
    monkeypatch.setattr(module, "MOST_TEXTS", 3)
    with pytest.raises(BundleError, match="4 terms and patterns; a bundle can prove 3"):
        rule_texts(filter_with(DropRule(reason="ads", any=("one", "two"))))
