"""Which articles to label next: each way of choosing, against a random sample of the same size.

    python benchmarks/sampling.py [--data FOLDER]

From the news of `sustainability-gemini`, 300 articles are labelled at random; 300 more are chosen by each way from
2,000 others. A student that learns from all 600 is judged on articles that were never in the pool; beside its error
stands how many of the chosen articles the oracle puts in the top tenth of overall. The recorded results also hold two
methods that were removed because of them, `uncertain` and `diverse`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from _students import write

from potstill.audit import labelled, of_files
from potstill.audit.suspects import cheap_student
from potstill.files import sha256
from potstill.metrics import average, bias, mae, with_overall
from potstill.sampling import METHODS, choose
from potstill.training import fitter

RESULT = Path(__file__).parent / "results" / "sampling.json"
DATA = Path(os.environ.get("POTSTILL_DATA", Path(__file__).parents[2] / "shared" / "data"))
FIRST, NEXT, POOL = 300, 300, 2000


def main() -> None:
    """Run all ways with all seeds and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    started = time.monotonic()
    source = arguments.data / "sustainability-gemini.jsonl.gz"
    with gzip.open(source, "rt", encoding="utf-8") as stream:
        news = [row["id"] for row in map(json.loads, stream) if row["kind"] == "news"]
    filter_, articles, oracles = of_files(source)
    rows = labelled(articles.filter(pl.col("id").is_in(news)), oracles, filter_)
    examples = rows.examples()
    overall = with_overall(rows.scores, filter_.weights)[:, -1]
    top = overall >= np.quantile(overall, 0.9)
    place = {id_: i for i, id_ in enumerate(rows.ids)}

    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in METHODS}
    for seed in arguments.seeds:
        # Whole clusters go to one side.
        order = np.random.default_rng(seed).permutation(int(rows.clusters.max()) + 1)[rows.clusters]
        shuffled = np.argsort(order, kind="stable")
        first, rest = shuffled[:FIRST], shuffled[FIRST : FIRST + POOL]
        held = examples.take(shuffled[FIRST + POOL :])
        pool, known = rows.articles[rest.tolist()], examples.take(first)
        for way in METHODS:
            chosen = [place[id_] for id_ in choose(pool, NEXT, way, filter_, known, seed=seed)["id"]]
            learned = examples.take(np.concatenate([first, chosen]))
            predicted = fitter(cheap_student(len(learned)), seed=seed)(learned).predict(held.frame)
            high = with_overall(held.scores, filter_.weights)[:, -1] >= np.quantile(overall, 0.9)
            runs[way].append(
                {
                    "seed": seed,
                    "mae": round(average(mae(predicted, held.scores)), 4),
                    "mae_of_the_top_tenth": round(average(mae(predicted[high], held.scores[high])), 4),
                    "bias": round(average(bias(predicted, held.scores)), 4),
                    "top_tenth_among_chosen": int(top[chosen].sum()),
                    "held_out": len(held),
                }
            )
            print(way, runs[way][-1], flush=True)
    figures = ("mae", "mae_of_the_top_tenth", "bias", "top_tenth_among_chosen")
    write(
        arguments.out,
        {
            "what": f"{FIRST} random labels and {NEXT} more, chosen from {POOL}",
            "results": {
                way: {name: round(float(np.mean([run[name] for run in found])), 4) for name in figures}
                | {"runs": found}
                for way, found in runs.items()
            },
            "inputs": {source.name: sha256(source)},
        },
        started,
    )


if __name__ == "__main__":
    main()
