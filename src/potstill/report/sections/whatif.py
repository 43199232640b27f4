"""Tier thresholds: thresholds for a target recall, and sliders that apply thresholds to stored overall scores.

In: facts. Out: a section; a figure that is not in a record is shown as "not recorded". The sliders use the run's
predictions, with gates and caps already applied, including caps on words of the texts.
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
    "Move a threshold to see how many articles are in each tier. The counts are computed on this page from stored "
    "overall scores; gates, caps and weights are unchanged (potstill tiers can change those too)."
)

_TITLE = "Tier thresholds"
_FROM = re.compile(r"\s*overall\s*(>=|>)\s*(-?\d+(?:\.\d+)?)\s*")
_ORDER = ("out-of-fold", "test", "validation")


def what_if(facts: Facts) -> Section:
    """Recorded thresholds for a target recall, and sliders if the filter's tiers are thresholds on the overall."""
    blocks: list[Block] = [*_recorded(facts.evaluation)]
    sliders = _sliders(facts)
    if sliders is not None:
        blocks.append(sliders)
    else:
        blocks.append(
            Paragraph(
                ("No sliders: these tiers depend on more than the overall score. Use potstill tiers to try changes.",)
            )
        )
    return Section("what-if", _TITLE, tuple(blocks))


def _recorded(evaluation: Record) -> tuple[Block, ...]:
    wanted = evaluation.keys("cuts", "by_recall")
    if not wanted:
        return (Paragraph(("Thresholds by target recall: not recorded, or too few positives.",)),)
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
        "The highest threshold on the student's overall score that reaches each recall of the positive tiers, on ",
        show(evaluation, "count", "cuts", "rows"),
        " rows (",
        show(evaluation, "text", "cuts", "source"),
        "). The thresholds were chosen on these rows; on other rows, expect a recall closer to the lower bound.",
    )
    columns = ("Recall", "Lower bound", "Overall from", "Articles selected", "Precision")
    return Paragraph(text), Table("Thresholds by target recall", tuple(map(Column, columns)), rows)


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
        label="Tier thresholds",
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
    """The filter's tiers as thresholds on the overall score, or None if they depend on more."""
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
