import re

import numpy as np
import pytest
from pydantic import ValidationError

from potstill.calibration import fit_calibration
from potstill.calibration.decisions import Decisions, Signal, belonging, of_each_tier, of_residuals
from potstill.filters import parse_filter
from potstill.operating_points import OperatingPoint
from potstill.verdict import judge, with_named

FILTER = parse_filter(
    """
name: front-page
version: 1
description: d
dimensions:
  weight: {weight: 0.5, description: w}
  nearness: {weight: 0.5, description: n}
gates:
  - {when: nearness < 1, cap: 2, reason: far away}
tiers:
  - {name: lead, when: overall >= 7, positive: true}
  - {name: front, when: overall >= 5, positive: true}
  - {name: brief, when: overall >= 3}
  - {name: nothing}
""",
    "rubric",
    "front-page",
)


def stories(rows, seed=0, *, noise=1.0):
    """Return scores of a student that is too low for high labels, labels, and a tier output that knows better."""
    rng = np.random.default_rng(seed)
    labels = np.clip(rng.normal(4, 2.2, (rows, 1)) + rng.normal(0, 0.5, (rows, 2)), 0, 10).round()
    scores = np.clip(3 + 0.4 * (labels - 3) + rng.normal(0, noise, (rows, 2)), 0, 10)
    outputs = np.column_stack([belonging(labels, FILTER) + rng.normal(0, 0.4, (rows, 2))])
    return scores, labels, outputs


def calibrated(rows=600, *, outputs=True, decide=None, **changes):
    scores, labels, tiers = stories(rows, **changes)
    return fit_calibration(
        scores,
        labels,
        np.arange(rows),
        dimensions=FILTER.dimension_names,
        rules=FILTER,
        tier_outputs=tiers if outputs else None,
        decide=decide,
    )


def shares(odds, scores, capped=None):
    capped = np.zeros(len(scores), dtype=bool) if capped is None else capped
    return of_residuals(odds, judge(scores, FILTER), capped, low=0, high=10)


class TestBelonging:
    def test_a_better_tier_belongs_to_the_ones_below_it(self):
        labels = np.array([[9.0, 9.0], [6.0, 6.0], [4.0, 4.0], [10.0, 0.0], [np.nan, 5.0]])
        assert belonging(labels, FILTER)[:4].tolist() == [[1, 1], [0, 1], [0, 0], [0, 0]]
        assert np.isnan(belonging(labels, FILTER)[4]).all()

    def test_the_probability_of_a_tier_or_a_better_one_adds_up(self):
        found = shares(np.array([[0.1, 0.3, 0.4, 0.2]]), np.array([[5.0, 5.0]]), np.array([True]))
        assert found.tolist() == [[0.1, pytest.approx(0.4)]]

    def test_articles_that_no_residual_puts_there_are_ordered_by_overall(self):
        low, high, capped = shares(
            np.array([[0.0, 0, 0, 1]] * 3),
            np.array([[2.0, 2.0], [4.0, 4.0], [4.0, 4.0]]),
            np.array([False, False, True]),
        )[:, 0]
        assert capped == 0 < low < high < 1 / 256

    def test_what_no_positive_tier_takes_is_divided_as_the_residuals_divide_it(self):
        found = of_each_tier(np.array([[0.1, 0.3, 0.4, 0.2]]), np.array([[0.2, 0.7]]), FILTER)
        assert found[0] == pytest.approx([0.2, 0.5, 0.2, 0.1])
        assert of_each_tier(np.array([[1.0, 0, 0, 0]]), np.array([[0.2, 0.7]]), FILTER)[0, 2:] == pytest.approx(
            [0.15] * 2
        )


class TestNamed:
    def test_the_first_tier_that_names_an_article_counts_and_else_the_first_other_that_holds(self):
        scores = np.array([[8.0, 8.0], [8.0, 8.0], [4.0, 4.0], [1.0, 1.0], [6.0, 6.0], [np.nan, 1.0]])
        named = np.array([[True, True], [False, False], [False, True], [True, True], [False, False], [True, True]])
        assert with_named(judge(scores, FILTER), scores, named).tier_names == [
            "lead", "brief", "front", "lead", "brief", "unscored"
        ]  # fmt: skip

    def test_where_no_other_tier_holds_the_last_of_them_counts(self):
        tiers = (FILTER.tiers[0], FILTER.tiers[3].model_copy(update={"when": "overall < 7"}))
        rules = FILTER.model_copy(update={"tiers": tiers})
        scores = np.array([[8.0, 8.0]])
        assert with_named(judge(scores, rules), scores, np.array([[False]])).tier_names == ["nothing"]


class TestSignals:
    def test_outputs_that_know_the_tier_better_than_the_scores_are_used(self):
        with_outputs, without = calibrated().decisions, calibrated(outputs=False).decisions
        lead, plain = with_outputs.signals[0], without.signals[0]
        assert lead.kind in {"head", "blend"}
        assert lead.quality[lead.kind].log_loss < 0.8 * lead.quality["residuals"].log_loss
        assert lead.quality[lead.kind].average_precision > plain.quality["residuals"].average_precision + 0.1
        assert (with_outputs.outputs, len(lead.weights)) == (2, 5)

    def test_the_reason_says_by_how_much_the_chosen_way_is_better(self):
        signal = calibrated().decisions.signals[0]
        assert re.fullmatch(
            r"it is better than the residuals: log-loss -\d\.\d{4} \+- \d\.\d{4} against the residuals, "
            r"-\d\.\d{4} \+- \d\.\d{4} against the tier's share",
            signal.reason,
        )
        gain = signal.quality["residuals"].log_loss - signal.quality[signal.kind].log_loss
        assert f"log-loss {-gain:+.4f}" in signal.reason

    def test_on_labels_of_noise_the_head_is_not_taken(self):
        taken = 0
        for seed in range(20):
            rng = np.random.default_rng(seed)
            scores, labels, outputs = stories(300, seed)
            labels = labels[rng.permutation(300)]
            fitted = fit_calibration(scores, labels, np.arange(300), dimensions=FILTER.dimension_names, rules=FILTER,
                                     tier_outputs=outputs)  # fmt: skip
            taken += sum(signal.kind != "residuals" for signal in fitted.decisions.signals)
            for signal in fitted.decisions.signals:
                if (
                    signal.kind == "residuals"
                    and signal.quality["head"].log_loss < signal.quality["residuals"].log_loss
                ):
                    assert signal.reason.startswith("no other way is better than the tier's share by more than noise; ")
        assert taken <= 2

    @pytest.mark.parametrize(("positives", "reason"), [
        (9, "9 held-out articles in the tier, too few to learn it from; 10 are needed"),
        (1, "1 held-out article in the tier, too few to learn it from; 10 are needed"),
        (95, "5 held-out articles outside the tier, too few to learn it from; 10 are needed"),
    ])  # fmt: skip
    def test_a_tier_with_few_articles_in_or_outside_of_it_is_not_learned(self, positives, reason):
        labels = np.where(np.arange(100)[:, None] < positives, 8.0, 2.0) + np.zeros((1, 2))
        scores = labels + np.random.default_rng(0).normal(0, 1, labels.shape)
        fitted = fit_calibration(scores, labels, np.arange(100), dimensions=FILTER.dimension_names, rules=FILTER)
        assert {(signal.kind, signal.reason) for signal in fitted.decisions.signals} == {("residuals", reason)}

    def test_the_probability_comes_true_as_often_as_it_says(self):
        calibration = calibrated(1500)
        scores, labels, outputs = stories(6000, seed=9)
        applied = calibration.apply(scores)
        odds = shares(calibration.tier_odds(applied, FILTER), applied)
        found = calibration.decisions.probabilities(applied, judge(applied, FILTER).overall, outputs, odds)
        came = belonging(labels, FILTER)
        for low in (0.0, 0.25, 0.5, 0.75):
            inside = (found >= low) & (found < low + 0.25)
            assert came[inside].mean() == pytest.approx(found[inside].mean(), abs=0.08)

    def test_a_better_tier_is_never_more_probable(self):
        calibration = calibrated()
        scores, _, outputs = stories(500, seed=3)
        odds = shares(calibration.tier_odds(scores, FILTER), scores)
        found = calibration.decisions.probabilities(scores, judge(scores, FILTER).overall, outputs, odds)
        assert (np.diff(found, axis=1) >= 0).all()


class TestDecisions:
    def test_as_many_are_named_as_the_oracle_names_where_the_scores_name_few(self):
        calibration = calibrated(1500)
        scores, labels, outputs = stories(6000, seed=9)
        applied = calibration.apply(scores)
        judged = judge(applied, FILTER)
        odds = shares(calibration.tier_odds(applied, FILTER), applied)
        positive = calibration.decisions.probabilities(applied, judged.overall, outputs, odds)
        decided = with_named(judged, applied, calibration.decisions.named(positive, judged))
        leads = int(belonging(labels, FILTER)[:, 0].sum())
        assert (judged.tiers == 0).sum() < 0.5 * leads
        assert (decided.tiers == 0).sum() == pytest.approx(leads, rel=0.25)

    def test_another_point_moves_the_cut_without_a_model(self):
        decisions = calibrated().decisions
        moved = decisions.chosen({"lead": OperatingPoint(recall=0.9)})
        assert moved.cuts[0].probability < decisions.cuts[0].probability
        assert moved.cuts[1] == decisions.cuts[1]

    def test_points_of_the_filter_or_the_call_choose_the_cut(self):
        cuts = calibrated(decide={"front": OperatingPoint(threshold="by-score")}).decisions.cuts
        assert (cuts[0].goal, cuts[1].goal, cuts[1].probability) == ("the oracle's volume", "by score", None)

    def test_by_score_an_article_of_a_better_tier_is_in_the_tier_or_a_better_one(self):
        decisions = calibrated().decisions.chosen(
            {"lead": OperatingPoint(threshold="by-score"), "front": OperatingPoint(threshold="by-score")}
        )
        judged = judge(np.array([[9.0, 9.0], [6.0, 6.0], [1.0, 1.0]]), FILTER)
        assert decisions.by_score
        assert decisions.named(np.zeros((3, 2)), judged).tolist() == [[True, True], [False, True], [False, False]]

    def test_a_filter_without_a_positive_tier_has_none(self):
        plain = FILTER.model_copy(
            update={"tiers": tuple(t.model_copy(update={"positive": False}) for t in FILTER.tiers)}
        )
        scores, labels, _ = stories(100)
        fitted = fit_calibration(scores, labels, np.arange(100), dimensions=FILTER.dimension_names, rules=plain)
        assert fitted.decisions is None
        assert fitted.abstention is not None

    def test_a_row_without_tier_outputs_is_left_out(self):
        scores, labels, outputs = stories(200)
        outputs[7] = np.nan
        fitted = fit_calibration(scores, labels, np.arange(200), dimensions=FILTER.dimension_names, rules=FILTER,
                                 tier_outputs=outputs)  # fmt: skip
        assert fitted.decisions.curves[0].rows == 199

    def test_near_duplicates_count_once(self):
        scores, labels, _ = stories(200)
        copies = [np.repeat(part, 3, axis=0) for part in (scores, labels, np.arange(200))]
        fitted = fit_calibration(*copies, dimensions=FILTER.dimension_names, rules=FILTER)
        assert fitted.decisions.curves[0].rows == 200

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"outputs": 1}, "one tier output for each positive tier"),
            ({"cuts": ()}, "needs a signal, a curve and a cut"),
        ],
    )
    def test_parts_that_do_not_fit_are_refused(self, changes, message):
        record = calibrated(200).decisions.model_dump()
        with pytest.raises(ValidationError, match=message):
            Decisions.model_validate(record | changes)

    def test_a_blend_is_halfway_in_log_odds_and_residuals_that_never_give_the_tier_do_not_rule_it_out(self):
        blend = Signal(tier="lead", kind="blend", intercept=2.0, weights=(0.0,), reason="r")
        never, even, always = blend.probability(np.zeros((3, 1)), np.array([0.0, 0.5, 1.0]), 0.1)
        assert even == pytest.approx(1 / (1 + np.exp(-1.0)))
        assert never == pytest.approx(1 / (1 + np.exp(-(2 - np.log(9999)) / 2)))
        assert always == pytest.approx(1 / (1 + np.exp(-(2 + np.log(9999)) / 2)))

    def test_a_head_without_weights_is_refused(self):
        with pytest.raises(ValidationError, match="a head or a blend has weights"):
            Signal(tier="lead", kind="head", reason="r")
