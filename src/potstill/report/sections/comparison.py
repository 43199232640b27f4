"""Comparison of the run with others: what each finds of the positive tiers, errors, and which differences are noise.

In: facts. Out: a section; a figure that is not in a record is shown as "not recorded".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report.blocks import Block, Column, Paragraph, Row, Section, Table
from potstill.report.sections.parts import DASH, Path, interval, show

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
    blocks = (*_found(record), *_found_differences(record), _entries(record), *_pairs(record), *notes)
    return Section("comparison", _TITLE, blocks)


def _found(record: Record) -> tuple[Block, ...]:
    """What each entry finds of each positive tier or a better one; nothing if no entry recorded it."""
    words = tuple(Column(label, numeric=False) for label in ("Entry", "Tier (or better)", "Decided"))
    rows = tuple(
        Row(
            (
                (show(record, "text", "entries", i, "name"),),
                (show(record, "text", *tier, "tier"),),
                (_how(record, (*tier, "at_volume"), "by cut"),),
                *((show(record, "count", *tier, name),) for name in ("oracle", "named", "both")),
                *((show(record, "percent", *tier, name, absent=DASH),) for name in ("recall", "precision")),
                (show(record, "score", *tier, "average_precision", absent=DASH),),
            )
        )
        for i in range(record.size("entries"))
        for tier in (
            ("entries", i, "positive_tiers", place) for place in range(record.size("entries", i, "positive_tiers"))
        )
    )
    numbers = ("Oracle", "Named", "Found", "Recall", "Precision", "Average precision")
    return (Table("What the compared entries find", (*words, *map(Column, numbers)), rows),) if rows else ()


def _found_differences(record: Record) -> tuple[Block, ...]:
    """Differences of recall and average precision between two entries; nothing if no pair recorded them."""
    words = tuple(Column(label, numeric=False) for label in ("First", "Second", "Tier (or better)", "Recall is that"))
    rows = tuple(
        Row(
            (
                *((show(record, "text", "pairs", i, name),) for name in ("first", "second")),
                (show(record, "text", *tier, "tier"),),
                (_how(record, (*tier, "at_volume"), "of the cuts"),),
                (show(record, "count", *tier, "oracle"),),
                *(
                    cell
                    for name in ("recall", "average_precision")
                    for cell in (
                        (show(record, "signed", *tier, name),),
                        interval(record, "signed", *tier, f"{name}_interval"),
                    )
                ),
            )
        )
        for i in range(record.size("pairs"))
        for tier in (
            ("pairs", i, "positive_tiers", place) for place in range(record.size("pairs", i, "positive_tiers"))
        )
    )
    numbers = ("Oracle", "Recall", "Interval", "Average precision", "Interval")
    title = "Differences in what is found (first minus second) on common rows"
    return (Table(title, (*words, *map(Column, numbers)), rows),) if rows else ()


def _how(record: Record, at: Path, by_cut: str) -> str:
    return "at the oracle's volume" if record.at(*at).value else by_cut


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
