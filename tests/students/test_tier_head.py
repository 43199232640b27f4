import numpy as np

from potstill.students.heads import LinearHead
from potstill.students.tier_head import fit_tier_head, out_of_fold_tiers, scores_and_tiers, widened


def chance():
    """Return features and tiers that have nothing to do with each other, with nearly as many features as rows."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(120, 100)), (rng.random((120, 1)) < 0.5).astype(float)


def test_outputs_out_of_fold_know_nothing_about_tiers_of_chance_though_fitted_ones_seem_to():
    features, belongs = chance()
    head = LinearHead(np.zeros((100, 2)), np.zeros(2))
    fitted = scores_and_tiers(head, widened(head, fit_tier_head(head, features, belongs)).predict(features))[1]
    unseen = out_of_fold_tiers(head, features, belongs, np.arange(120) % 10)
    assert np.corrcoef(fitted[:, 0], belongs[:, 0])[0, 1] > 0.8
    assert abs(np.corrcoef(unseen[:, 0], belongs[:, 0])[0, 1]) < 0.3
