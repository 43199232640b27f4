"""Tiers: agreement between student and oracle, recall and precision, and ranking.

In: facts. Out: a section; a figure that is not in a record is shown as "not recorded".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report.blocks import Block, Column, Paragraph, Row, Section, Shown, Table, Text
from potstill.report.sections.parts import DASH, Path, headline, interval, show

if TYPE_CHECKING:
    from potstill.report.facts import Facts, Record


def tiers(facts: Facts) -> Section:
    """Tier agreement, recall and precision by tier, and ranking."""
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
        "Confusion matrix: oracle's tier (rows) and student's tier (columns)",
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
        "The filter's gates, caps and tiers are applied to both oracle and student. Their tiers agree on ",
        show(evaluation, "percent", *at, "accuracy"),
        " of ",
        show(evaluation, "count", *at, "rows"),
        " rows (interval ",
        *interval(evaluation, "percent", *at, "accuracy_interval"),
        "); always predicting ",
        show(evaluation, "text", *at, "majority_tier"),
        " would agree on ",
        show(evaluation, "percent", *at, "majority"),
        ". Cohen's kappa, the agreement beyond chance: ",
        show(evaluation, "score", *at, "kappa"),
        ". With fewer than ",
        Shown(few, "count"),
        " rows in the oracle's tier, only counts are given and no recall.",
    )
    blocks: tuple[Block, ...] = (Paragraph(text),)
    if not names:
        return Section("tiers", "Tiers", blocks)
    return Section("tiers", "Tiers", (*blocks, confusion, recall, *_ranking(evaluation)))


def _ranking(evaluation: Record) -> tuple[Block, ...]:
    """How well the student's ranking puts the positive tiers first."""
    at = (*headline(evaluation), "ranking")
    if not evaluation.at(*at).recorded:
        return (Paragraph(("Ranking: not recorded.",)),)
    text: Text = (
        "Articles are ranked by the student's overall score; relevant articles are those in ",
        show(evaluation, "text", *at, "tiers"),
        " (",
        show(evaluation, "count", *at, "positives"),
        " of ",
        show(evaluation, "count", *at, "rows"),
        " rows). Average precision: ",
        show(evaluation, "score", *at, "average_precision", absent=DASH),
        ", compared with ",
        show(evaluation, "score", *at, "by_chance", absent=DASH),
        " for a random order.",
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
