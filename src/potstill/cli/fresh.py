"""`potstill evaluate-fresh`: a bundle is judged on new articles, which an oracle labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.cli.asking import Answers, AnswerTokens, Asking, MaxCalls, MaxCost, Plan_, Prices, print_plan
from potstill.cli.evaluate import positive_tiers, table
from potstill.cli.next import print_next, scoring

if TYPE_CHECKING:
    from potstill.evaluation.records import FreshEvaluation, Tiers
    from potstill.records import Interval


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="evaluate-fresh")(evaluate_fresh)


def evaluate_fresh(
    place: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle folder, or a run folder with a bundle.")],
    oracle: Annotated[str, typer.Option(metavar="ORACLE", help="Ask this oracle, given as in potstill label.")],
    articles: Annotated[str, typer.Option(metavar="FILE", help="File of new articles.")],
    number: Annotated[
        int,
        typer.Option("--number", "-n", min=10, help="Number of articles, chosen at random, that the oracle labels."),
    ] = 100,
    answers: Answers = 1,
    plan: Plan_ = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the results and labels. Default: RUN/fresh.")
    ] = None,
    max_cost: MaxCost = None,
    max_calls: MaxCalls = None,
    max_tokens: AnswerTokens = 1000,
    prices: Prices = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the full record as JSON.")] = False,
) -> None:
    """Evaluate a bundle on new articles that an oracle labels with the bundle's own filter."""
    from potstill.evaluation.records import Bootstrap
    from potstill.interrupts import on_interrupt
    from potstill.labelling import Limits, Repeats
    from potstill.pipeline.fresh import prepare

    Repeats(answers)  # refuses a number that is none before anything is opened
    asking = Asking.of(oracle, Limits(max_cost=max_cost, max_calls=max_calls, max_tokens=max_tokens), prices)
    check = prepare(place, articles, number, folder=out, keeps=not plan)
    if plan:
        drawn, filter_ = check.sample.articles, check.scorer.bundle.filter
        print_plan(asking.plan([drawn], filter_, check.ledger, answers), asking.known, as_json=as_json)
        return
    on_interrupt("answers are kept; run the same command to resume")
    bootstrap = Bootstrap(resamples=1000, level=0.95, seed=0)
    found = check.carry_out(
        asking.opened(), samples=answers, limits=asking.limits, price=asking.price, bootstrap=bootstrap
    )
    if as_json:
        print(found.model_dump_json(indent=2))
        return
    print("\n".join(described(found)))
    print_next(scoring(check.scorer.bundle.folder) if check.run is None else check.run)


def described(found: FreshEvaluation) -> list[str]:
    """The lines for a person: what was asked, a table of dimensions, tiers, then the verdicts."""
    from potstill.labelling.limits import money

    asked, tiers = found.asked, found.judgement.tiers
    left = "".join(f", {count:,} {reason}" for reason, count in asked.left_out.items())
    cost = "" if asked.cost is None else f", cost {money(asked.cost, 6)}"
    answers = f"{asked.bought:,} new, {asked.already:,} already in the ledger"
    each = "" if asked.samples == 1 else f", {asked.samples} answers each"
    lines = [
        f"{asked.drawn:,} of {asked.articles:,} articles drawn{left}{each}",
        f"{asked.labelled:,} labels by {asked.oracle}: {answers}; {asked.calls:,} calls{cost}",
        "",
        *positive_tiers([("bundle", found.judgement)]),
        *table(found.judgement),
    ]
    if tiers.accuracy is not None:
        lines.append(
            f"same tier as the oracle: {tiers.accuracy:.0%} ({_shares(tiers.accuracy_interval)}); {_majority(tiers)}"
        )
    held = [f"{name} {share:.0%}" for name, share in found.coverage.items() if share is not None]
    lines.append(f"coverage of the {found.interval_level:.0%} intervals: {', '.join(held)}")
    return [*lines, "", *(f"- {finding.text}" for finding in found.findings)]


def _shares(interval: Interval | None) -> str:
    return "no interval" if interval is None else f"{interval.low:.0%} to {interval.high:.0%}"


def _majority(tiers: Tiers) -> str:
    return "" if tiers.majority is None else f"always predicting {tiers.majority_tier}: {tiers.majority:.0%}"
