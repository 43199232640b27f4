"""Words of a text, in every script that separates them.

Input: a text. Output: it in lower case with single spaces, or its words.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WORD = re.compile(r"\w\w+")
_ASCII_SPACED = bytes(code if chr(code).isalnum() or chr(code) == "_" else ord(" ") for code in range(128)) + bytes(128)
_PLANE = 0x10000


def normalised(text: str) -> str:
    """Convert to lower case and replace each run of white space with one space."""
    return " ".join(text.lower().split())


def words_of(text: str) -> list[str]:
    """Return runs of at least two letters, digits or underscores, in order.

    All other characters are replaced with spaces by a table and the text is split, which takes half as long as a
    regular expression.
    """
    if text.isascii():
        spaced = text.encode("ascii").translate(_ASCII_SPACED).decode("ascii")
    else:
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        if points.max() >= _PLANE:
            return _WORD.findall(text)
        spaced = _spaced_plane()[points].tobytes().decode("utf-16-le")
    return [word for word in spaced.split() if len(word) > 1]


@cache
def _spaced_plane() -> NDArray[np.uint16]:
    """Return a table of the basic multilingual plane, with a space for each character that is not part of a word."""
    kept = (code if chr(code).isalnum() else 0x20 for code in range(_PLANE))
    table = np.fromiter(kept, dtype="<u2", count=_PLANE)
    table[ord("_")] = ord("_")
    return table
