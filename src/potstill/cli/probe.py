"""`potstill probe`: behaviour tests of a bundle, of an oracle, or of both."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.cli.asking import ORACLE, AnswerTokens, Asking, MaxCalls, MaxCost, OracleName, Plan_, Prices, print_plan
from potstill.cli.next import print_next, scoring

if TYPE_CHECKING:
    from potstill.pipeline.probe import ProbeCheck
    from potstill.probing import Failing, Passes, Probed, ProbeRecord

_EXAMPLES = 5


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="probe")(probe)


def probe(
    place: Annotated[
        str,
        typer.Argument(
            metavar="BUNDLE|RUN|FILTER",
            help="A bundle folder or a run folder; or, with --oracle, a filter whose oracle is tested.",
        ),
    ],
    oracle: OracleName = None,
    articles: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="File of articles that are changed in ways that should not move scores. Default: the test part of "
            "the run, or else the texts of the ramps.",
        ),
    ] = None,
    probes: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|FILTER",
            help="Behaviour tests: a probes.yaml, or a filter that has one. Default: those of the run's filter, or of "
            "the built-in filter of the same name.",
        ),
    ] = None,
    number: Annotated[
        int, typer.Option("--number", "-n", min=1, help="Number of articles, chosen at random, that are changed.")
    ] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the choice of articles.")] = 0,
    least: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SHARE|TEST=SHARE",
            help="Exit with code 1 if fewer comparisons pass, over all dimensions: 0.9 for every test, or ramps=0.9 "
            "for one. May be repeated.",
        ),
    ] = None,
    answers: Annotated[
        int, typer.Option(min=1, help="Number of the oracle's answers per text.", rich_help_panel=ORACLE)
    ] = 1,
    plan: Plan_ = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder for the record and the oracle's answers. Default for a run: RUN/probe."
        ),
    ] = None,
    max_cost: MaxCost = None,
    max_calls: MaxCalls = None,
    max_tokens: AnswerTokens = 1000,
    prices: Prices = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the full record as JSON.")] = False,
) -> None:
    """Test whether scores rise where the content does, and stay where only the wording changes."""
    from potstill.errors import BadInput, TargetMissed
    from potstill.interrupts import on_interrupt
    from potstill.labelling import Limits, Repeats
    from potstill.pipeline.probe import prepare
    from potstill.probing.judging import read_target

    for text in least or ():
        read_target(text)
    Repeats(answers)
    asking = None
    if oracle is not None:
        asking = Asking.of(oracle, Limits(max_cost=max_cost, max_calls=max_calls, max_tokens=max_tokens), prices)
    check = prepare(place, probes=probes, articles=articles, number=number, seed=seed, folder=out, keeps=not plan)
    if plan:
        if asking is None:
            raise BadInput("--plan estimates what an oracle costs; name one with --oracle")
        found = asking.plan([check.questions], check.filter, check.ledger, answers)
        print_plan(found, asking.known, as_json=as_json)
        return
    if asking is None:
        record = check.carry_out(least=least or ())
    else:
        on_interrupt("answers are kept; run the same command to resume")
        record = check.carry_out(
            asking.opened(), samples=answers, limits=asking.limits, price=asking.price, least=least or ()
        )
    print(record.model_dump_json(indent=2) if as_json else "\n".join(described(record)))
    if not as_json:
        print_next(_following(check))
    missed = [f"{target.check} {_percent(target.rate)}" for target in record.targets if not target.met]
    if missed:
        raise TargetMissed(f"fewer tests pass than --least asks for: {', '.join(missed)}")


def _following(check: ProbeCheck) -> str:
    """Return the command that comes next."""
    if check.run is not None and check.run.path("evaluation").exists():
        return f"potstill report {shlex.quote(str(check.run.folder))}"
    if check.scorer is not None:
        return scoring(check.scorer.bundle.folder)
    return f"potstill label RUN --filter {shlex.quote(check.filter.name)} --articles FILE --oracle ORACLE"


def described(found: ProbeRecord) -> list[str]:
    """The lines for a person: what was compared, a table for each subject, examples, conclusions."""
    from potstill.filters.probes import counted_tests

    texts = found.texts
    kinds = counted_tests(texts.ramps, texts.negations, texts.paraphrases)
    lines = [
        f"{kinds} ({texts.probes}); {texts.articles:,} articles to change ({texts.articles_from})",
        f"in order: the score rises by at least {found.rise:g}; steady: it moves by at most {found.shift:g}",
    ]
    for who, probed in found.subjects.items():
        lines += ["", f"{who} {probed.name}", *_asked(probed), *_table(found, probed), *_overall(probed)]
    if found.relative is not None and found.relative.overall is not None:
        each = [f"{name} {_ratio(ratio)}" for name, ratio in found.relative.dimensions.items()]
        lines += ["", f"ramps, student / oracle: {found.relative.overall:.2f} ({', '.join(each)})"]
    for who, probed in found.subjects.items():
        lines += _examples(who, probed)
    lines += ["", *(f"- {finding.text}" for finding in found.findings)]
    return [*lines, *(_target(target.check, target.least, target.rate, met=target.met) for target in found.targets)]


def _asked(probed: Probed) -> list[str]:
    from potstill.labelling.limits import counted, money

    asked = probed.asked
    if asked is None:
        return []
    cost = "" if asked.cost is None else f", cost {money(asked.cost, 6)}"
    failed = f"; failed: {counted(asked.failed)}" if asked.failed else ""
    stopped = f"; stopped: {asked.stopped}" if asked.stopped else ""
    answers = f"{asked.texts:,} texts, {asked.bought:,} new answers, {asked.already:,} already in the ledger"
    return [f"{answers}; {asked.calls:,} calls{cost}{failed}{stopped}"]


def _table(found: ProbeRecord, probed: Probed) -> list[str]:
    """Passed of compared, by dimension and test."""
    rows = [
        ["", *probed.checks],
        *([name, *(_counts(check.dimensions.get(name)) for check in probed.checks.values())]
          for name in found.dimensions),
    ]  # fmt: skip
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _overall(probed: Probed) -> list[str]:
    """A line per test: its pass rate over all dimensions, with its interval and the mean change of a score."""
    width = max(map(len, probed.checks), default=0)
    return ["", *(f"{name:<{width}}  {_rate(check.overall)}" for name, check in probed.checks.items())]


def _rate(one: Passes) -> str:
    unscored = f", {one.unscored:,} without a score" if one.unscored else ""
    flat = f", {one.flat:,} without a change" if one.flat else ""
    if one.interval is None or one.change is None:
        return f"nothing to compare{unscored}"
    return (
        f"{_percent(one.rate):>4} of {one.compared:,} ({one.interval.low:.0%} to {one.interval.high:.0%}), "
        f"mean change {one.change:+.2f}{flat}{unscored}"
    )


def _counts(one: Passes | None) -> str:
    return "-" if one is None or not one.compared else f"{one.passed}/{one.compared}"


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.0%}"


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def _examples(who: str, probed: Probed) -> list[str]:
    """The first failing examples, those of the ramps before the others."""
    if not probed.failing:
        return []
    more = len(probed.failing) - _EXAMPLES
    rest = f" (of {len(probed.failing)} in the record)" if more > 0 else ""
    lines = ["", f"failing examples of the {who}{rest}:"]
    for one in _spread(probed.failing)[:_EXAMPLES]:
        lines += [
            f"  {one.check}, {one.dimension}:",
            f"    {one.first_score:5.2f}  {_short(one.first)}",
            f"    {one.second_score:5.2f}  {_short(one.second)}",
        ]
    return lines


def _spread(failing: tuple[Failing, ...]) -> list[Failing]:
    """Return the examples with the first one of each test before the others."""
    first = list({one.check: one for one in reversed(failing)}.values())[::-1]
    return [*first, *(one for one in failing if one not in first)]


def _short(text: str, most: int = 100) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def _target(check: str, least: float, rate: float | None, *, met: bool) -> str:
    return f"{check}: {_percent(rate)}, at least {least:.0%} asked for: {'met' if met else 'missed'}"
