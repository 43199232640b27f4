"""Coverage-guided fuzzing of every parser of foreign bytes: `python -m fuzz --minutes 60`.

Each target of `fuzz/targets.py` gets an equal share of the time, in a process of its own. Inputs that reach new code
are kept in `fuzz/corpus`, and findings in `fuzz/findings`. Exits with 1 where there is a finding.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from fuzz.targets import TARGETS, made_targets

HERE = Path(__file__).parent
LONGEST_INPUT = 8192
SLOWEST = 20
"""Seconds after which one input counts as a finding."""
MOST_MEMORY = 3000
"""Megabytes above which it does."""


def fuzz(name: str, seconds: int) -> dict[str, object]:
    """Fuzz one target; how many runs there were, and the files of inputs that broke it."""
    findings = HERE / "findings" / name
    findings.mkdir(parents=True, exist_ok=True)
    known = set(findings.iterdir())
    command = [
        sys.executable, "-m", "fuzz.one", name, str(HERE / "corpus" / name),
        f"-max_total_time={seconds}", f"-artifact_prefix={findings}/", f"-timeout={SLOWEST}",
        f"-rss_limit_mb={MOST_MEMORY}", f"-max_len={LONGEST_INPUT}",
    ]  # fmt: skip
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, cwd=HERE.parent)
    runs = [int(number) for number in re.findall(r"^#(\d+)", done.stderr, flags=re.MULTILINE)]
    new = sorted(str(path.relative_to(HERE.parent)) for path in set(findings.iterdir()) - known)
    if done.returncode != 0:
        print(done.stdout[-1500:], done.stderr[-2500:], file=sys.stderr)
    return {
        "runs": max(runs, default=0),
        "seconds": round(time.monotonic() - started, 1),
        "exit": done.returncode,
        "findings": new,
    }


def main() -> None:
    """Fuzz all targets, or those named, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="Minutes for all targets together.")
    parser.add_argument("--only", action="append", help="Fuzz this target alone. Give it again for more.")
    parser.add_argument("--output", type=Path, help="Write the counts to this JSON file.")
    asked = parser.parse_args()
    names = asked.only or [*TARGETS, *made_targets()]
    each = max(1, int(asked.minutes * 60 / len(names)))
    results = {}
    for name in names:
        results[name] = fuzz(name, each)
        print(f"{name}: {results[name]['runs']:,} runs in {results[name]['seconds']} s, "
              f"{len(results[name]['findings'])} findings", flush=True)  # fmt: skip
    if asked.output:
        record = {"minutes": asked.minutes, "load": os.getloadavg()[0], "targets": results}
        asked.output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    broken = [name for name, result in results.items() if result["findings"] or result["exit"]]
    print(f"{sum(result['runs'] for result in results.values()):,} runs, findings in: {', '.join(broken) or 'none'}")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
