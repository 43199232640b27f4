"""Says which part of the scale the training labels reach, and warns where an end of it has almost none.

Input: labels. Output: the reach of each dimension, and a warning for each end of the scale. A student does not predict
what it has hardly ever seen: without labels at an end of the scale, every article there is scored too close to the
middle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from potstill.findings import EMPTY_END, FEWEST_LABELS_AT_END
from potstill.records import Part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from potstill.types import FloatArray


class Reach(Part):
    """The part of the scale that the labels of a dimension reach.

    Fewer than `FEWEST_LABELS_AT_END` of its `rows` labels are below `low`, and fewer are above `high`. `lowest` and
    `highest` are the most extreme labels.
    """

    rows: int
    low: float
    high: float
    lowest: float
    highest: float


class LabelReach(Part):
    """The reach of each dimension's labels, and a sentence for each end of the scale that some do not reach."""

    dimensions: dict[str, Reach]
    unreached: tuple[str, ...]

    @classmethod
    def of(cls, scores: FloatArray, names: Sequence[str], low: float, high: float) -> LabelReach:
        """Describe labels of shape (rows, dimensions) on a scale from `low` to `high`; NaN is masked."""
        found = reach_of(scores, names)
        return cls(dimensions=found, unreached=unreached(found, low, high))


def reach_of(scores: FloatArray, names: Sequence[str]) -> dict[str, Reach]:
    """Return the reach of each dimension's labels, of shape (rows, dimensions); dimensions without any are left out."""
    found = {}
    for column, name in enumerate(names):
        known = np.sort(scores[np.isfinite(scores[:, column]), column])
        if known.size:
            # With fewer labels, no part of the scale is reached.
            enough, place = known.size >= FEWEST_LABELS_AT_END, FEWEST_LABELS_AT_END - 1
            found[name] = Reach(
                rows=int(known.size),
                low=float(known[place]) if enough else float(known[-1]),
                high=float(known[-1 - place]) if enough else float(known[0]),
                lowest=float(known[0]),
                highest=float(known[-1]),
            )
    return found


def unreached(reach: Mapping[str, Reach], low: float, high: float) -> tuple[str, ...]:
    """Return a warning for each end of the scale from `low` to `high` that some dimensions' labels do not reach.

    Dimensions whose labels are all equal are left out: nothing at all can be learned of them.
    """
    least = EMPTY_END * (high - low) - 1e-9
    count = len(reach)
    reach = {name: one for name, one in reach.items() if one.lowest < one.highest}
    above = {name: one for name, one in reach.items() if high - one.high >= least}
    below = {name: one for name, one in reach.items() if one.low - low >= least}
    found = []
    if above:
        level = max(one.high for one in above.values())
        none = all(one.highest <= level for one in above.values())
        ends = {name: one.high for name, one in above.items()}
        found.append(_said(_count(none=none), "above", level, ends, count, "high"))
    if below:
        level = min(one.low for one in below.values())
        none = all(one.lowest >= level for one in below.values())
        ends = {name: one.low for name, one in below.items()}
        found.append(_said(_count(none=none), "below", level, ends, count, "low"))
    return tuple(found)


def _said(count: str, side: str, level: float, ends: Mapping[str, float], dimensions: int, scores: str) -> str:
    same = len(set(ends.values())) == 1
    names = ", ".join(name if same else f"{name} {side} {end:.3g}" for name, end in ends.items())
    where = f"in {len(ends)} of {dimensions} dimensions ({names})"
    return f"{count} {side} {level:.3g} {where}: {scores} scores cannot be learned"


def _count(*, none: bool) -> str:
    return "no label" if none else f"fewer than {FEWEST_LABELS_AT_END} labels"
