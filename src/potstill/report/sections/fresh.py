"""The bundle on new articles that an oracle labelled for it: the fresh check.

In: facts. Out: a section; where nobody made the check, it says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report.blocks import Block, Column, Findings, Paragraph, Row, Section, Table, Text
from potstill.report.sections.parts import DASH, NO_FLOOR, figures, interval, show, spaced, words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from potstill.report.facts import Facts, Record
    from potstill.report.sections.parts import Path

_TITLE = "On new articles"

_HEAD = ("MAE", "Interval", "Constant", "Skill", "RMSE", "Bias", "R\N{SUPERSCRIPT TWO}", "Spearman", "Floor")


def fresh(facts: Facts) -> Section:
    """Errors, tiers and verdicts by labels that were bought for this alone."""
    found = facts.fresh
    if not found.recorded:
        said = "No oracle has judged the bundle on new articles yet (potstill evaluate RUN --oracle ORACLE)."
        return Section("fresh", _TITLE, (Paragraph((said,)),))
    verdicts = tuple(
        Paragraph((show(found, "text", "findings", place, "text"),), words(found, "findings", place, "tone"))
        for place in range(found.size("findings"))
    )
    return Section(
        "fresh",
        _TITLE,
        (*_other_bundle(facts), Paragraph(_asked(found)), _errors(found), Paragraph(_tiers(found)), Findings(verdicts)),
    )


def _other_bundle(facts: Facts) -> Iterator[Block]:
    judged, shipped = facts.fresh.at("bundle_sha256"), facts.evaluation.at("shipped", "bundle_sha256")
    if shipped.recorded and judged.value != shipped.value:
        yield Paragraph(
            (
                "This check is of another bundle (",
                show(facts.fresh, "hash", "bundle_sha256"),
                ") than the one that stands in this report (",
                show(facts.evaluation, "hash", "shipped", "bundle_sha256"),
                ").",
            ),
            "caution",
        )


def _asked(found: Record) -> Text:
    return (
        show(found, "count", "asked", "drawn"),
        " articles, drawn by chance from ",
        show(found, "count", "asked", "articles"),
        " that the student did not learn from, were labelled by ",
        show(found, "text", "asked", "oracle"),
        " (",
        show(found, "count", "asked", "samples"),
        " answers each; ",
        show(found, "count", "asked", "labelled"),
        (
            " have a label). The constant is the new labels' own median, and the floor the error that these labels "
            "leave to a perfect student."
        ),
    )


def _errors(found: Record) -> Table:
    places: list[tuple[str, Path]] = [
        *((spaced(name), ("judgement", "dimensions", name)) for name in found.keys("judgement", "dimensions")),
        ("mean", ("judgement", "mean")),
        ("weighted overall", ("judgement", "overall")),
    ]
    return Table(
        "The bundle on new articles",
        (Column("Dimension", numeric=False), *map(Column, _HEAD)),
        tuple(Row(((name,), *figures(found, at), _floor(found, at)), strong=at[-1] == "mean") for name, at in places),
    )


def _floor(found: Record, at: Path) -> Text:
    if at[-1] == "overall":
        return (DASH,)
    where = ("mean_floor",) if at[-1] == "mean" else ("floor", at[-1])
    return (show(found, "score", "floor", *where, absent=NO_FLOOR),)


def _tiers(found: Record) -> Text:
    at = ("judgement", "tiers")
    return (
        "The tier is the oracle's in ",
        show(found, "percent", *at, "accuracy", absent=DASH),
        " (interval ",
        *interval(found, "percent", *at, "accuracy_interval", absent=DASH),
        "); naming the commonest every time would be right in ",
        show(found, "percent", *at, "majority", absent=DASH),
        ".",
    )
