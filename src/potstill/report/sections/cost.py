"""Error and cost: the time per article of each model of the leaderboard, the noise floor, and the recommended model.

In: facts. Out: a section; if there is no leaderboard, it says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report.blocks import Block, Column, Figure, Inline, Paragraph, Row, Section, Table, Text
from potstill.report.cost import plot_cost, prepare_cost
from potstill.report.sections.parts import DASH, busy, interval, load_remark, show

if TYPE_CHECKING:
    from potstill.report.facts import Facts, Record

_TITLE = "Error and cost of each model"


def cost(facts: Facts) -> Section:
    """The models that `train --auto` trained or left out, its recommendation, and the expected gain of the next."""
    found = facts.leaderboard
    if not found.recorded:
        said = "Not recorded. Run potstill train RUN --auto to compare the errors and costs of models."
        return Section("cost", _TITLE, (Paragraph((said,)),))
    if any(record.at("rows_hash").value != found.at("rows").value for record in facts.students.values()):
        said = (
            "The leaderboard was made on other rows than the students of this run; run potstill train RUN --auto again."
        )
        return Section("cost", _TITLE, (Paragraph((said,)),))
    return Section("cost", _TITLE, (*_words(found), *_plot(found), _table(found)))


def _words(found: Record) -> tuple[Block, ...]:
    floor: tuple[Inline, ...] = (
        ("The noise floor is ", show(found, "score", "floor"), ": no student can have a lower error.")
        if found.at("floor").recorded
        else ("The noise floor is unknown, because no article was labelled twice.",)
    )
    text = (
        "Errors are mean absolute errors on the ",
        show(found, "count", "validation_rows"),
        " rows of the validation part, where the constant has ",
        show(found, "score", "constant_mae"),
        ". ",
        *floor,
    )
    return (Paragraph(text), Paragraph((*_advice(found), *_next(found))))


def _advice(found: Record) -> tuple[Inline, ...]:
    limited = found.at("milliseconds").recorded
    budget: tuple[Inline, ...] = (
        (" within ", show(found, "milliseconds", "milliseconds"), " ms per article") if limited else ()
    )
    if not found.at("pick").recorded:
        return ("No model was trained", *budget, ".")
    cheaper: tuple[Inline, ...] = (
        (" Cheaper models that are not significantly worse: ", show(found, "text", "pick", "as_good"), ".")
        if found.size("pick", "as_good")
        else ()
    )
    return (
        "The recommended model",
        *budget,
        " is ",
        show(found, "text", "pick", "name"),
        ": its error is ",
        show(found, "score", "pick", "mae"),
        " and it takes ",
        show(found, "milliseconds", "pick", "milliseconds"),
        " ms per article",
        *_picked_load(found),
        ".",
        *cheaper,
    )


def _picked_load(found: Record) -> Text:
    """A remark after the time of the recommended model if it was measured under load."""
    name = found.at("pick", "name").value
    places = [place for place in range(found.size("steps")) if found.at("steps", place, "name").value == name]
    return load_remark(found, "steps", places[0], "latency", "load") if places else ()


def _next(found: Record) -> tuple[Inline, ...]:
    if not found.at("next").recorded:
        return ()
    begun: tuple[Inline, ...] = (
        " The next model, ",
        show(found, "text", "next", "name"),
        ", would take about ",
        show(found, "seconds", "next", "seconds"),
        " to train",
    )
    if not found.at("next", "gain").recorded:
        return (*begun, "; too few models were trained to estimate its error.")
    return (
        *begun,
        "; if error keeps falling with time as it did over the ",
        show(found, "count", "next", "points"),
        " models so far, it would reduce the error by ",
        show(found, "score", "next", "gain"),
        ", to ",
        show(found, "score", "next", "mae"),
        ".",
    )


def _plot(found: Record) -> tuple[Figure, ...]:
    rows = prepare_cost(found)
    if not rows:
        return ()
    return (
        Figure(
            "cost",
            "Error by milliseconds per article",
            "A point for each model with its interval; dashed lines are the noise floor and the latency budget.",
            rows,
            plot_cost,
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
    heads = ("MAE", "Interval", "Skill", "Median ms", "Training time")
    return Table(
        "Models, cheapest first; the recommended one is in bold",
        (Column("Model", numeric=False), *map(Column, heads), Column("Not trained because", numeric=False, wraps=True)),
        tuple(rows),
    )
