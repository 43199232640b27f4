"""Tests of the basic types: they are frozen and small, and their constants have the documented values."""

from __future__ import annotations

import dataclasses

import pytest

from potstill.types import DROPPED, UNSCORED, Article, Label, Verdict

ARTICLE = Article(id="a", title="T", content="C")
LABEL = Label(article="a", oracle="o", scores={"x": 1.0}, spread={"x": 0.0}, samples=1)
VERDICT = Verdict(id="a", tier="lead", overall=6.5, scores={"x": 6.5}, intervals={"x": (6.0, 7.0)})


@pytest.mark.parametrize("noun", [ARTICLE, LABEL, VERDICT])
def test_a_noun_cannot_be_changed_or_extended(noun):
    first = dataclasses.fields(noun)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(noun, first, "other")
    with pytest.raises((AttributeError, TypeError)):
        noun.more = 1


@pytest.mark.parametrize("noun", [ARTICLE, LABEL, VERDICT])
def test_nouns_with_the_same_fields_are_equal(noun):
    assert dataclasses.replace(noun) == noun


def test_an_article_needs_no_further_fields_and_shares_none():
    assert ARTICLE.extra == {}
    assert Article("b", "", "").extra is not ARTICLE.extra


def test_a_verdict_that_nothing_limited_says_so():
    assert (VERDICT.gates, VERDICT.caps, VERDICT.reason) == ((), (), None)


def test_the_tiers_of_what_was_not_scored_differ():
    assert (UNSCORED, DROPPED) == ("unscored", "dropped")
