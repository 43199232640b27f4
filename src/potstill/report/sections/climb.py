"""Error against time: what an article costs on each rung of the ladder, the oracle's own noise, and which to take.

In: facts. Out: a section; where no ladder was climbed, it says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report.blocks import Block, Column, Figure, Inline, Paragraph, Row, Section, Table, Text
from potstill.report.climb import plot_climb, prepare_climb
from potstill.report.sections.parts import DASH, busy, interval, load_remark, show

if TYPE_CHECKING:
    from potstill.report.facts import Facts, Record

_TITLE = "Error against time"


def climb(facts: Facts) -> Section:
    """The rungs that `potstill ladder` trained, those it left out, its advice, and what the next would buy."""
    found = facts.ladder
    if not found.recorded:
        said = "No ladder was climbed (potstill ladder RUN), so nothing is said of which rung to take for its cost."
        return Section("climb", _TITLE, (Paragraph((said,)),))
    if any(record.at("rows_hash").value != found.at("rows").value for record in facts.students.values()):
        said = "The ladder was climbed on other rows than those of the students here; climb it again."
        return Section("climb", _TITLE, (Paragraph((said,)),))
    return Section("climb", _TITLE, (*_words(found), *_plot(found), _table(found)))


def _words(found: Record) -> tuple[Block, ...]:
    floor: tuple[Inline, ...] = (
        ("The oracle's own noise is ", show(found, "score", "floor"), ": no student errs less.")
        if found.at("floor").recorded
        else ("The oracle's own noise is not known, as no article was asked about twice.",)
    )
    text = (
        "Errors are on the ",
        show(found, "count", "validation_rows"),
        " rows of the validation part, where the constant errs by ",
        show(found, "score", "constant_mae"),
        ". ",
        *floor,
    )
    return (Paragraph(text), Paragraph((*_advice(found), *_next(found))))


def _advice(found: Record) -> tuple[Inline, ...]:
    limited = found.at("milliseconds").recorded
    budget: tuple[Inline, ...] = (
        (" within ", show(found, "milliseconds", "milliseconds"), " ms an article") if limited else ()
    )
    if not found.at("pick").recorded:
        return ("No rung was trained", *budget, ".")
    cheaper: tuple[Inline, ...] = (
        (" Cheaper, and not surely worse: ", show(found, "text", "pick", "as_good"), ".")
        if found.size("pick", "as_good")
        else ()
    )
    return (
        "The rung to take",
        *budget,
        " is ",
        show(found, "text", "pick", "name"),
        ": it errs by ",
        show(found, "score", "pick", "mae"),
        " and takes ",
        show(found, "milliseconds", "pick", "milliseconds"),
        " ms an article",
        *_picked_load(found),
        ".",
        *cheaper,
    )


def _picked_load(found: Record) -> Text:
    """What stands behind the time of the rung to take."""
    name = found.at("pick", "name").value
    places = [place for place in range(found.size("steps")) if found.at("steps", place, "name").value == name]
    return load_remark(found, "steps", places[0], "latency", "load") if places else ()


def _next(found: Record) -> tuple[Inline, ...]:
    if not found.at("next").recorded:
        return ()
    begun: tuple[Inline, ...] = (
        " The next rung, ",
        show(found, "text", "next", "name"),
        ", would train for about ",
        show(found, "seconds", "next", "seconds"),
    )
    if not found.at("next", "gain").recorded:
        return (*begun, "; too few rungs were trained to tell what it would buy.")
    return (
        *begun,
        "; if error went on falling with time as over the ",
        show(found, "count", "next", "points"),
        " rungs so far, it would take ",
        show(found, "score", "next", "gain"),
        " off, to ",
        show(found, "score", "next", "mae"),
        ".",
    )


def _plot(found: Record) -> tuple[Figure, ...]:
    rows = prepare_climb(found)
    if not rows:
        return ()
    return (
        Figure(
            "climb",
            "Error against milliseconds an article",
            "A point for each rung with its interval; dashed lines are the oracle's own noise and the time allowed.",
            rows,
            plot_climb,
            (found.file,),
            png="ladder.png",
        ),
    )


def _table(found: Record) -> Table:
    picked = found.at("pick", "name").value
    rows = []
    for place in range(found.size("steps")):
        at = ("steps", place)
        trained = found.at(*at, "state").value == "trained"
        figures = (
            (show(found, "score", *at, "mae"),),
            interval(found, "score", *at, "interval", absent=DASH),
            (show(found, "percent", *at, "skill", absent=DASH),),
            (
                show(found, "milliseconds", *at, "latency", "milliseconds_p50", absent=DASH),
                *busy(found, *at, "latency", "load"),
            ),
            (show(found, "seconds", *at, "seconds"), *busy(found, *at, "load")),
            (DASH,),
        )
        left_out = (
            *(((DASH,),) * 4),
            ("about ", show(found, "seconds", *at, "estimated_seconds", absent=DASH)),
            (show(found, "text", *at, "why", absent=DASH),),
        )
        name = show(found, "text", *at, "name")
        rows.append(Row(((name,), *(figures if trained else left_out)), strong=trained and name.fact.value == picked))
    heads = ("MAE", "Interval", "Skill", "ms, median", "Training")
    return Table(
        "Rungs, cheapest first; the one to take stands out",
        (Column("Rung", numeric=False), *map(Column, heads), Column("Left out because", numeric=False, wraps=True)),
        tuple(rows),
    )
