"""Tests of tier probabilities from residuals, and of deferral to the oracle."""

import math

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from potstill.calibration import (
    MOST_RESIDUALS,
    Abstention,
    Calibration,
    Residuals,
    cut_for,
    fit_calibration,
    given_probability,
    least_error,
    no_calibration,
)
from potstill.calibration.abstention import fit_abstention
from potstill.calibration.decisions import HeldOut, cross_fitted_odds
from potstill.calibration.odds import fit_residuals
from potstill.errors import BadInput
from potstill.filters import parse_filter
from potstill.verdict import cap_hits, decide_rows

FILTER = parse_filter(
    """
name: harbour
version: 1
description: News of the harbour.
text: {max_chars: 600, keep: head}
dimensions:
  weight: {weight: 0.5, description: How heavy it is}
  nearness: {weight: 0.5, description: How near it is}
gates:
  - {when: nearness < 2, cap: 3.0, reason: far away}
caps:
  - {any: [advertisement], cap: 1.0, reason: paid for}
tiers:
  - {name: lead, when: overall >= 6, positive: true}
  - {name: page, when: overall >= 3}
  - {name: drawer}
""",
    "Score weight and nearness.",
    "harbour",
)


def residuals(*rows, step=None):
    return Residuals(n=len(rows), step=step, rows=rows)


def odds(left, scores, hits=None, rules=FILTER):
    return left.tier_probabilities(np.array(scores, dtype=float), rules, hits, low=0, high=10).tolist()


def harbour(rows, seed=0, noise=1.0):
    """Return integer labels, and scores of a student with the same error in both dimensions of an article."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(1, 10, (rows, 2)).astype(float)
    together = rng.normal(0, noise, (rows, 1))
    return np.clip(truth + together + rng.normal(0, 0.3, truth.shape), 0, 10), truth


def counted(scores, labels, clusters, hits=None, seed=0):
    rows = HeldOut.of(scores, labels, clusters, FILTER, hits)
    probabilities = cross_fitted_odds(rows, FILTER, low=0, high=10, seed=seed)
    return fit_abstention(rows, probabilities, None, FILTER)


class TestProbabilities:
    def test_they_are_the_share_of_residuals_under_which_the_article_has_the_tier(self):
        left = residuals((0.0, 0.0), (1.0, 1.0), (2.0, 2.0), (-3.0, -3.0))
        assert odds(left, [[5.0, 5.0]]) == [[0.5, 0.25, 0.25]]

    def test_dimensions_err_together(self):
        """Each dimension is 4 too low as often as 4 too high; only whether both err in the same direction differs."""
        apart, together = residuals((4.0, -4.0), (-4.0, 4.0)), residuals((4.0, 4.0), (-4.0, -4.0))
        assert odds(apart, [[5.0, 6.0]]) == [[0.0, 1.0, 0.0]]
        assert odds(together, [[5.0, 6.0]]) == [[0.5, 0.0, 0.5]]

    def test_a_gate_is_asked_of_every_draw(self):
        assert odds(residuals((0.0, 0.0), (0.0, -1.0)), [[10.0, 2.5]]) == [[0.5, 0.5, 0.0]]

    def test_words_in_the_text_cap_every_draw(self):
        hits = cap_hits(["an advertisement", "a ship"], FILTER)
        assert odds(residuals((0.0, 0.0), (1.0, 1.0)), [[8.0, 8.0]] * 2, hits) == [[0, 0, 1], [1, 0, 0]]

    def test_draws_lie_on_the_labels_grid_and_on_the_scale(self):
        assert odds(residuals((0.4, 0.4)), [[5.3, 5.3]]) == [[0, 1, 0]]
        assert odds(residuals((0.4, 0.4), step=1.0), [[5.3, 5.3]]) == [[1, 0, 0]]
        high = FILTER.model_copy(
            update={"tiers": (FILTER.tiers[0].model_copy(update={"when": "overall > 10"}), *FILTER.tiers[1:])}
        )
        assert odds(residuals((9.0, 9.0)), [[9.0, 9.0]], rules=high) == [[0, 1, 0]]

    def test_a_row_without_a_score_has_none(self):
        found = odds(residuals((0.0, 0.0)), [[5.0, np.nan], [9.0, 9.0]])
        assert all(map(math.isnan, found[0]))
        assert found[1] == [1, 0, 0]

    def test_a_draw_without_a_tier_does_not_count(self):
        divided = FILTER.model_copy(
            update={"tiers": (FILTER.tiers[0].model_copy(update={"when": "weight / nearness > 1"}), *FILTER.tiers[1:])}
        )
        found = odds(residuals((0.0, -2.0), (0.0, 0.0)), [[4.0, 2.0]], rules=divided)
        assert found == [[1, 0, 0]]

    def test_a_filter_without_caps_and_its_hits_will_do(self):
        bare = FILTER.model_copy(update={"caps": ()})
        assert odds(residuals((0.0, 0.0)), [[9.0, 9.0]] * 2, cap_hits(["a", "b"], bare), bare) == [[1, 0, 0]] * 2

    def test_many_articles_are_decided_in_parts_with_the_same_result(self, monkeypatch):
        scores, labels = harbour(50)
        left = fit_residuals(scores, labels, low=0, seed=0)
        hits = cap_hits(["an advertisement", "a ship"] * 25, FILTER)
        whole = odds(left, scores, hits)
        monkeypatch.setattr("potstill.calibration.odds._MOST_DRAWS", 130)
        assert odds(left, scores, hits) == whole

    def test_on_fresh_articles_they_come_true_as_often_as_they_say(self):
        calibration = fit_calibration(*harbour(400), np.arange(400), dimensions=FILTER.dimension_names)
        scores, labels = harbour(3000, seed=1)
        found = calibration.tier_odds(calibration.apply(scores), FILTER)
        came = np.stack(
            [(decide_rows(labels, FILTER)["tier"] == name).to_numpy() for name in FILTER.tier_names], axis=1
        )
        for low in (0.0, 0.2, 0.4, 0.6, 0.8):
            inside = (found >= low) & (found <= low + 0.2)
            assert came[inside].mean() == pytest.approx(found[inside].mean(), abs=0.08)


class TestResiduals:
    def test_a_bundle_carries_a_bounded_sample_of_whole_rows(self):
        scores, labels = harbour(1000)
        labels[0, 1] = np.nan
        left = fit_residuals(scores, labels, low=0, seed=3)
        assert (left.n, len(left.rows), left.step) == (999, MOST_RESIDUALS, 1.0)
        known = {tuple(row) for row in np.round(labels - scores, 4).tolist()}
        assert set(left.rows) <= known
        assert left == fit_residuals(scores, labels, low=0, seed=3)
        assert left != fit_residuals(scores, labels, low=0, seed=4)

    def test_labels_on_no_grid_have_no_step(self):
        scores, labels = harbour(20)
        assert fit_residuals(scores, labels + 0.1, low=0, seed=0).step is None
        assert fit_residuals(scores, labels + 0.5, low=0, seed=0).step == 0.5

    def test_without_a_whole_row_there_are_none_and_this_is_said(self):
        scores, labels = harbour(20)
        labels[:, 0] = np.nan
        calibration = fit_calibration(scores, labels, np.arange(20), dimensions=FILTER.dimension_names, rules=FILTER)
        assert calibration.residuals is None
        assert calibration.abstention is None
        with pytest.raises(BadInput, match="contains no residuals of its student"):
            calibration.tier_odds(scores, FILTER)

    def test_they_are_those_of_curves_that_had_not_seen_the_row(self):
        """A useless student with 40 articles: curves fitted to the same rows would look better than they are."""
        rng = np.random.default_rng(0)
        scores, labels = rng.uniform(0, 10, (2, 400, 2))
        calibration = fit_calibration(scores, labels, np.arange(400), dimensions=FILTER.dimension_names)
        assert np.abs(np.array(calibration.residuals.rows)).mean() >= 2.4

    def test_a_residual_of_another_number_of_dimensions_is_refused(self):
        record = no_calibration(FILTER.dimension_names).model_dump()
        with pytest.raises(ValidationError, match="a number for every dimension"):
            Calibration.model_validate(record | {"residuals": residuals((1.0,))})


class TestAsking:
    def counts(self, *steps):
        probabilities, kept, wrong = zip(*steps, strict=True)
        return Abstention(rows=kept[-1], probabilities=probabilities, kept=kept, wrong=wrong)

    def test_the_lowest_threshold_that_keeps_the_rate_is_chosen(self):
        counts = self.counts((0.9, 200, 2), (0.7, 400, 10), (0.5, 600, 50), (0.3, 800, 200))
        cut = cut_for(counts, 0.1)
        assert (cut.probability, cut.kept, cut.wrong, cut.rows) == (0.7, 400, 10, 800)
        # The one-sided Clopper-Pearson upper bound of 10 in 400 at 95%.
        assert cut.at_most == pytest.approx(0.0420, abs=5e-4)
        assert cut_for(counts, 0.2).probability == 0.5
        assert cut_for(counts, 0.3).probability == 0.3

    def test_a_threshold_beyond_one_that_failed_is_not_chosen(self):
        counts = self.counts((0.9, 1200, 12), (0.7, 2000, 300), (0.5, 4000, 310))
        assert cut_for(counts, 0.1).probability == 0.9

    def test_too_few_rows_to_show_anything_are_passed_over(self):
        assert cut_for(self.counts((0.9, 50, 10), (0.7, 400, 18)), 0.1).probability == 0.7
        # A quarter of the rows is tested first, and if they fail none after them is accepted.
        assert cut_for(self.counts((0.9, 100, 15), (0.7, 400, 18)), 0.1) is None

    def test_thirty_articles_without_an_error_show_a_tenth_and_no_less(self):
        counts = self.counts((0.9, 30, 0))
        assert cut_for(counts, 0.1).at_most == pytest.approx(1 - 0.05 ** (1 / 30), abs=1e-6)
        assert cut_for(counts, 0.09) is None
        assert least_error(counts) == 0.1

    def test_where_all_are_wrong_nothing_can_be_shown(self):
        counts = self.counts((0.9, 300, 300))
        assert cut_for(counts, 0.5) is None
        assert least_error(counts) is None

    @pytest.mark.parametrize("error", [0, 1, -0.1, float("nan")])
    def test_an_error_rate_that_is_none_is_refused(self, error):
        with pytest.raises(ValueError, match="not between 0 and 1"):
            cut_for(self.counts((0.9, 30, 0)), error)

    def test_near_duplicates_count_once(self):
        scores, labels = harbour(60)
        copies = [np.repeat(part, 3, axis=0) for part in (scores, labels, np.arange(60))]
        found = counted(*copies)
        assert (found.rows, found.kept[-1]) == (60, 60)

    def test_a_masked_row_is_left_out_and_four_clusters_are_too_few(self):
        scores, labels = harbour(60)
        labels[:10, 0] = np.nan
        hits = cap_hits(["a ship"] * 60, FILTER)
        assert counted(scores, labels, np.arange(60), hits).rows == 50
        names = FILTER.dimension_names
        few = fit_calibration(scores, labels, np.arange(60) % 4, dimensions=names, rules=FILTER)
        assert few.abstention is None
        assert few.decisions is None

    def test_words_of_caps_are_heeded(self):
        scores, labels = harbour(200)
        paid = cap_hits(["an advertisement"] * 200, FILTER)
        found = counted(scores, labels, np.arange(200), paid)
        assert (found.probabilities, found.wrong) == ((1.0,), (0,))

    @pytest.mark.long
    def test_over_many_samples_the_rate_is_kept_as_surely_as_promised(self):
        fresh, labels = harbour(2000, seed=999)
        right, given = (decide_rows(scores, FILTER)["tier"].to_numpy() for scores in (labels, fresh))
        broken = kept = 0
        for seed in range(40):
            scores, y = harbour(300, seed)
            cut = cut_for(counted(scores, y, np.arange(300), seed=seed), 0.15)
            if cut is None:
                continue
            table = fit_residuals(scores, y, low=0, seed=seed).tier_probabilities(fresh, FILTER, low=0, high=10)
            keep = given_probability(table, FILTER.tier_names, given) >= cut.probability
            kept += keep.mean()
            broken += (given != right)[keep].mean() > 0.15
        assert kept / 40 > 0.3
        assert broken <= 5

    @pytest.mark.parametrize(
        "changed",
        [
            {"probabilities": (0.5, 0.5)},
            {"kept": (20, 10)},
            {"wrong": (5, 1)},
            {"wrong": (11, 12)},
            {"kept": (10, 200)},
            {"kept": (10,)},
        ],
    )
    def test_counts_that_cannot_be_are_refused(self, changed):
        good = {"rows": 100, "probabilities": (0.9, 0.5), "kept": (10, 100), "wrong": (1, 30)}
        assert Abstention.model_validate(good).rows == 100
        with pytest.raises(ValidationError):
            Abstention.model_validate(good | changed)


def test_the_probability_of_the_given_tier_is_picked():
    found = given_probability(np.array([[0.2, 0.8], [0.7, 0.3]]), ["a", "b"], pl.Series(["b", "none"]).to_numpy())
    assert found[0] == 0.8
    assert math.isnan(found[1])
