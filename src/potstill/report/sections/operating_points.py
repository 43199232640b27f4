"""Positive tiers at their operating points: what is found, what each cut promises, and the curve that it was chosen on.

In: facts. Out: a section; a figure that is not in a record is shown as "not recorded".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.operating_points import GOALS
from potstill.report import charts
from potstill.report.blocks import Block, Column, Figure, Paragraph, Row, Section, Shown, Table, Text
from potstill.report.sections.parts import DASH, Path, interval, show

if TYPE_CHECKING:
    from potstill.report.blocks import Inline
    from potstill.report.facts import Facts, Record

_TITLE = "Positive tiers"
_TEST = ("shipped", "judgement", "positive_tiers")
_UNSEEN = ("shipped", "unseen")
_CUTS = ("decisions", "cuts")


def operating_points(facts: Facts) -> Section:
    """What the bundle finds of each positive tier, and at which operating point."""
    evaluation, calibration = facts.evaluation, facts.calibration
    if not evaluation.size(*_TEST):
        return Section("operating-points", _TITLE, (Paragraph(("Positive tiers: not recorded.",)),))
    text: Text = (
        (
            "Each row is a positive tier together with the better ones. The bundle names an article if the probability "
            "of the tier is at least its cut; a tier without a cut is decided by the scores. The test part has "
        ),
        show(evaluation, "count", "shipped", "judgement", "rows"),
        " rows. Average precision is compared with that of a random order. With fewer than ",
        show(evaluation, "count", "shipped", "judgement", "tiers", "fewest_positives"),
        " articles in a tier, only counts are given and no recall.",
    )
    blocks: list[Block] = [Paragraph(text), _counts(evaluation, _TEST, "Positive tiers on the test part")]
    if evaluation.size(*_UNSEEN):
        blocks += [
            Paragraph(
                (
                    (
                        "More articles did not train what decides them: those that chose the cut, each decided by a "
                        "model that had not seen it, and the validation and test parts. All together:"
                    ),
                )
            ),
            _counts(evaluation, _UNSEEN, "Positive tiers on all articles that did not train the bundle"),
        ]
    blocks += [_quality(evaluation)]
    if calibration.size(*_CUTS):
        blocks += _chosen(calibration)
    return Section("operating-points", _TITLE, tuple(blocks))


def _counts(evaluation: Record, at: Path, caption: str) -> Table:
    return Table(
        caption,
        (
            Column("Tier", numeric=False),
            Column("Operating point", numeric=False),
            *map(Column, ("Cut", "Rows", "Oracle", "Named", "Found", "Missed", "False alarms")),
        ),
        tuple(
            Row(
                (
                    (show(evaluation, "text", *one, "tiers"),),
                    _point(evaluation, (*one, "cut", "point")),
                    (show(evaluation, "score", *one, "cut", "probability", absent="by score"),),
                    *((show(evaluation, "count", *one, name),) for name in ("rows", "oracle", "named", "both")),
                    (Shown(evaluation.minus((*one, "oracle"), (*one, "both")), "count"),),
                    (Shown(evaluation.minus((*one, "named"), (*one, "both")), "count"),),
                )
            )
            for one in ((*at, place) for place in range(evaluation.size(*at)))
        ),
    )


def _quality(evaluation: Record) -> Table:
    heads = ("Recall", "Interval", "Precision", "Interval", "F-score", "Average precision", "Interval", "Random order")
    names = ("recall", "precision")
    return Table(
        "Recall, precision and average precision on the test part",
        (Column("Tier", numeric=False), *map(Column, heads)),
        tuple(
            Row(
                (
                    (show(evaluation, "text", *one, "tiers"),),
                    *(
                        cell
                        for name in names
                        for cell in (
                            (show(evaluation, "percent", *one, name, absent=DASH),),
                            interval(evaluation, "percent", *one, f"{name}_interval", absent=DASH),
                        )
                    ),
                    (show(evaluation, "score", *one, "f1", absent=DASH),),
                    (show(evaluation, "score", *one, "average_precision", absent=DASH),),
                    interval(evaluation, "score", *one, "average_precision_interval", absent=DASH),
                    (show(evaluation, "score", *one, "by_chance", absent=DASH),),
                )
            )
            for one in ((*_TEST, place) for place in range(evaluation.size(*_TEST)))
        ),
    )


def _chosen(calibration: Record) -> list[Block]:
    """What the cuts promise, and the curves that they were chosen on."""
    places = range(calibration.size(*_CUTS))
    words = tuple(Column(label, numeric=False) for label in ("Tier", "Operating point"))
    numbers = ("Cut", "Rows", "Positive", "Named", "Found", "Recall at least", "Precision at least")
    table = Table(
        "Cuts on the articles that chose them, with lower bounds of recall and precision",
        (
            *words,
            *map(Column, numbers),
            Column("Promise", numeric=False),
            Column("Probability by", numeric=False, wraps=True),
        ),
        tuple(
            Row(
                (
                    (show(calibration, "text", *one, "tier"),),
                    _point(calibration, (*one, "point")),
                    (show(calibration, "score", *one, "probability", absent="by score"),),
                    *((show(calibration, "count", *one, name),) for name in ("rows", "positives", "named", "found")),
                    (show(calibration, "percent", *one, "recall_at_least", absent=DASH),),
                    (show(calibration, "percent", *one, "precision_at_least", absent=DASH),),
                    (show(calibration, "text", *one, "promise", absent="none"),),
                    (
                        show(calibration, "text", "decisions", "signals", place, "kind"),
                        ": ",
                        show(calibration, "text", "decisions", "signals", place, "reason"),
                    ),
                )
            )
            for place in places
            for one in ((*_CUTS, place),)
        ),
    )
    notes = tuple(
        Paragraph((show(calibration, "text", *_CUTS, place, "note"),), "caution")
        for place in places
        if calibration.at(*_CUTS, place, "note").recorded
    )
    figures = tuple(
        Figure(
            f"curve-{place}",
            f"Precision and recall: {calibration.at(*_CUTS, place, 'tier').value}{' or better' if place else ''}",
            "Precision by recall at each cut on the tier's probability; a slider moves the marked cut.",
            points,
            charts.plot_curve,
            (calibration.file,),
        )
        for place in places
        if (points := charts.prepare_curve(calibration, place))
    )
    intro = Paragraph(
        (
            (
                "The curves show every cut on the articles that chose it. The mark is the chosen cut; move the slider "
                "to see what another cut would have found, and how many of a thousand articles it would have named."
            ),
        )
    )
    return [table, *notes, *([intro] if figures else []), *figures]


def _point(record: Record, at: Path) -> Text:
    """An operating point in words."""
    goal = next((name for name in GOALS if record.at(*at, name).recorded), None)
    if goal is None:
        return ("by score",)
    if goal == "cost":
        parts: tuple[Inline, ...] = ("cost ", show(record, "plain", *at, goal, "miss"), " per miss, ")
        return (*parts, show(record, "plain", *at, goal, "false_alarm"), " per false alarm")
    return (f"{goal} ", show(record, "plain", *at, goal))
