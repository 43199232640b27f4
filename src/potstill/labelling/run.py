"""Labelling from its start to its end: what is asked for is checked, the ledger opened, and a session run.

In: articles, a filter, an oracle and limits. Out: a ledger with the answers, and a `Summary`. `label_run` does it
for a run's folder, recorded as the stage `label`.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
from filelock import FileLock, Timeout

from potstill.articles import count_articles, read_articles
from potstill.errors import BadInput, LabelError, OracleError
from potstill.filters import save_filter
from potstill.labelling.batch import BatchSession, refuse_jobs
from potstill.labelling.intake import add_articles
from potstill.labelling.ledger import Ledger
from potstill.labelling.session import Session
from potstill.labelling.terms import Limits, Progress, Repeats, Summary
from potstill.oracle.prompt import Prompt
from potstill.runs import LAYOUT, Run
from potstill.terminal import steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from potstill.filters import Filter
    from potstill.labelling.batch import Batching
    from potstill.labelling.budget import Price
    from potstill.labelling.pace import Pace
    from potstill.oracle import Oracle

Prompts = Literal["refuse", "mix", "replace"]
"""What to do when the ledger holds labels made with another prompt: refuse, keep them and buy only what is
missing, or buy everything anew (the old answers stay in the ledger, and count no more)."""


def label(
    ledger: Ledger | str | Path,
    articles: pl.DataFrame | Iterable[pl.DataFrame],
    filter_: Filter,
    oracle: Oracle,
    *,
    samples: int = 1,
    repeat_share: float = 1.0,
    repeat_seed: int = 0,
    limits: Limits | None = None,
    price: Price | None = None,
    prompts: Prompts = "refuse",
    retry_failed: bool = False,
    on_step: Callable[[float], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    pace: Pace | None = None,
    batch: Batching | None = None,
) -> Summary:
    """Buy the labels that are missing; the oracle is closed at the end.

    Args:
        ledger: an open one, or the path of one (which is then locked meanwhile).
        articles: frames with the columns id, title, content.
        filter_: what to judge.
        oracle: who judges.
        samples: answers per article, numbered from 0.
        repeat_share: the share of articles, chosen by chance, that get so many; the rest get one.
        repeat_seed: of that chance.
        limits: how far and how fast.
        price: per million tokens; needed with `limits.max_cost` unless the oracle is free.
        prompts: what to do with labels made with another prompt.
        retry_failed: ask again what failed for good before.
        on_step: called with 1 for each question that is done with.
        on_progress: called then too, with how the session stands.
        pace: another pace than the one that `limits` make.
        batch: send the questions as jobs, at half the price, and wait for them.

    Raises:
        LabelError: the ledger holds labels of another prompt; the message shows what differs.
        BadInput: no samples asked for, no price for a cost limit, a full disk.
        ArticleError: an article without text.
    """
    return asyncio.run(
        label_async(
            ledger,
            articles,
            filter_,
            oracle,
            samples=samples,
            repeat_share=repeat_share,
            repeat_seed=repeat_seed,
            limits=limits,
            price=price,
            prompts=prompts,
            retry_failed=retry_failed,
            on_step=on_step,
            on_progress=on_progress,
            pace=pace,
            batch=batch,
        )
    )


async def label_async(
    ledger: Ledger | str | Path,
    articles: pl.DataFrame | Iterable[pl.DataFrame],
    filter_: Filter,
    oracle: Oracle,
    *,
    samples: int = 1,
    repeat_share: float = 1.0,
    repeat_seed: int = 0,
    limits: Limits | None = None,
    price: Price | None = None,
    prompts: Prompts = "refuse",
    retry_failed: bool = False,
    on_step: Callable[[float], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    pace: Pace | None = None,
    batch: Batching | None = None,
) -> Summary:
    """As `label`, inside a running event loop."""
    limits = limits or Limits()
    repeats = Repeats(samples, repeat_share, repeat_seed)
    if limits.max_cost is not None and price is None and not oracle.free:
        raise BadInput(
            f"--max-cost needs the prices of {oracle.model}: give --price-in and --price-out (per million tokens)"
        )
    prompt = Prompt.of(filter_)
    try:
        oracle.prepare(prompt)
        with _opened(ledger) as open_ledger:
            _agree(open_ledger, prompt, prompts)
            open_ledger.settle_killed()
            if batch is None:
                refuse_jobs(open_ledger)
                session = Session(open_ledger, prompt, oracle, repeats, limits, price, pace)
            else:
                session = BatchSession(open_ledger, prompt, oracle, repeats, limits, price, batch)
            session.retry_failed = retry_failed
            session.on_step = on_step
            session.on_progress = on_progress
            frames = [articles] if isinstance(articles, pl.DataFrame) else articles
            return await session.run(frames)
    finally:
        await oracle.close()


def label_run(
    run_folder: str | Path,
    filter_: Filter | None,
    articles: str | Path | None,
    oracle: Oracle,
    *,
    samples: int = 1,
    repeat_share: float = 1.0,
    repeat_seed: int = 0,
    limits: Limits | None = None,
    price: Price | None = None,
    prompts: Prompts = "refuse",
    retry_failed: bool = False,
    batch: Batching | None = None,
) -> Summary:
    """Label a run: make its folder, take in the articles, and buy what is missing; recorded as the stage `label`.

    Args:
        run_folder: a new folder, or a run.
        filter_: what to judge; None for the run's own.
        articles: a file of articles to add to the run's; None for those it has.
        oracle: who judges.
        samples: answers per article.
        repeat_share: the share of articles, chosen by chance, that get so many; the rest get one.
        repeat_seed: of that chance.
        limits: how far and how fast.
        price: per million tokens.
        prompts: what to do with labels made with another prompt.
        retry_failed: ask again what failed for good before.
        batch: send the questions as jobs, at half the price, and wait for them.

    Raises:
        RunError: no such run, or another process writes to it.
        ArticleError: a row cannot be read, an id is there twice or already in the run with another text.
        LabelError: see `label`; or not a single label could be had.
    """
    run = _the_run(Path(run_folder), filter_, prompts)
    facts: dict[str, Any] = {"oracle": f"{oracle.name}:{oracle.model}", "samples": samples}
    if repeat_share < 1:
        facts |= {"repeat_share": repeat_share, "repeat_seed": repeat_seed}
    with run.recording("label", parameters=facts):
        if articles is not None:
            add_articles(run.path("articles"), articles)
        path = run.need("articles", "label")
        total = round((count_articles(path) or 0) * Repeats(samples, repeat_share, repeat_seed).mean)
        with steps("labelling", total) as advance, Ledger(run.path("ledger")) as ledger:
            summary = label(
                ledger,
                read_articles(path),
                run.filter,
                oracle,
                samples=samples,
                repeat_share=repeat_share,
                repeat_seed=repeat_seed,
                limits=limits,
                price=price,
                prompts=prompts,
                retry_failed=retry_failed,
                on_progress=lambda progress: advance(1, str(progress)),
                batch=batch,
            )
        if not summary.already and not summary.bought:
            raise _nothing(summary)
        facts["summary"] = summary.as_dict()
    return summary


def _the_run(folder: Path, filter_: Filter | None, prompts: Prompts) -> Run:
    if filter_ is None:
        return Run.open(folder)
    if not (folder / LAYOUT["manifest"]).exists():
        return Run.create(folder, filter_)
    run = Run.open(folder)
    if run.filter.content_hash == filter_.content_hash:
        return run
    if prompts != "refuse":
        # Before the stage's record begins, which holds the filter that the labels are made with.
        with run.locked():
            save_filter(filter_, run.path("filter"))
        return run
    if run.path("ledger").exists():
        with Ledger(run.path("ledger")) as ledger:
            _refuse_other_prompts(ledger, Prompt.of(filter_))
    return Run.create(folder, filter_)  # which says that the filters differ


def _nothing(summary: Summary) -> Exception:
    """The error when there is not a single label."""
    if summary.fatal:
        return OracleError(summary.stopped or "")
    if summary.first_failure:
        return LabelError(f"no label could be had; the first failure: {summary.first_failure}")
    return LabelError(
        f"no label was bought: {summary.stopped or 'everything failed before; --retry-failed asks again'}"
    )


def _agree(ledger: Ledger, prompt: Prompt, prompts: Prompts) -> None:
    if prompts == "refuse":
        _refuse_other_prompts(ledger, prompt)
    ledger.accept(prompt, others=prompts == "mix")


def _refuse_other_prompts(ledger: Ledger, prompt: Prompt) -> None:
    for hash_, parts in ledger.accepted_prompts().items():
        if hash_ != prompt.hash:
            raise LabelError(
                f"{ledger.path}: holds labels made with another prompt. --mix-prompts keeps them and asks only for "
                f"what is missing; --replace-prompt asks for everything anew. What differs:\n{prompt.difference(parts)}"
            )


@contextmanager
def _opened(ledger: Ledger | str | Path) -> Iterator[Ledger]:
    if isinstance(ledger, Ledger):
        yield ledger
        return
    path = Path(ledger)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.with_name(path.name + ".lock"), timeout=0), Ledger(path) as opened:
            yield opened
    except Timeout:
        raise LabelError(f"{path}: another potstill process is writing to this ledger") from None
