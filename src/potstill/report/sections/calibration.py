"""Calibration that was kept and why, and how true the intervals are.

In: facts. Out: a section; a figure that no record holds is "not recorded".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.calibration import LEVELS
from potstill.report.blocks import Column, Paragraph, Row, Section, Table, Text
from potstill.report.sections.parts import INTERVAL_LEVEL, show, spaced

if TYPE_CHECKING:
    from potstill.report.facts import Facts


def calibration(facts: Facts) -> Section:
    """What calibration was kept and why, and how wide and how true the intervals are."""
    record, evaluation = facts.calibration, facts.evaluation
    width = LEVELS.index(INTERVAL_LEVEL)
    named = {record.at("curves", i, "dimension").value: i for i in range(record.size("curves"))}
    rows = tuple(
        Row(
            (
                (spaced(str(name)),),
                (show(record, "text", "curves", i, "method"),),
                (show(record, "score", "curves", i, "before"),),
                (show(record, "score", "curves", i, "after"),),
                (show(record, "count", "curves", i, "n"),),
                (show(record, "score", "curves", i, "widths", width, absent="whole scale"),),
                (show(evaluation, "percent", "shipped", "coverage", str(name)),),
            )
        )
        for name, i in named.items()
    )
    if not rows:
        return Section("calibration", "Calibration and intervals", (Paragraph((f"Not recorded ({record.file}).",)),))
    text: Text = (
        (
            "A calibration curve is kept only where it lowers the error on rows that did not fit it; otherwise scores "
            "are clipped to the scale and nothing else. Intervals are conformal and meant to hold "
        ),
        show(evaluation, "percent", "shipped", "interval_level"),
        " of labels; the share of test labels that they did hold stands beside them. Fitted on: ",
        show(record, "text", "origin"),
        ".",
    )
    head = (
        Column("Dimension", numeric=False),
        Column("Kept", numeric=False),
        Column("Error before"),
        Column("after"),
        Column("Rows"),
        Column("Half width"),
        Column("Held on test"),
    )
    why = Table(
        "Why each curve was kept or dropped",
        (Column("Dimension", numeric=False), Column("Why", numeric=False, wraps=True)),
        tuple(Row(((spaced(str(name)),), (show(record, "text", "curves", i, "reason"),))) for name, i in named.items()),
        folded=True,
    )
    return Section(
        "calibration",
        "Calibration and intervals",
        (Paragraph(text), Table("Calibration by dimension", head, rows), why),
    )
