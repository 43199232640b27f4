"""The cheap rungs on English and Dutch news: `sustainability-gemini`, `kind` = `news`.

Three divisions of the rows into train, validation and test, near-duplicates together. A recipe's open choices are
made inside the training part, so validation is left to the rungs that need it; each student is judged on the test
part once, by language too.

    POTSTILL_DATA=... python benchmarks/news_ladder.py [--seeds 0 1 2]
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
from _students import Ladder, measured, summary, write

from potstill.dataset import Examples, Fractions, clusters_of, near_duplicates, split
from potstill.files import digest, sha256
from potstill.students.recipes import load_recipe
from potstill.text import Window

FRACTIONS = Fractions(train=0.8, validation=0.1, test=0.1)
RESULT = Path(__file__).parent / "results" / "news_ladder.json"
RECIPES = ("constant", "source-median", "tfidf-ridge", "minilm-ridge", "minilm-svr", "e5-ridge", "e5-svr",
           "minilm-e5-svr")  # fmt: skip
REPORTED = {"constant": 1.507, "tfidf-ridge": 1.067, "minilm-ridge": 1.160, "e5-ridge": 0.966, "e5-svr": 0.873}
"""What the benchmark data's authors report on a part of their own that is not public."""


def news(path: Path) -> Examples:
    """The news rows of the set, with their clusters."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["kind"] == "news"]
    dimensions = tuple(rows[0]["scores"])
    frame = pl.DataFrame({
        "id": [row["id"] for row in rows],
        "text": [Window().of(row["title"], row["content"]) for row in rows],
        "source": [row["source"] for row in rows],
        "language": [row["language"] for row in rows],
    })  # fmt: skip
    scores = np.array([[row["scores"].get(d, np.nan) for d in dimensions] for row in rows], dtype=np.float64)
    clusters = clusters_of(len(rows), near_duplicates(frame["text"].to_list()))
    return Examples(tuple(frame["id"]), frame, scores, clusters, dimensions)


def main() -> int:
    """Run all recipes with all seeds and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    started = time.monotonic()

    data = Path(os.environ.get("POTSTILL_DATA", Path(__file__).parents[2] / "shared" / "data"))
    path = data / "sustainability-gemini.jsonl.gz"
    if not path.is_file():
        print(f"skipped: no benchmark data at {path}; set POTSTILL_DATA", file=sys.stderr)
        return 0
    examples = news(path)
    parts = {
        seed: split(examples.scores, examples.clusters, seed=seed, fractions=FRACTIONS).to_numpy()
        for seed in arguments.seeds
    }

    ladder, results = Ladder(), {}
    for name in RECIPES:
        recipe, runs = load_recipe(name), []
        for seed, part in parts.items():
            clock = time.monotonic()
            test = examples.take(part == "test")
            student = ladder.fit(recipe, examples.take(part == "train"), seed)
            errors = np.abs(student.predict(test.frame) - test.scores)
            language = test.frame["language"].to_numpy()
            slices = {one: measured(errors[language == one], examples.dimensions)["mae"] for one in ("en", "nl")}
            seconds = round(time.monotonic() - clock, 1)
            runs.append(
                {"seed": seed, "seconds": seconds, "by_language": slices, **measured(errors, examples.dimensions)}
            )
        results[name] = {"recipe": recipe.model_dump(mode="json"), "hash": recipe.hash, **summary(runs)}
        print(f"{name:20} {results[name]['mae_mean']:.3f} +- {results[name]['mae_spread']}", flush=True)

    write(
        arguments.out,
        {
            "what": "mean absolute error on the test part; three divisions, clusters whole",
            "reported": REPORTED,
            "rows": len(examples),
            "parts": {str(seed): {k: int((part == k).sum()) for k in ("train", "validation", "test")}
                      for seed, part in parts.items()},
            "results": results,
            "seeds": arguments.seeds,
            "inputs": {"labels": sha256(path), "texts": digest(examples.texts), "backbones": ladder.backbones},
        },
        started,
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
