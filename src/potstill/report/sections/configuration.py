"""The configuration: the filter, its dimensions, and the recipe of the shipped student.

In: facts. Out: sections; a figure that is not in a record is shown as "not recorded".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from potstill.report.blocks import Block, Column, Paragraph, Row, Section, Table
from potstill.report.sections.parts import DASH, chosen_student, refit_words, show, spaced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from potstill.report.facts import Facts, Record
    from potstill.report.sections.parts import Path


def judged(facts: Facts) -> Section:
    """The filter: what the oracle was asked to judge."""
    record, evaluation = facts.filter, facts.evaluation
    names = record.keys("dimensions")
    opening = Paragraph(
        (
            show(record, "text", "description"),
            " Oracle and student read the same text window of each article: at most ",
            show(record, "count", "text", "max_chars", absent="the default number of"),
            " characters (",
            show(record, "text", "text", "keep", absent="the default part"),
            "). The scale is ",
            show(evaluation, "plain", "scale", 0),
            " to ",
            show(evaluation, "plain", "scale", 1),
            ".",
        )
    )
    dimensions = Table(
        "Dimensions",
        (
            Column("Dimension", numeric=False),
            Column("Weight"),
            Column("Description", numeric=False, wraps=True),
        ),
        tuple(
            Row(
                (
                    (spaced(name),),
                    # The weights that were used are normalized to sum to one.
                    (show(evaluation, "plain", "weights", name),),
                    (show(record, "text", "dimensions", name, "description"),),
                )
            )
            for name in names
        ),
    )
    rules = Table(
        "Gates, caps and tiers",
        (
            Column("Rule", numeric=False),
            Column("Condition", numeric=False, wraps=True),
            Column("Overall limited to"),
            Column("Reason", numeric=False, wraps=True),
        ),
        tuple(_rules(record)),
        folded=True,
    )
    return Section("judged", "Filter", (opening, dimensions, rules))


def configuration(facts: Facts) -> Section:
    """The recipe of the shipped student, setting by setting."""
    record = chosen_student(facts)
    blocks: list[Block] = [
        Paragraph(
            (
                "The bundle's student is ",
                show(facts.evaluation, "text", "shipped", "rung"),
                ", trained on device ",
                show(record, "text", "device"),
                " with ",
                show(record, "count", "train_rows"),
                " training rows. Its recipe:",
            )
        )
    ]
    if refit := refit_words(facts):
        blocks.append(Paragraph(refit))
    settings = tuple(
        Row(((".".join(str(step) for step in path),), (show(record, "text", "recipe", *path),)))
        for path in _leaves(record.at("recipe").value)
        if path != ("description",)
    )
    if settings:
        blocks.append(
            Table(
                "Settings",
                (Column("Setting", numeric=False), Column("Value", numeric=False, wraps=True)),
                settings,
            )
        )
    return Section("configuration", "Configuration", tuple(blocks))


def _rules(record: Record) -> Iterator[Row]:
    for kind, name in (("gates", "gate"), ("caps", "cap")):
        for place in range(record.size(kind)):
            at = (kind, place)
            when = "when" if record.at(*at, "when").recorded else "any"
            yield Row(
                (
                    (name,),
                    (show(record, "text", *at, when),),
                    (show(record, "plain", *at, "cap"),),
                    (show(record, "text", *at, "reason", absent=DASH),),
                )
            )
    for place in range(record.size("tiers")):
        at = ("tiers", place)
        yield Row(
            (
                ("tier ", show(record, "text", *at, "name")),
                (show(record, "text", *at, "when", absent="otherwise"),),
                (DASH,),
                ("positive tier",) if record.at(*at, "positive").value else (DASH,),
            )
        )


def _leaves(value: Any, path: Path = ()) -> Iterator[Path]:  # noqa: ANN401 - anything a recipe can hold
    """The paths of an object's plain values; a list counts as one value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif value is not None:
        yield path
