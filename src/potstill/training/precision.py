"""Which numbers a network multiplies in: bfloat16 where the hardware does so natively, float32 everywhere else.

In: what a recipe asks for (`auto`, `bf16` or `fp32`) and a device. Out: `bf16` or `fp32`. A CPU without bfloat16
instructions emulates them, which is tens of times slower than float32, so `auto` never takes bfloat16 there.
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
"""What a network was run in."""

ONEDNN_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Environment variables that limit the instructions of oneDNN, torch's library for products of matrices on x86."""

_WITHOUT_BF16 = frozenset({
    "SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI",
})  # fmt: skip
"""Values of those variables that leave no instruction that multiplies bfloat16."""

_SIZE = 192
"""Rows and columns of the matrices that are multiplied to measure what bfloat16 costs."""


def used_precision(asked: Precision, device: str) -> Used:
    """The precision for a device: what was asked for; `auto` is bfloat16 where the device multiplies it natively.

    Args:
        asked: as the recipe says.
        device: as torch names it, such as `cpu` or `cuda:0`.
    """
    if asked == "auto":
        return "bf16" if multiplies_bf16(device) else "fp32"
    return asked


def warn_if_emulated(name: str, asked: Precision, device: str) -> None:
    """Print one line with the measured cost where a recipe asks for bfloat16 on a CPU that has to emulate it."""
    if asked != "bf16" or not device.startswith("cpu") or multiplies_bf16(device):
        return
    note(
        f"{name}: precision bf16 on a CPU that emulates it: a product of matrices takes {emulation_cost():.1f} times "
        "as long as in fp32 here; set precision: auto"
    )


def multiplies_bf16(
    device: str, *, capabilities: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> bool:
    """Whether a device multiplies bfloat16 natively.

    A CPU does so with AVX512-BF16, AMX-BF16 or, on Linux, Arm's BF16 instructions, unless an environment variable
    switches them off. MPS counts as a device without, since not every Mac has them.

    Args:
        device: as torch names it.
        capabilities: of the CPU; torch is asked where they are not given. A torch that cannot tell counts as none.
        environment: stands in for the process's.
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
    # torch's products on a Mac's processor go through a library that does not use its bfloat16 instructions.
    arm = bool(found.get("bf16")) and platform.system() == "Linux"
    return arm or bool(found.get("avx512_bf16")) or bool(found.get("amx_bf16"))


def emulation_cost(clock: Callable[[], float] = time.perf_counter) -> float:
    """How many times as long a product of matrices takes on this CPU in bfloat16 as in float32, measured."""
    fp32, bf16 = (_seconds(torch.ones(_SIZE, _SIZE, dtype=kind), clock) for kind in (torch.float32, torch.bfloat16))
    return bf16 / fp32


def _seconds(matrix: torch.Tensor, clock: Callable[[], float]) -> float:
    """The least of several times that a product takes; the first, which prepares kernels, does not count."""
    times = []
    for _ in range(4):
        start = clock()
        torch.mm(matrix, matrix)
        times.append(clock() - start)
    return min(times[1:])


def _capabilities() -> Mapping[str, Any]:
    """What torch knows of the CPU; nothing where this version of torch has no such question."""
    ask = getattr(torch.cpu, "get_capabilities", None)
    return ask() if ask is not None else {}
