"""Summary: key figures and findings.

In: facts. Out: a section; a figure that is not in a record is shown as "not recorded".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report.blocks import Block, Findings, Paragraph, Section, Text, Tile, Tiles
from potstill.report.sections.parts import NO_FLOOR, headline, interval, latency, load_remark, refit_words, show, words

if TYPE_CHECKING:
    from potstill.report.facts import Facts


def summary(facts: Facts) -> Section:
    """Key figures and findings."""
    evaluation, at = facts.evaluation, headline(facts.evaluation)
    mean, test = (*at, "mean"), ("shipped", "judgement")
    tiles = (
        Tile(
            "MAE",
            show(evaluation, "score", *mean, "mae"),
            ("interval ", *interval(evaluation, "score", *mean, "mae_interval")),
        ),
        Tile("Constant's MAE", show(evaluation, "score", *mean, "constant_mae"), ("on the same rows",)),
        Tile(
            "Skill",
            show(evaluation, "percent", *mean, "skill"),
            ("of the constant's error removed; interval ", *interval(evaluation, "percent", *mean, "skill_interval")),
        ),
        Tile(
            "Noise floor",
            show(evaluation, "score", "floor", "mean_floor", absent=NO_FLOOR),
            (
                "two answers of the oracle differ by ",
                show(evaluation, "score", "floor", "mean_difference", absent=NO_FLOOR),
            ),
        ),
        Tile(
            "Tier agreement",
            show(evaluation, "percent", *at, "tiers", "accuracy"),
            ("most common tier: ", show(evaluation, "percent", *at, "tiers", "majority")),
        ),
        Tile(
            "Time per article",
            latency(evaluation, ("shipped", "latency"), "milliseconds", "milliseconds_p50"),
            (
                "milliseconds, median; ",
                latency(evaluation, ("shipped", "latency"), "rate", "articles_per_second"),
                " articles/s in batches",
                *load_remark(evaluation, "shipped", "latency", "load"),
            ),
        ),
    )
    verdicts = tuple(
        Paragraph(
            (show(evaluation, "text", "findings", place, "text"),),
            words(evaluation, "findings", place, "tone"),
        )
        for place in range(evaluation.size("findings"))
    )
    shipped: Text = (
        "The bundle contains ",
        show(evaluation, "text", "shipped", "rung"),
        ". The figures above are for ",
        show(evaluation, "count", *at, "rows"),
        " rows (",
        show(evaluation, "text", *at, "source"),
        "). The bundle has an MAE of ",
        show(evaluation, "score", *test, "mean", "mae"),
        " on ",
        show(evaluation, "count", *test, "rows"),
        " test rows, which were not used for model selection (interval ",
        *interval(evaluation, "score", *test, "mean", "mae_interval"),
        ").",
    )
    refit = refit_words(facts)
    blocks: tuple[Block, ...] = (Tiles(tiles), Paragraph(shipped), *((Paragraph(refit),) if refit else ()))
    if verdicts:
        blocks = (*blocks, Findings(verdicts))
    if not evaluation.recorded:
        blocks = (Paragraph(("The evaluation is not recorded.",), "bad"), *blocks)
    return Section("summary", "Summary", blocks)
