"""Measure a bundle in a new process: the time to its first score, and its memory use.

Input: a bundle's folder and a file of articles, as arguments. Output: one line of JSON on stdout. A separate process is
used so that earlier work of the calling process does not affect the figures.

    python -m potstill.speed.new_process BUNDLE ARTICLES
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from potstill.errors import BundleError
from potstill.records import Part

_LINUX = Path("/proc/self/status")


class Fresh(Part):
    """Time and memory that a new process needed. Memory is None if the system does not report it."""

    first_score_seconds: float
    """Seconds from the start of the process to the first score.

    They include importing libraries, checking hashes and golden texts, and scoring one article.
    """
    memory_loaded_bytes: int | None
    """Memory in use after the bundle has been loaded."""
    memory_peak_bytes: int | None
    """Peak memory until all articles were scored."""


def measure_fresh(bundle: Path, articles: Path) -> Fresh:
    """Measure a new process that scores `articles` with `bundle`.

    Raises:
        BundleError: the process fails. The message contains its last line.
    """
    command = [sys.executable, "-m", "potstill.speed.new_process", str(bundle), str(articles)]
    environment = {**os.environ, "POTSTILL_STARTED": repr(time.time())}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)  # noqa: S603 - our own
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise BundleError(f"{bundle}: a new process that scores with it exits with {done.returncode}: {last}")
    return Fresh.model_validate_json(done.stdout)


def main(bundle: str, articles: str) -> None:
    """Score the articles and print the measurement."""
    from potstill.scorer import Scorer, score_file

    scorer = Scorer.load(bundle)
    loaded = _memory("VmRSS")
    scorer.score("A village cooperative has brought its river back to life.")
    first = time.time() - float(os.environ["POTSTILL_STARTED"])
    score_file(scorer, articles, Path(articles).with_suffix(".scored.jsonl"))
    found = Fresh(first_score_seconds=round(first, 3), memory_loaded_bytes=loaded, memory_peak_bytes=_memory("VmHWM"))
    print(json.dumps(found.model_dump()))  # noqa: T201 - what this process is for


def _memory(name: str) -> int | None:
    """Return a memory figure of this process from Linux's `/proc`, in bytes."""
    if not _LINUX.is_file():
        return None
    found = re.search(rf"^{name}:\s+(\d+) kB$", _LINUX.read_text(encoding="utf-8"), re.MULTILINE)
    return None if found is None else int(found[1]) * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
