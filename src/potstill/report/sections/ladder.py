"""The leaderboard: the errors and costs of all students, and the choice on validation.

In: facts. Out: a section; a figure that is not in a record is shown as "not recorded".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report import charts
from potstill.report.blocks import Block, Column, Figure, Paragraph, Row, Section, Shown, Table, Text
from potstill.report.sections.parts import Path, figures, interval, judgement, latency, show, under_load

if TYPE_CHECKING:
    from potstill.report.facts import Facts


def ladder(facts: Facts) -> Section:
    """All models, compared with the constant on the same rows."""
    evaluation = facts.evaluation
    rows = charts.prepare_ladder(evaluation)
    blocks: list[Block] = [
        Paragraph(
            (
                (
                    "All students of this run, from a constant that does not read the text to the largest model. "
                    "Errors are mean absolute errors over all dimensions. In the plot, the tick is the constant's "
                    "error on the same rows, and the line is an interval over clusters of near-duplicates."
                ),
            )
        ),
    ]
    if rows:
        blocks.append(
            Figure(
                "ladder",
                "Mean absolute error by model",
                "Mean absolute error of each student with its interval, the constant's error and the noise floor.",
                rows,
                charts.plot_ladder,
                (evaluation.file,),
                png="overall_metrics.png",
            )
        )
    return Section("ladder", "Leaderboard", (*blocks, _ladder_table(facts), _speed_table(facts), *_validation(facts)))


def _ladder_table(facts: Facts) -> Table:
    evaluation = facts.evaluation
    chosen = evaluation.at("shipped", "rung").value
    rows = []
    for i in range(evaluation.size("ladder")):
        at = judgement(evaluation, i)
        name = show(evaluation, "text", "ladder", i, "name")
        rows.append(
            Row(
                (
                    (name, " \N{MIDDLE DOT} shipped") if name.fact.value == chosen else (name,),
                    (show(evaluation, "text", *at, "source"), ", ", show(evaluation, "count", *at, "rows"), " rows"),
                    *figures(evaluation, (*at, "mean"))[:4],
                    (show(evaluation, "score", *at, "mean", "spearman"),),
                    (show(evaluation, "percent", *at, "tiers", "accuracy"),),
                    (show(evaluation, "score", "ladder", i, "judgements", "test", "mean", "mae"),),
                ),
                strong=name.fact.value == chosen,
            )
        )
    head = (
        "MAE",
        "Interval",
        "Constant",
        "Skill",
        "Spearman",
        "Tier agreement",
        "MAE on test",
    )
    return Table(
        "Leaderboard",
        (Column("Model", numeric=False), Column("Evaluated on", numeric=False), *map(Column, head)),
        tuple(rows),
    )


def _speed_table(facts: Facts) -> Table:
    evaluation = facts.evaluation
    rows = []
    places: list[tuple[Text, Path]] = [
        ((show(evaluation, "text", "ladder", i, "name"),), ("ladder", i)) for i in range(evaluation.size("ladder"))
    ]
    places.append((("the bundle, end to end",), ("shipped",)))
    for label, path in places:
        # The reason for a missing time is only recorded for students.
        missing = evaluation.at(*path, "latency" if path == ("shipped",) else "latency_missing")
        at = (*path, "latency")
        rows.append(
            Row(
                (
                    label,
                    (latency(evaluation, at, "milliseconds", "milliseconds_p50"),),
                    (latency(evaluation, at, "rate", "articles_per_second"),),
                    (show(evaluation, "count", *at, "articles"),),
                    under_load(evaluation, *at, "load") if evaluation.at(*at).recorded else (Shown(missing, "text"),),
                    (
                        show(evaluation, "text", *at, "machine"),
                        ", ",
                        show(evaluation, "count", *at, "threads"),
                        " threads",
                    )
                    if evaluation.at(*at).recorded
                    else (Shown(missing, "text"),),
                ),
                strong=path == ("shipped",),
            )
        )
    return Table(
        "Measured scoring time",
        (
            Column("Model", numeric=False),
            *map(Column, ("Median ms per article", "Articles/s in batches", "Articles timed")),
            Column("Load", numeric=False),
            Column("Machine", numeric=False, wraps=True),
        ),
        tuple(rows),
    )


def _validation(facts: Facts) -> tuple[Block, ...]:
    evaluation = facts.evaluation
    names = evaluation.keys("choice", "validation_mae")
    if not names:
        return (Paragraph(("Choice of the bundle's student: not recorded.",)),)
    text: Text = (
        "The validation part compares the students. The bundle contains ",
        show(evaluation, "text", "choice", "rung"),
        "; the best of the other students, ",
        show(evaluation, "text", "choice", "runner_up"),
        ", has a validation MAE that differs by ",
        show(evaluation, "score", "choice", "margin"),
        " (interval ",
        *interval(evaluation, "score", "choice", "margin_interval"),
        "). On ",
        show(evaluation, "count", "choice", "skill", "rows"),
        " held-out rows that selected nothing, its skill is ",
        show(evaluation, "percent", "choice", "skill", "skill"),
        " (interval ",
        *interval(evaluation, "percent", "choice", "skill", "interval"),
        ").",
    )
    table = Table(
        "Validation errors",
        (Column("Model", numeric=False), Column("MAE")),
        tuple(
            Row(((name,), (show(evaluation, "score", "choice", "validation_mae", name),)))
            for name in sorted(names, key=lambda name: evaluation.at("choice", "validation_mae", name).value)
        ),
    )
    return Paragraph(text), table
