"""Find slices on which a student is worse than elsewhere, with a correction for multiple testing.

Input: errors of each row and attributes of the rows. Output: one record per slice, the worst first. Among twenty slices
one will look bad at the 5% level by chance, so p-values are adjusted to control the false discovery rate (Benjamini &
Hochberg 1995). A row's errors are summed by cluster first, because copies of an article are not independent evidence.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from potstill import metrics
from potstill.evaluation.records import Slice
from potstill.findings import FEWEST_CLUSTERS_IN_SLICE
from potstill.metrics import number
from potstill.records import Interval
from potstill.times import year_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from potstill.evaluation.judging import Predicted
    from potstill.types import BoolArray, FloatArray, IntArray

LENGTHS = 3
"""Number of equally large groups by text length."""

_Z = 1.959964


def slices_of(predicted: Predicted, facts: pl.DataFrame) -> tuple[Slice, ...]:
    """Compute every slice that the attributes define, the largest MAE first.

    A slice needs at least `FEWEST_CLUSTERS_IN_SLICE` clusters inside and outside.

    Args:
        predicted: scores, labels and the constant of some rows.
        facts: one row each, in the same order, with any of source, language, published, text and cut.
    """
    dimensions = predicted.labels.shape[1]
    gap = predicted.scores - predicted.labels
    errors = _row_mean(np.abs(gap))
    constants = _row_mean(np.abs(predicted.constant[:, :dimensions] - predicted.labels))
    leans = _row_mean(gap)
    known = np.isfinite(errors)
    found = [
        _slice(by, value, inside[known], errors[known], constants[known], leans[known], predicted.clusters[known])
        for by, value, inside in groups(facts)
        if _enough(inside & known, predicted.clusters) and _enough(~inside & known, predicted.clusters)
    ]
    adjusted = benjamini_hochberg([one.p for one in found if one.p is not None])
    corrected = iter(adjusted)
    done = [one if one.p is None else one.model_copy(update={"p_adjusted": number(next(corrected))}) for one in found]
    return tuple(sorted(done, key=lambda one: (-(one.mae or 0.0), one.by, one.value)))


def groups(facts: pl.DataFrame) -> Iterator[tuple[str, str, BoolArray]]:
    """Yield the groups of rows: the attribute, its value, and a mask of the rows with it."""
    for name in ("source", "language"):
        if name in facts.columns:
            yield from _values(name, facts[name].cast(pl.String))
    if "text" in facts.columns:
        length = facts["text"].fill_null("").str.len_chars().to_numpy()
        edges = np.quantile(length, np.linspace(0, 1, LENGTHS + 1)).round().astype(int).tolist() if len(length) else []
        for low, high in pairwise(edges):
            last = high == edges[-1]
            inside = (length >= low) & ((length <= high) if last else (length < high))
            yield "length", f"{low:,} to {high if last else high - 1:,} characters", inside
    if "cut" in facts.columns:
        cut = facts["cut"].cast(pl.Boolean).fill_null(value=False).to_numpy()
        yield "truncation", "cut", cut
        yield "truncation", "whole", ~cut
    if "published" in facts.columns:
        years = [None if text is None else year_of(text) for text in facts["published"].cast(pl.String)]
        named = [None if year is None else f"{year:04d}" for year in years]
        yield from _values("published", pl.Series(named, dtype=pl.String))


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Return adjusted p-values in the given order; rejecting those up to q keeps the false discovery rate at q."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values)
    scaled = values[order] * len(values) / np.arange(1, len(values) + 1)
    smallest = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1.0)
    adjusted = np.empty_like(values)
    adjusted[order] = smallest
    return [float(value) for value in adjusted]


def _values(name: str, column: pl.Series) -> Iterator[tuple[str, str, BoolArray]]:
    for value in sorted(column.drop_nulls().unique().to_list()):
        yield name, value, (column == value).fill_null(value=False).to_numpy()


def _slice(
    by: str,
    value: str,
    inside: BoolArray,
    errors: FloatArray,
    constants: FloatArray,
    leans: FloatArray,
    clusters: IntArray,
) -> Slice:
    mae, constant = float(errors[inside].mean()), float(constants[inside].mean())
    difference = mae - float(errors[~inside].mean())
    spread = _deviation(errors, inside, clusters)
    p = math.erfc(abs(difference) / spread / math.sqrt(2)) if spread > 0 else None
    return Slice(
        by=by,
        value=value,
        rows=int(inside.sum()),
        clusters=len(np.unique(clusters[inside])),
        mae=number(mae),
        constant_mae=number(constant),
        skill=number(float(metrics.skill(mae, constant))),
        bias=number(float(leans[inside].mean())),
        difference=number(difference),
        difference_interval=Interval(low=round(difference - _Z * spread, 6), high=round(difference + _Z * spread, 6)),
        p=None if p is None else number(p),
        p_adjusted=None,
    )


def _deviation(errors: FloatArray, inside: BoolArray, clusters: IntArray) -> float:
    """Return the standard error of the difference of two means, from each cluster's influence on it."""
    influence = np.where(
        inside, (errors - errors[inside].mean()) / inside.sum(), -(errors - errors[~inside].mean()) / (~inside).sum()
    )
    per_cluster = np.bincount(np.unique(clusters, return_inverse=True)[1], weights=influence)
    count = len(per_cluster)
    return math.sqrt(float((per_cluster**2).sum()) * count / max(1, count - 1))


def _enough(rows: BoolArray, clusters: IntArray) -> bool:
    return len(np.unique(clusters[rows])) >= FEWEST_CLUSTERS_IN_SLICE


def _row_mean(values: FloatArray) -> FloatArray:
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=1)
    mean: FloatArray = np.divide(total, known.sum(axis=1), out=np.full(len(values), np.nan), where=known.any(axis=1))
    return mean
