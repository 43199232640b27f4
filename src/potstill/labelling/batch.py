"""Label by batch jobs: the same questions at half the price, answered within a day.

Input: a session's questions. Output: the same ledger that single calls would have produced. A job is recorded before it
is sent, its file's name before it is started, and its outcomes in one transaction with its end. After a crash at any
moment, the next command finds the job again by its tag or its file, and pays for nothing twice.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from potstill.errors import BadInput, LabelError, PotstillError
from potstill.labelling.budget import TRILLION, Price
from potstill.labelling.ledger import Answered, Failed, Job, Opened
from potstill.labelling.limits import money
from potstill.labelling.session import Session
from potstill.oracle import FATAL, REPAIRABLE, Failure, Reply
from potstill.oracle.opening import batches_of
from potstill.terminal import note

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from potstill.labelling.ledger import Event, Ledger, Question
    from potstill.labelling.limits import Limits, Repeats
    from potstill.labelling.session import _Job as Wanted
    from potstill.oracle import Oracle, Request
    from potstill.oracle.prompt import Prompt

ROUNDS = 3
"""How many times a question is sent, in successive jobs, if its answer cannot be used."""


@dataclass(frozen=True, slots=True)
class Batching:
    """Questions per job, seconds between two checks, and names of jobs to abandon first, see `drop_jobs`."""

    size: int = 1000
    poll: float = 30.0
    drop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Reject an invalid size or time."""
        if not 1 <= self.size <= 50_000:
            raise BadInput(f"--batch-size: got {str(self.size)[:30]}, expected 1 to 50,000")
        if not 0 < self.poll <= 86_400:
            raise BadInput(f"--poll: got {self.poll:g}, expected a number above 0 and up to 86,400 seconds")


def refuse_jobs(ledger: Ledger) -> None:
    """Reject single calls while jobs are in progress, because they would buy the same answers again.

    Raises:
        LabelError: there are unfinished jobs.
    """
    if jobs := ledger.jobs():
        raise LabelError(
            f"{ledger.path}: {len(jobs)} batch jobs are in progress; run the same command with --batch to wait for them"
        )


def _way_out(ledger: Ledger) -> str:
    """Describe how to continue without the unfinished jobs, for a user who knows that they will not end."""
    names = ", ".join(job.job or job.tag for job in ledger.jobs())
    return f"; if this persists, abandon a job with --drop-job (in progress: {names})" if names else ""


def drop_jobs(ledger: Ledger, names: Collection[str]) -> str:
    """Abandon unfinished jobs, and return what this may cost.

    Their questions count as failed at their maximum cost, and are asked again when next needed. A job that the provider
    has answered, or still answers, is then paid for twice.

    Args:
        ledger: the ledger with the jobs.
        names: the provider's names of the jobs; for a job without one, the tag that it was sent with.

    Raises:
        LabelError: there is no unfinished job of such a name; no job is abandoned then.
    """
    jobs = {job.job or job.tag: job for job in ledger.jobs()}
    if unknown := [name for name in names if name not in jobs]:
        there = f"; in progress: {', '.join(jobs)}" if jobs else ""
        raise LabelError(f"{ledger.path}: no job {', '.join(unknown)} is in progress{there}")
    calls = 0
    cost = 0
    for name in dict.fromkeys(names):
        detail = f"the job {name} was abandoned"
        lost = [
            Failed(call.question, "dropped", detail, "", False, None, None, call.worst, 0.0)
            for call in jobs[name].calls
        ]
        ledger.land_job(jobs[name].tag, lost)
        calls += len(lost)
        cost += sum(call.cost for call in lost)
    counted = f" They are counted at their maximum cost, {money(cost / TRILLION)}." if cost else ""
    return (
        f"abandoned: {', '.join(names)}, with {calls:,} questions; those that the "
        f"provider still answers are billed, and are asked again.{counted}"
    )


class BatchSession(Session):
    """A session that sends its questions as jobs; the budget reserves each job's maximum cost until it ends."""

    def __init__(
        self,
        ledger: Ledger,
        prompt: Prompt,
        oracle: Oracle,
        repeats: Repeats,
        limits: Limits,
        price: Price | None,
        batch: Batching,
    ) -> None:
        if batch.drop:
            # This comes first, because the budget starts with the amount already spent.
            note(drop_jobs(ledger, batch.drop))
        in_jobs = None if price is None else price.in_jobs()
        super().__init__(ledger, prompt, oracle, repeats, limits, in_jobs, None)
        self.batches = batches_of(oracle, batch.poll)
        self.batch = batch
        self.begun = False
        self.rounds: Counter[str] = Counter()
        self.windows: dict[str, Wanted] = {}
        self.again: list[Wanted] = []
        self.asked_to_wait = 0.0

    async def _work(self, jobs: Iterator[Wanted]) -> None:
        """Do all the work in one of the session's workers, because jobs, not calls, run concurrently."""
        if self.begun:
            return
        self.begun = True
        try:
            await self._all(jobs)
        except Failure as failure:
            way_out = "" if failure.retryable or failure.reason == "quota" else _way_out(self.ledger)
            self._stop(f"the batch interface: {failure}{way_out}", fatal=True)
        except PotstillError as error:
            self.error = error
            self._stop(str(error))

    async def _all(self, wanted: Iterator[Wanted]) -> None:
        await self._take_up()
        # The results of earlier jobs must be known before the first new question is selected.
        await self._collect()
        while self.stopped is None:
            sent = await self._send_all(wanted)
            await self._collect()
            wanted, self.again = iter(self.again), []
            if not sent and self.stopped is None:
                return

    async def _take_up(self) -> None:
        """Determine the state of an earlier process's jobs."""
        oracle = f"{self.oracle.name}:{self.oracle.model}"
        for job in self.ledger.jobs():
            if job.oracle != oracle:
                raise LabelError(
                    f"{self.ledger.path}: a job of {job.oracle} is in progress; wait for it with that oracle"
                    f"{_way_out(self.ledger)}"
                )
            if job.job is None:
                found = await self.batches.find(job.tag, job.file)
                if found is None:
                    self.ledger.land_job(job.tag)
                    continue
                self.ledger.name_job(job.tag, job=found)
            for call in job.calls:
                self.budget.hold(call.worst)

    async def _send_all(self, wanted: Iterator[Wanted]) -> int:
        """Send questions, one job at a time, until none are left or the budget is full; return their number."""
        sent = 0
        part: dict[str, tuple[Request, Opened]] = {}
        for one in wanted:
            request = self.prompt.request(one.question.article, one.window, one.question.sample, self.limits.max_tokens)
            worst = self.tally.worst(request)
            if not self.budget.fits(worst):
                await self._send(part)
                part = {}
                # Finished jobs release what they did not cost.
                await self._collect()
                if self.stopped is None and not self.budget.fits(worst):
                    self._stop(f"the limit is reached: {self.budget.limit}")
            if self.stopped is not None:
                break
            self.budget.hold(worst)
            self.windows[one.question.key] = one
            part[one.question.key] = request, Opened(one.question, worst)
            sent += 1
            if len(part) == self.batch.size:
                await self._send(part)
                part = {}
        await self._send(part)
        return sent

    async def _send(self, part: dict[str, tuple[Request, Opened]]) -> None:
        if not part:
            return
        tag = secrets.token_hex(16)
        self.ledger.open_job(tag, [opened for _, opened in part.values()])
        file = await self.batches.upload(tag, {key: request for key, (request, _) in part.items()})
        self.ledger.name_job(tag, file=file)
        self.ledger.name_job(tag, job=await self.batches.start(tag, file))

    async def _collect(self) -> None:
        """Wait for all unfinished jobs, and save the results of each when it ends.

        Raises:
            Failure: the first failure of a job that cannot be awaited, raised after all others have ended.
        """
        stuck: dict[str, Failure] = {}
        while self.stopped is None and (jobs := [job for job in self.ledger.jobs() if job.tag not in stuck]):
            moved = 0
            for job in jobs:
                try:
                    moved += await self._look(job)
                except Failure as failure:
                    stuck[job.tag] = failure
                    moved += 1
            if not moved:
                await asyncio.sleep(max(self.batch.poll, self.asked_to_wait))
                self.asked_to_wait = 0.0
        if stuck and self.stopped is None:
            raise next(iter(stuck.values()))

    async def _look(self, job: Job) -> bool:
        """Return whether a job has ended; a server that is temporarily unavailable is asked again later."""
        requests = {call.question.key: self._request_to_parse(call.question) for call in job.calls}
        try:
            ended = await self.batches.ended(job.job or "", requests)
        except Failure as failure:
            if failure.retryable:
                self.asked_to_wait = max(self.asked_to_wait, min(failure.retry_after or 0.0, self.limits.patience))
                return False
            raise
        if ended is None:
            return False
        settled: list[tuple[Opened, Reply | Failure, int]] = []
        for call in job.calls:
            key = call.question.key
            # Each question gets its own failure object, because a doubted one is modified.
            came = ended.outcomes.get(key) or replace(ended.rest)
            outcome, cost = self.tally.settle(requests[key], came, call.worst, self._window_bytes())
            settled.append((call, outcome, cost))
        self.ledger.land_job(job.tag, [self._event(call.question, outcome, cost) for call, outcome, cost in settled])
        for call, outcome, cost in settled:
            self.budget.settle(call.worst, cost)
            self._count_outcome(call.question, outcome)
        return True

    def _window_bytes(self) -> int:
        """Return the maximum size of an article's window in bytes, which `_request_to_parse` questions lack."""
        return 4 * self.prompt.filter.text.max_chars

    def _request_to_parse(self, question: Question) -> Request:
        """Return as much of a question as is needed to parse its answer; an earlier process's text is unknown yet."""
        wanted = self.windows.get(question.key)
        window = "" if wanted is None else wanted.window
        return self.prompt.request(question.article, window, question.sample, self.limits.max_tokens)

    def _count_outcome(self, question: Question, outcome: Reply | Failure) -> None:
        wanted = self.windows.pop(question.key, None)
        self.in_flight.discard(question.key)
        if wanted is None:
            # An earlier process sent this question; it is counted when this process reaches it.
            return
        if isinstance(outcome, Reply):
            self.bought += 1
            self.alike.answered()
            self._step()
        elif outcome.reason in FATAL:
            self._stop(str(outcome), fatal=True)
        elif self._fails_for_all(question, outcome):
            return
        elif self._is_asked_again(question, outcome):
            self.rounds[question.key] += 1
            self.again.append(wanted)
        else:
            self._give_up(question, outcome)

    def _is_asked_again(self, question: Question, failure: Failure) -> bool:
        return (failure.retryable or failure.reason in REPAIRABLE) and self.rounds[question.key] + 1 < ROUNDS

    def _event(self, question: Question, outcome: Reply | Failure, cost: int) -> Event:
        if isinstance(outcome, Reply):
            return Answered(
                question, outcome.scores, outcome.evidence, outcome.raw, False, outcome.tokens_in, outcome.tokens_out,
                cost, 0.0,
            )  # fmt: skip
        final = not outcome.retryable and outcome.reason not in FATAL and not self._is_asked_again(question, outcome)
        return Failed(
            question, outcome.reason, outcome.detail, outcome.raw, final, outcome.tokens_in, outcome.tokens_out,
            cost, 0.0,
        )  # fmt: skip
