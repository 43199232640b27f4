"""Run a labelling session: concurrent workers buy the missing labels and save each answer when it arrives.

Input: articles, a prompt, an oracle and limits. Output: a ledger with the answers, and a `Summary`. Each call is
approved by the budget and recorded before it is made. Its outcome is committed before its slot is released, so a crash
loses at most the calls in flight.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from potstill.errors import ArticleError, PotstillError
from potstill.interrupts import wait_for
from potstill.labelling.budget import TRILLION, Budget, Price, most_tokens
from potstill.labelling.ledger import Answered, Failed, Opened, Question, window_hash
from potstill.labelling.limits import Limits, Progress, Repeats, Summary, money
from potstill.labelling.pace import Pace
from potstill.labelling.repeated_failures import Alike
from potstill.labelling.usage import Tally
from potstill.labelling.writer import Writer
from potstill.oracle import FATAL, REPAIRABLE, UNSUPPORTED, AskedByLevels, Failure, Recorded, Remembers, Reply
from potstill.oracle.injection import tries
from potstill.terminal import note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import polars as pl

    from potstill.labelling.ledger import Event, Ledger
    from potstill.oracle import Oracle, Request
    from potstill.oracle.prompt import Prompt

HOPELESS = 10
"""Number of consecutive questions without any answer after which the server is considered unavailable."""

LAST_WAIT = 30.0
"""Seconds to wait for calls in flight after an interrupt."""


@dataclass(frozen=True, slots=True)
class _Job:
    question: Question
    window: str


class Session:
    """The state of one labelling session."""

    def __init__(
        self,
        ledger: Ledger,
        prompt: Prompt,
        oracle: Oracle,
        repeats: Repeats,
        limits: Limits,
        price: Price | None,
        pace: Pace | None,
    ) -> None:
        self.ledger = ledger
        self.prompt = prompt
        self.oracle = oracle
        self.form = oracle.questions(prompt) if isinstance(oracle, AskedByLevels) else prompt
        self.repeats = repeats
        self.limits = limits
        self.price = price
        self.retry_failed = False
        self.watchers: list[Callable[[Progress], None]] = []
        self.landed: deque[float] = deque(maxlen=200)
        self.flagged = 0
        self.pace = pace or Pace(limits.concurrency, rpm=limits.rpm, tpm=limits.tpm)
        if price is not None and not oracle.free:
            _price_earlier(ledger, f"{oracle.name}:{oracle.model}", price)
        self.before = ledger.spent()
        self.budget = Budget(self.before, max_cost=limits.max_cost, max_calls=limits.max_calls)
        self.writer = Writer(ledger)
        self.others = [hash_ for hash_ in ledger.accepted_prompts() if hash_ != prompt.hash]
        self.in_flight: set[str] = set()
        self.asking: set[asyncio.Task[None]] = set()
        self.wanted = self.already = self.bought = 0
        self.tally = Tally(price, oracle.free)
        self.alike = Alike(answered_before=ledger.has_answers(f"{oracle.name}:{oracle.model}"))
        self.finding_out = asyncio.Lock()
        self.failed: Counter[str] = Counter()
        self.given_up: Counter[str] = Counter()
        self.first_failure: str | None = None
        self.hopeless = 0
        self.stopped: str | None = None
        self.fatal = False
        self.error: PotstillError | None = None

    async def run(self, frames: Iterable[pl.DataFrame]) -> Summary:
        """Buy the missing labels; errors are raised after the calls in flight have finished."""
        started = time.monotonic()
        if isinstance(self.oracle, Remembers):
            self.oracle.recall(self.ledger.recall(self.oracle.server))
        if isinstance(self.oracle, Recorded):
            frames = list(frames)
            self.oracle.know_texts(
                {id_: window_hash(window) for frame in frames for id_, window in self._windows(frame).items()}
            )
        jobs = self._jobs(frames)
        workers = [asyncio.create_task(self._work(jobs)) for _ in range(self.limits.concurrency)]
        try:
            # `gather` would cancel the calls in flight when it is interrupted.
            ended, _ = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
            for worker in ended:
                worker.result()
        except asyncio.CancelledError:
            # No new calls are made. Calls in flight may be billed and may still be answered, so they are awaited.
            self._stop("interrupted")
            for worker in set(workers) - self.asking:
                worker.cancel()
            if self.asking:
                wait_for(f"{len(self.asking)} calls may still be answered: waiting up to {LAST_WAIT:.0f} s")
            await asyncio.wait(workers, timeout=LAST_WAIT)
            raise
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            await self.writer.finish()
            self._save_abilities()
            if again := self.alike.to_reopen():
                self.ledger.reopen(again)
        if self.error is not None:
            raise self.error
        return Summary(
            wanted=self.wanted,
            already=self.already,
            bought=self.bought,
            failed=dict(self.failed),
            given_up=dict(self.given_up),
            calls=self.budget.calls - self.before.calls,
            tokens_in=self.tally.tokens_in,
            tokens_out=self.tally.tokens_out,
            cost=None if self.price is None else (self.budget.cost - self.before.cost) / TRILLION,
            seconds=round(time.monotonic() - started, 3),
            stopped=self.stopped,
            fatal=self.fatal,
            first_failure=self.first_failure,
            flagged=self.flagged,
            faults=dict(self.tally.faults),
            unanswered=self.tally.unanswered,
            unanswered_cost=self.tally.counted(),
            doubted=self.tally.doubted,
            doubt=self.tally.doubt,
        )

    def _save_abilities(self) -> None:
        """Save the server capabilities that the oracle detected."""
        if not isinstance(self.oracle, Remembers):
            return
        found = self.oracle.abilities
        if found and found != self.ledger.recall(self.oracle.server):
            self.ledger.remember(self.oracle.server, found)

    def _jobs(self, frames: Iterable[pl.DataFrame]) -> Iterator[_Job]:
        """Yield the unanswered questions, one data frame at a time, so memory is independent of the corpus size."""
        oracle = f"{self.oracle.name}:{self.oracle.model}"
        for frame in frames:
            windows = self._windows(frame)
            hashes = {id_: window_hash(window) for id_, window in windows.items()}
            self.ledger.know(hashes)
            self._flag(windows, hashes)
            questions = [
                Question(id_, oracle, self.prompt.hash, hash_, sample, self.oracle.revision)
                for id_, hash_ in hashes.items()
                for sample in range(self.repeats.of(hash_))
            ]
            self.wanted += len(questions)
            keys = [question.key for question in questions]
            done = self.ledger.answered(keys) | self._answered_otherwise(questions)
            given_up = {} if self.retry_failed else self.ledger.given_up(keys)
            # A text that several articles share is asked about once. A question in flight will have its answer soon.
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

    def _windows(self, frame: pl.DataFrame) -> dict[str, str]:
        """Return the text that the oracle reads of each article, by id."""
        rows = frame.select("id", "title", "content").iter_rows()
        return {id_: _window(self.prompt, id_, title, content) for id_, title, content in rows}

    def _flag(self, windows: Mapping[str, str], hashes: Mapping[str, str]) -> None:
        """Flag texts that address the oracle; only for live oracles, because recorded answers cannot be influenced."""
        if self.oracle.free:
            return
        found = {id_: tried for id_, tried in zip(windows, tries(list(windows.values())), strict=True) if tried}
        self.flagged += len(found)
        if found:
            self.ledger.flag({hashes[id_]: tried for id_, tried in found.items()})

    def _answered_otherwise(self, questions: list[Question]) -> set[str]:
        """Return the keys of questions that have an answer for another accepted prompt."""
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
                # Calls in flight cost money, so they are completed before the error is raised.
                self.error = error
                self._stop(str(error))
                return
            if job is None:
                return
            await self._label(job)
            self.in_flight.discard(job.question.key)

    async def _label(self, job: _Job) -> None:
        """Ask one question until there is an answer or no chance of one."""
        question = job.question
        request = self.form.request(question.article, job.window, question.sample, self.limits.max_tokens)
        since = self.pace.now()
        tries = 0
        repaired = False
        while self.stopped is None:
            outcome = await self._ask(question, request, repaired=repaired)
            if outcome is None:
                return
            if isinstance(outcome, Reply):
                self.bought += 1
                self.hopeless = 0
                self.alike.answered()
                self.landed.append(time.monotonic())
                self._step()
                return
            if self._must_stop(outcome, tries) or self._fails_for_all(question, outcome):
                return
            if outcome.reason == UNSUPPORTED:
                continue
            if outcome.reason in REPAIRABLE and not repaired and not self.oracle.free and not outcome.of_server:
                repaired = True
                request = self.prompt.repair(request, outcome)
            elif outcome.retryable and self._may_try(outcome, tries, since):
                # A rate limit is not a failure of the question, so it does not count as a try.
                tries += outcome.reason != "rate_limited"
                if outcome.reason != "rate_limited":
                    await self.pace.rest(max(outcome.retry_after or 0.0, self.pace.backoff(tries)))
            else:
                self._give_up(question, outcome)
                return

    async def _ask(self, question: Question, request: Request, *, repaired: bool) -> Reply | Failure | None:
        """Make a call; while the server's capabilities are unknown, one question at a time probes them.

        The other questions wait here without occupying a slot or reserving budget.
        """
        while self._unknown():
            async with self.finding_out:
                if not self._unknown():
                    continue
                outcome = await self._call(question, request, repaired=repaired)
                while isinstance(outcome, Failure) and outcome.reason == UNSUPPORTED and self.stopped is None:
                    outcome = await self._call(question, request, repaired=repaired)
                return outcome
        return await self._call(question, request, repaired=repaired)

    def _unknown(self) -> bool:
        return isinstance(self.oracle, Remembers) and not self.oracle.abilities

    async def _call(self, question: Question, request: Request, *, repaired: bool) -> Reply | Failure | None:
        """Make one call: approve, record, send and save it; return None if the limits forbid it."""
        tokens_in, tokens_out = most_tokens(request)
        worst = self.tally.worst(request)
        async with self.pace.slot((tokens_in + 3) // 4 + tokens_out):
            if self.stopped is not None:
                return None
            if not await self.budget.reserve(worst):
                self._stop(f"the limit is reached: {self.budget.limit}")
                return None
            if self.stopped is not None:  # the session may have stopped during the wait for budget
                self.budget.settle(worst, None)
                return None
            self._mark(asking=True)
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
            elif isinstance(outcome, Reply) or (self.bought and not outcome.retryable):
                self.pace.answered()
            outcome, cost = self.tally.settle(request, outcome, worst)
            await self.writer.put(_event(question, outcome, cost, seconds, repaired=repaired, free=self.oracle.free))
            self.budget.settle(worst, cost)
            self._mark(asking=False)
            return outcome

    def _mark(self, *, asking: bool) -> None:
        """Record whether the current worker has a call in flight."""
        worker = asyncio.current_task()
        if worker is not None:
            (self.asking.add if asking else self.asking.discard)(worker)

    def _must_stop(self, failure: Failure, tries: int) -> bool:
        """Stop the session if no further question can succeed, and return whether it is stopped."""
        if failure.reason in FATAL:
            self._stop(str(failure), fatal=True)
        elif (failure.retry_after or 0.0) > self.limits.patience:
            self._stop(f"the server asks to wait {failure.retry_after:.0f} s; continue later", fatal=True)
        elif failure.reason == "connection" and failure.charged == "nothing" and not self.bought and tries >= 2:
            self._stop(f"the oracle cannot be reached ({failure.detail})", fatal=True)
        return self.stopped is not None

    def _fails_for_all(self, question: Question, failure: Failure) -> bool:
        """Return whether the oracle will probably never answer; its questions stay open until the cause is fixed."""
        if not self.oracle.free and self.alike.failed(question.key, failure):
            self.failed[failure.reason] += 1
            self.first_failure = self.first_failure or f"{question.article}: {failure}"
            self._stop(self.alike.why(failure, getattr(self.oracle, "address", "")), fatal=True)
        return self.stopped is not None

    def _stop(self, why: str, *, fatal: bool = False) -> None:
        """Make no more calls: wake waiting workers and let calls in flight finish; only the first reason is kept."""
        if self.stopped is None:
            self.stopped, self.fatal = why, fatal
        self.pace.stop()

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
            self._stop(f"{self.hopeless} questions in a row had no answer ({failure})", fatal=True)

    def _step(self) -> None:
        for watcher in self.watchers:
            watcher(self._progress())

    def _progress(self) -> Progress:
        seconds = time.monotonic() - self.landed[0] if self.landed else 0.0
        return Progress(
            bought=self.bought,
            faults=self.tally.faults,
            given_up=self.failed.total(),
            cost=None if self.price is None else (self.budget.cost - self.before.cost) / TRILLION,
            rate=(len(self.landed) - 1) / seconds if seconds else 0.0,
            at_once=self.pace.limit,
        )


def _window(prompt: Prompt, id_: str, title: str, content: str) -> str:
    window = prompt.filter.text.of(title, content)
    if not window.strip():
        raise ArticleError(f"article {id_!r}: the title and the content are both empty")
    return window


def _event(
    question: Question, outcome: Reply | Failure, cost: int, seconds: float, *, repaired: bool, free: bool
) -> Event:
    if isinstance(outcome, Reply):
        return Answered(
            question, outcome.scores, outcome.evidence, outcome.raw, repaired, outcome.tokens_in, outcome.tokens_out,
            cost, seconds, outcome.distributions,
        )  # fmt: skip
    # The same question would be billed and fail again, so the failure is final. For a repairable fault this holds only
    # after a repair attempt, because the repair may still produce an answer.
    final = not free and not outcome.retryable and outcome.reason not in {*FATAL, UNSUPPORTED}
    final = final and (repaired or outcome.reason not in REPAIRABLE)
    return Failed(
        question, outcome.reason, outcome.detail, outcome.raw, final, outcome.tokens_in, outcome.tokens_out,
        cost, seconds,
    )  # fmt: skip


def _price_earlier(ledger: Ledger, oracle: str, price: Price) -> None:
    """Apply the current price to unpriced calls of earlier sessions, so that the cost limit covers all sessions."""
    calls, cost = ledger.price_unpriced(oracle, price)
    if calls:
        note(
            f"{calls:,} earlier calls were made without a price and are counted at the current price: "
            f"{money(cost / TRILLION)}"
        )
