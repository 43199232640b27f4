import pytest
from labels import rows_of, rows_with

from potstill.audit.boilerplate import boilerplate_of, kinds, repeated

STORY = "the minister opened the new bridge over the river on monday morning in front of a crowd"


def stories(n):
    """Return texts that have nothing in common."""
    return [" ".join(f"w{i}x{j}" for j in range(12)) for i in range(n)]


class TestBoilerplate:
    def test_a_phrase_that_a_source_always_says_is_found_once_and_whole(self):
        texts = [f"{story} this article first appeared in the evening herald" for story in stories(12)]
        assert repeated(texts) == [("this article first appeared in the evening herald", 12)]

    def test_phrases_are_found_source_by_source(self):
        texts = [f"{s} read more about this on our pages" if i < 6 else s for i, s in enumerate(stories(12))]
        found = boilerplate_of(rows_with([[5, 5]] * 12, texts, source=["herald"] * 6 + ["gazette"] * 6))
        assert [(each.source, each.articles, each.share) for each in found.repeated] == [("herald", 6, 1.0)]

    def test_copies_of_one_story_are_no_boilerplate(self):
        found = boilerplate_of(rows_with([[5, 5]] * 12, [STORY] * 8 + stories(4), source=["herald"] * 12))
        assert found.repeated == ()

    def test_cookie_notices_and_paywalls_are_known_in_several_languages(self):
        texts = [
            "It rained. We use cookies to improve your visit.",
            "Es regnete. Wir verwenden Cookies.",
            "Il a plu. Article réservé aux abonnés.",
            *stories(9),
        ]
        found = {each.kind: each for each in boilerplate_of(rows_with([[8, 8]] * 3 + [[2, 2]] * 9, texts)).declared}
        assert (found["cookies"].rows, found["paywall"].rows) == (2, 1)
        assert found["cookies"].overall == 8.0
        assert found["cookies"].overall_without == pytest.approx(2.6)

    def test_a_baker_of_cookies_is_no_cookie_notice(self):
        texts = ["The baker sold cookies and told readers to subscribe to joy", *stories(9)]
        assert boilerplate_of(rows_with([[5, 5]] * 10, texts)).declared == ()

    def test_every_kind_has_terms(self):
        assert {"cookies", "paywall", "newsletter"} <= set(kinds())


def test_the_news_of_the_fixture_is_clean():
    assert boilerplate_of(rows_of(40)).declared == ()


def with_phrase(shared, texts):
    """Return the number of phrases in texts of which only some share one."""
    phrase = "this article first appeared in the herald"
    return len(repeated([f"{text} {phrase}" if i < shared else text for i, text in enumerate(stories(texts))]))


@pytest.mark.threshold(name="BOILERPLATE_ARTICLES")
@pytest.mark.parametrize(("shared", "phrases"), [(4, 0), (5, 1), (6, 1)])
def test_a_phrase_must_be_in_five_articles_of_a_small_source(shared, phrases):
    assert with_phrase(shared, 12) == phrases


@pytest.mark.threshold(name="BOILERPLATE_SHARE")
@pytest.mark.parametrize(("shared", "phrases"), [(49, 0), (50, 1), (51, 1)])
def test_a_phrase_must_be_in_one_of_twenty_articles_of_a_large_source(shared, phrases):
    assert with_phrase(shared, 1000) == phrases


@pytest.mark.parametrize(("words", "phrases"), [(5, 0), (6, 1), (7, 1)])
def test_a_phrase_has_six_words_or_more(words, phrases):
    phrase = " ".join(["read", "more", "about", "this", "on", "our", "pages"][:words])
    assert len(repeated([f"{text} {phrase}" for text in stories(12)])) == phrases
