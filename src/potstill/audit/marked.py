"""Count texts with markup: HTML tags, entities, Markdown.

Input: rows with text. Output: `Marked`. Oracle and student read the markup, which takes up space in the window. Caps
and prefilters find their words in spite of it.
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
"""Maximum number of sources to list, those with the most such texts first."""


def marked_of(rows: Labelled) -> Marked:
    """Count the windows with markup of each kind, and measure how much space it takes up."""
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
