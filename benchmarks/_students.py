"""What benchmarks share: the facts that every result is written with."""

from __future__ import annotations

import platform
import resource
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from potstill.files import write_json
from potstill.machine import versions

if TYPE_CHECKING:
    from pathlib import Path


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread over runs that differ in their seed."""
    values = [run["mae"] for run in runs]
    return {
        "mae_mean": round(float(np.mean(values)), 4),
        "mae_spread": round(float(np.std(values, ddof=1)), 4) if len(values) > 1 else None,
        "runs": runs,
    }


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
