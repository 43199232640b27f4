"""The Python interface on ELLIPSE: the outputs that docs/python.md shows.

    python benchmarks/python_interface.py > benchmarks/results/python_interface.txt

Needs `ellipse.jsonl.gz` in the data folder (POTSTILL_DATA).
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pandas as pd

import potstill as ps

DATA = Path(os.environ.get("POTSTILL_DATA", Path(__file__).parents[2] / "shared" / "data"))


def main() -> None:
    """Print each output."""
    with gzip.open(DATA / "ellipse.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    df = pd.DataFrame([{"text": row["content"], **row["scores"]} for row in rows])
    flt = ps.Filter("essays", list(df.columns[1:]), scale=(1, 5))
    parts = ps.Dataset.from_frame(df, flt, text="text").split(seed=0)
    print(parts, end="\n\n")
    student = ps.Student("tfidf-median").fit(parts.train, parts.validation)
    print(student.evaluate(parts.test), end="\n\n")
    print(ps.compare(["tfidf-ridge", student], parts), end="\n\n")
    print(ps.Scorer(flt, student.calibrate(parts.calibration)).score(df["text"][0]), end="\n\n")
    print(f"load average at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
