"""The run beside others: by skill, and which differences are more than noise.

In: facts. Out: a section; what no record holds is "not recorded".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report.blocks import Block, Column, Paragraph, Row, Section, Table
from potstill.report.sections.parts import DASH, interval, show

if TYPE_CHECKING:
    from potstill.report.facts import Facts, Record

_TITLE = "Beside other runs and filters"


def comparison(facts: Facts) -> Section:
    """What `potstill compare --keep` left in the run."""
    record = facts.comparison
    if not record.recorded:
        how = f"Not recorded ({record.file}); potstill compare RUN OTHER --keep records it."
        return Section("comparison", _TITLE, (Paragraph((how,)),))
    if record.at("evaluation_sha256").value != facts.evaluation.sha256:
        old = (
            "The comparison was made on another evaluation (",
            show(record, "hash", "evaluation_sha256"),
            ") than this one, and is not shown.",
        )
        return Section("comparison", _TITLE, (Paragraph(old, "caution"),))
    notes = tuple(Paragraph((show(record, "text", "notes", i),)) for i in range(record.size("notes")))
    return Section("comparison", _TITLE, (_entries(record), *_pairs(record), *notes))


def _entries(record: Record) -> Table:
    words = tuple(Column(label, numeric=False) for label in ("What", "Filter", "Figures of"))
    return Table(
        "Side by side",
        (*words, *map(Column, ("Rows", "Skill", "MAE", "Constant", "Spearman", "Tiers", "Majority"))),
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
    head = tuple(Column(label, numeric=False) for label in ("One", "Less the other"))
    table = Table(
        "Differences of MAE on the rows that both judged",
        (*head, *map(Column, ("Rows", "Difference", "Interval", "Chance of noise")), Column("Noise", numeric=False)),
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
