"""From labels to parts that cannot leak: train, validation, calibration, test.

In: articles and the oracle's labels. Out: one row per labelled article with its window, its cluster of
near-duplicates and its part. Clusters (and sources, or time, if asked) stay whole, because a copy of a test
article in the training part would be remembered and not judged; within that, parts are filled score bin by
score bin, so that each holds low and high articles in like shares. The same seed gives the same parts.
"""

from potstill.dataset.alike import parts_like, stories
from potstill.dataset.assembling import Whole, assemble, check_labels
from potstill.dataset.duplicates import MISSED, SIMILAR, bands, clusters_of, near_duplicates
from potstill.dataset.examples import Examples
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
from potstill.dataset.stage import build_dataset

__all__ = [
    "DEFAULT_FRACTIONS",
    "MISSED",
    "PARTS",
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
    "build_dataset",
    "check_labels",
    "clusters_of",
    "folds",
    "near_duplicates",
    "parts_like",
    "split",
    "stories",
]
