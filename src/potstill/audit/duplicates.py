"""Find copies among the labelled articles: texts that were paid for twice, and labels of copies that differ.

Input: rows with their near-duplicate pairs. Output: `Duplicates`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from potstill.audit.records import Copies, Duplicates
from potstill.metrics import number

if TYPE_CHECKING:
    from potstill.audit.labelled import Labelled

MOST = 20
"""Maximum number of pairs to list, the largest difference of labels first."""


def duplicates_of(rows: Labelled) -> Duplicates:
    """Count exact and near-duplicates, and measure how much their labels differ."""
    sizes = np.bincount(rows.clusters)
    sources, titles, ids = rows.names("source"), rows.articles["title"].to_list(), rows.ids
    gaps = [_gap(rows, i, j) for i, j, _ in rows.pairs]
    order = sorted(range(len(rows.pairs)), key=lambda place: (-np.nan_to_num(gaps[place]), rows.pairs[place][:2]))
    known = [gap for gap in gaps if np.isfinite(gap)]
    return Duplicates(
        pairs=len(rows.pairs),
        clusters=int((sizes > 1).sum()),
        rows=int(sizes[sizes > 1].sum()),
        largest=int(sizes.max()),
        same_text=len(rows) - len(set(rows.texts)),
        across_sources=sum(bool(sources[i] and sources[j] and sources[i] != sources[j]) for i, j, _ in rows.pairs),
        difference=number(float(np.mean(known))) if known else None,
        apart=tuple(
            Copies(
                first=ids[i],
                second=ids[j],
                title=titles[i] or rows.texts[i][:80],
                jaccard=round(jaccard, 6),
                difference=round(gaps[place], 6),
            )
            for place in order[:MOST]
            if np.isfinite(gaps[place])
            for i, j, jaccard in (rows.pairs[place],)
        ),
    )


def _gap(rows: Labelled, i: int, j: int) -> float:
    """Return the mean absolute difference of two rows' labels, over the dimensions that both have."""
    gaps = np.abs(rows.scores[i] - rows.scores[j])
    known = gaps[np.isfinite(gaps)]
    return float(known.mean()) if known.size else float("nan")
