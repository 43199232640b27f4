"""Buy the oracle's labels for articles that the prefilter drops, within limits.

Input: a sample of dropped articles and an oracle. Output: its answers. They are stored in a separate ledger, so that
nothing is paid for twice and the audit does not change any run's labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from potstill.audit.labelled import Answer
from potstill.errors import OracleError
from potstill.labelling import Ledger, label

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from potstill.filters import Filter
    from potstill.labelling import Limits, Price
    from potstill.oracle import Oracle


def judge(
    ledger: Path,
    sample: pl.DataFrame,
    filter_: Filter,
    oracle: Oracle,
    *,
    limits: Limits | None = None,
    price: Price | None = None,
) -> dict[str, Answer]:
    """Return the oracle's answers for a sample of dropped articles, including those of earlier calls.

    Args:
        ledger: file in which the answers are stored.
        sample: articles with the columns id, title, content.
        filter_: the filter with the rubric.
        oracle: the oracle; it is closed at the end.
        limits: limits on number, cost and rate.
        price: price per million tokens, which a cost limit needs.

    Returns:
        Answers by article id.

    Raises:
        OracleError: the oracle cannot be queried. Answers so far are kept.
        BadInput: a cost limit was given without a price.
    """
    summary = label(ledger, sample.select("id", "title", "content"), filter_, oracle, limits=limits, price=price)
    if summary.fatal:
        raise OracleError(f"the audit of dropped articles stopped: {summary.stopped}; answers so far are kept")
    columns = [f"y_{name}" for name in filter_.dimension_names]
    with Ledger.reading(ledger) as opened:
        answers = opened.answers(filter_)
    wanted = set(sample["id"].to_list())
    name = f"{oracle.name}:{oracle.model}"
    return {
        article: Answer(np.array([[np.nan if s is None else s for s in scores]], dtype=np.float64), evidence)
        for article, by, evidence, *scores in answers.select("article", "oracle", "evidence", *columns).iter_rows()
        if article in wanted and by == name
    }
