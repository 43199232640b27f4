"""Are tiers' probabilities true, and does asking the oracle keep its promise? `python benchmarks/abstaining.py`.

On the published predictions of a student and the oracle's labels of the same articles, without any model. A hundred
times over the articles are dealt into halves: one fits the calibration and with it the thresholds, the other, which
chose nothing, is judged. Results are kept in `results/abstaining.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from potstill.bundle.deciding import decide_raw
from potstill.calibration import fit_calibration
from potstill.evaluation.odds import ERRORS, judge_odds
from potstill.filters import load_filter
from potstill.pipeline.predictions import read_predictions
from potstill.students import Outputs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from potstill.evaluation.records import Odds, Said

DATA = Path(os.environ.get("POTSTILL_DATA", Path(__file__).parents[2] / "shared" / "data"))
RESULT = Path(__file__).parent / "results" / "abstaining.json"
SPLITS = 100


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    started = time.monotonic()
    filter_ = load_filter("uplifting")
    rows = read_predictions(DATA / "uplifting-v4-predictions.json", filter_)
    rng = np.random.default_rng(0)
    found = []
    for split in range(SPLITS):
        order = rng.permutation(len(rows))
        chose, judged = np.sort(order[: len(rows) // 2]), np.sort(order[len(rows) // 2 :])
        calibration = fit_calibration(
            rows.scores[chose],
            rows.labels[chose],
            rows.clusters[chose],
            split,
            dimensions=filter_.dimension_names,
            low=filter_.scale.min,
            high=filter_.scale.max,
            rules=filter_,
        )
        decided = decide_raw(Outputs(rows.scores[judged]), None, filter_, calibration, probabilities=True)
        odds = judge_odds(calibration, decided, rows.labels[judged], rows.labels[chose], rows.clusters[judged], filter_)
        if odds is None:
            raise SystemExit("no probabilities")
        found.append(odds)
    result = {
        "what": f"{SPLITS} halvings of {len(rows)} published predictions; one half calibrates, the other is judged",
        "filter": f"{filter_.name} v{filter_.version}",
        "brier": mean(odds.brier for odds in found),
        "brier_of_shares": mean(odds.brier_of_shares for odds in found),
        "own_tier": reliability([odds.own for odds in found]),
        "positive_tiers": reliability([odds.positive for odds in found]),
        "asking": [asking(place, found) for place in range(len(ERRORS))],
        "seconds": round(time.monotonic() - started),
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of what is known."""
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 4) if known else None


def reliability(found: Sequence[Sequence[Said]]) -> list[dict[str, object]]:
    """What was said and what came, pooled over the splits, by bin."""
    rows = []
    for bins in zip(*found, strict=True):
        counted = [one for one in bins if one.rows]
        total = sum(one.rows for one in counted)
        pooled = {
            name: round(sum(getattr(one, name) * one.rows for one in counted) / total, 4) if total else None
            for name in ("said", "came")
        }
        rows.append({"from": bins[0].low, "to": bins[0].high, "share": round(total / sum_rows(found), 4), **pooled})
    return rows


def sum_rows(found: Sequence[Sequence[Said]]) -> int:
    """All rows of all splits."""
    return sum(one.rows for bins in found for one in bins)


def asking(place: int, found: Sequence[Odds]) -> dict[str, object]:
    """For one wanted error rate: how often it could be promised, what was kept, and how much of that was wrong."""
    asked = [odds.asked[place] for odds in found]
    could = [one for one in asked if one.probability is not None and one.kept]
    return {
        "error": asked[0].error,
        "promised": round(len(could) / len(asked), 2),
        "kept_share": mean(one.kept_share for one in could),
        "wrong_of_kept": mean(one.observed for one in could),
        "clearly_broken": round(sum(one.observed_interval.low > one.error for one in could) / len(could), 2)
        if could
        else None,
        "wrong_of_all": mean(1 - sum(b.came * b.rows for b in odds.own if b.rows) / odds.rows for odds in found),
    }


if __name__ == "__main__":
    main()
