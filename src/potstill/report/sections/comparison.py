"""Comparison of the run with others: by skill, and which differences are more than noise.

In: facts. Out: a section; a figure that is not in a record is shown as "not recorded".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report.blocks import Block, Column, Paragraph, Row, Section, Table
from potstill.report.sections.parts import DASH, interval, show

if TYPE_CHECKING:
    from potstill.report.facts import Facts, Record

_TITLE = "Comparison with other runs and filters"


def comparison(facts: Facts) -> Section:
    """The comparison that `potstill compare --keep` recorded in the run."""
    record = facts.comparison
    if not record.recorded:
        how = f"Not recorded ({record.file}); potstill compare RUN OTHER --keep records it."
        return Section("comparison", _TITLE, (Paragraph((how,)),))
    if record.at("evaluation_sha256").value != facts.evaluation.sha256:
        old = (
            "The comparison was made with a different evaluation (",
            show(record, "hash", "evaluation_sha256"),
            ") and is not shown.",
        )
        return Section("comparison", _TITLE, (Paragraph(old, "caution"),))
    notes = tuple(Paragraph((show(record, "text", "notes", i),)) for i in range(record.size("notes")))
    return Section("comparison", _TITLE, (_entries(record), *_pairs(record), *notes))


def _entries(record: Record) -> Table:
    words = tuple(Column(label, numeric=False) for label in ("Entry", "Filter", "Evaluated on"))
    return Table(
        "Compared entries",
        (*words, *map(Column, ("Rows", "Skill", "MAE", "Constant", "Spearman", "Tier agreement", "Majority tier"))),
        tuple(
            Row(
                (
                    (show(record, "text", "entries", i, "name"),),
                    (
                        show(record, "text", "entries", i, "filter"),
                        " v",
                        show(record, "plain", "entries", i, "filter_version"),
                    ),
                    (show(record, "text", "entries", i, "source"),),
                    (show(record, "count", "entries", i, "rows", absent=DASH),),
                    (show(record, "percent", "entries", i, "skill", absent="unknown"),),
                    *(
                        (show(record, "score", "entries", i, name, absent=DASH),)
                        for name in ("mae", "constant_mae", "spearman")
                    ),
                    *(
                        (show(record, "percent", "entries", i, name, absent=DASH),)
                        for name in ("tier_accuracy", "tier_majority")
                    ),
                )
            )
            for i in range(record.size("entries"))
        ),
    )


def _pairs(record: Record) -> tuple[Block, ...]:
    if not record.size("pairs"):
        return ()
    head = tuple(Column(label, numeric=False) for label in ("First", "Second"))
    table = Table(
        "Differences in MAE (first minus second) on common rows",
        (*head, *map(Column, ("Rows", "Difference", "Interval", "p-value")), Column("Noise", numeric=False)),
        tuple(
            Row(
                (
                    *((show(record, "text", "pairs", i, name),) for name in ("first", "second")),
                    (show(record, "count", "pairs", i, "rows"),),
                    (show(record, "signed", "pairs", i, "difference"),),
                    interval(record, "signed", "pairs", i, "interval"),
                    (show(record, "score", "pairs", i, "p"),),
                    (show(record, "plain", "pairs", i, "noise"),),
                )
            )
            for i in range(record.size("pairs"))
        ),
    )
    return (table,)
