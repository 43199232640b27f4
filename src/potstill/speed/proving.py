"""What a faster way to run a network changes: scores, errors, tiers.

In: the answers of the portable backend and of another, on the same articles. Out: a `Change`, and whether it may be
admitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from potstill.backends.plan import Change
from potstill.bundle.deciding import decide_raw
from potstill.metrics import average, exact_interval, mae
from potstill.prefilter import fold_all

if TYPE_CHECKING:
    import polars as pl

    from potstill.bundle import Bundle
    from potstill.students import Student
    from potstill.types import FloatArray

LARGEST_MAE = 0.001
"""By how much the error may move, as a share of the scale: 0.01 on 0 to 10."""

LARGEST_CHANGED = 0.02
"""Share of articles that may change tier, unless a caller says otherwise."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a student says of articles: raw and calibrated scores, shape (articles, dimensions), and tiers."""

    raw: FloatArray
    scores: FloatArray
    tiers: list[str]


def answers(bundle: Bundle, student: Student, frame: pl.DataFrame) -> Answers:
    """Score windows with a student, by the bundle's filter and calibration."""
    raw = student.predict(frame)
    decided = decide_raw(raw, fold_all(frame["text"]), bundle.filter, bundle.calibration)
    return Answers(raw, decided.scores, decided.verdict["tier"].to_list())


def change_of(portable: Answers, other: Answers, labels: FloatArray) -> Change:
    """What `other` changes; `labels` has the scores' shape, NaN where there is none.

    Raises:
        ValueError: there are no articles.
    """
    distance = np.abs(other.scores - portable.scores)
    labelled = int(np.isfinite(labels).any(axis=1).sum())
    moved = None
    if labelled:
        moved = average(mae(other.scores, labels)) - average(mae(portable.scores, labels))
    changed = sum(a != b for a, b in zip(portable.tiers, other.tiers, strict=True))
    rows = len(portable.tiers)
    return Change(
        articles=rows,
        labelled=labelled,
        largest=float(distance.max()),
        mean=float(distance.mean()),
        largest_raw=float(np.abs(other.raw - portable.raw).max()),
        mae=moved,
        changed=changed,
        # Both ends of a 90% interval: each is a one-sided bound of 95%.
        changed_bound=exact_interval(changed, rows, 0.9)[1],
    )


def objection(change: Change, span: float, largest_changed: float) -> str | None:
    """Why a variant may not be used, or None.

    Without labels, the mean difference stands for the change of the error, which can't be larger.

    Args:
        change: what it changes.
        span: of the filter's scale.
        largest_changed: share of articles that may change tier.
    """
    allowed = LARGEST_MAE * span
    moved = change.mean if change.mae is None else change.mae
    if abs(moved) > allowed:
        what = "the mean score moves" if change.mae is None else "the mean absolute error moves"
        return f"{what} by {abs(moved):.4f}, allowed are {allowed:g}"
    if change.changed_bound > largest_changed:
        return (
            f"{change.changed} of {change.articles:,} articles change tier, so {change.changed_bound:.1%} may in "
            f"general (95% confidence), allowed are {largest_changed:.1%}; more articles make the bound tighter"
        )
    return None
