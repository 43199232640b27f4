"""The oracle's judgement of articles that the prefilter drops, bought within limits.

In: a sample of dropped articles and an oracle. Out: its answers. They are kept in a ledger of their own, so that
nothing is paid for twice and no run's labels change by being audited.
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
    """The oracle's answers for a sample of dropped articles, those of earlier calls included.

    Args:
        ledger: where they are kept.
        sample: articles with the columns id, title, content.
        filter_: whose rubric is asked.
        oracle: who is asked; it is closed at the end.
        limits: how far and how fast.
        price: per million tokens; needed for a limit in money.

    Raises:
        OracleError: the oracle cannot be asked; answers so far are kept.
        BadInput: a limit without a price.
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
