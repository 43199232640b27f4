"""The ladder: every student beside the constant, what each costs, and what validation said.

In: facts. Out: a section; a figure that no record holds is "not recorded".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report import charts
from potstill.report.blocks import Block, Column, Figure, Paragraph, Row, Section, Shown, Table, Text
from potstill.report.sections.parts import Path, figures, interval, judgement, latency, show, under_load

if TYPE_CHECKING:
    from potstill.report.facts import Facts


def ladder(facts: Facts) -> Section:
    """Every rung, beside the constant on the same rows."""
    evaluation = facts.evaluation
    rows = charts.prepare_ladder(evaluation)
    blocks: list[Block] = [
        Paragraph(
            (
                (
                    "Every student of this run, from one that reads nothing to the largest. A rung's error is the mean "
                    "absolute error over all dimensions; the tick is the constant's error on the same rows, the "
                    "line an interval over clusters of near-duplicates."
                ),
            )
        ),
    ]
    if rows:
        blocks.append(
            Figure(
                "ladder",
                "Error by rung",
                "Mean absolute error of each student with its interval, beside the constant's and the floor.",
                rows,
                charts.plot_ladder,
                (evaluation.file,),
                png="overall_metrics.png",
            )
        )
    return Section("ladder", "The ladder", (*blocks, _ladder_table(facts), _speed_table(facts), *_validation(facts)))


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
        "Tiers agree",
        "MAE on test",
    )
    return Table(
        "The ladder",
        (Column("Rung", numeric=False), Column("Judged on", numeric=False), *map(Column, head)),
        tuple(rows),
    )


def _speed_table(facts: Facts) -> Table:
    evaluation = facts.evaluation
    rows = []
    places: list[tuple[Text, Path]] = [
        ((show(evaluation, "text", "ladder", i, "name"),), ("ladder", i)) for i in range(evaluation.size("ladder"))
    ]
    places.append((("the bundle, whole path",), ("shipped",)))
    for label, path in places:
        # Only of a rung is it recorded why it was not timed.
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
        "What one article costs, measured",
        (
            Column("Rung", numeric=False),
            *map(Column, ("ms, median", "Articles/s in bulk", "Timed")),
            Column("Load", numeric=False),
            Column("Machine", numeric=False, wraps=True),
        ),
        tuple(rows),
    )


def _validation(facts: Facts) -> tuple[Block, ...]:
    evaluation = facts.evaluation
    names = evaluation.keys("choice", "validation_mae")
    if not names:
        return (Paragraph(("The choice of the bundle's rung: not recorded.",)),)
    text: Text = (
        "The rung is chosen by validation. The bundle is ",
        show(evaluation, "text", "choice", "rung"),
        "; the best of the others, ",
        show(evaluation, "text", "choice", "runner_up"),
        ", errs by ",
        show(evaluation, "score", "choice", "margin"),
        " more there (interval ",
        *interval(evaluation, "score", "choice", "margin_interval"),
        ").",
    )
    table = Table(
        "Validation, which chose",
        (Column("Rung", numeric=False), Column("MAE")),
        tuple(
            Row(((name,), (show(evaluation, "score", "choice", "validation_mae", name),)))
            for name in sorted(names, key=lambda name: evaluation.at("choice", "validation_mae", name).value)
        ),
    )
    return Paragraph(text), table
