"""Turn labels into splits without leakage: train, validation, calibration and test.

Input: articles and the oracle's labels. Output: one row per labelled article with its window, its cluster of
near-duplicates and its split. Clusters (and sources, or time, if requested) are never divided between splits, because a
model could memorise a test article from a copy in the training split. Within this constraint, the splits are stratified
by score, so that each contains low and high scores in similar shares. The same seed gives the same splits.
"""

from potstill.dataset.assembling import Whole, assemble, check_labels
from potstill.dataset.duplicates import MISSED, SIMILAR, bands, clusters_of, near_duplicates
from potstill.dataset.examples import HIGH, SAMPLING, Examples
from potstill.dataset.matching import parts_like, stories
from potstill.dataset.rows import Dataset, DatasetRecord
from potstill.dataset.splitting import (
    DEFAULT_FRACTIONS,
    PARTS,
    SMALLEST_CALIBRATION,
    SMALLEST_DATASET,
    Fractions,
    folds,
    split,
)

__all__ = [
    "DEFAULT_FRACTIONS",
    "HIGH",
    "MISSED",
    "PARTS",
    "SAMPLING",
    "SIMILAR",
    "SMALLEST_CALIBRATION",
    "SMALLEST_DATASET",
    "Dataset",
    "DatasetRecord",
    "Examples",
    "Fractions",
    "Whole",
    "assemble",
    "bands",
    "check_labels",
    "clusters_of",
    "folds",
    "near_duplicates",
    "parts_like",
    "split",
    "stories",
]
