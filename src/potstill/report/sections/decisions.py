"""Decisions about the run: by targets, by people, and by the run itself, each with its reason.

In: facts. Out: a section; a figure that is not in a record is shown as "not recorded".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report.blocks import Block, Column, Paragraph, Row, Section, Table
from potstill.report.sections.parts import DASH, chosen_student, show

if TYPE_CHECKING:
    from potstill.report.facts import Facts


def decisions(facts: Facts) -> Section:
    """Decisions about the run and their reasons, from the records."""
    made, student = facts.made, chosen_student(facts)
    rows = [
        Row(
            (
                ("student that is shipped",),
                (show(made, "text", "choice", "rung"),),
                (show(made, "text", "choice", "reason"),),
            )
        )
    ]
    if student.at("best_epoch").recorded:
        rows.append(
            Row(
                (
                    ("epoch that is kept",),
                    (show(student, "count", "best_epoch"),),
                    ("lowest validation error of ", show(student, "count", "epochs"), " epochs"),
                )
            )
        )
    table = Table(
        "Automatic decisions",
        (
            Column("Decision", numeric=False),
            Column("Result", numeric=False),
            Column("Reason", numeric=False, wraps=True),
        ),
        tuple(rows),
    )
    return Section("decisions", "Decision log", (*_targets(facts), *_people(facts), table))


def current(facts: Facts) -> bool:
    """Whether the targets were judged on the evaluation that this report shows."""
    return facts.acceptance.recorded and facts.acceptance.at("evaluation_sha256").value == facts.evaluation.sha256


def _targets(facts: Facts) -> tuple[Block, ...]:
    record = facts.acceptance
    if not record.recorded:
        return (Paragraph((f"Targets: not recorded ({record.file}).",)),)
    if not current(facts):
        return (
            Paragraph(
                (
                    "Targets were judged on a different evaluation (",
                    show(record, "hash", "evaluation_sha256"),
                    ") and are not shown.",
                ),
                "caution",
            ),
        )
    head = ("Figure", "Target", "Value", "Constant", "Met", "Weak")
    table = Table(
        "Targets",
        (
            *(Column(label, numeric=False, wraps=True) for label in head[:2]),
            *map(Column, head[2:4]),
            *(Column(label, numeric=False) for label in head[4:]),
        ),
        tuple(
            Row(
                (
                    (show(record, "text", "outcomes", i, "figure"),),
                    (show(record, "text", "outcomes", i, "wanted"),),
                    (show(record, "score", "outcomes", i, "value"),),
                    (show(record, "score", "outcomes", i, "constant", absent=DASH),),
                    (show(record, "plain", "outcomes", i, "met"),),
                    (show(record, "plain", "outcomes", i, "weak"),),
                ),
                strong=record.at("outcomes", i, "met").value is False,
            )
            for i in range(record.size("outcomes"))
        ),
    )
    return (table,)


def _people(facts: Facts) -> tuple[Block, ...]:
    record = facts.decisions
    if not record.size():
        return (Paragraph((f"Decisions by people: not recorded ({record.file}).",)),)
    table = Table(
        "Decisions by people",
        (
            Column("Time (UTC)", numeric=False),
            Column("Accepted", numeric=False),
            Column("Reason", numeric=False, wraps=True),
            Column("Targets met", numeric=False),
            Column("Evaluation", numeric=False),
        ),
        tuple(
            Row(
                (
                    (show(record, "date", i, "when"),),
                    (show(record, "plain", i, "accepted"),),
                    (show(record, "text", i, "why"),),
                    (show(record, "plain", i, "targets_met", absent="not judged"),),
                    (show(record, "hash", i, "evaluation_sha256"), "" if _this(facts, i) else " (an earlier one)"),
                )
            )
            for i in range(record.size())
        ),
    )
    return (table,)


def _this(facts: Facts, place: int) -> bool:
    return bool(facts.decisions.at(place, "evaluation_sha256").value == facts.evaluation.sha256)
