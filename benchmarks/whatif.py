"""How long what-if takes over 100,000 stored scores: `python benchmarks/whatif.py`.

Best and median of ten, on made-up scores under the filter `uplifting` with all its caps stored; results are kept in
`results/whatif.json`.
"""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import polars as pl

from potstill.evaluation.predictions import Predictions
from potstill.evaluation.whatif import edited, what_if
from potstill.filters import load_filter

ROWS = 100_000


def main() -> None:
    """Measure, print and keep."""
    filter_ = load_filter("uplifting")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 11, (ROWS, len(filter_.dimensions))).astype(float)
    scores = np.clip(labels + rng.normal(0, 1, labels.shape), 0, 10)
    ids = tuple(map(str, range(ROWS)))
    hits = pl.DataFrame({f"cap_{i}": rng.uniform(size=ROWS) < 0.05 for i in range(len(filter_.caps))})
    rows = Predictions("made up", ids, scores, labels, np.arange(ROWS), pl.DataFrame({"id": ids}), cap_hits=hits)
    changed = edited(filter_, ["weights.agency=0.3", f"tiers.{filter_.tier_names[0]}.when=overall >= 6"])
    taken = []
    for _ in range(10):
        start = time.perf_counter()
        found = what_if(rows, filter_, changed)
        taken.append(time.perf_counter() - start)
    result = {
        "rows": ROWS,
        "moved": found.moved,
        "seconds_best": round(min(taken), 4),
        "seconds_median": round(float(np.median(taken)), 4),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
    }
    (Path(__file__).parent / "results" / "whatif.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
