"""Peak memory of `potstill score` against the number of articles: it should not grow.

A TF-IDF student scores 20,000 and 200,000 made-up articles of realistic length (log-normal, median 300 words), each
file by the command and its defaults, from JSON lines to JSON lines and to Parquet; the peaks of its processes are
added up.

    python benchmarks/score_memory.py [--articles 20000 200000]
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
import time
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
POTSTILL = (sys.executable, "-c", "from potstill.cli import main; main()")


def peak_of(command: list[str]) -> tuple[float, dict[str, object]]:
    """Run a command to its end: the sum of the peaks of its processes in MiB, and the JSON that it prints."""
    # Not getrusage: what it tells of a new process begins at the peak of the one that started it.
    peaks: dict[int, float] = {}
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(command, stdout=printed, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            for pid in (process.pid, *children(process.pid)):
                peaks[pid] = max(peaks.get(pid, 0), high_water(pid))
            time.sleep(0.1)
        printed.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} exited with {process.returncode}")
        return sum(peaks.values()), json.loads(printed.read())


def children(pid: int) -> list[int]:
    """The processes that a process has started and that are still there."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    except OSError:
        return []


def high_water(pid: int) -> float:
    """The most memory that a process has held so far, in MiB; 0 once it is gone."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


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
                command = [*POTSTILL, "score", str(bundle), str(source), "-o", str(folder / f"out{ending}"), "--json"]
                peak, summary = peak_of(command)
                speed = summary["articles_per_second"]
                found.append(
                    {"articles": count, "output": ending, "peak_mib": round(peak, 1), "articles_per_second": speed}
                )
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
