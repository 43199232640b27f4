"""Describes the machine that scores: the facts that decide which code is fastest, and whether it runs at all.

Output: facts that can be compared with those of another time or another machine.
"""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

from potstill.records import Part

_CPU_FACTS = Path("/proc/cpuinfo")

_THAT_MATTER = frozenset({
    "avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8",
    "amx_bf16", "asimd", "asimddp", "bf16", "i8mm", "sve",
})  # fmt: skip
"""Instructions by which matrix kernels are selected, as Linux names them."""


class Machine(Part):
    """A processor, as far as it matters for scoring."""

    system: str
    """For example `Linux x86_64`."""
    processor: str
    """Name of the processor model, as the system reports it."""
    features: tuple[str, ...]
    """The matrix instructions that it has, sorted; empty if the system does not report them."""
    cores: int
    """Number of cores that this process may use."""

    @property
    def title(self) -> str:
        """Description in one line."""
        return f"{self.processor}, {self.cores} cores, {self.system}"


@cache
def this_machine() -> Machine:
    """Describe the machine that this process runs on."""
    facts = _cpu_facts()
    flags = set(facts.get("flags", facts.get("Features", "")).split())
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        processor=facts.get("model name") or platform.processor() or platform.machine(),
        features=tuple(sorted(flags & _THAT_MATTER)),
        cores=usable_cores(),
    )


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _cpu_facts() -> dict[str, str]:
    """Return what Linux reports about the first processor; empty on other systems."""
    if not _CPU_FACTS.is_file():
        return {}
    first = _CPU_FACTS.read_text(encoding="utf-8", errors="replace").split("\n\n", 1)[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
