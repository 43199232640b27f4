"""The cascade: which articles a cheap student may answer alone, and its guaranteed recall of positives.

In: facts. Out: a section; if there is no cascade, it says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report.blocks import Block, Column, Figure, Paragraph, Row, Section, Table
from potstill.report.cascade import plot_frontier, prepare_frontier
from potstill.report.sections.parts import measured_hash, show, words

if TYPE_CHECKING:
    from potstill.report.facts import Facts, Record

_TITLE = "Cascade (early answers)"


def cascade(facts: Facts) -> Section:
    """The trade-off between the share of early answers and the recall of positives."""
    found = facts.cascade
    if not found.recorded:
        said = "No cascade was made, so the bundle's student scores every article. Make one with potstill cascade RUN."
        return Section("cascade", _TITLE, (Paragraph((said,)),))
    if found.at("bundle").value not in {measured_hash(facts).value, facts.bundle.at("sha256").value}:
        return Section(
            "cascade", _TITLE, (Paragraph(("The cascade was made for a different bundle and is not shown.",)),)
        )
    return Section("cascade", _TITLE, (*_words(found), _frontier(found), _plot(found)))


def _words(found: Record) -> tuple[Block, ...]:
    return (
        Paragraph((show(found, "text", "why"), ".")),
        Paragraph(
            (
                "Thresholds are chosen on ",
                show(found, "count", "articles"),
                " articles that ",
                show(found, "text", "first"),
                " was not trained on; ",
                show(found, "count", "positives"),
                " of them are positive by the oracle's scores, in ",
                show(found, "count", "positive_clusters"),
                " clusters of near-duplicates. With so many positives, the highest recall that can be guaranteed is ",
                show(found, "percent", "highest"),
                ". A recall holds for similar articles with a confidence of ",
                show(found, "percent", "confidence"),
                " (Wilks; Clopper and Pearson). It only covers the first student: the second one may still be wrong.",
            )
        ),
        Paragraph(
            (
                "On the test part, which was not used to choose thresholds, ",
                show(found, "count", "test", "passed"),
                " of ",
                show(found, "count", "test", "positives"),
                " positives go on to the second student, and ",
                show(found, "count", "test", "early"),
                " of ",
                show(found, "count", "test", "articles"),
                " articles are answered early.",
            )
        ),
    )


def _frontier(found: Record) -> Table:
    heads = (
        "Minimum recall",
        "Answered early",
        "Answered early if one in twenty is positive",
        "Articles/s",
        "Threshold",
        "Missed",
    )
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
    caption = f"Articles answered before {student}; the chosen threshold is in bold"
    return Table(caption, tuple(Column(head) for head in heads), tuple(rows))


def _plot(found: Record) -> Figure:
    return Figure(
        "cascade",
        "Share answered early by guaranteed recall",
        "A line that rises to the left: the lower the required recall, the more articles are answered early.",
        prepare_frontier(found),
        plot_frontier,
        (found.file,),
        png="cascade.png",
    )
