"""`potstill score`: articles through a bundle."""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from potstill.cli.asking import (
    ORACLE,
    AnswerTokens,
    Asking,
    MaxCalls,
    MaxCost,
    OracleName,
    Plan_,
    Prices,
    print_plan,
    replayed,
)
from potstill.cli.bundle import Decide, RequireSignature, TrustedKeys
from potstill.cli.cuts import in_one_line
from potstill.cli.places import bundle_of, ledger_of
from potstill.errors import BadInput
from potstill.files import forget_standard_output
from potstill.terminal import note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from potstill.cli.table import Table
    from potstill.scorer import Scorer, Summary, Tally
    from potstill.scorer.deferral import Deferral


SPEED = "Speed"
"""Group of options in the help."""

LIKELY = 0.9
"""Probability of a tier below which an oracle is asked, if nothing else says when."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(score)


def score(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder, or a run folder with a bundle.")],
    file: Annotated[
        str | None,
        typer.Argument(
            help="Articles: .jsonl, .jsonl.gz, .jsonl.zst, .csv, .parquet, or a folder of .txt files. With the "
            "extra web: also .html pages, a folder of them, and RSS or Atom feeds (.xml, .rss, .atom). - "
            "reads JSON lines from stdin."
        ),
    ] = None,
    text: Annotated[str | None, typer.Option(help="Score this text instead of a file.")] = None,
    others: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            metavar="BUNDLE",
            help="Another filter's bundle to score with in the same pass; repeat for several. A network that "
            "bundles share reads each article once.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Output file: .jsonl[.gz|.zst], .csv or .parquet; - writes JSON lines to stdout, with scores of 4 "
            "decimals. Default: a table on a terminal, otherwise as -.",
        ),
    ] = None,
    keep_text: Annotated[
        bool, typer.Option("--keep-text", help="Include each article's content in the output.")
    ] = False,
    coverage: Annotated[
        float, typer.Option(help="Share of intervals that contain the oracle's score, on average.")
    ] = 0.9,
    decide: Decide = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Include the probability of each tier. Slightly slower.")
    ] = False,
    ask_oracle_above: Annotated[
        float | None,
        typer.Option(
            metavar="ERROR",
            help="Mark uncertain articles (ask_oracle): of those left unmarked, at most this share has a wrong tier.",
            rich_help_panel=ORACLE,
        ),
    ] = None,
    ask_oracle_below: Annotated[
        float | None,
        typer.Option(
            metavar="PROBABILITY",
            help="Mark articles (ask_oracle) whose tier has a probability below this. Default with --oracle and "
            "without --ask-oracle-above: 0.9.",
            rich_help_panel=ORACLE,
        ),
    ] = None,
    oracle: OracleName = None,
    plan: Plan_ = False,
    max_cost: MaxCost = None,
    max_calls: MaxCalls = None,
    ledger: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File that stores the oracle's answers for reuse. Default: BUNDLE.oracle.sqlite.",
            rich_help_panel=ORACLE,
        ),
    ] = None,
    prices: Prices = None,
    max_tokens: AnswerTokens = 1000,
    cascade: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Cascade folder, made by potstill cascade: its cheap student answers first.",
            rich_help_panel=SPEED,
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Articles per batch.", rich_help_panel=SPEED)] = 512,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of scoring processes; more than one only for a student without a network.",
            rich_help_panel=SPEED,
        ),
    ] = None,
    portable: Annotated[
        bool,
        typer.Option(
            "--portable",
            help="Use ONNX Runtime in fp32 and ignore the plan of potstill optimize.",
            rich_help_panel=SPEED,
        ),
    ] = False,
    device: Annotated[
        str,
        typer.Option(help="Device for bundles that need torch: auto, cpu, cuda or mps.", rich_help_panel=SPEED),
    ] = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume an interrupted command with the same arguments.")
    ] = False,
    trusted_key: TrustedKeys = None,
    require_signature: RequireSignature = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON to stdout (to stderr if the results go there).")
    ] = False,
) -> None:
    """Score articles: dimensions with intervals, overall score, tier and the reason for it."""
    from potstill.cli.table import Table
    from potstill.files import check_ledger
    from potstill.scorer import Scorer, score_file
    from potstill.scorer.files import check_target

    third = None
    if oracle is not None:
        from potstill.labelling import Limits

        third = Asking.of(oracle, Limits(max_cost=max_cost, max_calls=max_calls, max_tokens=max_tokens), prices)
    target = out or "-"
    _agree(third, plan or (max_cost, max_calls, ledger) != (None, None, None), others, cascade, ask_oracle_below)
    bundle, others = bundle_of(bundle), [bundle_of(other) for other in others or ()]
    kept = ledger or ledger_of(bundle)
    with _articles(file, text) as source:
        check_target(
            source,
            target,
            keep_text=keep_text,
            folders=[bundle, *(others or ()), cascade],
            read=() if third is None else (kept, third.table, replayed(third.spec)),
        )
        if third is not None:
            check_ledger(kept, inputs=[source, third.table, replayed(third.spec)], folders=[bundle, cascade])
        options: dict[str, Any] = {
            "device": device,
            "level": coverage,
            "probabilities": probabilities,
            "decide": decide,
            "ask_oracle_above": ask_oracle_above,
            "follow_plan": not portable,
            "trusted_keys": trusted_key or (),
            "require_signature": require_signature,
        }
        scorer: Scorer[Any]
        if others:
            scorer = Scorer.load([bundle, *others], **options)
        else:
            below = ask_oracle_below
            if third is not None and below is None and ask_oracle_above is None:
                below = LIKELY
            scorer = Scorer.load(bundle, cascade=cascade, ask_oracle_below=below, **options)
        _explain(scorer, decided=decide is not None)
        if third is not None and plan:
            from potstill.scorer.deferral import to_ask

            asked = third.plan(to_ask(scorer, source, batch_size), scorer.bundle.filter, kept)
            print_plan(asked, third.known, as_json=as_json)
            return
        how: dict[str, Any] = {
            "batch_size": batch_size,
            "resume": resume,
            "processes": processes,
        }
        try:
            with (
                nullcontext() if third is None else _deferral(scorer, third, kept) as deferral,
                _shown(scorer, out, as_json=as_json) as show,
            ):
                # The table falls back to the beginning of a text without a title.
                how["keep_text"] = keep_text or isinstance(show, Table)
                summary = score_file(scorer, source, target, deferral=deferral, show=show, **how)
        except BrokenPipeError:
            # The reader has closed our output, as `| head` does. Python would report it again when it flushes at exit.
            forget_standard_output()
            raise typer.Exit(0) from None
        if as_json:
            print(json.dumps(_facts(summary)), file=sys.stderr if target == "-" else sys.stdout)
            return
        _say(summary)


@contextmanager
def _articles(file: str | None, text: str | None) -> Iterator[str]:
    """The file of articles, or one that holds the text alone for as long as it is needed."""
    if text is None and file is not None:
        yield file
        return
    if text is None or file is not None:
        raise BadInput("give either a file of articles or --text TEXT")
    if not text.strip():
        raise BadInput("--text: is empty")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadInput("--text: contains bytes that are not valid in this terminal's encoding") from None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.jsonl"
        path.write_text(json.dumps({"content": text}), encoding="utf-8")
        yield str(path)


@contextmanager
def _shown(scorer: Scorer[Any], out: str | None, *, as_json: bool) -> Iterator[Table | Callable[..., None] | None]:
    """What receives the results in place of a file: a table on a terminal, or rounded JSON lines on stdout."""
    from potstill.articles import open_writer
    from potstill.cli.table import Table, rounded

    if out not in {None, "-"}:
        yield None
    elif out is None and sys.stdout.isatty() and not as_json:
        yield Table(scorer)
    else:
        with open_writer("-") as writer:
            yield lambda rows: writer.write(rounded(rows))


def _agree(
    third: Asking | None, said: bool, others: list[Path] | None, cascade: Path | None, below: float | None
) -> None:
    """Refuse options that don't go together; `said` is whether there are any that are about an oracle."""
    if third is None and said:
        raise BadInput("--plan, --max-cost, --max-calls and --ledger need --oracle")
    if others and third is not None:
        raise BadInput("an oracle uses one bundle's filter: leave out --oracle or --with")
    if others and below is not None:
        raise BadInput("--ask-oracle-below works with one bundle only: leave it out, or leave out --with")
    if others and cascade is not None:
        raise BadInput("a cascade works with one bundle only: leave out --cascade or --with")


def _deferral(scorer: Scorer[Any], third: Asking, ledger: Path) -> AbstractContextManager[Deferral]:
    from potstill.interrupts import on_interrupt
    from potstill.scorer.deferral import open_deferral

    on_interrupt("answers are kept; run the same command to reuse them")
    return open_deferral(scorer, third.opened, ledger, limits=third.limits, price=third.price)


def _facts(summary: Summary) -> dict[str, Any]:
    """What `--json` prints: counts by filter if there are several, otherwise those of the filter beside the others."""
    facts = asdict(summary)
    filters, asked = facts.pop("filters"), facts.pop("asked")
    if len(filters) > 1:
        return {"filters": filters, **facts}
    (tally,) = filters.values()
    del facts["networks"]
    return {"bundle": tally.pop("bundle"), "articles": facts.pop("articles"), **tally, **facts, "asked": asked}


def _say(summary: Summary) -> None:
    """What a person reads when all is done."""
    from potstill.labelling.limits import money

    speed = f"{summary.seconds:.1f} s ({summary.articles_per_second:,.0f}/s)"
    resumed = f", {summary.resumed:,} of them earlier" if summary.resumed else ""
    whole = f"{summary.articles:,} articles{resumed} in {speed}"
    if len(summary.filters) > 1:
        networks = {0: "no network", 1: "one network"}.get(summary.networks, f"{summary.networks} networks")
        note(f"{whole}, read by {networks}")
        for name, tally in summary.filters.items():
            note(f"{name}: {_counts(tally)}")
            _explain_counts(tally)
        return
    note(f"{whole}: {_counts(summary.only)}")
    _explain_counts(summary.only)
    if (asked := summary.asked) is not None:
        cost = "" if asked.cost is None else f", cost {money(asked.cost, 6)}"
        note(
            f"{asked.articles:,} articles to ask the oracle about: {asked.answered:,} answered, {asked.failed:,} "
            f"without an answer, {asked.not_asked:,} not asked (budget exhausted); {asked.calls:,} calls{cost}"
        )


def _explain(scorer: Scorer[Any], *, decided: bool) -> None:
    """Say what a cascade and a mark for the oracle promise, and how tiers are decided at other operating points."""
    for one in scorer.filter_scorers:
        of = f"{one.name}: " if scorer.by_filter else ""
        for tier_cut in one.cuts if decided else ():
            note(f"{of}{in_one_line(tier_cut)}")
            if tier_cut.note and tier_cut.probability is not None:
                note(f"  {tier_cut.note}")
        if one.early is not None:
            chosen, record = one.early.record.chosen, one.early.record
            note(
                f"{record.first} answers first; at least {chosen.recall:.1%} of positive articles go on to "
                f"{record.student} ({record.confidence:.0%} confidence, {record.positive_clusters:,} positives)"
            )
        if one.cut is not None:
            cut = one.cut
            note(
                f"{of}ask_oracle is false if the tier's probability is at least {cut.probability:.3f}: of {cut.rows:,} "
                f"calibration articles this leaves {cut.kept:,} unmarked, {cut.wrong:,} of them in the wrong tier "
                f"(at most {cut.at_most:.1%} with 95% confidence)"
            )


def _counts(tally: Tally) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in tally.tiers.items() if count) or "none"


def _explain_counts(tally: Tally) -> None:
    for reason, count in tally.reasons.items():
        note(f"  not scored: {reason}: {count:,}")
    for drift in tally.drifts:
        note(f"  {drift}")
    if tally.unlike is not None and tally.unlike.significant:
        note(f"  {tally.unlike}")
    if tally.caution is not None:
        note(f"  {tally.caution}")
