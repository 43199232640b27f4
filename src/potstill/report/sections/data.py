"""The rows, their parts, and statistics of the labels.

In: facts. Out: a section; a figure that is not in a record is shown as "not recorded".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report import charts
from potstill.report.blocks import Column, Paragraph, Row, Section, Table, Text
from potstill.report.sections.parts import NO_FLOOR, Path, interval, show, spaced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from potstill.report.facts import Facts


def data(facts: Facts) -> Section:
    """The rows, their parts, and statistics of the labels."""
    evaluation, stage = facts.evaluation, facts.stage("dataset")
    record: Path = ("parameters", "record")
    text: Text = (
        show(evaluation, "count", "data", "rows"),
        " labelled articles in ",
        show(evaluation, "count", "data", "clusters"),
        " clusters; near-duplicate pairs: ",
        show(stage, "count", *record, "near_duplicates"),
        ". All rows of a cluster are in the same part. Articles truncated by the text window: ",
        show(stage, "count", *record, "cut"),
        ". Answers per article: ",
        show(evaluation, "plain", "data", "samples_per_article"),
        ". Calibration: ",
        show(stage, "text", *record, "calibration"),
        ".",
    )
    parts = Table(
        "Rows by part",
        (Column("Part", numeric=False), Column("Rows")),
        tuple(
            Row(((part,), (show(evaluation, "count", "data", "parts", part),)))
            for part in sorted(evaluation.keys("data", "parts"), key=_part_order)
        ),
    )
    head = (
        "Labels",
        "Missing",
        "Mean",
        "Median",
        "Standard deviation",
        "Training labels reach",
        "At the minimum",
        "Most common value",
        "Repeat standard deviation",
        "Repeat difference",
    )
    labels = Table(
        "Labels by dimension",
        (Column("Dimension", numeric=False), *map(Column, head)),
        tuple(
            Row(
                (
                    (spaced(name),),
                    (show(evaluation, "count", "labels", name, "labels"),),
                    (show(evaluation, "count", "labels", name, "missing"),),
                    (show(evaluation, "score", "labels", name, "mean"),),
                    (show(evaluation, "plain", "labels", name, "median"),),
                    (show(evaluation, "score", "labels", name, "deviation"),),
                    interval(stage, "plain", *record, "reach", "dimensions", name),
                    (show(evaluation, "percent", "labels", name, "at_minimum"),),
                    (show(evaluation, "percent", "labels", name, "commonest_share"),),
                    (show(evaluation, "score", "labels", name, "repeat_deviation", absent=NO_FLOOR),),
                    (show(evaluation, "score", "floor", "difference", name, absent=NO_FLOOR),),
                )
            )
            for name in charts.ordered(evaluation, "labels")
        ),
    )
    notes = tuple(
        Paragraph(("Note: ", show(stage, "text", *record, "notes", place), "."))
        for place in range(stage.size(*record, "notes"))
    )
    unreached = tuple(
        Paragraph((show(stage, "text", *record, "reach", "unreached", place), "."), "caution")
        for place in range(stage.size(*record, "reach", "unreached"))
    )
    return Section("data", "Labels and data", (Paragraph(text), *notes, *unreached, parts, labels))


def _part_order(part: str) -> int:
    order: Sequence[str] = ("train", "validation", "calibration", "test")
    return order.index(part) if part in order else len(order)
