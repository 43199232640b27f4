"""The rows that a refitted student has learned from, so that it is never judged on them.

Input: labelled rows. Output: a compact record of their ids and texts, which tells for other rows whether they are among
them. It holds hashes of 8 bytes and no text.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Self

import numpy as np

from potstill.errors import BadInput, BundleError
from potstill.files import digest
from potstill.records import Part

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from potstill.dataset import Examples
    from potstill.types import BoolArray

_BYTES = 8


class SeenRows(Part):
    """Rows that a student was fitted on. `ids` and `texts` are sorted hashes of 8 bytes each, in base64."""

    rows: int
    sha256: str
    """Of the ids and the text windows, in the order of the dataset."""
    ids: str
    texts: str

    @classmethod
    def of(cls, rows: Examples) -> Self:
        """Record rows, with their text windows."""
        whole = digest([list(rows.ids), rows.texts])
        return cls(rows=len(rows), sha256=whole, ids=_packed(rows.ids), texts=_packed(rows.texts))

    def among(self, ids: Sequence[str], texts: Sequence[str | None] | None = None) -> BoolArray:
        """Return which rows are among those that were learned from, shape (rows,).

        Rows are recognized by their text windows. Where there are no texts, they are recognized by their ids.

        Raises:
            BundleError: the record is broken.
        """
        if texts is None:
            return np.isin(_hashes(ids), _unpacked(self.ids))
        return np.isin(_hashes([text or "" for text in texts]), _unpacked(self.texts))


def refuse_seen(
    seen: SeenRows | None, bundle: Path | str, what: str, ids: Sequence[str], texts: Sequence[str | None] | None = None
) -> None:
    """Refuse to judge a bundle on rows that its student has learned from.

    Args:
        seen: the bundle's record of these rows; None for a bundle that has none.
        bundle: the bundle, for the message.
        what: the rows, for the message, such as a file or a part of a dataset.
        ids: the ids of the rows to judge on.
        texts: their text windows, if they are known.

    Raises:
        BadInput: the student has learned from some of them.
    """
    if seen is None:
        return
    found = np.flatnonzero(seen.among(ids, texts))
    if found.size:
        raise BadInput(
            f"{bundle}: cannot be judged on {what}: its student was refitted on all {seen.rows:,} labelled rows, and "
            f"{found.size:,} of these {len(ids):,} rows are among them, such as {ids[found[0]]!r}; judge the student "
            "before the refit (of a run: RUN/bundle), or on new labels: potstill evaluate-fresh"
        )


def _packed(values: Sequence[str]) -> str:
    return base64.b64encode(np.sort(_hashes(values)).tobytes()).decode("ascii")


def _unpacked(text: str) -> NDArray[np.uint64]:
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), dtype="<u8")
    except (ValueError, binascii.Error):
        raise BundleError("refit: the record of the rows that were learned from is broken") from None


def _hashes(values: Sequence[str]) -> NDArray[np.uint64]:
    each = b"".join(hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()[:_BYTES] for value in values)
    return np.frombuffer(each, dtype="<u8")
