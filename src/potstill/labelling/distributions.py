"""Combine the distributions of answers into distributions of labels.

Input: answers with a distribution, or a score alone. Output: a column `d_<dimension>` of distributions, mixed over the
samples of each label.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from potstill.oracle import Distribution

COLUMN_TYPE = pl.List(pl.Struct({"level": pl.Float64, "probability": pl.Float64}))
"""Type of a column of distributions: levels in ascending order, with the probability of each; null without one."""


def with_distributions(shares: Mapping[str, Sequence[Distribution | None]]) -> list[pl.Series]:
    """Return a column per dimension; none at all if no answer has a distribution."""
    if not any(one is not None for column in shares.values() for one in column):
        return []
    return [
        pl.Series(
            f"d_{name}",
            [
                None if one is None else [{"level": level, "probability": share} for level, share in one]
                for one in column
            ],
            dtype=COLUMN_TYPE,
        )
        for name, column in shares.items()
    ]


def with_mixtures(labels: pl.DataFrame, answers: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Add to labels the mixture of their samples' distributions, if any answer has one.

    A sample without a distribution counts as certain of its score; a label none of whose samples has one has no
    distribution either.

    Args:
        labels: a row per article and oracle.
        answers: a row per article, oracle and sample, sorted alike.
        names: the dimensions.
    """
    if f"d_{names[0]}" not in answers.columns:
        return labels
    grouped = answers.group_by("article", "oracle", maintain_order=True).agg(
        *(pl.col(f"{kind}_{name}") for kind in "yd" for name in names)
    )
    mixed = {
        name: [_mixture(scores, shares) for scores, shares in grouped.select(f"y_{name}", f"d_{name}").iter_rows()]
        for name in names
    }
    return labels.with_columns(with_distributions(mixed))


def _mixture(
    scores: Iterable[float | None], shares: Iterable[Sequence[Mapping[str, float]] | None]
) -> Distribution | None:
    """Return the mean of the distributions of a label's samples; None if none of them has one."""
    total: dict[float, float] = defaultdict(float)
    count, some = 0, False
    for score, share in zip(scores, shares, strict=True):
        if score is None:
            continue
        count += 1
        some = some or share is not None
        points = [(score, 1.0)] if share is None else [(one["level"], one["probability"]) for one in share]
        for level, probability in points:
            total[level] += probability
    return tuple((level, total[level] / count) for level in sorted(total)) if some else None
