"""Labelling itself: one asynchronous runner that buys what is missing and keeps each answer as it lands.

In: articles, a filter, an oracle and limits. Out: a ledger with the answers, and a `Summary`. Each call is
permitted by the budget and written down before it is made; its outcome is committed before its slot is free
again, so a kill loses at most the calls in flight.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
from filelock import FileLock, Timeout

from potstill.articles import count_articles, open_writer, read_articles, read_numbered, refuse_duplicates
from potstill.errors import ArticleError, BadInput, LabelError, OracleError, PotstillError
from potstill.filters import save_filter
from potstill.labelling.budget import FREE, TRILLION, Budget, Price, most_tokens
from potstill.labelling.ledger import Answered, Failed, Ledger, Opened, Question, window_hash
from potstill.labelling.pace import Pace
from potstill.oracle import FATAL, REPAIRABLE, Failure, Reply
from potstill.oracle.prompt import Prompt
from potstill.runs import LAYOUT, Run
from potstill.terminal import steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from potstill.filters import Filter
    from potstill.labelling.ledger import Event
    from potstill.oracle import Oracle, Request

Prompts = Literal["refuse", "mix", "replace"]
"""What to do when the ledger holds labels made with another prompt: refuse, keep them and buy only what is
missing, or buy everything anew (the old answers stay in the ledger, and count no more)."""

HOPELESS = 10
"""Questions given up one after another, for want of any answer, after which the server is taken to be gone."""

LAST_WAIT = 30.0
"""Seconds that calls in flight get to land after an interrupt."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far and how fast labelling may go.

    `max_cost` (in the prices' unit) and `max_calls` hold over all calls of the ledger, earlier sessions included.
    `rpm` and `tpm` are calls and tokens a minute, `concurrency` calls at once. A question whose server is busy
    or broken is asked `tries` times; one that is told to wait is waited for up to `patience` seconds in all.
    """

    max_cost: float | None = None
    max_calls: int | None = None
    rpm: float | None = None
    tpm: float | None = None
    concurrency: int = 16
    max_tokens: int = 1000
    tries: int = 6
    patience: float = 900.0

    def __post_init__(self) -> None:
        """Refuse limits that no run could keep."""
        for name in ("rpm", "tpm", "concurrency", "max_tokens", "tries"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise BadInput(f"--{name.replace('_', '-')}: got {value:g}, expected a number above 0")
        for name in ("max_cost", "max_calls"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise BadInput(f"--{name.replace('_', '-')}: got {value:g}, expected 0 or more")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a session of labelling did.

    Answers are counted per article and sample: `wanted` of them were asked for, `already` were in the ledger,
    `bought` are new, `failed` (by reason) could not be had, `given_up` failed for good in an earlier session
    and were not asked again. `calls`, tokens and `cost` (None without a price) are this session's; `stopped`
    says why it ended early, and `fatal` whether a person must act before it can go on.
    """

    wanted: int
    already: int
    bought: int
    failed: dict[str, int]
    given_up: dict[str, int]
    calls: int
    tokens_in: int
    tokens_out: int
    cost: float | None
    seconds: float
    stopped: str | None = None
    fatal: bool = False
    first_failure: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def label(
    ledger: Ledger | str | Path,
    articles: pl.DataFrame | Iterable[pl.DataFrame],
    filter_: Filter,
    oracle: Oracle,
    *,
    samples: int = 1,
    limits: Limits | None = None,
    price: Price | None = None,
    prompts: Prompts = "refuse",
    retry_failed: bool = False,
    on_step: Callable[[float], None] | None = None,
    pace: Pace | None = None,
) -> Summary:
    """Buy the labels that are missing; the oracle is closed at the end.

    Args:
        ledger: an open one, or the path of one (which is then locked meanwhile).
        articles: frames with the columns id, title, content.
        filter_: what to judge.
        oracle: who judges.
        samples: answers per article, numbered from 0.
        limits: how far and how fast.
        price: per million tokens; needed with `limits.max_cost` unless the oracle is free.
        prompts: what to do with labels made with another prompt.
        retry_failed: ask again what failed for good before.
        on_step: called with 1 for each question that is done with.
        pace: another pace than the one that `limits` make.

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
            limits=limits,
            price=price,
            prompts=prompts,
            retry_failed=retry_failed,
            on_step=on_step,
            pace=pace,
        )
    )


async def label_async(
    ledger: Ledger | str | Path,
    articles: pl.DataFrame | Iterable[pl.DataFrame],
    filter_: Filter,
    oracle: Oracle,
    *,
    samples: int = 1,
    limits: Limits | None = None,
    price: Price | None = None,
    prompts: Prompts = "refuse",
    retry_failed: bool = False,
    on_step: Callable[[float], None] | None = None,
    pace: Pace | None = None,
) -> Summary:
    """As `label`, inside a running event loop."""
    limits = limits or Limits()
    if samples < 1:
        raise BadInput(f"--samples: got {samples}, expected 1 or more")
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
            session = _Session(open_ledger, prompt, oracle, samples, limits, price, pace)
            session.retry_failed = retry_failed
            session.on_step = on_step
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
    limits: Limits | None = None,
    price: Price | None = None,
    prompts: Prompts = "refuse",
    retry_failed: bool = False,
) -> Summary:
    """Label a run: make its folder, take in the articles, and buy what is missing; recorded as the stage `label`.

    Args:
        run_folder: a new folder, or a run.
        filter_: what to judge; None for the run's own.
        articles: a file of articles to add to the run's; None for those it has.
        oracle: who judges.
        samples: answers per article.
        limits: how far and how fast.
        price: per million tokens.
        prompts: what to do with labels made with another prompt.
        retry_failed: ask again what failed for good before.

    Raises:
        RunError: no such run, or another process writes to it.
        ArticleError: a row cannot be read, an id is there twice or already in the run with another text.
        LabelError: see `label`; or not a single label could be had.
    """
    run = _the_run(Path(run_folder), filter_, prompts)
    facts: dict[str, Any] = {"oracle": f"{oracle.name}:{oracle.model}", "samples": samples}
    with run.recording("label", parameters=facts):
        if articles is not None:
            add_articles(run.path("articles"), articles)
        path = run.need("articles", "label")
        total = (count_articles(path) or 0) * samples
        with steps("labelling", total) as advance, Ledger(run.path("ledger")) as ledger:
            summary = label(
                ledger,
                read_articles(path),
                run.filter,
                oracle,
                samples=samples,
                limits=limits,
                price=price,
                prompts=prompts,
                retry_failed=retry_failed,
                on_step=advance,
            )
        if not summary.already and not summary.bought:
            raise _nothing(summary)
        facts["summary"] = summary.as_dict()
    return summary


def add_articles(target: Path, source: str | Path) -> int:
    """Add a file's articles to a run's; how many were new. The run's file is untouched if one cannot be read.

    Raises:
        ArticleError: see `label_run`.
    """
    known: dict[str, bytes] = {}
    added = 0
    try:
        with open_writer(target) as writer:
            if target.exists():
                for frame in read_articles(target):
                    known.update(_fingerprints(frame))
                    writer.write(frame)
            before = len(known)
            seen: dict[str, int] = {}
            for frame, rows in read_numbered(source):
                refuse_duplicates(source, frame, rows, seen)
                new = frame.filter(_unknown(source, frame, rows, known))
                added += new.height
                writer.write(new)
            _refuse_nothing(source, rows=len(seen) + before, added=added)
    except _NothingNewError:
        return 0
    except pl.exceptions.PolarsError as error:
        raise ArticleError(f"{source}: its columns don't go with those of {target} ({error})") from None
    return added


def _refuse_nothing(source: str | Path, *, rows: int, added: int) -> None:
    if not rows:
        raise ArticleError(f"{source}: holds no articles")
    if not added:
        raise _NothingNewError


class _NothingNewError(Exception):
    """All articles are there already; leaves the file as it is, to the byte."""


def _fingerprints(frame: pl.DataFrame) -> dict[str, bytes]:
    return {
        id_: hashlib.sha256(f"{title}\0{content}".encode()).digest()
        for id_, title, content in frame.select("id", "title", "content").iter_rows()
    }


def _unknown(source: str | Path, frame: pl.DataFrame, rows: list[int], known: dict[str, bytes]) -> pl.Series:
    """Which rows are new to the run."""
    mask = []
    for row, (id_, print_) in zip(rows, _fingerprints(frame).items(), strict=True):
        if known.get(id_, print_) != print_:
            raise ArticleError(f"{source}: line {row}: id {id_!r} is already in the run, with another text")
        mask.append(id_ not in known)
    return pl.Series(mask, dtype=pl.Boolean)


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


class _Writer:
    """Commits events in groups: whoever hands one in goes on when it is safe, and shares the wait for the disk."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: list[tuple[Event, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def put(self, event: Event) -> None:
        """Return when the event is committed.

        Raises:
            BadInput: it cannot be (a full disk).
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._commit())
        await future

    async def finish(self) -> None:
        """Return when all is committed that was handed in."""
        if self._task is not None:
            await self._task

    async def _commit(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            record = asyncio.to_thread(self._ledger.record, [event for event, _ in batch])
            # Whatever went wrong is raised where the event was handed in; nobody may wait for ever.
            [outcome] = await asyncio.gather(record, return_exceptions=True)
            for _, future in batch:
                if future.done():
                    continue
                if isinstance(outcome, BaseException):
                    future.set_exception(outcome)
                else:
                    future.set_result(None)


@dataclass(frozen=True, slots=True)
class _Job:
    question: Question
    window: str


class _Session:
    """The state of one session of labelling."""

    def __init__(
        self,
        ledger: Ledger,
        prompt: Prompt,
        oracle: Oracle,
        samples: int,
        limits: Limits,
        price: Price | None,
        pace: Pace | None,
    ) -> None:
        self.ledger = ledger
        self.prompt = prompt
        self.oracle = oracle
        self.samples = samples
        self.limits = limits
        self.price = price
        self.retry_failed = False
        self.on_step: Callable[[float], None] | None = None
        self.pace = pace or Pace(limits.concurrency, rpm=limits.rpm, tpm=limits.tpm)
        self.before = ledger.spent()
        self.budget = Budget(self.before, max_cost=limits.max_cost, max_calls=limits.max_calls)
        self.writer = _Writer(ledger)
        self.others = [hash_ for hash_ in ledger.accepted_prompts() if hash_ != prompt.hash]
        self.in_flight: set[str] = set()
        self.wanted = self.already = self.bought = 0
        self.tokens_in = self.tokens_out = 0
        self.failed: Counter[str] = Counter()
        self.given_up: Counter[str] = Counter()
        self.first_failure: str | None = None
        self.hopeless = 0
        self.stopped: str | None = None
        self.fatal = False
        self.error: PotstillError | None = None

    async def run(self, frames: Iterable[pl.DataFrame]) -> Summary:
        started = time.monotonic()
        jobs = self._jobs(frames)
        workers = [asyncio.create_task(self._work(jobs)) for _ in range(self.limits.concurrency)]
        try:
            await asyncio.gather(*workers)
        except asyncio.CancelledError:
            # Interrupted: no new calls, and those in flight may still land; a second interrupt does not wait.
            self.stopped = self.stopped or "interrupted"
            await asyncio.wait(workers, timeout=LAST_WAIT)
            raise
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            await self.writer.finish()
        if self.error is not None:
            raise self.error
        return Summary(
            wanted=self.wanted,
            already=self.already,
            bought=self.bought,
            failed=dict(self.failed),
            given_up=dict(self.given_up),
            calls=self.budget.calls - self.before.calls,
            tokens_in=self.tokens_in,
            tokens_out=self.tokens_out,
            cost=None if self.price is None else (self.budget.cost - self.before.cost) / TRILLION,
            seconds=round(time.monotonic() - started, 3),
            stopped=self.stopped,
            fatal=self.fatal,
            first_failure=self.first_failure,
        )

    def _jobs(self, frames: Iterable[pl.DataFrame]) -> Iterator[_Job]:
        """The questions that are still to be asked, a frame's at a time: memory does not grow with the articles."""
        oracle = f"{self.oracle.name}:{self.oracle.model}"
        for frame in frames:
            windows = {
                id_: _window(self.prompt, id_, title, content)
                for id_, title, content in frame.select("id", "title", "content").iter_rows()
            }
            hashes = {id_: window_hash(window) for id_, window in windows.items()}
            self.ledger.know(hashes)
            questions = [
                Question(id_, oracle, self.prompt.hash, hash_, sample, self.oracle.revision)
                for id_, hash_ in hashes.items()
                for sample in range(self.samples)
            ]
            self.wanted += len(questions)
            keys = [question.key for question in questions]
            done = self.ledger.answered(keys) | self._answered_otherwise(questions)
            given_up = {} if self.retry_failed else self.ledger.given_up(keys)
            # A text that another article has too is asked about once; one in flight now has its answer soon.
            taken = done | self.in_flight
            for key, question in zip(keys, questions, strict=True):
                if key in taken:
                    self.already += 1
                    self._step()
                elif key in given_up:
                    self.given_up[given_up[key]] += 1
                    self._step()
                else:
                    taken.add(key)
                    self.in_flight.add(key)
                    yield _Job(question, windows[question.article])

    def _answered_otherwise(self, questions: list[Question]) -> set[str]:
        """The keys of questions that have an answer to another accepted prompt."""
        found: set[str] = set()
        for other in self.others:
            theirs = {replace(one, prompt=other).key: one.key for one in questions}
            found |= {theirs[key] for key in self.ledger.answered(list(theirs))}
        return found

    async def _work(self, jobs: Iterator[_Job]) -> None:
        while self.stopped is None:
            try:
                job = next(jobs, None)
            except PotstillError as error:
                # Calls in flight are money: they end well before the error is raised.
                self.error, self.stopped = error, str(error)
                return
            if job is None:
                return
            await self._label(job)
            self.in_flight.discard(job.question.key)

    async def _label(self, job: _Job) -> None:
        """Ask one question until there is an answer or no hope of one."""
        question = job.question
        request = self.prompt.request(question.article, job.window, question.sample, self.limits.max_tokens)
        since = self.pace.now()
        tries = 0
        repaired = False
        while self.stopped is None:
            outcome = await self._call(question, request, repaired=repaired)
            if outcome is None:
                return
            if isinstance(outcome, Reply):
                self.bought += 1
                self.hopeless = 0
                self._step()
                return
            if self._must_stop(outcome, tries):
                return
            if outcome.reason in REPAIRABLE and not repaired and not self.oracle.free:
                repaired = True
                request = self.prompt.repair(request, outcome)
            elif outcome.retryable and self._may_try(outcome, tries, since):
                # Being told to wait is no failure of the question, and is not counted against it.
                tries += outcome.reason != "rate_limited"
                if outcome.reason != "rate_limited":
                    await self.pace.rest(max(outcome.retry_after or 0.0, self.pace.backoff(tries)))
            else:
                self._give_up(question, outcome)
                return

    async def _call(self, question: Question, request: Request, *, repaired: bool) -> Reply | Failure | None:
        """One call, permitted, written down, made and kept; None if the limits forbid it."""
        tokens_in, tokens_out = most_tokens(request)
        worst = (self.price or FREE).of(tokens_in, tokens_out)
        async with self.pace.slot((tokens_in + 3) // 4 + tokens_out):
            if self.stopped is not None:
                return None
            if not await self.budget.reserve(worst):
                self.stopped = self.stopped or f"the limit is reached: {self.budget.limit}"
                return None
            if self.stopped is not None:  # while this waited for the budget
                self.budget.settle(worst, None)
                return None
            if not self.oracle.free:
                await self.writer.put(Opened(question, worst))
            started, called_at = time.monotonic(), self.pace.now()
            outcome: Reply | Failure
            try:
                outcome = await self.oracle.ask(request)
            except Failure as failure:
                outcome = failure
            seconds = time.monotonic() - started
            if isinstance(outcome, Failure) and outcome.reason == "rate_limited":
                self.pace.slowed(called_at, outcome.retry_after)
            elif isinstance(outcome, Reply) or not outcome.retryable:
                self.pace.answered()
            cost = self._cost(outcome, worst)
            self.tokens_in += outcome.tokens_in or 0
            self.tokens_out += outcome.tokens_out or 0
            await self.writer.put(_event(question, outcome, cost, seconds, repaired=repaired, free=self.oracle.free))
            self.budget.settle(worst, cost)
            return outcome

    def _cost(self, outcome: Reply | Failure, worst: int) -> int:
        """What a call cost; the worst where nobody can say."""
        if isinstance(outcome, Failure) and outcome.charged == "nothing":
            return 0
        if outcome.tokens_in is None or outcome.tokens_out is None:
            return worst
        return (self.price or FREE).of(outcome.tokens_in, outcome.tokens_out)

    def _must_stop(self, failure: Failure, tries: int) -> bool:
        """Whether no question has a chance any more, and why."""
        if failure.reason in FATAL:
            self.stopped, self.fatal = self.stopped or str(failure), True
        elif (failure.retry_after or 0.0) > self.limits.patience:
            self.stopped = f"the server asks to wait {failure.retry_after:.0f} s; go on later"
            self.fatal = True
        elif failure.reason == "connection" and failure.charged == "nothing" and not self.bought and tries >= 2:
            self.stopped, self.fatal = f"the oracle cannot be reached ({failure.detail})", True
        return self.stopped is not None

    def _may_try(self, failure: Failure, tries: int, since: float) -> bool:
        if failure.reason == "rate_limited":
            return self.pace.now() - since < self.limits.patience
        return tries + 1 < self.limits.tries

    def _give_up(self, question: Question, failure: Failure) -> None:
        self.failed[failure.reason] += 1
        self.first_failure = self.first_failure or f"{question.article}: {failure}"
        self._step()
        self.hopeless = self.hopeless + 1 if failure.retryable else 0
        if self.hopeless >= HOPELESS:
            self.stopped = f"{self.hopeless} questions in a row had no answer ({failure})"
            self.fatal = True

    def _step(self) -> None:
        if self.on_step is not None:
            self.on_step(1)


def _window(prompt: Prompt, id_: str, title: str, content: str) -> str:
    window = prompt.filter.text.of(title, content)
    if not window.strip():
        raise ArticleError(f"article {id_!r}: the text is empty, and so is the title")
    return window


def _event(
    question: Question, outcome: Reply | Failure, cost: int, seconds: float, *, repaired: bool, free: bool
) -> Event:
    if isinstance(outcome, Reply):
        return Answered(
            question, outcome.scores, outcome.evidence, outcome.raw, repaired, outcome.tokens_in, outcome.tokens_out,
            cost, seconds,
        )  # fmt: skip
    # Asked again in the same words, these would be paid for and fail again; a repaired answer may come after one.
    final = not free and not outcome.retryable and outcome.reason not in FATAL
    final = final and (repaired or outcome.reason not in REPAIRABLE)
    return Failed(
        question, outcome.reason, outcome.detail, outcome.raw, final, outcome.tokens_in, outcome.tokens_out,
        cost, seconds,
    )  # fmt: skip
