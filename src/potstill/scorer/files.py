"""Scores files of articles.

Input: a file or a stream. Output: another one, in the same order. Batches are read and prepared in parallel with the
model. A student that is so cheap that reading takes as long as scoring runs in several processes. At most a few batches
are in memory at a time.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.articles import check_columns, count_articles, form_of, open_writer, read_articles
from potstill.backends.machine import usable_cores
from potstill.backends.plan import PORTABLE
from potstill.bundle import load_bundle
from potstill.errors import BadInput, BundleError
from potstill.files import STANDARD, check_output, is_stream
from potstill.scorer.parts import open_parts
from potstill.scorer.scoring import BATCH, Scorer
from potstill.scorer.side import ahead, in_processes
from potstill.scorer.together import Together
from potstill.terminal import steps
from potstill.types import DROPPED, UNSCORED

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    import polars as pl

    from potstill.scorer.asking import Asked, Asking
    from potstill.scorer.parts import Parts

    AnyScorer = Scorer | Together

WORTH_PROCESSES = 20_000
"""Minimum number of articles for which further processes are worth their start-up time of a second or two."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of one filter's verdicts in a file: `tiers`, and `reasons` of articles without a score."""

    bundle: str
    scored: int
    tiers: dict[str, int]
    reasons: dict[str, int]


@dataclass(frozen=True, slots=True)
class Summary:
    """Summary of a scored file: counts of articles by `tiers`, and by `reasons` of those without a score.

    `resumed` counts articles scored by an earlier call; the speed is that of the others. `asked` is present if an
    oracle was to be asked.
    """

    bundle: str
    articles: int
    scored: int
    tiers: dict[str, int]
    reasons: dict[str, int]
    seconds: float
    articles_per_second: float
    resumed: int = 0
    asked: Asked | None = None


@dataclass(frozen=True, slots=True)
class TogetherSummary:
    """Summary of a file that several filters scored in one pass; other fields are as in `Summary`."""

    filters: dict[str, Tally]
    articles: int
    networks: int
    """Number of networks that read the articles."""
    seconds: float
    articles_per_second: float
    resumed: int = 0


@dataclass(frozen=True, slots=True)
class _Batch:
    """Articles with the number of their batch; `done` are results of an earlier call, `prepared` prepared articles."""

    number: int
    articles: pl.DataFrame
    done: pl.DataFrame | None
    prepared: Any = None


@dataclass(frozen=True, slots=True)
class _Work:
    """Settings that turn a batch into rows as they are written; can be sent to another process."""

    nested: bool
    keep_text: bool

    def __call__(self, scorer: AnyScorer, batch: _Batch) -> pl.DataFrame:
        if batch.done is not None:
            return batch.done
        prepared: Any = batch.prepared or scorer.prepare(batch.articles)
        result = scorer.nested(prepared) if self.nested else scorer.flat(prepared)
        return result if self.keep_text else result.drop("content")


@dataclass(frozen=True, slots=True)
class _Start:
    """Opens the same scorers in another process; their bundles, with these `hashes`, were verified in this one."""

    folders: tuple[Path, ...]
    hashes: tuple[str, ...]
    together: bool
    level: float
    probabilities: bool
    unsure: tuple[float | None, ...]

    def __call__(self) -> AnyScorer:
        options: dict[str, Any] = {"level": self.level, "probabilities": self.probabilities}
        made: AnyScorer
        if self.together:
            made = Together.load(self.folders, check="hashes", follow_plan=False, **options)
        else:
            made = Scorer(load_bundle(self.folders[0], check="hashes"), **options)
        for scorer, unsure, proven in zip(made.scorers, self.unsure, self.hashes, strict=True):
            if scorer.bundle.hash != proven:
                raise BundleError(f"{scorer.bundle.folder}: has changed since it was proven")
            scorer.unsure = unsure
        return made


@dataclass(frozen=True, slots=True)
class _Done:
    """Result for a file: one tally per filter."""

    tallies: dict[str, Tally]
    articles: int
    seconds: float
    articles_per_second: float
    resumed: int


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
    asking: Asking | None = None,
) -> Summary:
    """Score a file of articles into another, a batch at a time, in order, with bounded memory.

    A row keeps all its fields except `content` and gains the verdict: nested objects in JSON lines, flat columns in CSV
    and Parquet (see `Scorer.score_batch`). An article without a text is `unscored`. The target is replaced when
    everything is done; until then, and after any failure, its previous content remains. Until then, finished batches
    are kept in a folder next to it. Articles from a pipe are scored as they arrive, and results to a pipe are written
    as soon as they are ready.

    Args:
        bundle: a bundle's folder, or an open scorer.
        source: articles, `-` for JSON lines on stdin.
        target: results, `-` for JSON lines on stdout; may be the source itself only if `keep_text` preserves its
            content.
        keep_text: write `content` too.
        batch_size: number of articles per batch.
        threads: number of threads of the network; None: one per physical core.
        resume: continue an interrupted call with the same arguments; nothing is scored twice.
        processes: number of scoring processes, without a cascade; None: one per core if the student has no network and
            the file is large. A script that asks for several needs Python's usual `if __name__ == "__main__"` guard.
        asking: lets an oracle answer what the scorer marks (see `potstill.scorer.asking`). On a resume, articles that
            were scored but have no answer yet are asked about.

    Raises:
        OracleError: the oracle cannot be used any more; scored articles are kept.
        ArticleError: the source is missing or a row of it is broken; the message names row and field.
        BundleError: the bundle does not pass its checks.
        BadInput: the target cannot be written or cannot hold the source's columns, an earlier call cannot be resumed,
            or the source was truncated while it was read.
        BrokenPipeError: the reader of the results has stopped.
    """
    scorer = bundle if isinstance(bundle, Scorer) else Scorer.load(bundle, threads=threads)
    done = _scored(
        scorer, source, target, keep_text=keep_text, batch_size=batch_size, resume=resume, processes=processes,
        asking=asking,
    )  # fmt: skip
    own = done.tallies[scorer.name]
    return Summary(
        bundle=own.bundle,
        articles=done.articles,
        scored=own.scored,
        tiers=own.tiers,
        reasons=own.reasons,
        seconds=done.seconds,
        articles_per_second=done.articles_per_second,
        resumed=done.resumed,
        asked=None if asking is None else asking.asked,
    )


def score_together(
    bundles: Sequence[str | Path] | Together,
    source: str | Path,
    target: str | Path,
    *,
    keep_text: bool = False,
    batch_size: int = BATCH,
    threads: int | None = None,
    resume: bool = False,
    processes: int | None = 1,
) -> TogetherSummary:
    """Score a file with the bundles of several filters in one pass; otherwise as `score_file`.

    A row gains `verdicts`, an object with one entry per filter, in JSON lines, and columns named `<filter>.<column>` in
    CSV and Parquet (see `Together.score_batch`).

    Raises:
        ArticleError, BundleError, BadInput: as `score_file`; or two bundles have the same filter.
    """
    scorer = bundles if isinstance(bundles, Together) else Together.load(bundles, threads=threads)
    done = _scored(
        scorer, source, target, keep_text=keep_text, batch_size=batch_size, resume=resume, processes=processes
    )
    return TogetherSummary(
        filters=done.tallies,
        articles=done.articles,
        networks=len(scorer.trunks),
        seconds=done.seconds,
        articles_per_second=done.articles_per_second,
        resumed=done.resumed,
    )


def _scored(
    scorer: AnyScorer,
    source: str | Path,
    target: str | Path,
    *,
    keep_text: bool,
    batch_size: int,
    resume: bool,
    processes: int | None,
    asking: Asking | None = None,
) -> _Done:
    if resume and (_streams(source) or _streams(target)):
        raise BadInput("--resume needs a file to read from and a file to write to")
    folders = [one.bundle.folder for one in scorer.scorers]
    folders += [one.early.folder for one in scorer.scorers if one.early is not None]
    check_target(source, target, keep_text=keep_text, folders=folders)
    total = count_articles(source)
    work = _Work(form_of(target).startswith(".jsonl"), keep_text)
    tiers: dict[str, Counter[str]] = {one.name: Counter() for one in scorer.scorers}
    reasons: dict[str, Counter[str]] = {one.name: Counter() for one in scorer.scorers}
    articles = resumed = 0
    started = time.perf_counter()
    with ExitStack() as stack:
        parts = None
        if not _streams(target):
            settings = _settings(scorer, work, batch_size)
            parts = stack.enter_context(open_parts(Path(target), settings, resume=resume))
        writer = stack.enter_context(open_writer(target))
        advance = stack.enter_context(steps("scoring", total))
        frames = read_articles(source, batch_size=batch_size, on_empty="keep", as_text=form_of(target) != ".parquet")
        batches = _batches(_writable(frames, target, keep_text=keep_text), parts)
        cascades = any(one.early is not None for one in scorer.scorers)
        count = (1 if cascades else processes) or _processes(scorer, total)
        streams = _streams(source)
        results = stack.enter_context(closing(_results(scorer, work, batches, count, batch_size, streams=streams)))
        for batch, said in results:
            if parts is not None and batch.done is None:
                parts.keep(batch.number, batch.articles, said)
            # The parts hold the students' results, so that a resume can ask about articles that a limit left out.
            result = said if asking is None else asking.answer(batch.articles, said)
            writer.write(result)
            for one, told, why in scorer.told(result):
                tiers[one.name].update(told)
                reasons[one.name].update(why.drop_nulls())
            articles += result.height
            resumed += 0 if batch.done is None else result.height
            advance(result.height)
        _refuse_fewer(source, articles, total)
    seconds = time.perf_counter() - started
    return _Done(
        tallies={one.name: _tally(one, tiers[one.name], reasons[one.name]) for one in scorer.scorers},
        articles=articles,
        seconds=round(seconds, 3),
        articles_per_second=round((articles - resumed) / seconds, 1) if seconds else 0.0,
        resumed=resumed,
    )


def check_target(
    source: str | Path,
    target: str | Path,
    *,
    keep_text: bool,
    folders: Iterable[str | Path | None],
    read: Iterable[str | Path | None] = (),
) -> None:
    """Refuse a target that cannot be written or must not be, before anything is scored.

    Args:
        source: the articles; the target may be the same file only if `keep_text` preserves their texts.
        target: file of the results.
        keep_text: as in `score_file`.
        folders: bundles and cascades, in which nothing may be written.
        read: other files that are read or written in the meantime.

    Raises:
        ArticleError: the target's extension is unknown.
        BadInput: it is the source or one of `read`, in one of `folders`, or cannot be written.
    """
    form_of(target)
    inputs = [*read] if keep_text and not _streams(target) else [source, *read]
    check_output(target, inputs=inputs, folders=folders)


def _streams(path: str | Path) -> bool:
    """Return whether it is a stream and not a file, so that it can be read or written only once."""
    return str(path) == STANDARD or is_stream(Path(path))


def _tally(scorer: Scorer, tiers: Counter[str], reasons: Counter[str]) -> Tally:
    return Tally(
        bundle=scorer.bundle.hash,
        scored=tiers.total() - tiers[DROPPED] - tiers[UNSCORED],
        tiers={name: tiers[name] for name in (*scorer.bundle.filter.tier_names, DROPPED, UNSCORED)},
        reasons=dict(reasons.most_common()),
    )


def _batches(frames: Iterable[pl.DataFrame], parts: Parts | None) -> Iterator[_Batch]:
    for number, articles in enumerate(frames):
        yield _Batch(number, articles, None if parts is None else parts.read(number, articles))


def _writable(frames: Iterable[pl.DataFrame], target: str | Path, *, keep_text: bool) -> Iterator[pl.DataFrame]:
    """Yield the frames after checking that the target can hold the columns of the first one, as of all others."""
    for number, frame in enumerate(frames):
        if not number:
            check_columns(target, frame.schema if keep_text else frame.drop("content").schema)
        yield frame


def _refuse_fewer(source: str | Path, articles: int, total: int | None) -> None:
    """Refuse a result with fewer articles than were counted; a file that has grown is read as far as it went."""
    if total is not None and articles < total:
        raise BadInput(
            f"{source}: has changed while it was read: it held {total:,} articles at first, and {articles:,} were read"
        )


def _results(
    scorer: AnyScorer, work: _Work, batches: Iterable[_Batch], processes: int, size: int, *, streams: bool
) -> Generator[tuple[_Batch, pl.DataFrame], None, None]:
    """Yield each batch with its rows, in order.

    With `streams`, a batch is not read before it is requested, and all pending results are yielded before the next
    batch is waited for.
    """
    if processes > 1:
        passed: deque[_Batch] = deque()

        def pause(batch: _Batch) -> bool:
            return streams and batch.articles.height < size

        each = scorer.scorers
        folders, unsure = tuple(one.bundle.folder for one in each), tuple(one.unsure for one in each)
        hashes = tuple(one.bundle.hash for one in each)
        together = isinstance(scorer, Together)
        start = _Start(folders, hashes, together, each[0].level, each[0].probabilities, unsure)
        for result in in_processes(_noted(batches, passed), work, start, processes, pause=pause):
            yield passed.popleft(), result
        return
    prepared = (_prepared(scorer, batch) for batch in batches)
    # Leaving a stream half read must not leave a thread that still reads it.
    for batch in prepared if streams else ahead(prepared):
        yield batch, work(scorer, batch)


def _noted(batches: Iterable[_Batch], passed: deque[_Batch]) -> Iterator[_Batch]:
    for batch in batches:
        passed.append(batch)
        yield batch


def _prepared(scorer: AnyScorer, batch: _Batch) -> _Batch:
    return batch if batch.done is not None else replace(batch, prepared=scorer.prepare(batch.articles))


def _processes(scorer: AnyScorer, total: int | None) -> int:
    cheap = all(not one.bundle.manifest.encoders and one.early is None for one in scorer.scorers)
    return usable_cores() if cheap and total is not None and total >= WORTH_PROCESSES else 1


def _settings(scorer: AnyScorer, work: _Work, batch_size: int) -> dict[str, Any]:
    """Return everything except the articles that results depend on, by the names used in messages."""
    each = [
        {
            "bundle": one.bundle.hash,
            "backend": (PORTABLE if one.bundle.plan is None else one.bundle.plan.variant).title,
            "--level": one.level,
            "--probabilities": one.probabilities,
            "--cascade": None if one.early is None else one.early.record.model_dump(mode="json"),
            "--ask-oracle-above": one.unsure,
        }
        for one in scorer.scorers
    ]
    same = {"--keep-text": work.keep_text, "--batch-size": batch_size}
    if not isinstance(scorer, Together):
        return each[0] | same
    return {name: [one[name] for one in each] for name in each[0]} | same
