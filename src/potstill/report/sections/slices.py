"""Where the student is worse: slices by source, language, length and date, corrected for having looked at many.

In: facts. Out: a section; what no record holds is "not recorded".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report.blocks import Column, Paragraph, Row, Section, Table
from potstill.report.sections.parts import interval, show

if TYPE_CHECKING:
    from potstill.report.facts import Facts


def slices(facts: Facts) -> Section:
    """Each slice beside all other rows, as the evaluation ordered them: the worst first."""
    evaluation, at = facts.evaluation, ("shipped", "slices")
    count = evaluation.size(*at)
    if not count:
        looked = evaluation.at(*at).recorded
        said = "No slice of the test part has enough rows to be judged." if looked else "Slices: not recorded."
        return Section("slices", "Where it is worse", (Paragraph((said,)),))
    text = Paragraph(
        (
            (
                "The bundle on the test part, slice by slice. The difference is the slice's error less that of all "
                "other rows; chance is the probability of one as large if there were none, and corrected chance allows "
                "for all slices that were looked at (Benjamini and Hochberg)."
            ),
        )
    )
    head = ("Rows", "MAE", "Constant", "Skill", "Bias", "Difference", "Interval", "Chance", "Corrected")
    table = Table(
        "Slices",
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
    return Section("slices", "Where it is worse", (text, table))
