import numpy as np
import pytest
from labels import rows_of, rows_with

from potstill.audit.boilerplate import boilerplate_of, kinds, repeated
from potstill.audit.duplicates import duplicates_of
from potstill.audit.marked import marked_of
from potstill.audit.truncation import truncation_of

STORY = "the minister opened the new bridge over the river on monday morning in front of a crowd"


def stories(n):
    """Return texts that have nothing in common."""
    return [" ".join(f"w{i}x{j}" for j in range(12)) for i in range(n)]


class TestDuplicates:
    def test_labels_of_the_same_story_are_held_against_each_other(self):
        texts = [STORY, STORY, *stories(8)]
        found = duplicates_of(rows_with([[2, 2], [6, 4]] + [[5, 5]] * 8, texts, source=["a", "b", *["a"] * 8]))
        assert (found.pairs, found.clusters, found.rows, found.largest, found.same_text) == (1, 1, 2, 2, 1)
        assert found.across_sources == 1
        assert found.difference == 3.0
        assert (found.apart[0].first, found.apart[0].second, found.apart[0].jaccard) == ("r0", "r1", 1.0)

    def test_without_copies_there_is_nothing_to_tell(self):
        found = duplicates_of(rows_with([[5, 5]] * 10, stories(10)))
        assert (found.pairs, found.rows, found.difference, found.apart) == (0, 0, None, ())

    def test_a_copy_with_markup_is_a_copy(self):
        marked = "<p>" + STORY.replace("bridge", "<b>bridge</b>").replace(" over", "&nbsp;over") + "</p>"
        found = duplicates_of(rows_with([[2, 2], [6, 4]] + [[5, 5]] * 8, [STORY, marked, *stories(8)]))
        assert (found.pairs, found.apart[0].jaccard) == (1, 1.0)


class TestMarkup:
    def test_texts_are_counted_by_the_kind_of_their_marks(self):
        texts = ["<p>It rained.</p>", "S&amp;P fell", "_wind_ &amp; rain", *stories(7)]
        found = marked_of(rows_with([[5, 5]] * 10, texts, source=["herald", "gazette", "herald", *["post"] * 7]))
        assert (found.rows, found.marked, found.share) == (10, 3, 0.3)
        assert (found.html, found.entities, found.markdown) == (1, 2, 1)
        assert found.taken == pytest.approx(4 / 12, abs=1e-4)
        assert found.sources == ("herald", "gazette")

    def test_plain_texts_have_none(self):
        found = marked_of(rows_with([[5, 5]] * 10, stories(10)))
        assert (found.marked, found.share, found.taken, found.sources) == (0, 0.0, None, ())


class TestTruncation:
    def test_high_scorers_that_lose_more_are_seen(self):
        long, short = "rain " * 100, "rain"
        texts = [f"{i} {long if i < 24 else short}" for i in range(60)]
        found = truncation_of(rows_with([[9, 9]] * 24 + [[1, 1]] * 36, texts))
        assert (found.cut, found.high_rows, found.high) == (24, 24, "in a positive tier")
        assert (found.high_cut_share, found.other_cut_share, found.difference) == (1.0, 0.0, 1.0)
        assert found.lost == pytest.approx(1 - 200 / 503, abs=0.01)

    def test_with_few_positives_the_top_tenth_stands_for_them(self):
        found = truncation_of(rows_with([[i / 2, i / 2] for i in range(20)], stories(20)))
        assert found.high_rows == 2
        assert "top tenth" in found.high

    @pytest.mark.parametrize("end", ["and then t…", "and so on...", "as said [+1234 chars]", "more […]"])
    def test_a_text_that_was_cut_before_it_came_is_told_by_its_end(self, end):
        texts = [*stories(9), f"it rained {end}"]
        assert truncation_of(rows_with([[5, 5]] * 10, texts)).open_ended == 1

    def test_a_text_that_ends_is_not(self):
        assert truncation_of(rows_with([[5, 5]] * 10, stories(10))).open_ended == 0


class TestBoilerplate:
    def test_a_phrase_that_a_source_always_says_is_found_once_and_whole(self):
        texts = [f"{story} this article first appeared in the evening herald" for story in stories(12)]
        assert repeated(texts) == [("this article first appeared in the evening herald", 12)]

    def test_a_phrase_in_four_of_twelve_articles_is_no_boilerplate(self):
        texts = [f"{s} this article first appeared in the herald" if i < 4 else s for i, s in enumerate(stories(12))]
        assert repeated(texts) == []

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


def test_rows_without_labels_of_a_dimension_are_no_trouble():
    scores = np.full((12, 2), np.nan)
    scores[:, 0] = 5
    rows = rows_with(scores, [STORY, STORY, *stories(10)])
    assert duplicates_of(rows).difference == 0.0
    assert truncation_of(rows).high_rows == 0
    assert boilerplate_of(rows).declared == ()


def test_the_news_of_the_fixture_is_clean():
    assert boilerplate_of(rows_of(40)).declared == ()
