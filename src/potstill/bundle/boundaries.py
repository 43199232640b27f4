"""Finds scores at which a filter's verdicts change: at, just below and just above the limits of gates, caps and tiers.

Input: a filter. Output: rows of scores, and marks of the caps whose words are in the text. The same filter gives the
same rows everywhere. A bundle's verdicts are compared on these rows, which needs neither a student nor a text.

Points are taken from the values that conditions compare with, and lines are drawn through them: along each dimension
that a condition reads, and from the lowest scores through the point to the highest, along which the weighted mean
increases. Wherever the verdict changes on a line, the rows on both sides are kept, after moving them together until
they are nearly equal.
"""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from potstill.verdict import OVERALL, condition, judge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from potstill.filters import Filter
    from potstill.types import BoolArray, FloatArray, IntArray
    from potstill.verdict import Cap, Gate, Judged, Tier

GENERATOR = 1
"""Version of the generator; increased whenever the rows of a filter change."""

NEAR = 2.0**-20
"""Distance of two rows on both sides of a change, as a share of the scale: far larger than rounding errors."""

_POINTS = 2048
_MOST_NUMBERS = 8_000_000
_STEPS = 12
_EACH = 2
"""Number of changes of one kind that are kept: in one dimension, between the same two outcomes."""

_MOST_CHANGES = 2_000
"""Maximum number of changes that are kept; beyond it, changes are dropped evenly."""

_HALVINGS = 40

Rows: TypeAlias = "tuple[FloatArray, BoolArray]"


def boundary_rows(filter_: Filter) -> Rows:
    """Return distinct rows: scores, shape (rows, dimensions), and cap marks, shape (rows, caps)."""
    scale, caps = filter_.scale, len(filter_.caps)
    low, high, hits = _changes(filter_)
    scores = np.concatenate([_corners(filter_), low, high])
    marks = np.concatenate([np.zeros((len(scores) - 2 * len(hits), caps), dtype=np.bool_), hits, hits])
    capped = [_strongest(filter_, low, high, hits), *_capped(filter_)]
    scores = np.concatenate([scores, *(rows for rows, _ in capped)])
    marks = np.concatenate([marks, *(own for _, own in capped)])
    # Rounding may have moved an end of the scale by its last digit.
    scores = np.clip(scores, scale.min, scale.max)
    kept = np.unique(np.concatenate([scores, marks], axis=1), axis=0, return_index=True)[1]
    return scores[np.sort(kept)], marks[np.sort(kept)]


def _corners(filter_: Filter) -> FloatArray:
    """Return rows with all scores equal, at each limit of the mean, and rows with one dimension different."""
    low, high = filter_.scale.min, filter_.scale.max
    count = len(filter_.dimension_names)
    alike = np.repeat(np.array(_places(filter_)[OVERALL])[:, None], count, axis=1)
    lone = np.where(np.eye(count, dtype=np.bool_), high, low)
    return np.concatenate([alike, lone, low + high - lone])


def _capped(filter_: Filter) -> Iterator[Rows]:
    """Yield the highest scores under each cap, under each two adjacent caps, and under all caps."""
    caps = len(filter_.caps)
    if not caps:
        return
    which = [np.eye(caps, dtype=np.bool_)]
    which.append(which[0] | np.roll(which[0], 1, axis=1))
    which.append(np.ones((1, caps), dtype=np.bool_))
    marks = np.concatenate(which)
    yield np.full((len(marks), len(filter_.dimension_names)), filter_.scale.max), marks


def _strongest(filter_: Filter, low: FloatArray, high: FloatArray, hits: BoolArray) -> Rows:
    """Return for each gate and cap, of the rows that only it limits, the one with the highest scores."""
    scores, marks = np.concatenate([low, high]), np.concatenate([hits, hits])
    if not len(scores):
        return scores, marks
    judged = judge(scores, filter_, marks)
    mean = scores @ filter_.weights
    rows = []
    for fired, other in ((judged.gates, judged.caps), (judged.caps, judged.gates)):
        alone = (other == 0) & (fired != 0)
        for code in np.unique(fired[alone]):
            own = np.flatnonzero(alone & (fired == code))
            best = own[np.argmax(mean[own])]
            rows.append(best)
    if not rows:
        return scores[:0], marks[:0]
    return _lifted(scores[rows], marks[rows], filter_), marks[rows]


def _lifted(scores: FloatArray, marks: BoolArray, filter_: Filter) -> FloatArray:
    """Raise each score to the top of the scale if the same limits still apply."""
    wanted = _outcome(judge(scores, filter_, marks))[:, 1:]
    for column in range(scores.shape[1]):
        other = scores.copy()
        other[:, column] = filter_.scale.max
        same = (_outcome(judge(other, filter_, marks))[:, 1:] == wanted).all(axis=1)
        scores = np.where(same[:, None], other, scores)
    return scores


def _changes(filter_: Filter) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Return rows on both sides of the changes, in pairs, and the marks of each pair."""
    found: list[tuple[FloatArray, FloatArray, BoolArray]] = []
    for rows, marks in _lines(filter_):
        points, places, count = rows.shape
        judged = judge(rows.reshape(-1, count), filter_, np.repeat(marks, places, axis=0))
        outcomes = _outcome(judged).reshape(points, places, 3)
        point, place = _first_of_each(outcomes)
        found.append((rows[point, place], rows[point, place + 1], marks[point]))
    low, high, hits = (_thinned(np.concatenate(part)) for part in zip(*found, strict=True))
    return *_moved_together(low, high, hits, filter_), hits


def _thinned(rows: NDArray[Any]) -> NDArray[Any]:
    count = len(rows)
    return rows if count <= _MOST_CHANGES else rows[np.arange(_MOST_CHANGES) * count // _MOST_CHANGES]


def _first_of_each(outcomes: NDArray[np.int64]) -> tuple[IntArray, IntArray]:
    """Return where outcomes, shape (points, places, 3), change between neighbours: the first few of each kind."""
    point, place = np.nonzero((outcomes[:, 1:] != outcomes[:, :-1]).any(axis=2))
    kinds = np.column_stack([place, outcomes[point, place], outcomes[point, place + 1]])
    kind = np.unique(kinds, axis=0, return_inverse=True)[1].ravel()
    order = np.argsort(kind, kind="stable")
    starts = np.searchsorted(kind[order], kind[order])
    kept = np.sort(order[np.arange(order.size) - starts < _EACH])
    return point[kept], place[kept]


def _moved_together(
    low: FloatArray, high: FloatArray, hits: BoolArray, filter_: Filter
) -> tuple[FloatArray, FloatArray]:
    """Bisect between each two rows until they are `NEAR` to each other; their verdicts remain different."""
    near = NEAR * (filter_.scale.max - filter_.scale.min)
    first = _outcome(judge(low, filter_, hits))
    for _ in range(_HALVINGS):
        far = np.abs(high - low).max(axis=1) > near
        if not far.any():
            break
        middle = (low[far] + high[far]) / 2
        same = (_outcome(judge(middle, filter_, hits[far])) == first[far]).all(axis=1)[:, None]
        low[far], high[far] = np.where(same, middle, low[far]), np.where(same, high[far], middle)
    return low, high


def _outcome(judged: Judged) -> NDArray[np.int64]:
    """Return a verdict without its score, shape (rows, 3): tier, gates, caps."""
    return np.column_stack([judged.tiers, judged.gates.astype(np.int64), judged.caps.astype(np.int64)])


def _lines(filter_: Filter) -> Iterator[Rows]:
    """Yield lines through points, shape (points, places, dimensions), and each point's marks."""
    names, places = filter_.dimension_names, _places(filter_)
    read = {name for text in _conditions(filter_) for name in condition(text, filter_).names}
    count = max(16, min(_POINTS, _MOST_NUMBERS // (len(names) * (sum(map(len, places.values())) + 2 * _STEPS))))
    points, marks = _points(filter_, places, count)
    for column, name in enumerate(names):
        if name in read:
            rows = np.repeat(points[:, None, :], len(places[name]), axis=1)
            rows[:, :, column] = places[name]
            yield rows, marks
    shares = np.linspace(0, 1, _STEPS + 1)[:, None]
    rise = filter_.scale.min + shares * (points[:, None, :] - filter_.scale.min)
    rest = points[:, None, :] + shares * (filter_.scale.max - points[:, None, :])
    yield np.concatenate([rise, rest], axis=1), marks
    alike = np.array(places[OVERALL])[None, :, None] * np.ones(len(names))
    every = np.eye(len(filter_.caps), dtype=np.bool_)
    for mark in (np.zeros((1, len(every)), dtype=np.bool_), every):
        yield np.repeat(alike, len(mark), axis=0), mark


def _points(filter_: Filter, places: dict[str, list[float]], count: int) -> Rows:
    """Return points with scores taken from their dimension's `places`; half have no marks, the others one cap's."""
    # The standard library's `random` returns the same numbers in every version.
    random = Random(0).random  # noqa: S311 - nothing is secret here
    names, caps = filter_.dimension_names, len(filter_.caps)
    points = np.array(
        [[places[name][int(random() * len(places[name]))] for name in names] for _ in range(count)], dtype=np.float64
    )
    marks = np.zeros((count, caps), dtype=np.bool_)
    if caps:
        marked = range(count // 2, count)
        marks[list(marked), [row % caps for row in marked]] = True
    return points, marks


def _places(filter_: Filter) -> dict[str, list[float]]:
    """Return for each dimension and the mean: the ends of the scale, the limits of conditions, and midpoints."""
    low, high = filter_.scale.min, filter_.scale.max
    found: dict[str, set[float]] = {name: {low, high} for name in (*filter_.dimension_names, OVERALL)}
    for text in _conditions(filter_):
        for name, numbers in condition(text, filter_).compared.items():
            found[name] |= {number for number in numbers if low < number < high}
    limits: list[Gate | Cap] = [*filter_.gates, *filter_.caps]
    found[OVERALL] |= {limit.cap for limit in limits if low < limit.cap < high}
    return {name: _with_middles(sorted(numbers)) for name, numbers in found.items()}


def _with_middles(numbers: list[float]) -> list[float]:
    return sorted({*numbers, *((one + other) / 2 for one, other in pairwise(numbers))})


def _conditions(filter_: Filter) -> list[str]:
    parts: list[Gate | Cap | Tier] = [*filter_.gates, *filter_.caps, *filter_.tiers]
    return sorted({part.when for part in parts if part.when is not None})
