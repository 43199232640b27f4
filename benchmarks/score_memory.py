"""Peak memory of `potstill score` against the number of articles: it should not grow.

Two parts, each file by the command and its defaults; the peaks of its processes are added up.

- 20,000 and 200,000 made-up articles of realistic length (log-normal, median 300 words), from JSON lines to JSON lines
  and to Parquet, by TF-IDF of words and characters.
- 100,000 and 1,000,000 short articles (median 30 words) from Parquet to Parquet, by TF-IDF of words. To read some rows
  of a row group, Polars holds the bytes of all of it; so the larger file is read three times: with row groups as large
  as the smaller file's, with Polars' own (262,144 rows), and with all rows in one, as pyarrow and pandas write it.

A part that is not asked for keeps the figures it had.

    python benchmarks/score_memory.py [--articles 20000 200000] [--short 100000 1000000]
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
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from potstill.bundle import write_bundle
from potstill.bundle.golden import TEXTS, word_lists
from potstill.calibration import fit_calibration
from potstill.dataset import Examples
from potstill.files import read_json, write_json
from potstill.filters import load_filter
from potstill.machine import versions
from potstill.students.recipes import TfidfRecipe
from potstill.students.tfidf import fit_tfidf

if TYPE_CHECKING:
    from collections.abc import Iterator

RESULT = Path(__file__).parent / "results" / "score_memory.json"
WORDS = 30_000
MEDIAN_WORDS = 300
SHORT_WORDS = 30
POLARS_ROWS = 262_144
"""Rows of a row group where nobody says otherwise."""

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


def contents(count: int, seed: int, median: int = MEDIAN_WORDS) -> Iterator[str]:
    """Made-up texts of words whose frequencies fall as in writing (Zipf)."""
    rng = np.random.default_rng(seed)
    words = np.array(["".join(rng.choice(list("etaoinshrdlcumwfgypbvk"), rng.integers(2, 11))) for _ in range(WORDS)])
    chance = 1 / np.arange(1, WORDS + 1)
    pool = rng.choice(words, 2_000_000, p=chance / chance.sum())
    for _ in range(count):
        length = int(np.clip(rng.lognormal(np.log(median), 0.7), min(20, median), 5000))
        start = int(rng.integers(0, len(pool) - length))
        yield " ".join(pool[start : start + length])


def make_bundle(folder: Path, characters: tuple[int, int] | None = (3, 5)) -> Path:
    """A TF-IDF bundle of a filter that ships, fitted to noise: its scores mean nothing, its cost is real."""
    filter_ = load_filter("front-page")
    texts = [filter_.text.of("", content) for content in contents(1000, seed=1)]
    rng = np.random.default_rng(0)
    scores = rng.uniform(filter_.scale.min, filter_.scale.max, (len(texts), len(filter_.dimension_names)))
    frame = pl.DataFrame({"id": [str(row) for row in range(len(texts))], "text": texts})
    rows = Examples(tuple(frame["id"]), frame, scores, np.arange(len(texts)), filter_.dimension_names)
    student = fit_tfidf(TfidfRecipe(name="memory", student="tfidf-ridge", characters=characters, alphas=(10.0,)), rows)
    names = filter_.dimension_names
    calibration = fit_calibration(student.predict(frame[:200]), scores[:200], rows.clusters[:200], dimensions=names)
    golden = [*TEXTS, *word_lists(texts, seed=0)]
    return write_bundle(
        folder, student=student, recipe="memory", filter_=filter_, calibration=calibration, golden=golden
    ).folder


def scored(bundle: Path, source: Path, target: Path, **facts: object) -> dict[str, Any]:
    """Score one file: what it was, the peak and the speed."""
    command = [*POTSTILL, "score", str(bundle), str(source), "-o", str(target), "--json"]
    peak, summary = peak_of(command)
    found = facts | {"peak_mib": round(peak, 1), "articles_per_second": summary["articles_per_second"]}
    print(found, flush=True)
    target.unlink()
    return found


def realistic(folder: Path, counts: list[int]) -> dict[str, object]:
    """Articles of realistic length, from JSON lines."""
    bundle = make_bundle(folder / "bundle")
    found = []
    for count in counts:
        source = folder / f"{count}.jsonl"
        with source.open("w") as stream:
            for number, content in enumerate(contents(count, seed=2)):
                row = {"id": f"m{number}", "title": "A title", "content": content, "url": f"https://x/{number}"}
                stream.write(json.dumps(row) + "\n")
        found += [
            scored(bundle, source, folder / f"out{ending}", articles=count, output=ending)
            for ending in (".jsonl", ".parquet")
        ]
        source.unlink()
    growth = {
        ending: round(peaks[-1] / peaks[0], 4)
        for ending in (".jsonl", ".parquet")
        if (peaks := [row["peak_mib"] for row in found if row["output"] == ending])
    }
    return {"runs": found, "growth": growth}


def short(folder: Path, counts: list[int]) -> dict[str, object]:
    """Short articles, from Parquet to Parquet; the most of them in row groups of several sizes."""
    bundle = make_bundle(folder / "words", characters=None)
    few, most = counts[0], counts[-1]
    found = [short_run(folder, bundle, few, few)]
    found += [short_run(folder, bundle, most, rows) for rows in (few, POLARS_ROWS, most)]
    growth = {f"{row['rows_of_a_row_group']}": round(row["peak_mib"] / found[0]["peak_mib"], 4) for row in found[1:]}
    return {"runs": found, "growth": growth}


def short_run(folder: Path, bundle: Path, count: int, rows: int) -> dict[str, Any]:
    """One file of short articles, `rows` in a row group."""
    source = folder / f"{count}.parquet"
    texts = list(contents(count, seed=4, median=SHORT_WORDS))
    table = {"id": [f"m{number}" for number in range(count)], "title": "A title", "content": texts}
    pl.DataFrame(table).write_parquet(source, row_group_size=rows)
    del texts, table
    return scored(bundle, source, folder / "out.parquet", articles=count, rows_of_a_row_group=rows)


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--articles", type=int, nargs="*", default=[20_000, 200_000])
    parser.add_argument("--short", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    result = read_json(arguments.out) if arguments.out.exists() else {}
    machine = {"machine": platform.machine(), "system": platform.system(), "versions": versions()}
    with tempfile.TemporaryDirectory() as scratch:
        for name, part, counts in (("realistic", realistic, arguments.articles), ("short", short, arguments.short)):
            if counts:
                result[name] = part(Path(scratch), counts) | machine
                print(f"{name}: growth of the peak {result[name]['growth']}", flush=True)
    write_json(
        arguments.out,
        {"schema_version": 2, **{name: result[name] for name in ("realistic", "short") if name in result}},
    )


if __name__ == "__main__":
    main()
