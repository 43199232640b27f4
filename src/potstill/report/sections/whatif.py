"""What if the tiers began elsewhere? Where to cut for a wanted recall, and sliders on the stored overalls.

In: facts. Out: a section; what no record holds is "not recorded". The sliders are made from the run's predictions,
with gates and caps as they were applied there, the words of the texts included.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import polars as pl

from potstill.report.blocks import Block, Column, Cut, Paragraph, Row, Section, Table, Text, WhatIf
from potstill.report.sections.parts import DASH, show
from potstill.types import UNSCORED

if TYPE_CHECKING:
    from potstill.report.facts import Facts, Record

_NOTE = (
    "Move a threshold and see how many articles each tier holds. Worked out on this page from the stored overalls; "
    "gates, caps and weights stay as they are (potstill tiers moves those too)."
)

_TITLE = "What if tiers began elsewhere?"
_FROM = re.compile(r"\s*overall\s*(>=|>)\s*(-?\d+(?:\.\d+)?)\s*")
_ORDER = ("out-of-fold", "test", "validation")


def what_if(facts: Facts) -> Section:
    """Thresholds for a wanted recall as recorded, and sliders where the filter's tiers are cuts of overall."""
    blocks: list[Block] = [*_recorded(facts.evaluation)]
    sliders = _sliders(facts)
    if sliders is not None:
        blocks.append(sliders)
    else:
        blocks.append(Paragraph(("These tiers are more than cuts of overall: potstill tiers decides them again.",)))
    return Section("what-if", _TITLE, tuple(blocks))


def _recorded(evaluation: Record) -> tuple[Block, ...]:
    wanted = evaluation.keys("cuts", "by_recall")
    if not wanted:
        return (Paragraph(("Where to cut for a wanted recall: not recorded, or too few positives to tell.",)),)
    rows = tuple(
        Row(
            (
                (show(evaluation, "percent", *at, "recall"),),
                (show(evaluation, "percent", *at, "recall_low", absent=DASH),),
                (show(evaluation, "score", *at, "overall_at_least"),),
                (show(evaluation, "count", *at, "rows"),),
                (show(evaluation, "percent", *at, "precision", absent=DASH),),
            )
        )
        for at in (("cuts", "by_recall", name) for name in wanted)
    )
    text: Text = (
        "The highest cut of the student's overall that finds so many of the oracle's positive tiers, on ",
        show(evaluation, "count", "cuts", "rows"),
        " rows (",
        show(evaluation, "text", "cuts", "source"),
        "). It was chosen on these very rows: on others the recall is nearer to its lower end.",
    )
    columns = ("Recall", "at least", "Overall from", "Articles named", "Precision")
    return Paragraph(text), Table("Where to cut for a wanted recall", tuple(map(Column, columns)), rows)


def _sliders(facts: Facts) -> WhatIf | None:
    frame, cuts = facts.predictions.frame, _cuts(facts.filter)
    scale = facts.evaluation.at("scale").value
    if frame is None or cuts is None or scale is None:
        return None
    source = next((name for name in _ORDER if name in set(frame["source"])), None)
    rows = frame.filter(
        pl.col("source") == source,
        pl.col("tier_oracle") != UNSCORED,
        pl.col("tier_student") != UNSCORED,
    ).select(pl.col("overall_oracle", "overall_student").round(6))
    return WhatIf(
        label="Thresholds of tiers",
        note=_NOTE,
        cuts=cuts,
        low=scale[0],
        high=scale[1],
        oracle=rows["overall_oracle"].to_list(),
        student=rows["overall_student"].to_list(),
        file=facts.predictions.file,
        sha256=facts.predictions.sha256,
    )


def _cuts(filter_: Record) -> tuple[Cut, ...] | None:
    """The filter's tiers as cuts of overall, or None where they are more than that."""
    found = []
    for place in range(filter_.size("tiers")):
        when = filter_.at("tiers", place, "when").value
        match = None if when is None else _FROM.fullmatch(str(when))
        if when is not None and match is None:
            return None
        found.append(
            Cut(
                tier=str(filter_.at("tiers", place, "name").value),
                least=None if match is None else float(match[2]),
                above=match is not None and match[1] == ">",
                positive=bool(filter_.at("tiers", place, "positive").value),
            )
        )
    return tuple(found) if len(found) > 1 and found[-1].least is None else None
