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
from typing import TYPE_CHECKING, Any, Self

from potstill.articles import check_columns, count_articles, form_of, open_writer, read_articles
from potstill.backends.machine import usable_cores
from potstill.backends.plan import PORTABLE
from potstill.errors import BadInput, BundleError
from potstill.files import STANDARD, check_output, is_stream
from potstill.findings import NOVEL
from potstill.scorer.concurrency import ahead, in_processes
from potstill.scorer.parts import open_parts
from potstill.scorer.scoring import BATCH, Scorer
from potstill.scorer.volumes import Drift, Unlike, drifts, unlike
from potstill.terminal import steps
from potstill.types import DROPPED, UNSCORED

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    import polars as pl

    from potstill.calibration import Calibration
    from potstill.scorer.deferral import Asked, Deferral
    from potstill.scorer.one_filter import FilterScorer, Prepared
    from potstill.scorer.parts import Parts

WORTH_PROCESSES = 20_000
"""Minimum number of articles for which further processes are worth their start-up time of a second or two."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of one filter's verdicts in a file: `tiers`, and `reasons` of articles without a score.

    `bundle` is the hash of its bundle. `drifts` are the positive tiers that name another number of articles than
    expected (see `volumes`); not looked for if an oracle gave some of the verdicts. `unlike` counts the articles that
    are unlike the training articles; None if the bundle's student measures no distances. `caution` says that the
    bundle's student is not shown to be better than the constant; None of any other.
    """

    bundle: str
    scored: int
    tiers: dict[str, int]
    reasons: dict[str, int]
    drifts: tuple[Drift, ...] = ()
    unlike: Unlike | None = None
    caution: str | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """Summary of a scored file, with the counts of each filter by its name.

    `networks` counts the networks that read the articles. `resumed` counts articles scored by an earlier call; the
    speed is that of the others. `asked` is present if an oracle was to be asked.
    """

    filters: dict[str, Tally]
    articles: int
    networks: int
    seconds: float
    articles_per_second: float
    resumed: int = 0
    asked: Asked | None = None

    @property
    def only(self) -> Tally:
        """The counts of the filter, if there is only one.

        Raises:
            BadInput: there are several filters.
        """
        if len(self.filters) > 1:
            raise BadInput(f"expected the summary of one filter, got one of {', '.join(self.filters)}")
        return next(iter(self.filters.values()))


@dataclass(frozen=True, slots=True)
class _Batch:
    """Articles with the number of their batch; `done` are results of an earlier call, `prepared` prepared articles."""

    number: int
    articles: pl.DataFrame
    done: pl.DataFrame | None
    prepared: tuple[Prepared, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Work:
    """Settings that turn a batch into rows as they are written; can be sent to another process."""

    nested: bool
    keep_text: bool

    def __call__(self, scorer: Scorer[Any], batch: _Batch) -> pl.DataFrame:
        if batch.done is not None:
            return batch.done
        prepared = batch.prepared or scorer.prepare(batch.articles)
        result = scorer.nested(prepared) if self.nested else scorer.flat(prepared)
        return result if self.keep_text else result.drop("content")


@dataclass(frozen=True, slots=True)
class _Start:
    """Opens an equal scorer in another process; its bundles, with these `hashes`, were verified in this one."""

    folders: tuple[Path, ...]
    hashes: tuple[str, ...]
    by_filter: bool
    level: float
    probabilities: bool
    ask_below: tuple[float | None, ...]
    calibrations: tuple[Calibration, ...]

    @classmethod
    def of(cls, scorer: Scorer[Any]) -> Self:
        """Return what is needed to open this scorer again."""
        each = scorer.filter_scorers
        return cls(
            folders=tuple(one.bundle.folder for one in each),
            hashes=tuple(one.bundle.hash for one in each),
            by_filter=scorer.by_filter,
            level=each[0].level,
            probabilities=each[0].probabilities,
            ask_below=tuple(one.ask_below for one in each),
            calibrations=tuple(one.calibration for one in each),
        )

    def __call__(self) -> Scorer[Any]:
        scorer: Scorer[Any] = Scorer.load(
            self.folders if self.by_filter else self.folders[0],
            check="hashes",
            follow_plan=False,
            level=self.level,
            probabilities=self.probabilities,
        )
        for place, one in enumerate(scorer.filter_scorers):
            if one.bundle.hash != self.hashes[place]:
                raise BundleError(f"{one.bundle.folder}: has changed since it was proven")
            one.ask_below, one.calibration = self.ask_below[place], self.calibrations[place]
        return scorer


def score_file(
    bundles: str | Path | Sequence[str | Path] | Scorer[Any],
    source: str | Path,
    target: str | Path,
    *,
    keep_text: bool = False,
    batch_size: int = BATCH,
    threads: int | None = None,
    resume: bool = False,
    processes: int | None = 1,
    deferral: Deferral | None = None,
    show: Callable[[pl.DataFrame], None] | None = None,
) -> Summary:
    """Score a file of articles into another, a batch at a time, in order, with bounded memory.

    A row keeps all its fields except `content` and gains the verdict: nested objects in JSON lines, flat columns in CSV
    and Parquet (see `Scorer.nested_batch` and `Scorer.score_batch`). An article without a text is `unscored`. The
    target is replaced when everything is done; until then, and after any failure, its previous content remains. Until
    then, finished batches are kept in a folder next to it. Articles from a pipe are scored as they arrive, and results
    to a pipe are written as soon as they are ready.

    Args:
        bundles: a bundle's folder, a sequence of folders with bundles of different filters, or an open scorer.
        source: articles, `-` for JSON lines on stdin.
        target: results, `-` for JSON lines on stdout; may be the source itself only if `keep_text` preserves its
            content.
        keep_text: write `content` too.
        batch_size: number of articles per batch.
        threads: number of threads of the network; None: one per physical core.
        resume: continue an interrupted call with the same arguments; nothing is scored twice.
        processes: number of scoring processes, without a cascade; None: one per core if no student has a network and
            the file is large. A script that asks for several needs Python's usual `if __name__ == "__main__"` guard.
        deferral: lets an oracle answer what the scorer marks (see `potstill.scorer.deferral`); only with one bundle. On
            a resume, articles that were scored but have no answer yet are asked about.
        show: receives the rows of each batch, nested, in place of stdout; only with the target `-`.

    Raises:
        OracleError: the oracle cannot be used any more; scored articles are kept.
        ArticleError: the source is missing or a row of it is broken; the message names row and field.
        BundleError: a bundle does not pass its checks.
        BadInput: the target cannot be written or cannot hold the source's columns, an earlier call cannot be resumed,
            the source was truncated while it was read, two bundles are for the same filter, or a deferral is combined
            with a list of bundles.
        BrokenPipeError: the reader of the results has stopped.
    """
    scorer: Scorer[Any] = bundles if isinstance(bundles, Scorer) else Scorer.load(bundles, threads=threads)
    if deferral is not None and scorer.by_filter:
        raise BadInput("an oracle answers for one bundle only, not for a list of bundles")
    if resume and (_streams(source) or _streams(target)):
        raise BadInput("--resume needs a file to read from and a file to write to")
    each = scorer.filter_scorers
    folders = [one.bundle.folder for one in each]
    folders += [one.early.folder for one in each if one.early is not None]
    check_target(source, target, keep_text=keep_text, folders=folders)
    total = count_articles(source)
    work = _Work(form_of(target).startswith(".jsonl"), keep_text)
    tiers: dict[str, Counter[str]] = {one.name: Counter() for one in each}
    reasons: dict[str, Counter[str]] = {one.name: Counter() for one in each}
    novel: dict[str, int] = {one.name: 0 for one in each if one.measures_novelty}
    articles = resumed = 0
    started = time.perf_counter()
    with ExitStack() as stack:
        parts = None
        if not _streams(target):
            settings = _settings(scorer, work, batch_size)
            parts = stack.enter_context(open_parts(Path(target), settings, resume=resume))
        write = show or stack.enter_context(open_writer(target)).write
        advance = stack.enter_context(steps("scoring", total))
        frames = read_articles(source, batch_size=batch_size, on_empty="keep", as_text=form_of(target) != ".parquet")
        batches = _batches(_writable(frames, target, keep_text=keep_text), parts)
        cascades = any(one.early is not None for one in each)
        count = (1 if cascades else processes) or _processes(scorer, total)
        streams = _streams(source)
        results = stack.enter_context(closing(_results(scorer, work, batches, count, batch_size, streams=streams)))
        for batch, scored in results:
            if parts is not None and batch.done is None:
                parts.keep(batch.number, batch.articles, scored)
            # The parts hold the students' results, so that a resume can ask about articles that a limit left out.
            result = scored if deferral is None else deferral.answer(batch.articles, scored)
            write(result)
            for one, columns in scorer.columns_of(result, nested=work.nested):
                tiers[one.name].update(columns("tier"))
                reasons[one.name].update(columns("reason").drop_nulls())
                if one.name in novel:
                    novel[one.name] += int((columns("novelty") < NOVEL).sum())
            articles += result.height
            resumed += 0 if batch.done is None else result.height
            advance(result.height)
        _refuse_fewer(source, articles, total)
    seconds = time.perf_counter() - started
    return Summary(
        filters={
            one.name: _tally(one, tiers[one.name], reasons[one.name], novel.get(one.name), asked=deferral is not None)
            for one in each
        },
        articles=articles,
        networks=scorer.networks,
        seconds=round(seconds, 3),
        articles_per_second=round((articles - resumed) / seconds, 1) if seconds else 0.0,
        resumed=resumed,
        asked=None if deferral is None else deferral.asked,
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


def _tally(one: FilterScorer, tiers: Counter[str], reasons: Counter[str], novel: int | None, *, asked: bool) -> Tally:
    scored = tiers.total() - tiers[DROPPED] - tiers[UNSCORED]
    return Tally(
        bundle=one.bundle.hash,
        scored=scored,
        drifts=() if asked else drifts(one.cuts, tiers, scored),
        tiers={name: tiers[name] for name in (*one.bundle.filter.tier_names, DROPPED, UNSCORED)},
        reasons=dict(reasons.most_common()),
        unlike=None if novel is None else unlike(novel, scored),
        caution=one.bundle.caution,
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
    scorer: Scorer[Any], work: _Work, batches: Iterable[_Batch], processes: int, size: int, *, streams: bool
) -> Generator[tuple[_Batch, pl.DataFrame], None, None]:
    """Yield each batch with its rows, in order.

    With `streams`, a batch is not read before it is requested, and all pending results are yielded before the next
    batch is waited for.
    """
    if processes > 1:
        passed: deque[_Batch] = deque()

        def pause(batch: _Batch) -> bool:
            return streams and batch.articles.height < size

        for result in in_processes(_remembered(batches, passed), work, _Start.of(scorer), processes, pause=pause):
            yield passed.popleft(), result
        return
    prepared = (_prepared(scorer, batch) for batch in batches)
    # Leaving a stream half read must not leave a thread that still reads it.
    for batch in prepared if streams else ahead(prepared):
        yield batch, work(scorer, batch)


def _remembered(batches: Iterable[_Batch], passed: deque[_Batch]) -> Iterator[_Batch]:
    for batch in batches:
        passed.append(batch)
        yield batch


def _prepared(scorer: Scorer[Any], batch: _Batch) -> _Batch:
    return batch if batch.done is not None else replace(batch, prepared=scorer.prepare(batch.articles))


def _processes(scorer: Scorer[Any], total: int | None) -> int:
    cheap = all(not one.bundle.manifest.encoders and one.early is None for one in scorer.filter_scorers)
    return usable_cores() if cheap and total is not None and total >= WORTH_PROCESSES else 1


def _settings(scorer: Scorer[Any], work: _Work, batch_size: int) -> dict[str, Any]:
    """Return everything except the articles that results depend on, by the names used in messages."""
    each = [
        {
            "bundle": one.bundle.hash,
            "backend": (PORTABLE if one.bundle.plan is None else one.bundle.plan.variant).title,
            "--coverage": one.level,
            "--probabilities": one.probabilities,
            "--cascade": None if one.early is None else one.early.record.model_dump(mode="json"),
            "--ask-oracle-above": one.ask_below,
            "--decide": {cut.tier: cut.point.spelling for cut in one.cuts},
        }
        for one in scorer.filter_scorers
    ]
    same = {"--keep-text": work.keep_text, "--batch-size": batch_size}
    if not scorer.by_filter:
        return each[0] | same
    return {name: [one[name] for one in each] for name in each[0]} | same
