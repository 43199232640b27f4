import numpy as np
from tiny_bundle import FILTER

from potstill.bundle.deciding import decide_raw
from potstill.calibration import belonging, fit_calibration
from potstill.prefilter import fold_all


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
    found = decide_raw(np.full((2, 2), 6.0), texts, FILTER, calibration, outputs=np.ones((2, 1)))
    assert found.judged.tier_names == ["lead", "drawer"]
    assert found.positive[0, 0] > 0.9
    assert found.positive[1, 0] == 0


def test_rows_that_the_student_never_read_have_no_tier_and_no_reason():
    found = decide_raw(np.full((2, 2), np.nan), None, FILTER, calibrated())
    assert found.judged.tier_names == ["unscored", "unscored"]
    assert found.reasons.texts == [None, None]
    assert np.isnan(found.positive).all()
