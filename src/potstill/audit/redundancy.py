"""Detect redundant dimensions: correlations, principal components, and the effective number of dimensions.

Input: labels, and the oracle's repeat error if known. Output: `Redundancy`, with a warning by a stated rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from potstill import metrics
from potstill.audit.records import LEVEL, Component, Correlated, Redundancy, interval
from potstill.findings import FEW_DISTINCT, FEWEST_ROWS_FOR_REDUNDANCY, NEARLY_IDENTICAL
from potstill.metrics import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from potstill.audit.records import Repeats
    from potstill.types import FloatArray, IntArray

RULE = (
    f"A warning is given where two dimensions correlate at {NEARLY_IDENTICAL} or more (either way), or where the "
    f"effective number of dimensions is below {FEW_DISTINCT:.0%} of those named."
)


def redundancy_of(
    scores: FloatArray,
    dimensions: Sequence[str],
    clusters: IntArray,
    repeats: Repeats | None = None,
    *,
    seed: int = 0,
    resamples: int = metrics.RESAMPLES,
) -> Redundancy | None:
    """Estimate how many distinct quantities the dimensions measure.

    Args:
        scores: labels, shape (rows, dimensions); rows with a masked label are left out.
        dimensions: names of the dimensions.
        clusters: near-duplicate cluster of each row, shape (rows,).
        repeats: the oracle's repeat error, with which correlations are corrected for noise (Spearman 1904).
        seed: random seed for the bootstrap.
        resamples: number of bootstrap resamples.

    Returns:
        The redundancy, or None with too few complete rows or dimensions that vary.
    """
    complete = np.isfinite(scores).all(axis=1)
    known, clusters = scores[complete], clusters[complete]
    varying = np.flatnonzero(np.ptp(known, axis=0) > 0) if len(known) else np.empty(0, dtype=np.int64)
    if len(known) < FEWEST_ROWS_FOR_REDUNDANCY or varying.size < 2:
        return None
    names = [dimensions[i] for i in varying.tolist()]
    matrix = _correlations(known[:, varying])
    values, vectors = np.linalg.eigh(matrix)
    order = np.argsort(values)[::-1]
    effective = number(participation(matrix))
    low, high = metrics.bootstrap(
        clusters,
        lambda index: participation(_correlations(known[index][:, varying])),
        n=resamples,
        seed=seed,
        level=LEVEL,
    )
    strong = [
        Correlated(first=names[i], second=names[j], r=r)
        for i, j in zip(*np.triu_indices(len(names), k=1), strict=True)
        if abs(r := round(float(matrix[i, j]), 6)) >= NEARLY_IDENTICAL
    ]
    return Redundancy(
        dimensions=tuple(names),
        constant=tuple(name for i, name in enumerate(dimensions) if i not in varying),
        rows=len(known),
        correlations=tuple(tuple(round(float(r), 6) for r in row) for row in matrix),
        components=tuple(
            Component(
                share=round(float(max(values[i], 0.0) / len(names)), 6),
                # The sign of a component is arbitrary; it is chosen so that the sum of the loadings is not negative.
                loadings={name: round(float(v), 6) for name, v in zip(names, _upwards(vectors[:, i]), strict=True)},
            )
            for i in order.tolist()
        ),
        effective=effective,
        effective_interval=interval(float(low), float(high)),
        without_noise=_without_noise(matrix, names, repeats),
        high=tuple(sorted(strong, key=lambda pair: -abs(pair.r))),
        rule=RULE,
        warning=bool(strong) or (effective or 0.0) < FEW_DISTINCT * len(names),
    )


def in_words(found: Redundancy) -> str:
    """Describe the number of distinct quantities in a sentence, with advice if there is a warning."""
    text = f"{len(found.dimensions)} dimensions measure about {found.effective or 0.0:.1f} different things."
    if not found.warning:
        return text
    pairs = ", ".join(f"{pair.first} and {pair.second} (r = {pair.r:.2f})" for pair in found.high[:3])
    twins = f" Nearly one: {pairs}." if pairs else ""
    return f"{text}{twins} Merge or sharpen dimensions before more labels are bought."


def participation(correlations: FloatArray) -> float:
    """Return the participation ratio of a correlation matrix's eigenvalues: d^2 over the sum of squared correlations.

    It is 1 if all d dimensions are identical and d if all are independent; NaN if one does not vary.
    """
    return float(len(correlations) ** 2 / np.sum(correlations**2))


def _correlations(scores: FloatArray) -> FloatArray:
    """Return Pearson correlations, shape (dimensions, dimensions); NaN where a column does not vary."""
    centred = scores - scores.mean(axis=0)
    length = np.sqrt((centred**2).sum(axis=0))
    unit = np.divide(centred, length, out=np.full(centred.shape, np.nan), where=length > 0)
    matrix: FloatArray = unit.T @ unit
    return matrix


def _without_noise(matrix: FloatArray, names: Sequence[str], repeats: Repeats | None) -> float | None:
    if repeats is None:
        return None
    by_name = {each.dimension: each.signal for each in repeats.dimensions}
    signal = [by_name[name] for name in names]
    if any(share is None or share <= 0 for share in signal):
        return None
    root = np.sqrt(np.array(signal, dtype=np.float64))
    corrected = np.clip(matrix / np.outer(root, root), -1.0, 1.0)
    np.fill_diagonal(corrected, 1.0)
    return number(participation(corrected))


def _upwards(vector: FloatArray) -> FloatArray:
    return vector if vector.sum() >= 0 else -vector
