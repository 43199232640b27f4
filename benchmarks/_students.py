"""What benchmarks share: the facts that every result is written with, and running one part after another."""

from __future__ import annotations

import argparse
import platform
import resource
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from _sets import NoDataError

from potstill.files import read_json, write_json
from potstill.machine import versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread over runs that differ in their seed."""
    values = [run["mae"] for run in runs]
    return {
        "mae_mean": round(float(np.mean(values)), 4),
        "mae_spread": round(float(np.std(values, ddof=1)), 4) if len(values) > 1 else None,
        "runs": runs,
    }


def run_parts(script: Mapping[str, Any], parts: Sequence[str], path: Path, **facts: object) -> None:
    """Run the parts of a benchmark that the command line names, all by default, and write the result after each.

    A part that is not run keeps its recorded result, and so do the finished parts of a run that is killed.

    Args:
        script: the benchmark's `globals()`, with a function for each part.
        parts: names of the parts.
        path: file of the results.
        facts: what is written beside the results.
    """
    parser = argparse.ArgumentParser(
        description=script["__doc__"], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts, help="The parts to run. Default: all.")
    arguments = parser.parse_args()
    started = time.monotonic()
    result: dict[str, Any] = read_json(path)["results"] if path.is_file() else {}
    for name in arguments.parts:
        try:
            result[name] = script[name]()
        except NoDataError as missing:
            print(f"skipped: {missing}", file=sys.stderr)
            continue
        write(path, {"what": script["__doc__"].split("\n\n")[0], **facts, "results": result}, started)


def machine() -> dict[str, str]:
    """What kind of machine this is, without its name."""
    return {"processor": platform.machine(), "system": platform.system()}


def write(path: Path, result: dict[str, Any], started: float) -> None:
    """Add what ran where and for how long, and write the result."""
    facts = {
        "schema_version": 1,
        "versions": versions(),
        "machine": machine(),
        "wall_seconds": round(time.monotonic() - started, 1),
        # Linux counts in KiB.
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 0),
    }
    write_json(path, result | facts)
    print(f"written: {path}")
