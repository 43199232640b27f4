"""Predicted against oracle, article by article and by band of the scale.

In: facts. Out: a section; a figure that no record holds is "not recorded".
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
    """Predicted against oracle, and where on the scale the student leans."""
    evaluation, at = facts.evaluation, headline(facts.evaluation)
    blocks: list[Block] = []
    panels = _scatter_panels(facts, at)
    if panels:
        blocks += [
            Paragraph(
                (
                    (
                        "Each point is an article that the student had not seen (or a cell of many, if there are too "
                        "many to draw). On the dashed line the student would agree with the oracle."
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
                        "Where the student leans: its mean error by what the oracle said. An unsure student pulls "
                        "to the middle, so that high scores come out low; whoever filters for them should look right."
                    ),
                )
            ),
            Figure(
                "bands",
                "Mean error by band of the oracle's score",
                "A table of colours: dimensions down, bands of the oracle's score across, the student's mean error in "
                "each.",
                bands,
                charts.plot_bands,
                (evaluation.file,),
                png="band_bias.png",
            ),
            _band_table(evaluation, at),
        ]
    return Section("agreement", "Predicted against oracle", tuple(blocks))


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
        "Mean error by band, and rows in it",
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
                    f"The student's score of {spaced(name)} against the oracle's, article by article.",
                    points,
                    plot,
                    (facts.predictions.file,),
                )
            )
    return Panels("Predicted against oracle", tuple(items)) if items else None
