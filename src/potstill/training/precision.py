"""Selects the precision of a network: bfloat16 where the hardware supports it natively, float32 otherwise.

Input: the recipe's setting (`auto`, `bf16` or `fp32`) and a device. Output: `bf16` or `fp32`. A CPU without bfloat16
instructions emulates them, which is tens of times slower than float32, so `auto` never selects bfloat16 there.
"""

from __future__ import annotations

import os
import platform
import time
from typing import TYPE_CHECKING, Any, Literal

import torch

from potstill.terminal import note

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from potstill.students.recipes import Precision

Used = Literal["fp32", "bf16"]
"""Precision in which a network is run."""

ONEDNN_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Environment variables that limit the instructions of oneDNN, torch's library for matrix products on x86."""

_WITHOUT_BF16 = frozenset({
    "SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI",
})  # fmt: skip
"""Values of those variables that disable all bfloat16 instructions."""

_SIZE = 192
"""Size of the square matrices that are multiplied to measure the cost of bfloat16."""


def used_precision(asked: Precision, device: str) -> Used:
    """Return the precision for a device: the one asked for; `auto` is bfloat16 if the device supports it natively.

    Args:
        asked: the recipe's setting.
        device: device as torch names it, such as `cpu` or `cuda:0`.
    """
    if asked == "auto":
        return "bf16" if multiplies_bf16(device) else "fp32"
    return asked


def warn_if_emulated(name: str, asked: Precision, device: str) -> None:
    """Print one line with the measured cost if a recipe asks for bfloat16 on a CPU that has to emulate it."""
    if asked != "bf16" or not device.startswith("cpu") or multiplies_bf16(device):
        return
    note(
        f"{name}: precision bf16 on a CPU that emulates it: a product of matrices takes {emulation_cost():.1f} times "
        "as long as in fp32 here; set precision: auto"
    )


def multiplies_bf16(
    device: str, *, capabilities: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> bool:
    """Return whether a device multiplies bfloat16 natively.

    A CPU does so with AVX512-BF16, AMX-BF16 or, on Linux, Arm's BF16 instructions, unless an environment variable
    disables them. MPS counts as a device without support, since not every Mac has it.

    Args:
        device: device as torch names it.
        capabilities: capabilities of the CPU; default: those that torch reports, or none if it cannot report them.
        environment: replaces the process's environment variables.
    """
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if not device.startswith("cpu"):
        return False
    given = os.environ if environment is None else environment
    if any(given.get(name, "").upper() in _WITHOUT_BF16 for name in ONEDNN_LIMITS):
        return False
    if given.get("ATEN_CPU_CAPABILITY", "").lower() in {"default", "avx2"}:
        return False
    found = _capabilities() if capabilities is None else capabilities
    # On a Mac, torch's matrix products use a library that does not use the processor's bfloat16 instructions.
    arm = bool(found.get("bf16")) and platform.system() == "Linux"
    return arm or bool(found.get("avx512_bf16")) or bool(found.get("amx_bf16"))


def emulation_cost(clock: Callable[[], float] = time.perf_counter) -> float:
    """Measure how many times longer a matrix product takes on this CPU in bfloat16 than in float32."""
    fp32, bf16 = (_seconds(torch.ones(_SIZE, _SIZE, dtype=kind), clock) for kind in (torch.float32, torch.bfloat16))
    return bf16 / fp32


def _seconds(matrix: torch.Tensor, clock: Callable[[], float]) -> float:
    """Return the fastest of several timings of a product; the first run, which prepares kernels, is not counted."""
    times = []
    for _ in range(4):
        start = clock()
        torch.mm(matrix, matrix)
        times.append(clock() - start)
    return min(times[1:])


def _capabilities() -> Mapping[str, Any]:
    """Return what torch reports about the CPU; empty if this version of torch cannot report it."""
    ask = getattr(torch.cpu, "get_capabilities", None)
    return ask() if ask is not None else {}
