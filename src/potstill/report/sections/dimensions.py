"""Errors of the shipped student by dimension.

In: facts. Out: a section; a figure that is not in a record is shown as "not recorded".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report import charts
from potstill.report.blocks import NOT_RECORDED, Block, Column, Figure, Paragraph, Row, Section, Shown, Table
from potstill.report.sections.conclusions import rating
from potstill.report.sections.parts import (
    DASH,
    NO_FLOOR,
    Path,
    chosen_history,
    chosen_student,
    figures,
    headline,
    kept_place,
    show,
    spaced,
)

if TYPE_CHECKING:
    from potstill.report.facts import Facts, Record


def dimensions(facts: Facts) -> Section:
    """Errors of the shipped student by dimension."""
    evaluation, at = facts.evaluation, headline(facts.evaluation)
    rows = charts.prepare_dimensions(evaluation, at)
    blocks: list[Block] = [_judged_on(evaluation, at)]
    if rows:
        blocks.append(
            Figure(
                "dimensions",
                "Mean absolute error by dimension",
                "For each dimension, the student's mean absolute error with the noise floor and the constant's error.",
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
        "Noise floor",
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
        "Errors of the shipped student by dimension",
        (Column("Dimension", numeric=False), *map(Column, head)),
        tuple(body),
    )
    return Section(
        "dimensions",
        "Errors by dimension",
        (*blocks, table, *_rounding(evaluation, at), _parts(facts, at), *_gap_rule(facts)),
    )


def _rounding(evaluation: Record, at: Path) -> tuple[Paragraph, ...]:
    path = (*at, "rounding")
    if not evaluation.at(*path).recorded:
        return ()
    return (
        Paragraph(
            (
                "The labels are multiples of ",
                show(evaluation, "plain", *path, "step"),
                ". Clipped to the scale and rounded to these multiples, the same scores would have an MAE of ",
                show(evaluation, "score", *path, "mae_rounded"),
                " instead of ",
                show(evaluation, "score", *path, "mae"),
                ".",
            )
        ),
    )


def _parts(facts: Facts, at: Path) -> Table:
    """Train and validation errors and their gap at the kept epoch, and a rating of the held-out error."""
    evaluation, student, history = facts.evaluation, chosen_student(facts), chosen_history(facts)
    place = kept_place(student, history)
    rows = []
    for name in charts.ordered(evaluation, *at, "dimensions"):
        train, validation = ((place or 0, part, "mae_by_dimension", name) for part in ("train", "validation"))
        by_epoch = place is not None
        figure = (*at, "dimensions", name)
        above = evaluation.minus((*figure, "mae"), ("floor", "floor", name))
        rows.append(
            Row(
                (
                    (spaced(name),),
                    (show(history, "score", *train) if by_epoch else "no epochs",),
                    (
                        show(history, "score", *validation)
                        if by_epoch
                        else show(student, "score", "validation", "mae_by_dimension", name),
                    ),
                    (Shown(history.minus(validation, train), "score") if by_epoch else "no epochs",),
                    (show(evaluation, "score", *figure, "mae"),),
                    (show(evaluation, "percent", *figure, "skill"),),
                    (Shown(above, "score", NO_FLOOR if evaluation.recorded else NOT_RECORDED),),
                    (rating(evaluation, at, name) or NOT_RECORDED,),
                )
            )
        )
    columns = ("Train MAE", "Validation MAE", "Gap", "Held-out MAE", "Skill", "Above noise floor")
    return Table(
        "Train and validation errors, gap and rating",
        (Column("Dimension", numeric=False), *map(Column, columns), Column("Rating", numeric=False)),
        tuple(rows),
    )


def _gap_rule(facts: Facts) -> tuple[Paragraph, ...]:
    student = chosen_student(facts)
    if not student.at("best_epoch").recorded:
        return ()
    return (
        Paragraph(
            (
                "Train and validation errors are from the same weights (the kept epoch, ",
                show(student, "count", "best_epoch"),
                "), before calibration; the gap is validation minus train.",
            )
        ),
    )


def _judged_on(evaluation: Record, at: Path) -> Paragraph:
    return Paragraph(
        (
            "Evaluated on ",
            show(evaluation, "count", *at, "rows"),
            " rows (",
            show(evaluation, "text", *at, "source"),
            (
                "), none of which the student was trained on. Skill is the share of the constant's error that the "
                "student removes; bias is prediction minus label; the noise floor is the error that a perfect student "
                "would have, because the labels are noisy."
            ),
        )
    )
