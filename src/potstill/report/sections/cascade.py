"""The cascade: what a cheap student may answer alone, and which share of positives it was shown to let through.

In: facts. Out: a section; where there is no cascade, it says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report.blocks import Block, Column, Figure, Paragraph, Row, Section, Table
from potstill.report.cascade import plot_frontier, prepare_frontier
from potstill.report.sections.parts import show, words

if TYPE_CHECKING:
    from potstill.report.facts import Facts, Record

_TITLE = "Early answers"


def cascade(facts: Facts) -> Section:
    """The frontier between what is answered early and what may be lost."""
    found = facts.cascade
    if not found.recorded:
        said = "Every article is scored by the bundle's own student: no cascade was made (potstill cascade RUN)."
        return Section("cascade", _TITLE, (Paragraph((said,)),))
    if found.at("bundle").value != facts.bundle.at("sha256").value:
        return Section("cascade", _TITLE, (Paragraph(("The cascade was made for another bundle.",)),))
    return Section("cascade", _TITLE, (*_words(found), _frontier(found), _plot(found)))


def _words(found: Record) -> tuple[Block, ...]:
    return (
        Paragraph((show(found, "text", "why"), ".")),
        Paragraph(
            (
                "Thresholds come from ",
                show(found, "count", "articles"),
                " articles that ",
                show(found, "text", "first"),
                " had not seen, ",
                show(found, "count", "positives"),
                " of them positive by the oracle's scores, in ",
                show(found, "count", "positive_clusters"),
                " clusters of near-duplicates. So many can show a recall of ",
                show(found, "percent", "highest"),
                " at most. A recall holds for articles like these with a confidence of ",
                show(found, "percent", "confidence"),
                " (Wilks; Clopper and Pearson). It is that of the first answer: the second student may still err.",
            )
        ),
        Paragraph(
            (
                "On the test part, which chose nothing, ",
                show(found, "count", "test", "passed"),
                " of ",
                show(found, "count", "test", "positives"),
                " positives go on, and ",
                show(found, "count", "test", "early"),
                " of ",
                show(found, "count", "test", "articles"),
                " articles are answered early.",
            )
        ),
    )


def _frontier(found: Record) -> Table:
    heads = ("Recall at least", "Answered early", "With one positive in twenty", "Articles/s", "Threshold", "Lost")
    rows = []
    for place in range(found.size("frontier")):
        at = ("frontier", place)
        chosen = found.at(*at, "threshold").value == found.at("chosen", "threshold").value
        cells = (
            (show(found, "percent", *at, "recall"),),
            (show(found, "percent", *at, "early"),),
            (show(found, "percent", *at, "early_at_5_percent"),),
            (show(found, "rate", *at, "articles_per_second"),),
            (show(found, "score", *at, "threshold"),),
            (show(found, "count", *at, "lost"),),
        )
        rows.append(Row(cells, strong=chosen))
    student = words(found, "student") or "the second student"
    caption = f"What may be answered before {student}; the chosen threshold stands out"
    return Table(caption, tuple(Column(head) for head in heads), tuple(rows))


def _plot(found: Record) -> Figure:
    return Figure(
        "cascade",
        "Answered early, by the recall that is shown to be kept",
        "A line that rises to the left: the lower the recall that must be kept, the more is answered early.",
        prepare_frontier(found),
        plot_frontier,
        (found.file,),
        png="cascade.png",
    )
