"""Peak memory of `potstill score` against the number of articles: it should not grow.

A TF-IDF student scores 20,000 and 200,000 made-up articles of realistic length (log-normal, median 300 words), each
file in a process of its own, from JSON lines to JSON lines and to Parquet.

    python benchmarks/score_memory.py [--articles 20000 200000]
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from potstill.bundle import write_bundle
from potstill.bundle.golden import TEXTS, word_lists
from potstill.calibration import fit_calibration
from potstill.dataset import Examples
from potstill.files import write_json
from potstill.filters import load_filter
from potstill.runs import versions
from potstill.students.recipes import TfidfRecipe
from potstill.students.tfidf import fit_tfidf

if TYPE_CHECKING:
    from collections.abc import Iterator

RESULT = Path(__file__).parent / "results" / "score_memory.json"
WORDS = 30_000
MEDIAN_WORDS = 300

_CHILD = """
import json, re, sys
from pathlib import Path
from potstill.scorer import score_file
summary = score_file(*sys.argv[1:])
# Not getrusage: what it tells of a new process begins at the peak of the one that started it.
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
print(json.dumps({"peak_mib": round(peak, 1), "articles_per_second": summary.articles_per_second}))
"""


def contents(count: int, seed: int) -> Iterator[str]:
    """Made-up texts of words whose frequencies fall as in writing (Zipf)."""
    rng = np.random.default_rng(seed)
    words = np.array(["".join(rng.choice(list("etaoinshrdlcumwfgypbvk"), rng.integers(2, 11))) for _ in range(WORDS)])
    chance = 1 / np.arange(1, WORDS + 1)
    pool = rng.choice(words, 2_000_000, p=chance / chance.sum())
    for _ in range(count):
        length = int(np.clip(rng.lognormal(np.log(MEDIAN_WORDS), 0.7), 20, 5000))
        start = int(rng.integers(0, len(pool) - length))
        yield " ".join(pool[start : start + length])


def make_bundle(folder: Path) -> Path:
    """A TF-IDF bundle of a filter that ships, fitted to noise: its scores mean nothing, its cost is real."""
    filter_ = load_filter("front-page")
    texts = [filter_.text.of("", content) for content in contents(1000, seed=1)]
    rng = np.random.default_rng(0)
    scores = rng.uniform(filter_.scale.min, filter_.scale.max, (len(texts), len(filter_.dimension_names)))
    frame = pl.DataFrame({"id": [str(row) for row in range(len(texts))], "text": texts})
    rows = Examples(tuple(frame["id"]), frame, scores, np.arange(len(texts)), filter_.dimension_names)
    student = fit_tfidf(TfidfRecipe(name="memory", student="tfidf-ridge", alphas=(10.0,)), rows)
    names = filter_.dimension_names
    calibration = fit_calibration(student.predict(frame[:200]), scores[:200], rows.clusters[:200], dimensions=names)
    golden = [*TEXTS, *word_lists(texts, seed=0)]
    return write_bundle(
        folder, student=student, recipe="memory", filter_=filter_, calibration=calibration, golden=golden, facts={}
    ).folder


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--articles", type=int, nargs="+", default=[20_000, 200_000])
    counts = parser.parse_args().articles
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        bundle = make_bundle(folder / "bundle")
        for count in counts:
            source = folder / f"{count}.jsonl"
            with source.open("w") as stream:
                for number, content in enumerate(contents(count, seed=2)):
                    row = {"id": f"m{number}", "title": "A title", "content": content, "url": f"https://x/{number}"}
                    stream.write(json.dumps(row) + "\n")
            for ending in (".jsonl", ".parquet"):
                command = [sys.executable, "-c", _CHILD, str(bundle), str(source), str(folder / f"out{ending}")]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found.append({"articles": count, "output": ending, **json.loads(done.stdout)})
                print(found[-1], flush=True)
            source.unlink()
    growth = {
        ending: round(peaks[-1] / peaks[0], 4)
        for ending in (".jsonl", ".parquet")
        if (peaks := [row["peak_mib"] for row in found if row["output"] == ending])
    }
    print(f"growth of the peak from {counts[0]:,} to {counts[-1]:,} articles: {growth}")
    machine = {"machine": platform.machine(), "system": platform.system(), "versions": versions()}
    write_json(RESULT, {"schema_version": 1, "runs": found, "growth": growth, **machine})


if __name__ == "__main__":
    main()
