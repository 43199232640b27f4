"""Read a run's articles and labels for an audit, a sample or a review.

Input: a run with labels. Output: its articles, and the answers in its ledger by oracle.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from potstill.audit.labelled import Answer
from potstill.dataset.assembling import with_facts
from potstill.labelling import Ledger
from potstill.parquet import read_parquet

if TYPE_CHECKING:
    from potstill.audit.reading import Oracles
    from potstill.pipeline.run import Run


def labels_of(run: Run) -> tuple[pl.DataFrame, Oracles]:
    """Read a run's articles and all answers in its ledger.

    Raises:
        RunError: the run has no labels yet.
        LabelError: a label does not match the run's filter.
    """
    ledger = run.need("ledger", "label")
    articles = with_facts(read_parquet(run.need("articles", "label")))
    filter_ = run.filter
    with closing(Ledger.reading(ledger)) as opened:
        answers = opened.answers(filter_)
    found: Oracles = {}
    columns = [f"y_{name}" for name in filter_.dimension_names]
    for (oracle, article), rows in answers.group_by("oracle", "article", maintain_order=True):
        scores = rows.select(pl.col(columns).fill_null(float("nan"))).to_numpy().astype(np.float64)
        found.setdefault(str(oracle), {})[str(article)] = Answer(scores, rows["evidence"][0])
    return articles, found
