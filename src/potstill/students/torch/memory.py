"""Memory: what a network will need, held against what is free before anything is loaded.

In: numbers of parameters. Out: bytes, or a refusal that says what would fit. What a batch needs on top depends on its
texts and is not foreseen, so what is refused cannot work, and what is let through may still fail.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from potstill.errors import NotEnoughMemory, require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_LIMIT = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current"))
"""What a container may have, and has; Linux alone, and only where a limit is set."""

ADAM = 12
"""Bytes that AdamW needs for each parameter that trains, beside the parameter: a gradient and two moments in fp32."""


def free_memory(device: str = "cpu") -> int:
    """Bytes that this process may still take on a device."""
    if device.startswith("cuda"):
        free, _ = torch.cuda.mem_get_info(torch.device(device))
        return int(free)
    free = int(require("psutil", "train").virtual_memory().available)
    return min([free, *_within_limit(_LIMIT)])


def check_room(name: str, needed: int, device: str = "cpu", *, smaller: Callable[[], dict[str, int]]) -> None:
    """Refuse what does not fit.

    Args:
        name: what is to be loaded or trained, for the message.
        needed: its bytes.
        device: where.
        smaller: gives bytes of what could be taken instead, by name; the largest that fits is named. It is asked only
            where it must be.

    Raises:
        NotEnoughMemory: less is free.
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
    """Bytes for a person."""
    return f"{count / 1e9:.1f} GB" if count >= 50_000_000 else f"{count / 1e6:.1f} MB"


def _within_limit(files: Iterable[Path]) -> list[int]:
    """What a container's limit leaves; nothing where there is none."""
    try:
        most, used = (path.read_text(encoding="ascii").strip() for path in files)
        return [max(0, int(most) - int(used))]
    except (OSError, ValueError):
        # No such files, or the word `max`.
        return []
