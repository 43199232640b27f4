"""Buy labels: check the request, open the ledger and run a session.

Input: articles, a filter, an oracle and limits. Output: a ledger with the answers, and a `Summary`.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from filelock import FileLock, Timeout

from potstill.errors import BadInput, LabelError, OracleError
from potstill.labelling.batch import BatchSession, refuse_jobs
from potstill.labelling.changes import agree
from potstill.labelling.ledger import Ledger
from potstill.labelling.limits import Limits, repeats_of
from potstill.labelling.session import Session
from potstill.oracle.prompt import Prompt
from potstill.terminal import steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from potstill.filters import Filter
    from potstill.labelling.batch import Batching
    from potstill.labelling.budget import Price
    from potstill.labelling.changes import Prompts
    from potstill.labelling.limits import Progress, Repeats, Summary
    from potstill.labelling.pace import Pace
    from potstill.oracle import Oracle


def label(
    ledger: Ledger | str | Path,
    articles: pl.DataFrame | Iterable[pl.DataFrame],
    filter_: Filter,
    oracle: Oracle,
    *,
    samples: int | Repeats = 1,
    limits: Limits | None = None,
    price: Price | None = None,
    prompts: Prompts = "refuse",
    retry_failed: bool = False,
    batch: Batching | None = None,
    pace: Pace | None = None,
    expected: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Buy the missing labels, with a progress bar; the oracle is closed at the end.

    Args:
        ledger: an open ledger, or the path of one, which is locked during the call.
        articles: data frames with the columns id, title, content.
        filter_: the filter to label for.
        oracle: the oracle to ask.
        samples: answers per article, numbered from 0; or a `Repeats` to repeat only a share of the articles.
        limits: limits on cost, calls and request rate.
        price: price per million tokens; required with `limits.max_cost` unless the oracle is free.
        prompts: how to treat labels made with another prompt.
        retry_failed: whether to retry questions that failed permanently.
        batch: send the questions as batch jobs, at half the price, and wait for them.
        pace: a pace that replaces the one derived from `limits`.
        expected: number of articles, for the progress bar; not needed for a single data frame.
        on_progress: called with the progress of the session after each finished question.

    Returns:
        What the session bought, what failed and what it cost.

    Raises:
        LabelError: the ledger contains labels of another prompt; the message shows the difference.
        BadInput: no samples are requested, a cost limit has no price, or the disk is full.
        ArticleError: an article has no text.
    """
    limits = limits or Limits()
    repeats = repeats_of(samples)
    if limits.max_cost is not None and price is None and not oracle.free:
        raise BadInput(f"--max-cost needs the prices of {oracle.model}: give --prices IN/OUT (per million tokens)")
    prompt = Prompt.of(filter_)
    frames = [articles] if isinstance(articles, pl.DataFrame) else articles
    count = articles.height if isinstance(articles, pl.DataFrame) else expected

    async def work() -> Summary:
        try:
            oracle.prepare(prompt)
            total = None if count is None else round(count * repeats.mean)
            with _opened(ledger) as opened, steps("labelling", total) as advance:
                agree(opened, prompt, prompts)
                opened.settle_killed()
                session: Session
                if batch is None:
                    refuse_jobs(opened)
                    session = Session(opened, prompt, oracle, repeats, limits, price, pace)
                else:
                    session = BatchSession(opened, prompt, oracle, repeats, limits, price, batch)
                session.retry_failed = retry_failed
                session.watchers.append(lambda now: advance(1, now))
                session.watchers += [] if on_progress is None else [on_progress]
                return await session.run(frames)
        finally:
            await oracle.close()

    return asyncio.run(work())


def no_label(summary: Summary) -> Exception:
    """Return the error for a session without a single label."""
    if summary.fatal:
        return OracleError(summary.stopped or "")
    if summary.first_failure:
        return LabelError(f"no label could be had; the first failure: {summary.first_failure}")
    return LabelError(f"there is no label: {summary.stopped or 'everything failed before; --retry-failed asks again'}")


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
