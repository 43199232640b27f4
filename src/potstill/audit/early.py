"""Warn early, from the first labels, before more are bought.

Input: a ledger with which labelling is about to continue. Output: a warning, or none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from potstill.audit.redundancy import in_words, redundancy_of
from potstill.findings import EARLY_CALLS
from potstill.labelling import Ledger
from potstill.labelling.ledger import HUMAN
from potstill.oracle.prompt import Prompt

if TYPE_CHECKING:
    from pathlib import Path

    from potstill.filters import Filter

_RESAMPLES = 10
"""Number of bootstrap resamples; it is small because the interval is not reported here."""


def early_warning(ledger: Path, filter_: Filter) -> str | None:
    """Return a warning if several dimensions measure the same thing, by the ledger's labels for the current prompt.

    The result is None with too few labels, too many calls, labels of another prompt, or sufficiently different
    dimensions.
    """
    if not ledger.exists():
        return None
    with Ledger.reading(ledger) as opened:
        if set(opened.accepted_prompts()) != {Prompt.of(filter_).hash} or opened.spent().calls > EARLY_CALLS:
            return None
        labels = opened.labels(filter_).filter(~pl.col("oracle").str.starts_with(HUMAN))
    names = filter_.dimension_names
    most = labels["oracle"].mode().sort()[:1]
    columns = labels.filter(pl.col("oracle").is_in(most.to_list())).select(pl.col(f"y_{name}") for name in names)
    scores = columns.fill_null(float("nan")).to_numpy().astype(np.float64)
    found = redundancy_of(scores, names, np.arange(len(scores)), resamples=_RESAMPLES)
    if found is None or not found.warning:
        return None
    return f"by the {found.rows:,} labels so far, {in_words(found)}"
