"""What a student's scores are worth: curves that correct them, intervals around them, the odds of each tier.

In: raw predictions for rows that chose nothing else, and their labels. Out: a `Calibration`, one JSON record that a
bundle carries.
"""

from potstill.calibration.abstention import SURE, Abstention, Cut, cut_for, given_probability, least_error
from potstill.calibration.curves import (
    FEWEST_CLUSTERS,
    LEVELS,
    SCHEMA_VERSION,
    Calibration,
    Curve,
    conformal_widths,
    fit_calibration,
    no_calibration,
)
from potstill.calibration.odds import MOST_RESIDUALS, Residuals

__all__ = [
    "FEWEST_CLUSTERS",
    "LEVELS",
    "MOST_RESIDUALS",
    "SCHEMA_VERSION",
    "SURE",
    "Abstention",
    "Calibration",
    "Curve",
    "Cut",
    "Residuals",
    "conformal_widths",
    "cut_for",
    "fit_calibration",
    "given_probability",
    "least_error",
    "no_calibration",
]
