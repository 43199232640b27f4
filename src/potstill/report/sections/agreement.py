"""The student's scores compared with the oracle's, article by article and by band of the scale.

In: facts. Out: a section; a figure that is not in a record is shown as "not recorded".
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from potstill.report import charts
from potstill.report.blocks import Block, Column, Figure, Panels, Paragraph, Row, Section, Table
from potstill.report.sections.parts import DASH, Path, headline, show, spaced

if TYPE_CHECKING:
    from potstill.report.facts import Facts, Record


def agreement(facts: Facts) -> Section:
    """Scatter plots of student and oracle scores, and the student's mean error by band of the scale."""
    evaluation, at = facts.evaluation, headline(facts.evaluation)
    blocks: list[Block] = []
    panels = _scatter_panels(facts, at)
    if panels:
        blocks += [
            Paragraph(
                (
                    (
                        "Each point is a held-out article, or a group of articles if there are too many to draw. On "
                        "the dashed line, student and oracle agree."
                    ),
                )
            ),
            panels,
        ]
    else:
        blocks.append(Paragraph((f"Predictions: not recorded ({facts.predictions.file}).",)))
    bands = charts.prepare_bands(evaluation, at)
    if bands:
        blocks += [
            Paragraph(
                (
                    (
                        "Bias: the student's mean error by the oracle's score. An uncertain student predicts scores "
                        "closer to the middle, so high scores come out too low. If you filter for high scores, check "
                        "the columns on the right."
                    ),
                )
            ),
            Figure(
                "bands",
                "Mean error by band of the oracle's score",
                "A heat map of the student's mean error by dimension (rows) and band of the oracle's score (columns).",
                bands,
                charts.plot_bands,
                (evaluation.file,),
                png="band_bias.png",
            ),
            _band_table(evaluation, at),
        ]
    return Section("agreement", "Student and oracle scores", tuple(blocks))


def _band_table(evaluation: Record, at: Path) -> Table:
    first = next(iter(evaluation.keys(*at, "bands")), "")
    count = evaluation.size(*at, "bands", first)
    ends = [
        " to ".join(f"{evaluation.at(*at, 'bands', first, i, end).value:g}" for end in ("low", "high"))
        for i in range(count)
    ]
    rows = tuple(
        Row(
            (
                (spaced(name),),
                *(
                    (
                        show(evaluation, "signed", *at, "bands", name, i, "bias", absent=DASH),
                        " (",
                        show(evaluation, "count", *at, "bands", name, i, "rows"),
                        ")",
                    )
                    for i in range(count)
                ),
            )
        )
        for name in charts.ordered(evaluation, *at, "bands")
    )
    return Table(
        "Mean error by band (number of rows)",
        (Column("Dimension", numeric=False), *(Column(end) for end in ends)),
        rows,
        folded=True,
    )


def _scatter_panels(facts: Facts, at: Path) -> Panels | None:
    frame, evaluation = facts.predictions.frame, facts.evaluation
    source, scale = evaluation.at(*at, "source").value, evaluation.at("scale").value
    if frame is None or source is None or scale is None:
        return None
    rows = frame.filter(pl.col("source") == source)
    plot = partial(charts.plot_scatter, low=scale[0], high=scale[1])
    items = []
    for name in ("overall", *charts.ordered(evaluation, *at, "dimensions")):
        points = charts.prepare_scatter(rows, name)
        if points:
            items.append(
                Figure(
                    f"scatter-{name}",
                    "weighted overall" if name == "overall" else spaced(name),
                    f"The student's and the oracle's scores for {spaced(name)}, article by article.",
                    points,
                    plot,
                    (facts.predictions.file,),
                )
            )
    return Panels("Student and oracle scores", tuple(items)) if items else None
