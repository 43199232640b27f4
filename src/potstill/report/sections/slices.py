"""Errors by slice: source, language, length and date, corrected for multiple testing.

In: facts. Out: a section; a figure that is not in a record is shown as "not recorded".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report.blocks import Column, Paragraph, Row, Section, Table
from potstill.report.sections.parts import interval, show

if TYPE_CHECKING:
    from potstill.report.facts import Facts


def slices(facts: Facts) -> Section:
    """Each slice compared with all other rows, in the order of the evaluation: worst first."""
    evaluation, at = facts.evaluation, ("shipped", "slices")
    count = evaluation.size(*at)
    if not count:
        looked = evaluation.at(*at).recorded
        said = "No slice of the test part has enough rows to be evaluated." if looked else "Slices: not recorded."
        return Section("slices", "Errors by slice", (Paragraph((said,)),))
    text = Paragraph(
        (
            (
                "Errors of the bundle on each slice of the test part. The difference is the slice's error minus that "
                "of all other rows. The adjusted p-value is corrected for the number of slices (Benjamini and "
                "Hochberg)."
            ),
        )
    )
    head = ("Rows", "MAE", "Constant", "Skill", "Bias", "Difference", "Interval", "p-value", "Adjusted p-value")
    table = Table(
        "Errors by slice",
        (Column("Slice", numeric=False), *map(Column, head)),
        tuple(
            Row(
                (
                    (show(evaluation, "text", *at, i, "by"), ": ", show(evaluation, "text", *at, i, "value")),
                    (show(evaluation, "count", *at, i, "rows"),),
                    (show(evaluation, "score", *at, i, "mae"),),
                    (show(evaluation, "score", *at, i, "constant_mae"),),
                    (show(evaluation, "percent", *at, i, "skill"),),
                    (show(evaluation, "signed", *at, i, "bias"),),
                    (show(evaluation, "signed", *at, i, "difference"),),
                    interval(evaluation, "signed", *at, i, "difference_interval"),
                    (show(evaluation, "score", *at, i, "p"),),
                    (show(evaluation, "score", *at, i, "p_adjusted"),),
                )
            )
            for i in range(count)
        ),
    )
    return Section("slices", "Errors by slice", (text, table))
