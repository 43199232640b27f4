"""`potstill bakeoff`: several oracles on one sample, to help choose one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.cli.asking import (
    Answers,
    AnswerTokens,
    Asking,
    MaxCost,
    Plan_,
    Prices,
    described_price,
    print_plan,
    refuse_template,
)

if TYPE_CHECKING:
    from potstill.audit.records import Pair
    from potstill.filters import Filter
    from potstill.pipeline.bakeoff import Bakeoff


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="bakeoff")(bakeoff)


def bakeoff(
    folder: Annotated[
        Path, typer.Argument(help="A separate run folder for the comparison; an existing one is resumed.")
    ],
    oracle: Annotated[
        list[str],
        typer.Option(metavar="ORACLE", help="An oracle, given as in potstill label; give it two or more times."),
    ],
    filter_: Annotated[
        str | None,
        typer.Option("--filter", metavar="FILTER", help="A filter folder, or the name of a built-in filter."),
    ] = None,
    articles: Annotated[str | None, typer.Option(metavar="FILE", help="File of articles to choose from.")] = None,
    number: Annotated[
        int | None, typer.Option("--number", "-n", min=1, help="Number of articles, chosen at random. Default: all.")
    ] = None,
    answers: Answers = 1,
    plan: Plan_ = False,
    max_cost: MaxCost = None,
    max_tokens: AnswerTokens = 1000,
    prices: Prices = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Compare oracles on the same articles: agreement, bias, price per article and tiers."""
    from potstill.filters import load_filter
    from potstill.interrupts import on_interrupt
    from potstill.labelling import Limits, Repeats
    from potstill.pipeline.bakeoff import Contender, bake_off

    Repeats(answers)  # refuses a number that is none before anything is opened
    limits = Limits(max_cost=max_cost, max_tokens=max_tokens)
    asked = [Asking.of(spec, limits, prices) for spec in oracle]
    chosen = None if filter_ is None else load_filter(filter_)
    if chosen is not None:
        refuse_template(chosen, oracle)
    if plan:
        _print_plans(folder, chosen, articles, asked, number, answers, as_json=as_json)
        return
    on_interrupt("run the same command to resume")
    contenders = [Contender(one.opened(), one.price) for one in asked]
    found = bake_off(folder, chosen, articles, contenders, sample=number, samples=answers, limits=limits)
    if as_json:
        print(found.model_dump_json(indent=2))
        return
    print(_text(found))
    for one in asked:
        if one.known is not None:
            print(f"{one.spec}: {described_price(one.known)}")


def _print_plans(
    folder: Path,
    filter_: Filter | None,
    articles: str | None,
    asked: list[Asking],
    number: int | None,
    answers: int,
    *,
    as_json: bool,
) -> None:
    """A plan for each oracle; makes no folder."""
    from potstill.articles import read_all
    from potstill.pipeline.bakeoff import drawn
    from potstill.pipeline.run import LAYOUT, Run

    judged_by = filter_ or Run.open(folder).filter
    frame = drawn(articles, number, 0) if articles is not None else read_all(Run.open(folder).path("articles"))
    plans = [(one, one.plan([frame], judged_by, folder / LAYOUT["ledger"], answers)) for one in asked]
    if as_json:
        found = {one.spec: plan.as_dict() | {"price_from": one.known and one.known.source} for one, plan in plans}
        print(json.dumps(found, indent=2))
        return
    for one, plan in plans:
        print(f"{one.spec}:")
        print_plan(plan, one.known)


def _text(found: Bakeoff) -> str:
    from potstill.labelling.limits import money

    lines = [f"{found.articles:,} articles, {found.filter}"]
    for one in found.entrants:
        cost = "price unknown" if one.cost_per_article is None else f"{money(one.cost_per_article, 6)} per article"
        mean = "-" if one.means["overall"] is None else f"{one.means['overall']:.2f}"
        tiers = ", ".join(f"{name} {count:,}" for name, count in one.tiers.items() if count)
        lines += [f"{one.oracle}: {one.labels:,} labels, {cost}, mean overall {mean}; {tiers or 'no labels'}"]
        if one.oracle in found.stopped:
            lines += [f"  stopped: {found.stopped[one.oracle]}"]
        if one.failures:
            lines += ["  failed calls: " + ", ".join(f"{name} {count:,}" for name, count in one.failures.items())]
    return "\n".join([*lines, *(line for pair in found.pairs for line in _pair(pair))])


def _pair(pair: Pair) -> list[str]:
    lines = [f"{pair.first} against {pair.second}, {pair.rows:,} articles: difference {_number(pair.mean_difference)}"]
    for one in (*pair.dimensions, pair.overall):
        gap, bias = _number(one.difference), _number(one.bias, sign=True)
        lines += [f"  {one.dimension}: difference {gap}, bias {bias}, rank correlation {_number(one.spearman)}"]
    if pair.tiers is not None and pair.tiers.same is not None:
        lines += [f"  same tier: {pair.tiers.same:.0%} of {pair.tiers.rows:,}"]
    return lines


def _number(value: float | None, *, sign: bool = False) -> str:
    return "-" if value is None else f"{value:+.2f}" if sign else f"{value:.2f}"
