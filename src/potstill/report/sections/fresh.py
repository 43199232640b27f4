"""Evaluation of the bundle on new articles that an oracle labelled for this purpose.

In: facts. Out: a section; if there is no such evaluation, it says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report.blocks import Block, Column, Findings, Paragraph, Row, Section, Table, Text
from potstill.report.sections.parts import DASH, NO_FLOOR, figures, interval, show, spaced, words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from potstill.report.facts import Facts, Record
    from potstill.report.sections.parts import Path

_TITLE = "Evaluation on new articles"

_HEAD = ("MAE", "Interval", "Constant", "Skill", "RMSE", "Bias", "R\N{SUPERSCRIPT TWO}", "Spearman", "Noise floor")


def fresh(facts: Facts) -> Section:
    """Errors, tiers and findings on labels that were bought only for this evaluation."""
    found = facts.fresh
    if not found.recorded:
        said = (
            "Not recorded. Run potstill evaluate RUN --oracle ORACLE to evaluate the bundle on newly labelled articles."
        )
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
    if shipped.recorded and judged.value not in {shipped.value, facts.bundle.at("sha256").value}:
        yield Paragraph(
            (
                "These figures are for a different bundle (",
                show(facts.fresh, "hash", "bundle_sha256"),
                ") than the bundle of this report (",
                show(facts.evaluation, "hash", "shipped", "bundle_sha256"),
                ").",
            ),
            "caution",
        )


def _asked(found: Record) -> Text:
    return (
        show(found, "count", "asked", "drawn"),
        " articles, a random sample of ",
        show(found, "count", "asked", "articles"),
        " that the student was not trained on, were labelled by ",
        show(found, "text", "asked", "oracle"),
        " (",
        show(found, "count", "asked", "samples"),
        " answers each; ",
        show(found, "count", "asked", "labelled"),
        (
            " have a label). The constant is the median of the new labels; the noise floor is the error that a perfect "
            "student would have on these labels."
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
        "Student and oracle agree on the tier of ",
        show(found, "percent", *at, "accuracy", absent=DASH),
        " of articles (interval ",
        *interval(found, "percent", *at, "accuracy_interval", absent=DASH),
        "); always predicting the most common tier would agree on ",
        show(found, "percent", *at, "majority", absent=DASH),
        ".",
    )
