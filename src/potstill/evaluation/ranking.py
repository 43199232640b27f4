"""Ranking: does what a reader waits for stand at the top?

In: what each row is worth and the score that orders the rows. Out: recall and NDCG among the first k, and average
precision. Tied scores count as every order of them equally often, so that a gate that puts a thousand rows on one
value neither helps nor hurts (McSherry & Najork 2008).
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
"""How far down the list is looked, beside the number of positives itself."""


def judge_ranking(oracle: pl.DataFrame, student: pl.DataFrame, positive: tuple[str, ...], low: float) -> Ranking | None:
    """How the student's limited overall orders the rows that both judge; None without a positive among them.

    Args:
        oracle: verdicts on the labels, with the columns `overall` and `tier`.
        student: verdicts on the scores of the same rows.
        positive: the tiers that a reader waits for.
        low: the scale's lowest value, which gains nothing.
    """
    known = ((oracle["tier"] != UNSCORED) & (student["tier"] != UNSCORED)).to_numpy()
    wanted = oracle["tier"].is_in(positive).to_numpy()[known]
    if not wanted.any():
        return None
    score = student["overall"].to_numpy()[known]
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
    """Share of the wanted rows among the first k by score; NaN where nothing is wanted."""
    total = float(wanted.sum())
    return float(in_order(wanted.astype(np.float64), score)[:k].sum()) / total if total else float("nan")


def ndcg_at(gains: FloatArray, score: FloatArray, k: int) -> float:
    """Discounted gain of the first k over the best there could be (Jarvelin & Kekalainen 2002); linear gains.

    `gains` are 0 or more; NaN where all are 0.
    """
    depth = min(k, len(gains))
    discount = 1.0 / np.log2(np.arange(2, depth + 2))
    best = float(np.sort(gains)[::-1][:depth] @ discount)
    return float(in_order(gains, score)[:depth] @ discount) / best if best > 0 else float("nan")


def average_precision(wanted: BoolArray, score: FloatArray) -> float:
    """The mean, over wanted rows, of the precision among all that score as high; NaN where nothing is wanted.

    It is the sum over thresholds of precision times what recall gains there. An order by chance has the share of
    wanted rows.
    """
    if not wanted.any():
        return float("nan")
    place = np.unique(-score, return_inverse=True)[1]
    rows = np.cumsum(np.bincount(place))
    found = np.bincount(place, weights=wanted)
    return float(found @ (np.cumsum(found) / rows) / wanted.sum())


def in_order(values: FloatArray, score: FloatArray) -> FloatArray:
    """Values by falling score, each the mean of those that its score ties with, shape (rows,)."""
    place = np.unique(-score, return_inverse=True)[1]
    counts = np.bincount(place)
    means: FloatArray = np.bincount(place, weights=values) / counts
    return np.repeat(means, counts)
