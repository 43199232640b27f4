"""Measure what a faster way to run a network changes in scores, errors and tiers.

Input: the predictions of the portable backend and of another one on the same articles. Output: a `Change`, and whether
the other backend may be used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from potstill.backends.plan import Change
from potstill.bundle.deciding import decide_raw
from potstill.metrics import average, exact_interval, mae
from potstill.prefilter import fold_all
from potstill.students import outputs_of

if TYPE_CHECKING:
    import polars as pl

    from potstill.bundle import Bundle
    from potstill.students import Student
    from potstill.types import FloatArray

LARGEST_MAE = 0.001
"""Largest admissible change of the MAE as a share of the scale; on a scale of 0 to 10 it is 0.01."""

LARGEST_CHANGED = 0.02
"""Default of the largest admissible share of articles that change tier."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """A student's predictions: raw and calibrated scores of shape (articles, dimensions), and tiers."""

    raw: FloatArray
    scores: FloatArray
    tiers: list[str]


def answers(bundle: Bundle, student: Student, frame: pl.DataFrame) -> Answers:
    """Score windows with a student, using the bundle's filter and calibration."""
    given = outputs_of(student, frame)
    decided = decide_raw(given, fold_all(frame["text"]), bundle.filter, bundle.calibration)
    return Answers(given.raw, decided.scores, decided.verdict["tier"].to_list())


def change_of(portable: Answers, other: Answers, labels: FloatArray) -> Change:
    """Measure what `other` changes; `labels` has the shape of the scores, NaN where there is no label.

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
        # Each end of a two-sided 90% interval is a one-sided 95% bound.
        changed_bound=exact_interval(changed, rows, 0.9)[1],
    )


def objection(change: Change, span: float, largest_changed: float) -> str | None:
    """Return why a variant may not be used, or None if it may.

    Without labels, the mean absolute difference of the scores is used instead of the change of the error, which cannot
    be larger.

    Args:
        change: what the variant changes.
        span: length of the filter's scale.
        largest_changed: largest admissible share of articles that change tier.
    """
    allowed = LARGEST_MAE * span
    moved = change.mean if change.mae is None else change.mae
    if abs(moved) > allowed:
        what = "the mean score changes" if change.mae is None else "the mean absolute error changes"
        return f"{what} by {abs(moved):.4f}, allowed are at most {allowed:g}"
    if change.changed_bound > largest_changed:
        return (
            f"{change.changed} of {change.articles:,} articles change tier, so up to {change.changed_bound:.1%} may "
            f"change in general (95% confidence), allowed are at most {largest_changed:.1%}; more "
            "articles make the bound tighter"
        )
    return None
