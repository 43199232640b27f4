"""Do intervals cover what they claim? `python benchmarks/coverage.py` on the sustainability data.

A cheap student (TF-IDF ridge) is fitted fold by fold, clusters of near-duplicates whole, so that every row has a
prediction by a model that never saw it. Then, 200 times over, the rows are dealt into two halves: one fits the
calibration and its conformal widths, the other, which chose nothing, is covered or not. Rows are dealt one by one
(sources mixed) and by whole clusters. The bootstrap is asked the other way round: of samples of 500 rows, how many of
its 95% intervals of the MAE hold the MAE of all rows? Results are kept in `results/coverage.json`.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

from potstill import metrics
from potstill.calibration import fit_calibration
from potstill.dataset import Examples, clusters_of, folds, near_duplicates
from potstill.students.recipes import load_recipe
from potstill.training.fit import fitter
from potstill.training.folding import out_of_fold

RESAMPLES = 200
FOLDS = 5
SAMPLE = 500
LEVEL = 0.9


def main() -> None:
    """Measure, print and keep."""
    start = time.perf_counter()
    rows = load(int(sys.argv[1]) if len(sys.argv) > 1 else None)
    fold = folds(rows.clusters, rows.scores, FOLDS, 0)
    fit = fitter(load_recipe("tfidf-ridge"), seed=0, encoder=None)
    predicted = np.clip(out_of_fold(fit, rows, fold), 0, 10)
    print(f"fitted in {time.perf_counter() - start:.0f} s", flush=True)
    result = {
        "rows": len(rows),
        "clusters": len(np.unique(rows.clusters)),
        "resamples": RESAMPLES,
        "level": LEVEL,
        "mae": round(float(metrics.mae(predicted, rows.scores).mean()), 4),
        "conformal": {
            way: conformal(predicted, rows, whole=way == "cluster-whole") for way in ("rows", "cluster-whole")
        },
        "bootstrap": bootstrap(predicted, rows),
    }
    result["seconds"] = round(time.perf_counter() - start)
    (Path(__file__).parent / "results" / "coverage.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def load(most: int | None) -> Examples:
    """The sustainability data as examples, clustered."""
    data = Path(os.environ.get("POTSTILL_DATA", Path(__file__).parents[2] / "shared" / "data"))
    path = data / "sustainability-gemini.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        read = [json.loads(line) for line in stream][:most]
    names = tuple(read[0]["scores"])
    texts = [f"{row['title']}\n\n{row['content']}"[:2500] for row in read]
    frame = pl.DataFrame({"id": [str(row["id"]) for row in read], "text": texts})
    scores = np.array([[row["scores"][name] for name in names] for row in read], dtype=float)
    return Examples(
        ids=tuple(frame["id"]),
        frame=frame,
        scores=scores,
        clusters=clusters_of(len(read), near_duplicates(texts)),
        dimensions=names,
    )


def halves(rows: Examples, rng: np.random.Generator, *, whole: bool) -> np.ndarray:
    """Which rows choose; the others are covered."""
    units = np.unique(rows.clusters, return_inverse=True)[1] if whole else np.arange(len(rows))
    return (rng.uniform(size=units.max() + 1) < 0.5)[units]


def conformal(predicted: np.ndarray, rows: Examples, *, whole: bool) -> dict[str, object]:
    """Coverage of the rows that chose nothing, per dimension over all resamples."""
    rng = np.random.default_rng(1)
    covered = []
    for place in range(RESAMPLES):
        chose = halves(rows, rng, whole=whole)
        calibration = fit_calibration(
            predicted[chose], rows.scores[chose], rows.clusters[chose], place, dimensions=rows.dimensions
        )
        low, high = calibration.intervals(predicted[~chose], LEVEL)
        inside = (rows.scores[~chose] >= low - 1e-9) & (rows.scores[~chose] <= high + 1e-9)
        covered.append(inside.mean(axis=0))
    found = np.array(covered)
    return {
        name: {
            "mean": round(float(found[:, i].mean()), 4),
            "p5": round(float(np.quantile(found[:, i], 0.05)), 4),
            "p95": round(float(np.quantile(found[:, i], 0.95)), 4),
        }
        for i, name in enumerate(rows.dimensions)
    }


def bootstrap(predicted: np.ndarray, rows: Examples) -> dict[str, object]:
    """How often a 95% interval from a sample of clusters holds the MAE of all rows."""
    errors = np.abs(predicted - rows.scores)
    # The mean over dimensions last, as an evaluation's headline.
    errors = np.column_stack([errors, errors.mean(axis=1)])
    members = np.split(
        np.argsort(rows.clusters, kind="stable"), np.cumsum(np.unique(rows.clusters, return_counts=True)[1])[:-1]
    )
    truth = errors.mean(axis=0)
    rng = np.random.default_rng(2)
    held = []
    for place in range(RESAMPLES):
        drawn = np.concatenate([members[i] for i in rng.choice(len(members), SAMPLE, replace=False)])
        low, high = metrics.bootstrap_mean(errors[drawn], rows.clusters[drawn], seed=place)
        held.append((low <= truth) & (truth <= high))
    share = np.array(held).mean(axis=0)
    return {"sample": SAMPLE, "level": 0.95, **{
        name: round(float(share[i]), 4) for i, name in enumerate((*rows.dimensions, "mean"))
    }}  # fmt: skip


if __name__ == "__main__":
    main()
