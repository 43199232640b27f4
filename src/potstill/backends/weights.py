"""Checks the weights of an ONNX graph without the onnx library.

Input: the file of a graph. Output: an error that names a weight that is NaN or infinite, if there is one. A single such
weight in the row of a rare word affects no golden text, but an article with that word would get no score. Only the part
of the format that leads to the tensors is parsed: numbered fields, each with its length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from potstill.errors import BundleError
from potstill.files import foreign

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

# Field numbers, by the messages of onnx.proto.
_GRAPH_OF_MODEL = 7
_TENSORS_OF_GRAPH = 5
_TYPE, _FLOATS, _NAME, _RAW = 2, 4, 8, 9

_FORMATS = {1: "<f4", 10: "<f2", 11: "<f8"}
"""Formats of raw numbers, by the number of a tensor's type."""

_AT_ONCE = 2**22

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5


def check_weights(path: Path) -> None:
    """Check that all weights of a graph are finite.

    Raises:
        BundleError: one is not, or the file is broken; the message names the file and the tensor.
    """
    with foreign(path, BundleError):
        # Memory-mapped, because a graph may be larger than the available memory.
        for name, values in _tensors(np.memmap(path, dtype=np.uint8, mode="r").data):
            if not _usable(values):
                raise BundleError(f"{path}: {name} contains NaN or an infinite number")


def _tensors(model: memoryview) -> Iterator[tuple[str, NDArray[np.floating]]]:
    """Yield a graph's floating-point weights by name."""
    for number, graph in _fields(model):
        if number != _GRAPH_OF_MODEL or isinstance(graph, int):
            continue
        for inner, tensor in _fields(graph):
            if inner == _TENSORS_OF_GRAPH and not isinstance(tensor, int):
                yield from _tensor(tensor)


def _tensor(message: memoryview) -> Iterator[tuple[str, NDArray[np.floating]]]:
    fields = dict(_fields(message))
    kind, name, raw = fields.get(_TYPE), fields.get(_NAME, b""), fields.get(_RAW, fields.get(_FLOATS))
    if isinstance(kind, int) and kind in _FORMATS and isinstance(raw, memoryview) and not isinstance(name, int):
        # Floats that are not stored as raw data also have four bytes each.
        yield bytes(name).decode("utf-8", "replace"), np.frombuffer(raw, dtype=_FORMATS[kind])


def _usable(values: NDArray[np.floating]) -> bool:
    """Return whether a tensor is finite; a tensor of zeros and minus infinity is a mask and is allowed."""
    for start in range(0, values.size, _AT_ONCE):
        some = values[start : start + _AT_ONCE]
        finite = np.isfinite(some)
        if not finite.all() and (np.isnan(some).any() or (some == np.inf).any() or some[finite].any()):
            return False
    return True


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the numbered fields of a message, in order: integers, or bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in {_EIGHT_BYTES, _FOUR_BYTES}:
            size = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"a field of unknown type {kind}")
        if at + size > len(message):
            raise ValueError("the file is truncated")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Read an integer of variable length; return it and the position after it."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("an integer that is too long")
