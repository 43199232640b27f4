"""Calibration: curves that correct a student's scores, intervals around them, and the probability of each tier.

Input: raw predictions for rows that were not used for any selection, and their labels. Output: a `Calibration`, one
JSON record that is part of a bundle.
"""

from potstill.calibration.abstention import SURE, Abstention, Cut, cut_for, given_probability, least_error
from potstill.calibration.curves import (
    FEWEST_CLUSTERS,
    Calibration,
    Curve,
    cross_fitted,
    fit_calibration,
    no_calibration,
)
from potstill.calibration.cuts import PrecisionRecall, TierCut, choose_cut
from potstill.calibration.decisions import Decisions, Signal, belonging
from potstill.calibration.familiarity import Familiarity
from potstill.calibration.intervals import LEVELS, Spread
from potstill.calibration.odds import MOST_RESIDUALS, Residuals

__all__ = [
    "FEWEST_CLUSTERS",
    "LEVELS",
    "MOST_RESIDUALS",
    "SURE",
    "Abstention",
    "Calibration",
    "Curve",
    "Cut",
    "Decisions",
    "Familiarity",
    "PrecisionRecall",
    "Residuals",
    "Signal",
    "Spread",
    "TierCut",
    "belonging",
    "choose_cut",
    "cross_fitted",
    "cut_for",
    "fit_calibration",
    "given_probability",
    "least_error",
    "no_calibration",
]
