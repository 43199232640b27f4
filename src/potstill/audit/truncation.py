"""Measure what the window truncates, and whether high scorers lose more.

Input: rows with their full text. Output: `Truncation`. If the window cuts off what makes an article good, labels and
students only judge the beginnings of articles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import regex

from potstill import metrics
from potstill.audit.means import Means
from potstill.audit.records import Truncation
from potstill.findings import FEWEST_POSITIVES
from potstill.metrics import number
from potstill.verdict import cap_hits, decide_rows

if TYPE_CHECKING:
    from potstill.audit.labelled import Labelled
    from potstill.types import BoolArray

TOP = 0.9
"""Quantile of the overall score above which a row is a high scorer, if positive tiers have too few rows."""

# Feeds end a truncated text with an ellipsis, or with the number of missing characters: [+1234 chars].
_OPEN_END = regex.compile(r"(?:\u2026|\.\.\.|\[\+?\d+ ?(?:chars|characters)\]|\[(?:\u2026|\.\.\.)\])\s*$")


def truncation_of(rows: Labelled, *, seed: int = 0, resamples: int = metrics.RESAMPLES) -> Truncation:
    """Measure how many rows the window truncates, by how much, and whether high scorers differ from the others."""
    window = rows.filter.text
    texts = list(rows.articles.select("title", "content").iter_rows())
    cut = np.array([window.cuts(title, content) for title, content in texts])
    lost = [
        1 - len(text) / max(1, len(f"{title}{content}"))
        for text, (title, content) in zip(rows.texts, texts, strict=True)
    ]
    high, what = high_scorers(rows)
    difference, ends = Means(rows.clusters, seed, resamples).difference(cut.astype(np.float64), high)
    return Truncation(
        max_chars=window.max_chars,
        rows=len(rows),
        cut=int(cut.sum()),
        cut_share=number(cut.mean()),
        lost=number(float(np.median(np.array(lost)[cut]))) if cut.any() else None,
        high=what,
        high_rows=int(high.sum()),
        high_cut_share=number(cut[high].mean()) if high.any() else None,
        other_cut_share=number(cut[~high].mean()) if (~high).any() else None,
        difference=difference,
        difference_interval=ends,
        open_ended=sum(bool(_OPEN_END.search(content)) for _, content in texts),
    )


def high_scorers(rows: Labelled) -> tuple[BoolArray, str]:
    """Return which rows score high, and by which rule: a positive tier, or the top tenth if too few rows have one."""
    positive = rows.filter.positive_tiers
    if positive:
        tiers = decide_rows(rows.scores, rows.filter, cap_hits(rows.texts, rows.filter))["tier"]
        high = tiers.is_in(list(positive)).to_numpy()
        if high.sum() >= FEWEST_POSITIVES:
            return high, "in a positive tier"
    overall = metrics.with_overall(rows.scores, rows.filter.weights)[:, -1]
    known = overall[np.isfinite(overall)]
    edge = float(np.quantile(known, TOP)) if known.size else float("inf")
    top: BoolArray = np.nan_to_num(overall, nan=-np.inf) >= edge
    return top, f"overall at or above {edge:.2f}, the top tenth"
