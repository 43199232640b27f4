import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from potstill.calibration.cuts import MOST_CUTS, PrecisionRecall, choose_cut
from potstill.findings import FEWEST_TO_DECIDE
from potstill.operating_points import OperatingPoint

POINT = OperatingPoint.model_validate


def ranked(marks):
    """Return the counts of articles from the most to the least probable; `x` belongs to the tier."""
    marks = marks.replace(" ", "")
    return PrecisionRecall.of(np.linspace(0.9, 0.1, len(marks)), np.array([mark == "x" for mark in marks]))


def chosen(marks, point):
    return choose_cut("lead", ranked(marks), POINT(point))


class TestCounts:
    def test_at_each_cut_they_say_how_many_are_named_and_found(self):
        curve = ranked("x.x.")
        assert (curve.rows, curve.positives) == (4, 2)
        assert list(zip(curve.named, curve.found, strict=True)) == [(1, 1), (2, 1), (3, 2), (4, 2)]

    def test_a_cut_lies_between_the_last_article_it_names_and_the_next(self):
        curve = PrecisionRecall.of(np.array([0.9, 0.5, 0.1]), np.array([True, False, True]))
        assert curve.cuts == pytest.approx((0.7, 0.3, 0.0))

    def test_articles_with_equal_probabilities_are_named_together(self):
        curve = PrecisionRecall.of(np.array([0.5, 0.5, 0.2]), np.array([True, False, False]))
        assert (curve.named[0], curve.found[0]) == (2, 1)

    def test_average_precision_is_the_mean_precision_over_the_articles_to_find(self):
        assert ranked("x.x.").average_precision == pytest.approx((1 + 2 / 3) / 2)
        assert ranked("....").average_precision is None

    def test_a_large_set_keeps_few_cuts_and_those_at_equal_and_at_twice_the_volume(self):
        rng = np.random.default_rng(0)
        belongs = rng.random(5000) < 0.3
        curve = PrecisionRecall.of(rng.random(5000), belongs)
        assert len(curve.cuts) <= MOST_CUTS + 3
        assert {int(belongs.sum()), 2 * int(belongs.sum())} <= set(curve.named)

    @pytest.mark.parametrize("lowest", [0.5, np.nextafter(0.5, 1)])
    def test_neighbouring_numbers_are_told_apart(self, lowest):
        middle = np.nextafter(lowest, 1)
        probabilities = np.array([np.nextafter(middle, 1), middle, lowest])
        curve = PrecisionRecall.of(probabilities, np.array([True, True, True]))
        assert [int((probabilities >= cut).sum()) for cut in curve.cuts] == list(curve.named) == [1, 2, 3]

    @given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
    def test_any_probabilities_give_counts_that_fit(self, rows):
        probabilities, belongs = (np.array(column) for column in zip(*rows, strict=True))
        curve = PrecisionRecall.of(probabilities, belongs)
        for cut, named, found in zip(curve.cuts, curve.named, curve.found, strict=True):
            assert named == (probabilities >= cut).sum()
            assert found == (belongs & (probabilities >= cut)).sum()

    @pytest.mark.parametrize("changed", [{"cuts": (0.1, 0.2)}, {"named": (2, 1)}, {"found": (2, 2)}, {"named": (1, 9)},
                                         {"cuts": (0.2,)}, {"positives": 0}])  # fmt: skip
    def test_counts_that_do_not_fit_together_are_refused(self, changed):
        fitting = {"rows": 4, "positives": 2, "cuts": (0.5, 0.1), "named": (1, 3), "found": (1, 2)}
        PrecisionRecall(**fitting)
        with pytest.raises(ValidationError):
            PrecisionRecall(**fitting | changed)


class TestGoals:
    LINE = "xxxxx x.x.x .x..x ..x.. " + "." * 80

    def test_volume_names_as_many_as_the_oracle(self):
        cut = chosen(self.LINE, "volume=match")
        assert (cut.positives, cut.named, cut.found) == (11, 11, 8)
        assert cut.recall == pytest.approx(8 / 11)
        assert cut.precision == pytest.approx(8 / 11)

    def test_volume_in_numbers_counts_articles_per_thousand(self):
        cut = chosen(self.LINE, "volume=50")
        assert cut.named == 5
        assert cut.per_thousand == 50

    def test_the_best_f1_is_taken(self):
        assert chosen(self.LINE, "f1").named == 12

    def test_a_miss_that_costs_more_names_more(self):
        assert chosen(self.LINE, "cost=1/1").named == 6
        assert chosen(self.LINE, "cost=20/1").found == 11
        assert chosen(self.LINE, "cost=1/20").named == 6

    def test_by_score_needs_no_cut(self):
        cut = chosen(self.LINE, "by-score")
        assert (cut.probability, cut.note) == (None, None)

    @pytest.mark.threshold(name="FEWEST_TO_DECIDE")
    @pytest.mark.parametrize(("positives", "by_score"), [(9, True), (10, False), (11, False)])
    def test_with_fewer_than_ten_articles_in_the_tier_it_is_decided_by_score(self, positives, by_score):
        cut = chosen("x" * positives + "." * 50, "volume=match")
        assert (cut.probability is None) is by_score
        wanted = f"decided by score: {positives} held-out articles in lead, and {FEWEST_TO_DECIDE} are needed"
        assert cut.note == (wanted if by_score else None)

    def test_one_article_is_an_article(self):
        wanted = f"decided by score: 1 held-out article in lead, and {FEWEST_TO_DECIDE} are needed"
        assert chosen("x..", "volume=match").note == wanted


class TestPromises:
    def test_a_promised_recall_finds_as_many_as_its_bound_asks_for(self):
        """Of 60 articles, 58 found show a recall of 0.8988 with 95% confidence, and 59 show 0.9234."""
        cut = chosen("x" * 60 + "." * 300, "recall=0.9")
        assert (cut.found, cut.promise, cut.note) == (59, "recall 0.9", None)
        assert cut.recall_at_least == pytest.approx(0.9234, abs=1e-4)

    def test_a_recall_that_so_few_articles_cannot_prove_is_measured_and_its_bound_promised(self):
        """Of 25 articles, 23 found are a recall of 0.92 and prove 0.7690 with 95% confidence."""
        cut = chosen("x" * 23 + "." * 200 + "xx" + "." * 30, "recall=0.9")
        assert (cut.named, cut.found, cut.promise) == (23, 23, "recall 0.76")
        assert cut.note == "recall 0.9 is not proven: 25 positive articles prove 0.76; cut at the measured 0.92"
        assert cut.goal == "a measured recall of 0.92"

    @pytest.mark.parametrize(("positives", "promise"), [(45, "recall 0.8"), (46, "recall 0.9")])
    def test_a_proof_that_needs_every_positive_article_is_not_used(self, positives, promise):
        """All of 45 found prove 0.9356, but 44 prove 0.8988; 45 of 46 prove 0.9008."""
        cut = chosen("x" * (positives - 1) + "." * 300 + "x", "recall=0.9")
        assert cut.promise == promise
        assert cut.named < positives
        assert (cut.goal == "recall 0.9") is (cut.note is None) is (positives == 46)

    def test_articles_with_equal_probabilities_prove_no_more_than_the_number_to_find(self):
        """The ninth of ten articles shares its probability with the tenth, and nine of ten prove 0.6058."""
        probabilities = np.array([*np.linspace(0.9, 0.6, 8), 0.5, 0.5, *np.full(50, 0.1)])
        curve = PrecisionRecall.of(probabilities, np.arange(60) < 10)
        assert choose_cut("lead", curve, POINT("recall=0.85")).promise == "recall 0.6"

    def test_a_promised_precision_stops_at_the_first_cut_that_does_not_show_it(self):
        cut = chosen("x" * 40 + "." * 40 + "x" * 200, "precision=0.8")
        assert cut.promise == "precision 0.8"
        assert cut.named <= 80
        assert cut.precision_at_least >= 0.8

    def test_a_precision_that_the_articles_cannot_show_is_lowered_and_said(self):
        cut = chosen("x." * 60 + "." * 100, "precision=0.9")
        assert cut.promise == cut.goal == "precision 0.15"
        assert cut.note.startswith("precision 0.9 is not supported by the ")
        assert cut.precision_at_least >= 0.15

    def test_what_cannot_be_shown_at_all_is_not_promised(self):
        cut = chosen("." * 300 + "x" * 10, "precision=0.9")
        assert cut.promise is None
        assert cut.note == "precision 0.9 is not supported by 10 positive articles"
        assert cut.goal == "a measured precision of 0.03"

    @pytest.mark.parametrize("rows", [100, 400])
    @pytest.mark.parametrize("goal", ["recall=0.9", "recall=0.7"])
    def test_a_promised_recall_is_kept_on_new_articles_at_least_95_percent_of_the_time(self, goal, rows):
        rng = np.random.default_rng(1)
        kept = []
        for _ in range(200):
            belongs = np.arange(rows) < 0.15 * rows
            probabilities = np.clip(rng.normal(0.3 + 0.2 * belongs, 0.15), 0, 1)
            cut = choose_cut("lead", PrecisionRecall.of(probabilities, belongs), POINT(goal))
            fresh = np.clip(rng.normal(0.5, 0.15, 20_000), 0, 1)
            kept.append((fresh >= cut.probability).mean() >= float(cut.promise.removeprefix("recall ")))
        assert np.mean(kept) >= 0.93
