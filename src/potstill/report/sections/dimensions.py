"""The shipped student, dimension by dimension.

In: facts. Out: a section; a figure that no record holds is "not recorded".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report import charts
from potstill.report.blocks import Block, Column, Figure, Paragraph, Row, Section, Table
from potstill.report.sections.parts import DASH, NO_FLOOR, Path, figures, headline, show, spaced

if TYPE_CHECKING:
    from potstill.report.facts import Facts, Record


def dimensions(facts: Facts) -> Section:
    """The shipped student, dimension by dimension."""
    evaluation, at = facts.evaluation, headline(facts.evaluation)
    rows = charts.prepare_dimensions(evaluation, at)
    blocks: list[Block] = [_judged_on(evaluation, at)]
    if rows:
        blocks.append(
            Figure(
                "dimensions",
                "Error by dimension",
                "For each dimension the student's mean absolute error, between the floor and the constant's error.",
                rows,
                charts.plot_dimensions,
                (evaluation.file,),
                png="per_dimension_mae.png",
            )
        )
    head = (
        "Weight",
        "MAE",
        "Interval",
        "Constant",
        "Skill",
        "RMSE",
        "Bias",
        "R\N{SUPERSCRIPT TWO}",
        "Spearman",
        "Floor",
    )
    named: list[tuple[str, Path]] = [
        (name, (*at, "dimensions", name)) for name in charts.ordered(evaluation, *at, "dimensions")
    ]
    body = [
        Row(
            (
                (spaced(name),),
                (show(evaluation, "plain", "weights", name),),
                *figures(evaluation, path),
                (show(evaluation, "score", "floor", "floor", name, absent=NO_FLOOR),),
            )
        )
        for name, path in named
    ]
    body.append(
        Row(
            (
                ("mean of the dimensions",),
                (DASH,),
                *figures(evaluation, (*at, "mean")),
                (show(evaluation, "score", "floor", "mean_floor", absent=NO_FLOOR),),
            ),
            strong=True,
        )
    )
    body.append(Row((("weighted overall",), (DASH,), *figures(evaluation, (*at, "overall")), (DASH,)), strong=True))
    table = Table(
        "The shipped student by dimension", (Column("Dimension", numeric=False), *map(Column, head)), tuple(body)
    )
    return Section("dimensions", "By dimension", (*blocks, table))


def _judged_on(evaluation: Record, at: Path) -> Paragraph:
    return Paragraph(
        (
            "On ",
            show(evaluation, "count", *at, "rows"),
            " rows (",
            show(evaluation, "text", *at, "source"),
            (
                "), none of which the student learned from. Skill is the share of the constant's error gone; bias "
                "is prediction minus label; the floor is the error of a perfect student against labels this noisy."
            ),
        )
    )
