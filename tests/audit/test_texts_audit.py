import numpy as np
import pytest
from labels import rows_with

from potstill.audit.boilerplate import boilerplate_of
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

    @pytest.mark.threshold(name="FEWEST_POSITIVES")
    @pytest.mark.parametrize(("positives", "by_tier"), [(19, False), (20, True), (21, True)])
    def test_high_scorers_are_those_in_a_positive_tier_if_it_has_20(self, positives, by_tier):
        found = truncation_of(rows_with([[9, 9]] * positives + [[1, 1]] * 40, stories(positives + 40)))
        assert (found.high == "in a positive tier") is by_tier

    @pytest.mark.parametrize("end", ["and then t…", "and so on...", "as said [+1234 chars]", "more […]"])
    def test_a_text_that_was_cut_before_it_came_is_told_by_its_end(self, end):
        texts = [*stories(9), f"it rained {end}"]
        assert truncation_of(rows_with([[5, 5]] * 10, texts)).open_ended == 1

    def test_a_text_that_ends_is_not(self):
        assert truncation_of(rows_with([[5, 5]] * 10, stories(10))).open_ended == 0


def test_rows_without_labels_of_a_dimension_are_no_trouble():
    scores = np.full((12, 2), np.nan)
    scores[:, 0] = 5
    rows = rows_with(scores, [STORY, STORY, *stories(10)])
    assert duplicates_of(rows).difference == 0.0
    assert truncation_of(rows).high_rows == 0
    assert boilerplate_of(rows).declared == ()
