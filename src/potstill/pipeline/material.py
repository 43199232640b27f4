"""Select a run's labelled rows for measurements of the bundle in it.

Input: the bundle of a run. Output: text windows and the oracle's labels. Rows that were used for training or for model
selection are excluded.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from potstill.bundle import BUNDLE_LAYOUT
from potstill.bundle.facts import BundleFacts
from potstill.dataset import Dataset
from potstill.errors import RunError
from potstill.filters import load_filter
from potstill.pipeline.run import LAYOUT, Run
from potstill.speed.material import Material, no_material


def labelled_rows(bundle: str | Path, limit: int, seed: int = 0) -> Material:
    """Return labelled rows that were not used for model selection: the run's calibration part, or else its test part.

    The result is empty if the bundle does not belong to a run with a dataset, and has no labels if the bundle's student
    was refitted on them.

    Args:
        bundle: folder of the bundle.
        limit: maximum number of rows.
        seed: random seed for sampling rows.
    """
    filter_ = load_filter(Path(bundle) / BUNDLE_LAYOUT["filter"])
    try:
        run = Run.open(Path(bundle).resolve().parent)
    except RunError:
        return no_material(filter_)
    if not run.path("rows").exists():
        return no_material(filter_)
    dataset = Dataset.load(run.path("rows"), filter_.dimension_names)
    part = "calibration" if dataset.has_calibration_part else "test"
    rows = dataset.part(part)
    rows = rows.take(np.sort(np.random.default_rng(seed).permutation(len(rows))[:limit]))
    origin = f"{len(rows):,} labelled articles of the {part} part ({LAYOUT['rows']} of the run)"
    facts = BundleFacts.from_file(Path(bundle) / BUNDLE_LAYOUT["facts"])
    # A refitted student has learned from these rows too, so their labels do not show its errors.
    labels = rows.scores if facts.refit is None else np.full(rows.scores.shape, np.nan)
    return Material(rows.frame, labels, origin)
