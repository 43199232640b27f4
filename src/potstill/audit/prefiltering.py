"""Measure what the prefilter drops, and which of it the oracle would have kept.

Input: articles, and the oracle's labels of some dropped ones. Output: `Prefiltering`. A dropped article counts as
missed if the oracle's scores put it in a positive tier.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from potstill import metrics
from potstill.audit.labelled import means
from potstill.audit.records import LEVEL, Missed, MissedItem, Prefiltering
from potstill.errors import FilterError
from potstill.findings import FEWEST_JUDGED_IN_GROUP
from potstill.metrics import number
from potstill.prefilter import fold_all
from potstill.records import Interval
from potstill.verdict import cap_hits, decide_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from potstill.audit.labelled import Answer
    from potstill.filters import Filter

MOST = 30
"""Maximum number of missed articles to list, the highest score first."""


def dropped_by(articles: pl.DataFrame, filter_: Filter) -> pl.DataFrame:
    """Return the articles that the prefilter drops, with a column `reason`."""
    texts = [filter_.text.of(title, content) for title, content in articles.select("title", "content").iter_rows()]
    return articles.with_columns(filter_.prefilter.reasons(fold_all(texts))).filter(pl.col("reason").is_not_null())


def prefiltering_of(articles: pl.DataFrame, answers: Mapping[str, Answer], filter_: Filter) -> Prefiltering:
    """Measure what is dropped, and how often that is wrong.

    Args:
        articles: all articles that the prefilter would see, with columns id, title, content, source and language.
        answers: answers by article, for at least a random sample of the dropped ones; others are ignored.
        filter_: the filter with the prefilter, gates, caps and tiers.

    Raises:
        FilterError: the filter has no prefilter, or no positive tier.
    """
    if not filter_.prefilter.drop:
        raise FilterError(f"{filter_.name}: no prefilter, so nothing is dropped")
    if not filter_.positive_tiers:
        raise FilterError(f"{filter_.name}: no tier is marked positive, so nothing that is dropped is missed")
    dropped = dropped_by(articles, filter_)
    scores = means(dropped["id"].to_list(), answers, len(filter_.dimension_names))
    judged = np.isfinite(scores).all(axis=1)
    texts = [filter_.text.of(title, content) for title, content in dropped.select("title", "content").iter_rows()]
    verdict = decide_rows(scores, filter_, cap_hits(texts, filter_))
    missed = verdict["tier"].is_in(list(filter_.positive_tiers)).to_numpy()
    rows = dropped.with_columns(
        pl.Series("judged", judged), pl.Series("missed", missed), overall=verdict["overall"], tier=verdict["tier"]
    )
    wrong = rows.filter(pl.col("missed")).sort("overall", descending=True).head(MOST)
    return Prefiltering(
        articles=articles.height,
        dropped=dropped.height,
        all=_missed("all", rows),
        by_rule=tuple(
            _missed(rule.reason, rows.filter(pl.col("reason") == rule.reason))
            for rule in filter_.prefilter.drop
            if (rows["reason"] == rule.reason).any()
        ),
        by_language=_slices(rows, "language"),
        by_source=_slices(rows, "source"),
        items=tuple(
            MissedItem(id=id_, title=title, reason=reason, overall=number(overall), tier=tier)
            for id_, title, reason, overall, tier in wrong.select(
                "id", "title", "reason", "overall", "tier"
            ).iter_rows()
        ),
    )


def _slices(rows: pl.DataFrame, column: str) -> tuple[Missed, ...]:
    counts = Counter(rows.filter(pl.col("judged"))[column].drop_nulls().to_list())
    return tuple(
        _missed(name, rows.filter(pl.col(column) == name))
        for name, count in counts.most_common()
        if count >= FEWEST_JUDGED_IN_GROUP
    )


def _missed(name: str, rows: pl.DataFrame) -> Missed:
    judged, missed = int(rows["judged"].sum()), int(rows["missed"].sum())
    low, high = metrics.exact_interval(missed, judged, LEVEL)
    return Missed(
        name=name,
        dropped=rows.height,
        judged=judged,
        missed=missed,
        rate=round(missed / judged, 6) if judged else None,
        interval=Interval(low=round(low, 6), high=round(high, 6)) if judged else None,
    )
