"""Compute ranking metrics: whether positive articles are at the top of the list.

Input: the relevance of each row, and the score that orders the rows. Output: recall and NDCG among the first k rows,
and average precision. Ties are averaged over all possible orders, so a gate that creates many equal scores does not
bias the metrics (McSherry & Najork 2008).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from potstill.evaluation.records import AtK, Ranking
from potstill.metrics import number
from potstill.types import UNSCORED

if TYPE_CHECKING:
    import polars as pl

    from potstill.types import BoolArray, FloatArray

DEPTHS = (10, 50, 100, 500)
"""Values of k for recall and NDCG, in addition to the number of positives."""


def judge_ranking(
    oracle: pl.DataFrame, tiers: pl.Series, score: FloatArray, positive: tuple[str, ...], low: float
) -> Ranking | None:
    """Evaluate a student's ranking; return None without a positive row.

    Args:
        oracle: verdicts on the labels, with the columns `overall` and `tier`.
        tiers: the student's tiers of the same rows.
        score: what ranks the rows: a probability, or the overall score after gates and caps, shape (rows,).
        positive: names of the positive tiers.
        low: the scale's minimum, which has gain 0.
    """
    known = ((oracle["tier"] != UNSCORED) & (tiers != UNSCORED)).to_numpy()
    wanted = oracle["tier"].is_in(positive).to_numpy()[known]
    if not wanted.any():
        return None
    score = score[known]
    gains = oracle["overall"].to_numpy()[known] - low
    count = int(wanted.sum())
    depths = sorted({*(k for k in DEPTHS if k < len(wanted)), count})
    return Ranking(
        tiers=positive,
        rows=len(wanted),
        positives=count,
        average_precision=number(average_precision(wanted, score)),
        by_chance=number(count / len(wanted)),
        at=tuple(
            AtK(k=k, recall=number(recall_at(wanted, score, k)), ndcg=number(ndcg_at(gains, score, k))) for k in depths
        ),
    )


def recall_at(wanted: BoolArray, score: FloatArray, k: int) -> float:
    """Return the share of the wanted rows among the first k by score; NaN if no row is wanted."""
    total = float(wanted.sum())
    return float(in_order(wanted.astype(np.float64), score)[:k].sum()) / total if total else float("nan")


def ndcg_at(gains: FloatArray, score: FloatArray, k: int) -> float:
    """Return the NDCG of the first k rows by score with linear gains (Jarvelin & Kekalainen 2002).

    `gains` are 0 or more. The result is NaN if all gains are 0.
    """
    depth = min(k, len(gains))
    discount = 1.0 / np.log2(np.arange(2, depth + 2))
    best = float(np.sort(gains)[::-1][:depth] @ discount)
    return float(in_order(gains, score)[:depth] @ discount) / best if best > 0 else float("nan")


def average_precision(wanted: BoolArray, score: FloatArray) -> float:
    """Return the mean, over wanted rows, of the precision among all rows with at least their score.

    It is the sum over thresholds of precision times the increase of recall there. A random order has the share of
    wanted rows on average. The result is NaN if no row is wanted.
    """
    if not wanted.any():
        return float("nan")
    place = np.unique(-score, return_inverse=True)[1]
    rows = np.cumsum(np.bincount(place))
    found = np.bincount(place, weights=wanted)
    return float(found @ (np.cumsum(found) / rows) / wanted.sum())


def in_order(values: FloatArray, score: FloatArray) -> FloatArray:
    """Return values by descending score, each replaced by the mean of the values with the same score, shape (rows,)."""
    place = np.unique(-score, return_inverse=True)[1]
    counts = np.bincount(place)
    means: FloatArray = np.bincount(place, weights=values) / counts
    return np.repeat(means, counts)
