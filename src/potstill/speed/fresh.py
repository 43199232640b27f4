"""A bundle in a process of its own: how long until its first score, and how much memory it takes.

In: a bundle's folder and a file of articles, as arguments. Out: one line of JSON on stdout. A process that has done
other things before would answer for those too.

    python -m potstill.speed.fresh BUNDLE ARTICLES
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
    """What a new process needed; memory is None where the system does not tell."""

    first_score_seconds: float
    """From the start of the process: libraries, hashes, golden texts, one article."""
    memory_loaded_bytes: int | None
    """Held once the bundle is open."""
    memory_peak_bytes: int | None
    """The most that was held until all articles were scored."""


def measure_fresh(bundle: Path, articles: Path) -> Fresh:
    """Start a process that scores `articles` with `bundle`.

    Raises:
        BundleError: it fails; the message holds its last line.
    """
    command = [sys.executable, "-m", "potstill.speed.fresh", str(bundle), str(articles)]
    environment = {**os.environ, "POTSTILL_STARTED": repr(time.time())}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)  # noqa: S603 - our own
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise BundleError(f"{bundle}: a new process that scores with it exits with {done.returncode}: {last}")
    return Fresh.model_validate_json(done.stdout)


def main(bundle: str, articles: str) -> None:
    """Score, and print what it took."""
    from potstill.scorer import Scorer, score_file

    scorer = Scorer.load(bundle)
    loaded = _memory("VmRSS")
    scorer.score("A village cooperative has brought its river back to life.")
    first = time.time() - float(os.environ["POTSTILL_STARTED"])
    score_file(scorer, articles, Path(articles).with_suffix(".scored.jsonl"))
    found = Fresh(first_score_seconds=round(first, 3), memory_loaded_bytes=loaded, memory_peak_bytes=_memory("VmHWM"))
    print(json.dumps(found.model_dump()))  # noqa: T201 - what this process is for


def _memory(name: str) -> int | None:
    """A figure of this process that Linux keeps, in bytes."""
    if not _LINUX.is_file():
        return None
    found = re.search(rf"^{name}:\s+(\d+) kB$", _LINUX.read_text(encoding="utf-8"), re.MULTILINE)
    return None if found is None else int(found[1]) * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
