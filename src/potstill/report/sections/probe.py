"""Behaviour tests: how often scores rise where the content does, and stay where only the wording changes.

In: facts. Out: a section; if there are no such tests, it says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.probing import CHECKS
from potstill.report.blocks import Block, Column, Findings, Paragraph, Row, Section, Table, Text
from potstill.report.sections.parts import DASH, interval, show, spaced, words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from potstill.report.facts import Facts, Record
    from potstill.report.sections.parts import Path

_TITLE = "Behaviour tests"


def probe(facts: Facts) -> Section:
    """Pass rates of the student and of the oracle by test and dimension, with failing examples and conclusions."""
    found = facts.probe
    if not found.recorded:
        said = "Not recorded. Run potstill probe RUN to test the behaviour of the bundle."
        return Section("probe", _TITLE, (Paragraph((said,)),))
    conclusions = tuple(
        Paragraph((show(found, "text", "findings", place, "text"),), words(found, "findings", place, "tone"))
        for place in range(found.size("findings"))
    )
    tables = (table for who in sorted(found.keys("subjects"), reverse=True) for table in _tables(found, who))
    return Section(
        "probe",
        _TITLE,
        (
            *_other_bundle(facts),
            Paragraph(_texts(found)),
            *tables,
            *_relative(found),
            *_targets(found),
            Findings(conclusions),
        ),
    )


def _other_bundle(facts: Facts) -> Iterator[Block]:
    tested = facts.probe.at("subjects", "student", "bundle_sha256")
    shipped = facts.evaluation.at("shipped", "bundle_sha256")
    own = {shipped.value, facts.bundle.at("sha256").value}
    if tested.recorded and shipped.recorded and tested.value not in own:
        yield Paragraph(
            (
                "These tests are of a different bundle (",
                show(facts.probe, "hash", "subjects", "student", "bundle_sha256"),
                ") than the bundle of this report (",
                show(facts.evaluation, "hash", "shipped", "bundle_sha256"),
                ").",
            ),
            "caution",
        )


def _texts(found: Record) -> Text:
    return (
        show(found, "count", "texts", "ramps"),
        (
            " ramps, lists of texts in which one dimension rises from each text to the next (in order: the score rises "
            "by at least "
        ),
        show(found, "plain", "rise"),
        "), ",
        show(found, "count", "texts", "negations"),
        " negations, which must score lower, ",
        show(found, "count", "texts", "paraphrases"),
        " paraphrases, and ",
        show(found, "count", "texts", "articles"),
        " articles (",
        show(found, "text", "texts", "articles_from"),
        ") with changes that should not matter (steady: no score moves by more than ",
        show(found, "plain", "shift"),
        "). Each cell gives the comparisons that pass, of those that were made.",
    )


def _tables(found: Record, who: str) -> Iterator[Table]:
    at: Path = ("subjects", who)
    recorded = found.keys(*at, "checks")
    checks = [check for check in CHECKS if check in recorded]
    name = words(found, *at, "name")
    rows = [
        Row(
            ((spaced(dimension),), *(_counts(found, *at, "checks", check, "dimensions", dimension) for check in checks))
        )
        for dimension in (words(found, "dimensions", place) or "" for place in range(found.size("dimensions")))
    ]
    rows.append(
        Row((("all dimensions",), *(_counts(found, *at, "checks", check, "overall") for check in checks)), strong=True)
    )
    head = (Column("Dimension", numeric=False), *(Column(check) for check in checks))
    yield Table(f"Behaviour of the {who} {name}: passed and compared", head, tuple(rows))
    yield Table(
        f"Pass rates of the {who} {name} over all dimensions",
        tuple(
            Column(label, numeric=bool(place))
            for place, label in enumerate(("Test", "Rate", "Interval", "Mean change"))
        ),
        tuple(_rate(found, check, (*at, "checks", check, "overall")) for check in checks),
    )
    if found.size(*at, "failing"):
        yield _failing(found, who, at)


def _counts(found: Record, *at: str | int) -> Text:
    if not found.at(*at, "compared").value:
        return (DASH,)
    return (show(found, "count", *at, "passed"), " of ", show(found, "count", *at, "compared"))


def _rate(found: Record, check: str, at: Path) -> Row:
    return Row(
        (
            (check,),
            (show(found, "percent", *at, "rate", absent=DASH),),
            interval(found, "percent", *at, "interval", absent=DASH),
            (show(found, "signed", *at, "change", absent=DASH),),
        )
    )


def _failing(found: Record, who: str, at: Path) -> Table:
    """The worst failing example of each test."""
    places: dict[str, int] = {}
    for place in range(found.size(*at, "failing")):
        places.setdefault(str(words(found, *at, "failing", place, "check")), place)
    return Table(
        f"Failing examples of the {who}, one for each test",
        (
            Column("Test", numeric=False),
            Column("Dimension", numeric=False),
            Column("First text", numeric=False, wraps=True),
            Column("Score"),
            Column("Second text", numeric=False, wraps=True),
            Column("Score"),
        ),
        tuple(
            Row(
                (
                    (check,),
                    (spaced(str(words(found, *at, "failing", place, "dimension"))),),
                    (show(found, "text", *at, "failing", place, "first"),),
                    (show(found, "score", *at, "failing", place, "first_score"),),
                    (show(found, "text", *at, "failing", place, "second"),),
                    (show(found, "score", *at, "failing", place, "second_score"),),
                )
            )
            for check, place in places.items()
        ),
    )


def _relative(found: Record) -> Iterator[Block]:
    if not found.at("relative", "overall").recorded:
        return
    yield Paragraph(
        (
            "The student's share of steps in order, divided by the oracle's: ",
            show(found, "score", "relative", "overall"),
            ".",
        )
    )


def _targets(found: Record) -> Iterator[Block]:
    for place in range(found.size("targets")):
        met = found.at("targets", place, "met").value
        yield Paragraph(
            (
                show(found, "text", "targets", place, "check"),
                ": ",
                show(found, "percent", "targets", place, "rate", absent=DASH),
                " where at least ",
                show(found, "percent", "targets", place, "least"),
                " was asked for: " + ("met." if met else "missed."),
            ),
            "good" if met else "bad",
        )
