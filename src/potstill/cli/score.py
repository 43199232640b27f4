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
    AnswerTokens,
    Asking,
    BaseUrl,
    Concurrency,
    KeyVariable,
    PriceIn,
    PriceOut,
    Prices,
    ReasoningEffort,
    Rpm,
    Temperature,
    print_plan,
    replayed,
)
from potstill.cli.bundle import RequireSignature, TrustedKeys
from potstill.cli.places import bundle_of
from potstill.errors import BadInput
from potstill.files import forget_standard_output
from potstill.terminal import note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from potstill.scorer import Scorer, Summary, Tally
    from potstill.scorer.deferral import Deferral


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
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="Output file: .jsonl[.gz|.zst], .csv or .parquet; - writes JSON lines to stdout."
        ),
    ] = "-",
    keep_text: Annotated[
        bool, typer.Option("--keep-text", help="Include each article's content in the output.")
    ] = False,
    level: Annotated[float, typer.Option(help="Nominal coverage of the intervals.")] = 0.9,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Include the probability of each tier. Slightly slower.")
    ] = False,
    ask_oracle_above: Annotated[
        float | None,
        typer.Option(
            metavar="ERROR",
            help="Mark uncertain articles (ask_oracle): of those left unmarked, at most this share has a wrong tier.",
        ),
    ] = None,
    oracle: Annotated[
        str | None,
        typer.Option(
            help="Ask this oracle (openai:MODEL, anthropic:MODEL, gemini:MODEL or replay:FILE) about the marked "
            "articles. Without --ask-oracle-above: about those whose tier has a probability below --level."
        ),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="With --oracle: estimate calls, cost and time; ask and write nothing.")
    ] = False,
    max_cost: Annotated[
        float | None, typer.Option(help="With --oracle: maximum cost in this ledger, in US dollars, over all sessions.")
    ] = None,
    max_calls: Annotated[
        int | None, typer.Option(help="With --oracle: maximum calls in this ledger, over all sessions.")
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(help="With --oracle: file that stores the answers for reuse. Default: BUNDLE.oracle.sqlite."),
    ] = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    prices: Prices = None,
    rpm: Rpm = None,
    concurrency: Concurrency = 16,
    max_tokens: AnswerTokens = 1000,
    base_url: BaseUrl = None,
    api_key_env: KeyVariable = None,
    temperature: Temperature = None,
    reasoning_effort: ReasoningEffort = None,
    cascade: Annotated[
        Path | None, typer.Option(help="Cascade folder, made by potstill cascade: its cheap student answers first.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Articles per batch.")] = 512,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads for the network. Default: all physical cores.")
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="Number of scoring processes; more than one only for a student without a network."),
    ] = None,
    portable: Annotated[
        bool, typer.Option("--portable", help="Use ONNX Runtime in fp32 and ignore the plan of potstill optimize.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume an interrupted command with the same arguments.")
    ] = False,
    trusted_key: TrustedKeys = None,
    require_signature: RequireSignature = False,
    device: Annotated[str, typer.Option(help="Device for bundles that need torch: auto, cpu, cuda or mps.")] = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON to stdout (to stderr with -o -).")
    ] = False,
) -> None:
    """Score articles: dimensions with intervals, overall score, tier and the reason for it."""
    from potstill.files import check_ledger
    from potstill.scorer import Scorer, score_file
    from potstill.scorer.files import check_target

    third = None
    if oracle is not None:
        from potstill.labelling import Limits
        from potstill.oracle import Settings

        limits = Limits(max_cost, max_calls, rpm, None, concurrency, max_tokens)
        settings = Settings(base_url, api_key_env, temperature, reasoning_effort)
        third = Asking(oracle, settings, limits, price_in, price_out, prices)
    _agree(third, plan or (max_cost, max_calls, ledger) != (None, None, None), others, cascade)
    bundle, others = bundle_of(bundle), [bundle_of(other) for other in others or ()]
    kept = ledger or bundle.with_name(f"{bundle.resolve().name}.oracle.sqlite")
    with _articles(file, text) as source:
        check_target(
            source,
            output,
            keep_text=keep_text,
            folders=[bundle, *(others or ()), cascade],
            read=() if third is None else (kept, prices, replayed(third.spec)),
        )
        if third is not None:
            check_ledger(kept, inputs=[source, prices, replayed(third.spec)], folders=[bundle, cascade])
        options: dict[str, Any] = {
            "threads": threads,
            "device": device,
            "level": level,
            "probabilities": probabilities,
            "ask_oracle_above": ask_oracle_above,
            "follow_plan": not portable,
            "trusted_keys": trusted_key or (),
            "require_signature": require_signature,
        }
        scorer: Scorer[Any]
        if others:
            scorer = Scorer.load([bundle, *others], **options)
        else:
            below = level if third is not None and ask_oracle_above is None else None
            scorer = Scorer.load(bundle, cascade=cascade, ask_oracle_below=below, **options)
        _explain(scorer)
        if third is not None and plan:
            from potstill.scorer.deferral import to_ask

            asked = third.plan(to_ask(scorer, source, batch_size), scorer.bundle.filter, kept)
            print_plan(asked, third.known, as_json=as_json)
            return
        how: dict[str, Any] = {
            "keep_text": keep_text,
            "batch_size": batch_size,
            "resume": resume,
            "processes": processes,
        }
        try:
            with nullcontext() if third is None else _deferral(scorer, third, kept) as deferral:
                summary = score_file(scorer, source, output, deferral=deferral, **how)
        except BrokenPipeError:
            # The reader has closed our output, as `| head` does. Python would report it again when it flushes at exit.
            forget_standard_output()
            raise typer.Exit(0) from None
        if as_json:
            print(json.dumps(_facts(summary)), file=sys.stderr if output == "-" else sys.stdout)
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


def _agree(third: Asking | None, said: bool, others: list[Path] | None, cascade: Path | None) -> None:
    """Refuse options that don't go together; `said` is whether there are any that are about an oracle."""
    if third is None and said:
        raise BadInput("--plan, --max-cost, --max-calls and --ledger need --oracle")
    if others and third is not None:
        raise BadInput("an oracle uses one bundle's filter: leave out --oracle or --with")
    if others and cascade is not None:
        raise BadInput("a cascade works with one bundle only: leave out --cascade or --with")


def _deferral(scorer: Scorer[Any], third: Asking, ledger: Path) -> AbstractContextManager[Deferral]:
    from potstill.interrupts import on_interrupt
    from potstill.scorer.deferral import open_deferral

    on_interrupt("bought answers are kept; run the same command to reuse them")
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
            _reasons(tally)
        return
    note(f"{whole}: {_counts(summary.only)}")
    _reasons(summary.only)
    if (asked := summary.asked) is not None:
        cost = "" if asked.cost is None else f", cost {money(asked.cost, 6)}"
        note(
            f"{asked.articles:,} articles to ask the oracle about: {asked.answered:,} answered, {asked.failed:,} "
            f"without an answer, {asked.not_asked:,} not asked (budget exhausted); {asked.calls:,} calls{cost}"
        )


def _explain(scorer: Scorer[Any]) -> None:
    """Say what a cascade and a mark for the oracle promise."""
    for one in scorer.filter_scorers:
        if one.early is not None:
            chosen, record = one.early.record.chosen, one.early.record
            note(
                f"{record.first} answers first; at least {chosen.recall:.1%} of positive articles go on to "
                f"{record.student} ({record.confidence:.0%} confidence, {record.positive_clusters:,} positives)"
            )
        if one.cut is not None:
            cut, of = one.cut, f"{one.name}: " if scorer.by_filter else ""
            note(
                f"{of}ask_oracle is false if the tier's probability is at least {cut.probability:.3f}: of {cut.rows:,} "
                f"calibration articles this leaves {cut.kept:,} unmarked, {cut.wrong:,} of them in the wrong tier "
                f"(at most {cut.at_most:.1%} with 95% confidence)"
            )


def _counts(tally: Tally) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in tally.tiers.items() if count) or "none"


def _reasons(tally: Tally) -> None:
    for reason, count in tally.reasons.items():
        note(f"  not scored: {reason}: {count:,}")
