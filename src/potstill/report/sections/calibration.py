"""Which calibration was kept and why, and the coverage of the intervals.

In: facts. Out: a section; a figure that is not in a record is shown as "not recorded".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report.blocks import Column, Paragraph, Row, Section, Table, Text
from potstill.report.sections.parts import half_width, show, spaced

if TYPE_CHECKING:
    from potstill.report.facts import Facts


def calibration(facts: Facts) -> Section:
    """Which calibration was kept and why, and the width and coverage of the intervals."""
    record, evaluation = facts.calibration, facts.evaluation
    named = {record.at("curves", i, "dimension").value: i for i in range(record.size("curves"))}
    rows = tuple(
        Row(
            (
                (spaced(str(name)),),
                (show(record, "text", "curves", i, "method"),),
                (show(record, "score", "curves", i, "before"),),
                (show(record, "score", "curves", i, "after"),),
                (show(record, "count", "curves", i, "n"),),
                (show(record, "score", *half_width(record, i), absent="whole scale"),),
                (show(evaluation, "percent", "shipped", "coverage", str(name)),),
            )
        )
        for name, i in named.items()
    )
    if not rows:
        return Section("calibration", "Calibration and intervals", (Paragraph((f"Not recorded ({record.file}).",)),))
    text: Text = (
        (
            "A calibration curve is kept only if it lowers the error on rows that it was not fitted on; otherwise "
            "scores are only clipped to the scale. Intervals are conformal, with a nominal coverage of "
        ),
        show(evaluation, "percent", "shipped", "interval_level"),
        "; the last column is the share of test labels that they contain. Fitted on: ",
        show(record, "text", "origin"),
        ".",
    )
    head = (
        Column("Dimension", numeric=False),
        Column("Calibration", numeric=False),
        Column("MAE before"),
        Column("MAE after"),
        Column("Rows"),
        Column("Half interval width"),
        Column("Coverage on test"),
    )
    why = Table(
        "Reasons for keeping or dropping each curve",
        (Column("Dimension", numeric=False), Column("Reason", numeric=False, wraps=True)),
        tuple(Row(((spaced(str(name)),), (show(record, "text", "curves", i, "reason"),))) for name, i in named.items()),
        folded=True,
    )
    return Section(
        "calibration",
        "Calibration and intervals",
        (Paragraph(text), Table("Calibration by dimension", head, rows), why),
    )
