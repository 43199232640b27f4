import numpy as np
import pytest
from evaluated_run import FILTER

from potstill.bundle.deciding import decide_raw
from potstill.calibration import Abstention, fit_calibration, no_calibration
from potstill.evaluation.findings import odds_findings
from potstill.evaluation.odds import judge_odds
from potstill.evaluation.records import AskedAbove
from potstill.prefilter import fold_all
from potstill.records import Interval
from potstill.students import Outputs
from potstill.verdict import cap_hits


def news(rows, seed, noise=1.0):
    """Return integer labels, and scores with the same noise in both dimensions."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 11, (rows, 2)).astype(float)
    return np.clip(labels + rng.normal(0, noise, (rows, 1)), 0, 10), labels


def decided(calibration, scores, texts=None):
    folded = None if texts is None else fold_all(texts)
    return decide_raw(Outputs(scores), folded, FILTER, calibration, probabilities=calibration.residuals is not None)


def judged(rows=1500, *, noise=1.0, learned=None, calibration=None, texts=None, **options):
    scores, labels = news(300, 0)
    known = fit_calibration(scores, labels, np.arange(300), dimensions=FILTER.dimension_names, rules=FILTER)
    calibration = calibration or known
    scores, labels = news(rows, 1, noise)
    learned = labels if learned is None else learned
    options = {"clusters": np.arange(rows), "filter_": FILTER} | options
    hits = None if texts is None else cap_hits(texts, FILTER)
    return judge_odds(calibration, decided(calibration, scores, texts), labels, learned, cap_hits=hits, **options)


def test_probabilities_of_a_student_that_errs_as_known_beat_the_shares_and_come_true():
    odds = judged()
    assert odds.rows == 1500
    assert odds.brier < 0.5 * odds.brier_of_shares
    assert odds.brier_skill == pytest.approx(1 - odds.brier / odds.brier_of_shares, abs=1e-5)
    assert sum(bin_.rows for bin_ in odds.own) == sum(bin_.rows for bin_ in odds.positive) == 1500
    for bin_ in (*odds.own, *odds.positive):
        if bin_.rows >= 100:
            assert bin_.came == pytest.approx(bin_.said, abs=0.12)


def test_a_student_worse_than_when_it_was_calibrated_is_said_too_sure():
    top = judged(noise=3.0).own[-1]
    assert top.came < top.said - 0.1


def test_the_base_rate_is_that_of_the_rows_that_were_learned_from():
    drawers = np.zeros((50, 2))
    assert judged(learned=drawers).brier_of_shares > judged().brier_of_shares


def test_asking_the_oracle_keeps_the_wanted_error_and_says_what_it_keeps():
    five, ten, twenty = judged().asked
    assert (five.error, ten.error, twenty.error) == (0.05, 0.1, 0.2)
    for asked in (ten, twenty):
        assert asked.observed == pytest.approx(asked.wrong / asked.kept, abs=1e-6)
        assert asked.observed_interval.low <= asked.observed <= asked.observed_interval.high
        assert asked.observed <= asked.error
    assert ten.kept < twenty.kept <= 1500


def test_an_error_rate_that_the_calibration_cannot_show_keeps_nothing():
    scores, labels = news(30, 0)
    few = fit_calibration(scores, labels, np.arange(30), dimensions=FILTER.dimension_names, rules=FILTER)
    assert judged(calibration=few).asked[0] == AskedAbove(error=0.05, rows=1500)


def test_near_duplicates_count_once():
    assert judged(clusters=np.arange(1500) // 3).rows == 500


def test_masked_rows_are_left_out_and_without_residuals_there_is_nothing():
    scores, labels = news(40, 2)
    scores[:4, 0] = np.nan
    calibration = fit_calibration(*news(300, 0), np.arange(300), dimensions=FILTER.dimension_names)
    rest = labels, labels, np.arange(40), FILTER
    assert judge_odds(calibration, decided(calibration, scores), *rest).rows == 36
    assert judge_odds(calibration, decided(calibration, scores * np.nan), *rest) is None
    bare = no_calibration(FILTER.dimension_names)
    assert judge_odds(bare, decided(bare, scores), *rest) is None


def test_words_of_caps_count_for_oracle_and_student_alike():
    odds = judged(200, texts=["an advertisement"] * 200)
    assert odds.brier == 0
    assert odds.own[-1].came == 1


def asked(low, high, **changes):
    values = {"error": 0.1, "rows": 100, "probability": 0.8, "kept": 60, "wrong": 20, "kept_share": 0.6,
              "observed": 0.33, "observed_interval": Interval(low=low, high=high)}  # fmt: skip
    return AskedAbove(**(values | changes))


def test_a_promise_that_did_not_hold_is_a_finding_and_one_within_chance_is_not():
    odds = judged(200)
    broken = odds.model_copy(update={"asked": (asked(0.2, 0.4),)})
    (finding,) = odds_findings(broken)
    assert (finding.rule, finding.tone) == ("asking-broke-its-promise", "bad")
    assert "10%" in finding.text
    assert list(odds_findings(odds.model_copy(update={"asked": (asked(0.05, 0.4),)}))) == []


def test_probabilities_no_better_than_shares_are_a_finding():
    odds = judged(200).model_copy(update={"brier": 0.5, "brier_of_shares": 0.5, "brier_skill": 0.0, "asked": ()})
    (finding,) = odds_findings(odds)
    assert finding.rule == "odds-no-better-than-shares"
    assert list(odds_findings(None)) == []


def test_thresholds_are_those_of_the_bundle():
    calibration = fit_calibration(*news(300, 0), np.arange(300), dimensions=FILTER.dimension_names)
    surest = Abstention(rows=300, probabilities=(1.0,), kept=(300,), wrong=(0,))
    odds = judged(calibration=calibration.model_copy(update={"abstention": surest}))
    assert [one.probability for one in odds.asked] == [1.0, 1.0, 1.0]
