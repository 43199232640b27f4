"""Kill -9 during bulk scoring, twenty times, and resume: is the result that of an unbroken run, and is work repeated?

A TF-IDF student scores made-up articles from JSON lines, in batches of 50, in a process of its own by the command line.
Each try is killed a random moment after its first new batch is on disk. In the end the file is compared byte for byte
with that of a run that nobody disturbed, and every batch that was on disk at a kill must be the very same file at the
next one.

    python benchmarks/score_kills.py [--articles 4000] [--kills 20]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _students import write
from score_memory import contents, make_bundle

RESULT = Path(__file__).parent / "results" / "score_kills.json"
BATCH = 50


def main() -> int:
    """Kill, resume, compare, and write the result; the exit code is 1 if the files differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--articles", type=int, default=4000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    started = time.monotonic()
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = make_bundle(folder / "bundle")
        source, unbroken, target = (folder / f"{name}.jsonl" for name in ("in", "unbroken", "out"))
        with source.open("w") as stream:
            for number, content in enumerate(contents(arguments.articles, seed=3)):
                stream.write(json.dumps({"id": f"k{number}", "title": "A title", "content": content}) + "\n")
        subprocess.run(command(bundle, source, unbroken), check=True)
        killed, rewritten, seen = 0, 0, dict[str, int]()
        while killed < arguments.kills:
            new = kill_after_some_work(command(bundle, source, target), parts(target), seen, chance.uniform(0, 0.3))
            if new is None:
                break
            rewritten += sum(1 for part, when in seen.items() if new.get(part) != when)
            seen, killed = new, killed + 1
            print(f"kill {killed}: {len(seen)} batches on disk", flush=True)
        done = subprocess.run([*command(bundle, source, target), "--json"], check=True, capture_output=True, text=True)
        resumed = json.loads(done.stdout)["resumed"]
        equal = target.read_bytes() == unbroken.read_bytes()
    result = {
        "articles": arguments.articles,
        "batch": BATCH,
        "kills": killed,
        "batches_on_disk_at_the_last_kill": len(seen),
        "articles_taken_over_by_the_last_try": resumed,
        "batches_written_twice": rewritten,
        "equal_to_an_unbroken_run": equal,
    }
    print(result)
    write(arguments.out, result, started)
    return 0 if equal and not rewritten and killed == arguments.kills else 1


def command(bundle: Path, source: Path, target: Path) -> list[str]:
    """The command line that scores."""
    arguments = ["-q", "score", str(bundle), str(source), "-o", str(target), "--batch-size", str(BATCH), "--resume"]
    return [sys.executable, "-c", "from potstill.cli import main; main()", *arguments]


def parts(target: Path) -> Path:
    """Where batches are kept until the file is whole."""
    return target.parent / f".{target.name}.parts"


def kill_after_some_work(
    arguments: list[str], folder: Path, before: dict[str, int], delay: float
) -> dict[str, int] | None:
    """Start, wait for a new batch and a little longer, kill; batches on disk by their time, None if it was too late."""
    process = subprocess.Popen(arguments)
    while process.poll() is None and not set(batches(folder)) - set(before):
        time.sleep(0.01)
    time.sleep(delay)
    process.kill()
    return None if process.wait() >= 0 else batches(folder)


def batches(folder: Path) -> dict[str, int]:
    """Batches on disk, and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.arrow") if path.exists()}


if __name__ == "__main__":
    sys.exit(main())
