"""The weights of an ONNX graph, looked over without the library that makes graphs.

In: the file of a graph. Out: the name of a weight that is not a finite number, if there is one. A single one in the
row of a rare word shows in no golden text, and an article with that word would have no score. Only as much of the
format is read as leads to the tensors: numbered fields, each with its length.
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

# Numbers of fields, by the messages of onnx.proto.
_GRAPH_OF_MODEL = 7
_TENSORS_OF_GRAPH = 5
_TYPE, _FLOATS, _NAME, _RAW = 2, 4, 8, 9

_FORMATS = {1: "<f4", 10: "<f2", 11: "<f8"}
"""Formats of raw numbers, by the number of a tensor's type."""

_AT_ONCE = 2**22

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5


def check_weights(path: Path) -> None:
    """See that all weights of a graph are finite numbers.

    Raises:
        BundleError: one is not, or the file is broken; the message names the file and the tensor.
    """
    with foreign(path, BundleError):
        # Mapped, because a graph may be larger than what is to be held in memory.
        for name, values in _tensors(np.memmap(path, dtype=np.uint8, mode="r").data):
            if not _usable(values):
                raise BundleError(f"{path}: {name} holds a number that is not finite")


def _tensors(model: memoryview) -> Iterator[tuple[str, NDArray[np.floating]]]:
    """A graph's weights by name; those that are no fractions are left out."""
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
        # Floats that are not raw have four bytes each as well.
        yield bytes(name).decode("utf-8", "replace"), np.frombuffer(raw, dtype=_FORMATS[kind])


def _usable(values: NDArray[np.floating]) -> bool:
    """Whether a tensor is finite; minus infinity beside nothing but zeros is a mask, and may stay."""
    for start in range(0, values.size, _AT_ONCE):
        some = values[start : start + _AT_ONCE]
        finite = np.isfinite(some)
        if not finite.all() and (np.isnan(some).any() or (some == np.inf).any() or some[finite].any()):
            return False
    return True


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The numbered fields of a message, in order: whole numbers, or bytes."""
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
            raise ValueError(f"a field of unknown kind {kind}")
        if at + size > len(message):
            raise ValueError("cut short")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A whole number of variable length, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number that is too long")
