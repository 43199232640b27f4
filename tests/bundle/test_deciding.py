import re

import numpy as np
import pytest
from tiny_bundle import FILTER

from potstill.bundle.deciding import decide_raw
from potstill.calibration import TierCut, belonging, fit_calibration
from potstill.calibration.decisions import HeldOut, cross_fitted_odds, fit_decisions
from potstill.operating_points import OperatingPoint
from potstill.prefilter import fold_all
from potstill.students import Outputs
from potstill.verdict import cap_hits


def calibrated():
    """Return a calibration whose tier outputs know the lead articles far better than the scores."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 11, (400, 2)).astype(float)
    scores = np.clip(5 + 0.2 * (labels - 5) + rng.normal(0, 1, (400, 2)), 0, 10)
    outputs = belonging(labels, FILTER) + rng.normal(0, 0.2, (400, 1))
    names = FILTER.dimension_names
    return fit_calibration(scores, labels, np.arange(400), dimensions=names, rules=FILTER, tier_outputs=outputs)


def test_the_words_of_a_cap_leave_no_chance_whatever_the_tier_head_says():
    calibration = calibrated()
    assert calibration.decisions.signals[0].kind == "head"
    texts = fold_all(["a library", "an advertisement"])
    found = decide_raw(Outputs(np.full((2, 2), 6.0), np.ones((2, 1))), texts, FILTER, calibration)
    assert found.judged.tier_names == ["lead", "drawer"]
    assert found.positive[0, 0] > 0.9
    assert found.positive[1, 0] == 0


def test_rows_that_the_student_never_read_have_no_tier_and_no_reason():
    found = decide_raw(Outputs(np.full((2, 2), np.nan)), None, FILTER, calibrated())
    assert found.judged.tier_names == ["unscored", "unscored"]
    assert found.reasons.texts == [None, None]
    assert np.isnan(found.positive).all()


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ("recall=0.8", "recall 0.8"),
        ("recall=0.995", r"a measured recall of 1\.00|a measured recall of 0\.99"),
        ("precision=0.99", r"precision 0\.\d+"),
    ],
)
def test_the_reason_of_a_verdict_names_what_its_cut_is_really_for(asked, named):
    calibration = calibrated()
    moved = calibration.decisions.chosen({"lead": OperatingPoint.model_validate(asked)})
    calibration = calibration.model_copy(update={"decisions": moved})
    found = decide_raw(Outputs(np.full((1, 2), 6.0), np.ones((1, 1))), None, FILTER, calibration)
    (why,) = found.reasons.texts
    assert re.fullmatch(rf"overall \d\.\d, probability \d\.\d\d, cut \d\.\d\d for ({named})", why)
    assert (moved.cuts[0].note is None) is (asked == "recall=0.8")


def test_a_cut_of_an_older_bundle_is_named_by_the_recall_that_it_promises():
    """Such a record has no field `measured`, and its golden texts hold the words `for recall`."""
    record = {
        "tier": "lead",
        "point": {"recall": 0.9},
        "probability": 0.1,
        "rows": 350,
        "positives": 25,
        "named": 238,
        "found": 25,
        "promise": "recall 0.85",
        "note": "recall 0.9 is not supported by 25 positive articles; lowered to 0.85",
    }
    assert TierCut.model_validate(record).goal == "recall 0.85"


@pytest.mark.parametrize(
    ("student", "head", "kind"), [(1.5, 0.2, "head"), (1.0, 0.5, "blend"), (0.3, 2.0, "residuals")]
)
def test_articles_with_the_words_of_a_cap_have_no_chance_on_held_out_rows_either(student, head, kind):
    """Every fourth article is an advertisement; `student` and `head` are the noise of scores and of tier outputs."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 11, (400, 2)).astype(float)
    scores = np.clip(labels + rng.normal(0, student, (400, 2)), 0, 10)
    outputs = (labels @ FILTER.weights >= 6)[:, None] + rng.normal(0, head, (400, 1))
    hits = cap_hits(["an advertisement", "a library", "a bridge", "a school"] * 100, FILTER)
    rows = HeldOut.of(scores, labels, np.arange(400), FILTER, hits, outputs)
    odds = cross_fitted_odds(rows, FILTER, low=0, high=10, seed=0)
    found = fit_decisions(rows, odds, FILTER, {}, low=0, high=10, seed=0)
    assert found.decisions.signals[0].kind == kind
    assert found.positive[::4].max() == 0
    assert found.positive[1::4].min() > 0
    losses = {name: quality.log_loss for name, quality in found.decisions.signals[0].quality.items()}
    assert min(losses, key=losses.get) == kind
