"""`potstill label`: buy an oracle's judgement of articles, once, within limits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from potstill.cli.asking import (
    AnswerTokens,
    Asking,
    MaxCalls,
    MaxCost,
    Plan_,
    Prices,
    described_price,
    in_words,
    print_plan,
    refuse_template,
)
from potstill.cli.next import print_next

if TYPE_CHECKING:
    import polars as pl

    from potstill.labelling import Summary
    from potstill.labelling.prices import Known


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="label")(label)


def label(
    run: Annotated[Path, typer.Argument(help="A run folder. A new run needs --filter and --articles.")],
    oracle: Annotated[
        str,
        typer.Option(
            metavar="ORACLE",
            help="The oracle: openai:MODEL (any compatible server), anthropic:MODEL, gemini:MODEL, "
            "decisions:MODEL or systemone:MODEL (asked by levels), or replay:FILE. openai:MODEL@URL sets the address "
            "of the server, openai:MODEL@URL#VARIABLE also the environment variable of its key, and "
            "openai:MODEL?temperature=0&reasoning_effort=low&timeout=300 its settings.",
        ),
    ],
    filter_: Annotated[
        str | None,
        typer.Option("--filter", metavar="FILTER", help="A filter folder, or the name of a built-in filter."),
    ] = None,
    articles: Annotated[
        str | None,
        typer.Option(help="Articles to add, in any format that `potstill score` reads; - reads JSON lines from stdin."),
    ] = None,
    answers: Annotated[int, typer.Option(help="Number of answers per article. A label is their mean.")] = 1,
    repeat_share: Annotated[
        float, typer.Option(help="Share of articles asked --answers times; the others are asked once.")
    ] = 1.0,
    plan: Plan_ = False,
    max_cost: MaxCost = None,
    max_calls: MaxCalls = None,
    prices: Prices = None,
    rpm: Annotated[float | None, typer.Option(help="Maximum calls per minute.")] = None,
    tpm: Annotated[float | None, typer.Option(help="Maximum tokens per minute.")] = None,
    concurrency: Annotated[int, typer.Option(help="Maximum concurrent calls; reduced if the server asks for it.")] = 16,
    max_tokens: AnswerTokens = 1000,
    changed_prompt: Annotated[
        Literal["refuse", "mix", "replace"],
        typer.Option(
            help="What to do if the prompt has changed since earlier labels. refuse: stop. mix: keep the earlier "
            "labels and buy only the missing ones. replace: buy all labels again.",
        ),
    ] = "refuse",
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Retry questions that failed permanently.")
    ] = False,
    batch: Annotated[
        bool,
        typer.Option(
            "--batch",
            help="Send the questions as batch jobs, usually at half the price, and wait for them (openai, "
            "anthropic, gemini).",
        ),
    ] = False,
    batch_size: Annotated[int, typer.Option(help="With --batch: questions per job.")] = 1000,
    poll: Annotated[float, typer.Option(help="With --batch: seconds between status checks of a job.")] = 30.0,
    drop_job: Annotated[
        list[str] | None,
        typer.Option(
            help="With --batch: abandon a stuck job, by its name. Its questions count at their maximum price, are "
            "asked again, and may be billed twice."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Label articles with an oracle; what the run already has an answer to is not asked again."""
    from potstill.audit.early import early_warning
    from potstill.errors import BadInput, OracleError
    from potstill.filters import load_filter
    from potstill.interrupts import on_interrupt
    from potstill.labelling import Batching, Limits, Repeats
    from potstill.pipeline.label import label_run
    from potstill.pipeline.run import LAYOUT, Run
    from potstill.terminal import note

    if drop_job and not batch:
        raise BadInput("--drop-job goes with --batch")
    limits = Limits(max_cost, max_calls, rpm, tpm, concurrency, max_tokens)
    asking = Asking.of(oracle, limits, prices)
    repeats = Repeats(answers, repeat_share)
    batching = Batching(batch_size, poll, tuple(drop_job or ())) if batch else None
    chosen = None if filter_ is None else load_filter(filter_)
    ledger, judged_by = run / LAYOUT["ledger"], chosen or Run.open(run).filter
    refuse_template(judged_by, [oracle])
    if warning := early_warning(ledger, judged_by):
        note(f"warning: {warning}")
    if plan:
        frames = _frames(articles, run / LAYOUT["articles"])
        found = asking.plan(frames, judged_by, ledger, repeats, batch=batch, prompts=changed_prompt)
        print_plan(found, asking.known, batch=batch, as_json=as_json)
        return
    on_interrupt("run the same command to resume")
    summary = label_run(
        run,
        chosen,
        articles,
        asking.opened(),
        samples=repeats,
        limits=limits,
        price=asking.price,
        prompts=changed_prompt,
        retry_failed=retry_failed,
        batch=batching,
    )
    if filter_ is not None:
        from potstill.pipeline.accept import carry_targets
        from potstill.pipeline.probe import carry_probes

        carry_targets(filter_, run)
        carry_probes(filter_, run)
    _print_summary(summary, asking.known, as_json=as_json)
    if summary.fatal:
        raise OracleError(
            f"labelling stopped: {summary.stopped}; all answers so far are kept; run the same command to resume"
        )
    if not as_json:
        print_next(Run.open(run))


def _frames(articles: str | None, kept: Path) -> Iterator[pl.DataFrame]:
    """A run's articles, and those to be added that it has not."""
    from potstill.articles import read_all, read_articles
    from potstill.errors import BadInput

    new = None if articles is None else read_all(articles)
    if new is None and not kept.exists():
        raise BadInput("no articles: give --articles")
    for frame in read_articles(kept) if kept.exists() else ():
        yield frame
        new = None if new is None else new.filter(~new["id"].is_in(frame["id"].to_list()))
    if new is not None:
        yield new


def _print_summary(summary: Summary, known: Known | None, *, as_json: bool) -> None:
    from potstill.labelling.limits import counted, money

    if as_json:
        print(json.dumps(summary.as_dict() | {"price_from": known and known.source}, indent=2, ensure_ascii=False))
        return
    print(f"{summary.bought:,} new answers, {summary.already:,} already in the ledger, {summary.wanted:,} needed")
    for what, counts in (
        ("failed calls, retried where useful", summary.faults),
        ("failed", summary.failed),
        ("failed earlier, not retried", summary.given_up),
    ):
        if counts:
            print(f"{sum(counts.values()):,} {what}: {counted(counts)}")
    if summary.flagged:
        print(
            f"{summary.flagged:,} articles contain text addressed to the oracle "
            f"(see the ledger's table flags); check their labels"
        )
    if summary.first_failure:
        print(f"first failure: {summary.first_failure}")
    cost = "" if summary.cost is None else f", cost {money(summary.cost, 6)}"
    print(
        f"{summary.calls:,} calls, {summary.tokens_in:,} tokens in, {summary.tokens_out:,} out{cost}, "
        f"{in_words(summary.seconds)}"
    )
    if known is not None:
        print(described_price(known))
    if summary.unanswered:
        counted_at = (
            "" if summary.unanswered_cost is None else f", {money(summary.unanswered_cost, 6)} of the cost above,"
        )
        print(
            f"{summary.unanswered:,} calls were sent, but the server did not report their cost; they are counted"
            f"{counted_at} at their maximum cost"
        )
    if summary.doubted:
        print(f"the server reported implausible token counts for {summary.doubted:,} calls: {summary.doubt}")
    if summary.stopped and not summary.fatal:
        print(f"stopped: {summary.stopped}")
