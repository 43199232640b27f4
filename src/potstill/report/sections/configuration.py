"""What was asked for: the filter, its dimensions, and the recipe of the student that became the bundle.

In: facts. Out: sections; a figure that no record holds is "not recorded".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from potstill.report.blocks import Block, Column, Paragraph, Row, Section, Table
from potstill.report.sections.parts import DASH, chosen_student, show, spaced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from potstill.report.facts import Facts, Record
    from potstill.report.sections.parts import Path


def judged(facts: Facts) -> Section:
    """The filter: what an oracle was asked to judge."""
    record, evaluation = facts.filter, facts.evaluation
    names = record.keys("dimensions")
    opening = Paragraph(
        (
            show(record, "text", "description"),
            " The oracle and the student read the same window of an article, at most ",
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
            Column("What it asks", numeric=False, wraps=True),
        ),
        tuple(
            Row(
                (
                    (spaced(name),),
                    # The weights that were used are those that sum to one.
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
            Column("When", numeric=False, wraps=True),
            Column("Limits the overall to"),
            Column("Why", numeric=False, wraps=True),
        ),
        tuple(_rules(record)),
        folded=True,
    )
    return Section("judged", "What is judged", (opening, dimensions, rules))


def configuration(facts: Facts) -> Section:
    """The recipe that the shipped student followed, setting by setting."""
    record = chosen_student(facts)
    blocks: list[Block] = [
        Paragraph(
            (
                "The bundle's student is ",
                show(facts.evaluation, "text", "shipped", "rung"),
                ", made on ",
                show(record, "text", "device"),
                " from ",
                show(record, "count", "train_rows"),
                " training rows. Its recipe, as it was followed:",
            )
        )
    ]
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
                ("a reader waits for it",) if record.at(*at, "positive").value else (DASH,),
            )
        )


def _leaves(value: Any, path: Path = ()) -> Iterator[Path]:  # noqa: ANN401 - anything a recipe can hold
    """The paths of an object's plain values; a list of plain values is one."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif value is not None:
        yield path
