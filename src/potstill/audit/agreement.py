"""Compare several oracles on the same articles: agreement, bias, and the effect on tiers.

Input: scores by oracle, all on the same rows. Output: a `Pair` for every two oracles. An article that one oracle has
not scored is ignored in that oracle's pairs only.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from potstill import metrics
from potstill.audit.means import Means
from potstill.audit.records import Difference, Pair, TierAgreement
from potstill.metrics import number
from potstill.types import UNSCORED
from potstill.verdict import decide_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from potstill.filters import Filter
    from potstill.types import BoolArray, FloatArray, IntArray


def side_by_side(
    scores: Mapping[str, FloatArray],
    filter_: Filter,
    clusters: IntArray | None = None,
    *,
    cap_hits: pl.DataFrame | None = None,
    seed: int = 0,
    resamples: int = metrics.RESAMPLES,
) -> list[Pair]:
    """Compare every two oracles that share an article.

    Args:
        scores: for each oracle an array of shape (articles, dimensions), all in the same order of articles; NaN where a
            score is missing.
        filter_: the filter with the weights and tiers.
        clusters: near-duplicate cluster of each article, shape (articles,). Default: each article is its own cluster.
        cap_hits: result of `verdict.cap_hits` for the articles' windows. Without it no cap applies.
        seed: random seed for the bootstrap.
        resamples: number of bootstrap resamples.

    Returns:
        Pairs in the order of `scores`; two oracles that share no article are left out.
    """
    found = []
    for first, second in combinations(scores, 2):
        shared: BoolArray = np.any(np.isfinite(scores[first] + scores[second]), axis=1)
        if not shared.any():
            continue
        rows = np.arange(len(shared)) if clusters is None else clusters
        found.append(
            compare(
                (first, scores[first][shared]),
                (second, scores[second][shared]),
                filter_,
                rows[shared],
                cap_hits=None if cap_hits is None else cap_hits.filter(pl.Series(shared)),
                seed=seed,
                resamples=resamples,
            )
        )
    return found


def compare(
    first: tuple[str, FloatArray],
    second: tuple[str, FloatArray],
    filter_: Filter,
    clusters: IntArray,
    *,
    cap_hits: pl.DataFrame | None = None,
    seed: int = 0,
    resamples: int = metrics.RESAMPLES,
) -> Pair:
    """Compare two oracles, given as (name, scores), on rows that both have scored; see `side_by_side`."""
    a, b = first[1], second[1]
    wide_a, wide_b = metrics.with_overall(a, filter_.weights), metrics.with_overall(b, filter_.weights)
    gaps = wide_a - wide_b
    settings = Means(clusters, seed, resamples)
    differences, biases = settings.of(np.abs(gaps)), settings.of(gaps)
    spearman = metrics.spearman(wide_a, np.where(np.isfinite(gaps), wide_b, np.nan))
    names = (*filter_.dimension_names, "overall")
    columns = [
        Difference(
            dimension=name,
            rows=int(np.isfinite(gaps[:, i]).sum()),
            difference=differences[i][0],
            difference_interval=differences[i][1],
            bias=biases[i][0],
            bias_interval=biases[i][1],
            spearman=number(spearman[i]),
        )
        for i, name in enumerate(names)
    ]
    mean_difference, mean_bias = settings.of_all(np.abs(gaps[:, :-1])), settings.of_all(gaps[:, :-1])
    return Pair(
        first=first[0],
        second=second[0],
        rows=len(a),
        dimensions=tuple(columns[:-1]),
        overall=columns[-1],
        mean_difference=mean_difference[0],
        mean_difference_interval=mean_difference[1],
        mean_bias=mean_bias[0],
        mean_bias_interval=mean_bias[1],
        tiers=_tiers(a, b, filter_, settings, cap_hits) if len(filter_.tier_names) > 1 else None,
    )


def _tiers(
    a: FloatArray, b: FloatArray, filter_: Filter, settings: Means, cap_hits: pl.DataFrame | None
) -> TierAgreement:
    ours, theirs = (decide_rows(scores, filter_, cap_hits)["tier"] for scores in (a, b))
    known = ((ours != UNSCORED) & (theirs != UNSCORED)).to_numpy()
    ours, theirs = ours.filter(known), theirs.filter(known)
    table = metrics.confusion(ours.to_list(), theirs.to_list(), filter_.tier_names)
    same = (ours == theirs).to_numpy().astype(np.float64)[:, None]
    inside = Means(settings.clusters[known], settings.seed, settings.resamples)
    share, ends = inside.of(same)[0] if known.any() else (None, None)
    high_a, high_b = ours.is_in(filter_.positive_tiers), theirs.is_in(filter_.positive_tiers)
    return TierAgreement(
        names=filter_.tier_names,
        rows=int(known.sum()),
        confusion=tuple(tuple(row) for row in table.tolist()),
        same=share,
        same_interval=ends,
        kappa=number(metrics.kappa(table)),
        positive_first=int(high_a.sum()),
        positive_second=int(high_b.sum()),
        positive_both=int((high_a & high_b).sum()),
    )
