"""Files of articles through a scorer.

In: a file, or a stream. Out: another, in the same order. Batches are read and prepared beside the model; a student
that is so cheap that reading takes as long as scoring runs in several processes. Never more than a few batches are in
memory.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.articles import count_articles, open_writer, read_articles
from potstill.backends.machine import usable_cores
from potstill.backends.plan import PORTABLE
from potstill.bundle import load_bundle
from potstill.errors import BadInput
from potstill.records import DROPPED, UNSCORED
from potstill.scorer.parts import open_parts
from potstill.scorer.scoring import BATCH, Scorer
from potstill.scorer.side import ahead, in_processes
from potstill.terminal import steps

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    import polars as pl

    from potstill.calibration import Cut
    from potstill.scorer.parts import Parts
    from potstill.scorer.scoring import Prepared

WORTH_PROCESSES = 20_000
"""Articles from which on further processes are worth their start of a second or two."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of a file: `tiers` and `reasons` count articles, the latter those without a score.

    `resumed` counts those that were scored before; the speed is that of the others.
    """

    bundle: str
    articles: int
    scored: int
    tiers: dict[str, int]
    reasons: dict[str, int]
    seconds: float
    articles_per_second: float
    resumed: int = 0


@dataclass(frozen=True, slots=True)
class _Batch:
    """Articles by the number of their batch; `done` are the results of an earlier try, `prepared` saves their work."""

    number: int
    articles: pl.DataFrame
    done: pl.DataFrame | None
    prepared: Prepared | None = None


@dataclass(frozen=True, slots=True)
class _Work:
    """How a batch becomes rows as they are written; it can be sent to another process."""

    nested: bool
    keep_text: bool

    def __call__(self, scorer: Scorer, batch: _Batch) -> pl.DataFrame:
        if batch.done is not None:
            return batch.done
        prepared = batch.prepared or scorer.prepare(batch.articles)
        result = scorer.nested(prepared) if self.nested else scorer.flat(prepared)
        return result if self.keep_text else result.drop("content")


@dataclass(frozen=True, slots=True)
class _Start:
    """Opens the same scorer in another process; its bundle has been proven in this one."""

    folder: Path
    level: float
    probabilities: bool
    cut: Cut | None

    def __call__(self) -> Scorer:
        scorer = Scorer(load_bundle(self.folder, check="hashes"), level=self.level, probabilities=self.probabilities)
        scorer.cut = self.cut
        return scorer


def score_file(
    bundle: str | Path | Scorer,
    source: str | Path,
    target: str | Path,
    *,
    keep_text: bool = False,
    batch_size: int = BATCH,
    threads: int | None = None,
    resume: bool = False,
    processes: int | None = 1,
) -> Summary:
    """Score a file of articles into another, a batch at a time, in order, in memory that does not grow.

    A row keeps all its fields but `content`, and gains the verdict: nested objects in JSON lines, flat columns
    in CSV and Parquet (see `Scorer.score_batch`). An article without a text is `unscored`. The target takes its
    place when all is done; until then, and after any failure, what was there stays. What is scored is kept in a
    folder beside it until then.

    Args:
        bundle: a bundle's folder, or a scorer that is open.
        source: articles, `-` for JSON lines on stdin.
        target: results, `-` for JSON lines on stdout.
        keep_text: write `content` too.
        batch_size: articles at a time.
        threads: of the network; one for each physical core where it is None.
        resume: go on where an earlier call with the same arguments was stopped; nothing is scored twice.
        processes: how many score, without a cascade; None takes one for each core where the student has no network
            and the file is large. A script that asks for several must stand the `if __name__ == "__main__"` that
            Python asks of it.

    Raises:
        ArticleError: the source is missing or a row of it is broken; the message names row and field.
        BundleError: the bundle does not prove itself.
        BadInput: the target cannot be written, or what is there cannot be resumed.
    """
    if resume and "-" in {str(source), str(target)}:
        raise BadInput("--resume needs a file to read from and a file to write to")
    scorer = bundle if isinstance(bundle, Scorer) else Scorer.load(bundle, threads=threads)
    total = count_articles(source)
    work = _Work(str(target) == "-" or ".jsonl" in Path(target).suffixes, keep_text)
    tiers: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    resumed = 0
    started = time.perf_counter()
    with ExitStack() as stack:
        parts = None
        if str(target) != "-":
            settings = _settings(scorer, work, batch_size)
            parts = stack.enter_context(open_parts(Path(target), settings, resume=resume))
        writer = stack.enter_context(open_writer(target))
        advance = stack.enter_context(steps("scoring", total))
        batches = _batches(read_articles(source, batch_size=batch_size, on_empty="keep"), parts)
        count = (1 if scorer.early is not None else processes) or _processes(scorer, total)
        results = stack.enter_context(closing(_results(scorer, work, batches, count, beside=str(source) != "-")))
        for batch, result in results:
            if parts is not None and batch.done is None:
                parts.keep(batch.number, batch.articles, result)
            writer.write(result)
            tiers.update(result["tier"])
            reasons.update(result["reason"].drop_nulls())
            resumed += 0 if batch.done is None else result.height
            advance(result.height)
    seconds = time.perf_counter() - started
    articles = tiers.total()
    return Summary(
        bundle=scorer.bundle.hash,
        articles=articles,
        scored=articles - tiers[DROPPED] - tiers[UNSCORED],
        tiers={name: tiers[name] for name in (*scorer.bundle.filter.tier_names, DROPPED, UNSCORED)},
        reasons=dict(reasons.most_common()),
        seconds=round(seconds, 3),
        articles_per_second=round((articles - resumed) / seconds, 1) if seconds else 0.0,
        resumed=resumed,
    )


def _batches(frames: Iterable[pl.DataFrame], parts: Parts | None) -> Iterator[_Batch]:
    for number, articles in enumerate(frames):
        yield _Batch(number, articles, None if parts is None else parts.read(number, articles))


def _results(
    scorer: Scorer, work: _Work, batches: Iterable[_Batch], processes: int, *, beside: bool
) -> Generator[tuple[_Batch, pl.DataFrame], None, None]:
    """Each batch with its rows, in order. `beside` says that batches may be read before they are asked for."""
    if processes > 1:
        passed: deque[_Batch] = deque()
        start = _Start(scorer.bundle.folder, scorer.level, scorer.probabilities, scorer.cut)
        for result in in_processes(_noted(batches, passed), work, start, processes):
            yield passed.popleft(), result
        return
    prepared = (_prepared(scorer, batch) for batch in batches)
    # Whoever leaves a stream half read must not leave a thread that reads it.
    for batch in ahead(prepared) if beside else prepared:
        yield batch, work(scorer, batch)


def _noted(batches: Iterable[_Batch], passed: deque[_Batch]) -> Iterator[_Batch]:
    for batch in batches:
        passed.append(batch)
        yield batch


def _prepared(scorer: Scorer, batch: _Batch) -> _Batch:
    return batch if batch.done is not None else replace(batch, prepared=scorer.prepare(batch.articles))


def _processes(scorer: Scorer, total: int | None) -> int:
    cheap = not scorer.bundle.manifest.encoders and scorer.early is None
    return usable_cores() if cheap and total is not None and total >= WORTH_PROCESSES else 1


def _settings(scorer: Scorer, work: _Work, batch_size: int) -> dict[str, Any]:
    """All that results depend on beside the articles, by the names that a message gives them."""
    bundle = scorer.bundle
    return {
        "bundle": bundle.hash,
        "backend": (PORTABLE if bundle.plan is None else bundle.plan.variant).title,
        "--level": scorer.level,
        "--probabilities": scorer.probabilities,
        "--cascade": None if scorer.early is None else scorer.early.record.model_dump(mode="json"),
        "--ask-oracle-above": None if scorer.cut is None else scorer.cut.probability,
        "--keep-text": work.keep_text,
        "--batch-size": batch_size,
    }
