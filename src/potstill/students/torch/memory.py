"""Compares the memory that a network will need with the free memory, before anything is loaded.

Input: numbers of parameters. Output: bytes, or an error that names what would fit. The additional memory of a batch
depends on its texts and is not estimated, so what is refused cannot work, but what is accepted may still fail.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from potstill.errors import NotEnoughMemory, require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_LIMIT = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current"))
"""Memory limit and current usage of a container; only on Linux, and only if a limit is set."""

ADAM = 12
"""Bytes that AdamW needs per trainable parameter, in addition to the parameter: a gradient and two float32 moments."""


def free_memory(device: str = "cpu") -> int:
    """Return the bytes that this process can still allocate on a device."""
    if device.startswith("cuda"):
        free, _ = torch.cuda.mem_get_info(torch.device(device))
        return int(free)
    free = int(require("psutil", "train").virtual_memory().available)
    return min([free, *_within_limit(_LIMIT)])


def check_room(name: str, needed: int, device: str = "cpu", *, smaller: Callable[[], dict[str, int]]) -> None:
    """Refuse what does not fit into memory.

    Args:
        name: what is to be loaded or trained, for the message.
        needed: memory that it needs, in bytes.
        device: device on which it is loaded.
        smaller: returns the memory of alternatives in bytes, by name; the largest that fits is named. It is called only
            if needed.

    Raises:
        NotEnoughMemory: less memory is free.
    """
    free = free_memory(device)
    if needed <= free:
        return
    fitting = {other: bytes_ for other, bytes_ in smaller().items() if bytes_ <= free}
    largest = max(fitting, key=lambda other: fitting[other], default=None)
    advice = "" if largest is None else f"; {largest} would fit, with {gigabytes(fitting[largest])}"
    where = "memory" if device == "cpu" else f"memory of {device}"
    raise NotEnoughMemory(f"{name}: needs at least {gigabytes(needed)} of {where}, {gigabytes(free)} are free{advice}")


def gigabytes(count: int) -> str:
    """Format a number of bytes for display."""
    return f"{count / 1e9:.1f} GB" if count >= 50_000_000 else f"{count / 1e6:.1f} MB"


def _within_limit(files: Iterable[Path]) -> list[int]:
    """Return the memory left within a container's limit; empty if there is none."""
    try:
        most, used = (path.read_text(encoding="ascii").strip() for path in files)
        return [max(0, int(most) - int(used))]
    except (OSError, ValueError):
        # There are no such files, or the limit is the word `max`.
        return []
