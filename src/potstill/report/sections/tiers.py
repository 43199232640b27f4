"""Agreement of tiers: what a reader of the filter's output would notice.

In: facts. Out: a section; a figure that no record holds is "not recorded".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report.blocks import Block, Column, Paragraph, Row, Section, Shown, Table, Text
from potstill.report.sections.parts import DASH, Path, headline, interval, show

if TYPE_CHECKING:
    from potstill.report.facts import Facts, Record


def tiers(facts: Facts) -> Section:
    """Agreement of tiers: what a reader of the filter's output would notice."""
    evaluation = facts.evaluation
    at = (*headline(evaluation), "tiers")
    names = evaluation.at(*at, "names").value or []
    cells = [[evaluation.at(*at, "confusion", i, j).value or 0 for j in range(len(names))] for i in range(len(names))]
    rows = tuple(
        Row(
            (
                (show(evaluation, "text", *at, "names", i),),
                *((show(evaluation, "count", *at, "confusion", i, j),) for j in range(len(names))),
            ),
            shade=(None, *(cell / max(1, sum(cells[i])) for cell in cells[i])),
        )
        for i in range(len(names))
    )
    confusion = Table(
        "Rows by the oracle's tier (down) and the student's (across)",
        (Column("Oracle", numeric=False), *(Column(str(name)) for name in names)),
        rows,
    )
    found: list[tuple[Text, Path]] = [
        ((show(evaluation, "text", *at, "by_tier", i, "tiers"),), (*at, "by_tier", i))
        for i in range(evaluation.size(*at, "by_tier"))
    ]
    if evaluation.at(*at, "positives").recorded:
        found.insert(0, (("all positive tiers",), (*at, "positives")))
    few = evaluation.at(*at, "fewest_positives")
    recall = Table(
        "Recall and precision by tier",
        (
            Column("Tier", numeric=False),
            *map(Column, ("Oracle", "Student", "Both", "Recall", "Interval", "Precision", "Interval")),
        ),
        tuple(
            Row(
                (
                    label,
                    *((show(evaluation, "count", *path, name),) for name in ("oracle", "student", "both")),
                    (show(evaluation, "percent", *path, "recall", absent=DASH),),
                    interval(evaluation, "percent", *path, "recall_interval", absent=DASH),
                    (show(evaluation, "percent", *path, "precision", absent=DASH),),
                    interval(evaluation, "percent", *path, "precision_interval", absent=DASH),
                ),
                strong=path[-1] == "positives",
            )
            for label, path in found
        ),
    )
    text: Text = (
        "Oracle and student each go through the filter's gates, caps and tiers. They agree on ",
        show(evaluation, "percent", *at, "accuracy"),
        " of ",
        show(evaluation, "count", *at, "rows"),
        " rows (interval ",
        *interval(evaluation, "percent", *at, "accuracy_interval"),
        "); naming ",
        show(evaluation, "text", *at, "majority_tier"),
        " every time would agree on ",
        show(evaluation, "percent", *at, "majority"),
        ". Beyond chance (Cohen's kappa): ",
        show(evaluation, "score", *at, "kappa"),
        ". With fewer than ",
        Shown(few, "count"),
        " rows of the oracle's, counts are given and no recall.",
    )
    blocks: tuple[Block, ...] = (Paragraph(text),)
    if not names:
        return Section("tiers", "Tiers", blocks)
    return Section("tiers", "Tiers", (*blocks, confusion, recall, *_ranking(evaluation)))


def _ranking(evaluation: Record) -> tuple[Block, ...]:
    """How soon a reader who goes down the student's list meets the positive tiers."""
    at = (*headline(evaluation), "ranking")
    if not evaluation.at(*at).recorded:
        return (Paragraph(("Ranking: not recorded.",)),)
    text: Text = (
        "A reader who goes down the student's list waits for ",
        show(evaluation, "text", *at, "tiers"),
        " (",
        show(evaluation, "count", *at, "positives"),
        " of ",
        show(evaluation, "count", *at, "rows"),
        " rows). Average precision ",
        show(evaluation, "score", *at, "average_precision", absent=DASH),
        "; any order has ",
        show(evaluation, "score", *at, "by_chance", absent=DASH),
        " on average.",
    )
    table = Table(
        "Ranking",
        tuple(map(Column, ("Rows read", "Recall", "NDCG"))),
        tuple(
            Row(
                (
                    (show(evaluation, "count", *at, "at", i, "k"),),
                    (show(evaluation, "percent", *at, "at", i, "recall", absent=DASH),),
                    (show(evaluation, "score", *at, "at", i, "ndcg", absent=DASH),),
                )
            )
            for i in range(evaluation.size(*at, "at"))
        ),
    )
    return Paragraph(text), table
