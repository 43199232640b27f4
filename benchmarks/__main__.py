"""Run every benchmark in turn: `python -m benchmarks`, or name some: `python -m benchmarks front_page speed`.

Each is a script of its own and leaves one JSON file in benchmarks/results.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main(wanted: list[str]) -> int:
    """Run the named benchmarks, or all; the exit code is that of the first that fails."""
    scripts = {path.stem: path for path in sorted(HERE.glob("*.py")) if not path.stem.startswith("_")}
    unknown = set(wanted) - set(scripts)
    if unknown:
        print(f"no such benchmark: {', '.join(sorted(unknown))}; there are: {', '.join(scripts)}", file=sys.stderr)
        return 2
    for name in wanted or scripts:
        print(f"== {name}", flush=True)
        code = subprocess.run([sys.executable, str(scripts[name])], check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
