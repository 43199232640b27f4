"""Texts that came with markup: HTML tags, entities, Markdown.

In: rows with text. Out: `Marked`. Oracle and student read the marks, which take room in the window; words of caps and
prefilters are found in spite of them.
"""

from __future__ import annotations

from collections import Counter
from statistics import median
from typing import TYPE_CHECKING

from potstill.audit.records import Marked
from potstill.markup import kinds_in, readable
from potstill.metrics import number

if TYPE_CHECKING:
    from potstill.audit.labelled import Labelled

SOURCES = 5
"""Sources listed, those with the most texts with markup first."""


def marked_of(rows: Labelled) -> Marked:
    """How many windows have markup of each kind, and how much room it takes."""
    kinds = [kinds_in(text) for text in rows.texts]
    each = Counter(kind for found in kinds for kind in found)
    marked = [text for text, found in zip(rows.texts, kinds, strict=True) if found]
    taken = [max(0.0, 1 - len(readable(text)) / len(text)) for text in marked]
    by_source = Counter(source for source, found in zip(rows.names("source"), kinds, strict=True) if found and source)
    return Marked(
        rows=len(kinds),
        marked=len(taken),
        share=number(len(taken) / len(kinds)),
        html=each["html"],
        entities=each["entities"],
        markdown=each["markdown"],
        taken=number(median(taken)) if taken else None,
        sources=tuple(name for name, _ in by_source.most_common(SOURCES)),
    )
