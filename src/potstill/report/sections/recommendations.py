"""Recommendations for next steps, each from a rule and with its figures.

In: facts. Out: a section. Recommendations are only based on recorded figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report.blocks import Findings, Paragraph, Section, Shown, Text
from potstill.report.rules import RULES, threshold
from potstill.report.sections.parts import chosen_history, chosen_student, headline, kept_place, show, spaced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from potstill.report.facts import Facts, Record
    from potstill.report.sections.parts import Path

_HIGH_BANDS = 2
"""The number of bands at the top of the scale whose labels count as high."""


def recommendations(facts: Facts) -> Section:
    """Recommendations of all rules."""
    found = tuple(Paragraph(text, "todo") for text in _found(facts))
    if not found:
        return Section("recommendations", "Recommendations", (Paragraph(("No recommendations.",)),))
    return Section("recommendations", "Recommendations", (Findings(found),))


def _found(facts: Facts) -> Iterator[Text]:
    evaluation, at = facts.evaluation, headline(facts.evaluation)
    yield from _furthest(evaluation, at)
    yield from _rows(evaluation, at)
    yield from _positives(evaluation, at)
    if evaluation.recorded and not evaluation.at("floor").recorded:
        yield (
            (
                "Label some articles twice. No article has two answers, so the oracle's own error, and therefore the "
                "lowest error that a student could reach, is unknown."
            ),
        )
    yield from _student(facts)
    yield from _cheaper(evaluation)


def _furthest(evaluation: Record, at: Path) -> Iterator[Text]:
    """The dimension with the largest error above its noise floor, and whether it lacks high labels."""
    names = [n for n in evaluation.keys(*at, "dimensions") if evaluation.at(*at, "dimensions", n, "mae").recorded]
    if not names:
        return
    above = {name: evaluation.minus((*at, "dimensions", name, "mae"), ("floor", "floor", name)) for name in names}
    if any(fact.value is None for fact in above.values()):
        above = {name: evaluation.at(*at, "dimensions", name, "mae") for name in names}
        what = " (its noise floor is unknown)"
    else:
        what = " above its noise floor"
    worst = max(names, key=lambda name: above[name].value)
    bands = evaluation.size(*at, "bands", worst)
    high = [(*at, "bands", worst, place) for place in range(max(0, bands - _HIGH_BANDS), bands)]
    counts = [evaluation.at(*path, "rows") for path in high]
    text: Text = (
        f"{spaced(worst)} has the most room for improvement: its error is ",
        Shown(above[worst], "score"),
        what,
    )
    if not counts or any(count.value is None for count in counts):
        yield (*text, ".")
        return
    labels = tuple(
        part
        for place, (path, count) in enumerate(zip(high, counts, strict=True))
        for part in (
            ", " if place else "",
            Shown(count, "count"),
            " rows at ",
            show(evaluation, "plain", *path, "low"),
            " to ",
            show(evaluation, "plain", *path, "high"),
        )
        if part
    )
    few = sum(count.value for count in counts) < threshold("rows", "high")
    advice = "label more high-scoring articles" if few else "check its description and the rows with the largest errors"
    yield (*text, ", with ", *labels, f": {advice}.")


def _rows(evaluation: Record, at: Path) -> Iterator[Text]:
    rows = evaluation.at(*at, "rows")
    if rows.recorded and rows.value < threshold("rows", "judged"):
        yield (
            "Label more articles: the student is evaluated on ",
            Shown(rows, "count"),
            " rows, and with fewer than ",
            Shown(RULES.at("rows", "judged"), "count"),
            ", figures are only indications.",
        )


def _positives(evaluation: Record, at: Path) -> Iterator[Text]:
    found = evaluation.at(*at, "tiers", "positives", "oracle")
    fewest = evaluation.at(*at, "tiers", "fewest_positives")
    if found.recorded and fewest.recorded and found.value < fewest.value:
        yield (
            "Label more articles in ",
            show(evaluation, "text", *at, "tiers", "positives", "tiers"),
            ": the oracle puts ",
            Shown(found, "count"),
            " rows there, and a recall needs at least ",
            Shown(fewest, "count"),
            ".",
        )


def _student(facts: Facts) -> Iterator[Text]:
    record, history = chosen_student(facts), chosen_history(facts)
    cut = record.at("truncated_share")
    if cut.recorded and cut.value > threshold("cut", "many"):
        yield (
            "Try a student that can read longer texts: ",
            Shown(cut, "percent"),
            " of the training texts are too long for this one.",
        )
    best, epochs = record.at("best_epoch"), record.at("epochs")
    if best.recorded and epochs.recorded and best.value == epochs.value:
        yield (
            "Train longer: the best epoch, ",
            Shown(best, "count"),
            ", is the last one, so the error may still fall.",
        )
    place = kept_place(record, history)
    if place is None:
        return
    gap = history.minus((place, "validation", "mae"), (place, "train", "mae"))
    error = history.at(place, "validation", "mae")
    if gap.value is not None and gap.value > threshold("gap", "wide") * error.value:
        yield (
            "Label more articles: the validation error is ",
            Shown(gap, "score"),
            " higher than the training error (",
            Shown(error, "score"),
            " compared with ",
            show(history, "score", place, "train", "mae"),
            "), so the student overfits its training rows.",
        )


def _cheaper(evaluation: Record) -> Iterator[Text]:
    for place in range(evaluation.size("findings")):
        if evaluation.at("findings", place, "rule").value == "a-cheaper-rung-is-as-good":
            at = ("findings", place, "evidence")
            yield (
                "Consider ",
                show(evaluation, "text", *at, "rung"),
                ", which does not train an encoder: its MAE is ",
                show(evaluation, "score", *at, "mae"),
                ", compared with ",
                show(evaluation, "score", *at, "shipped_mae"),
                " for the shipped student on the same test rows.",
            )
