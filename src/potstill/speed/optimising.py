"""Find the fastest way to run a bundle on this machine without changing its results significantly.

Input: a bundle, and articles that were not used for model selection. Output: a plan, written next to the bundle. Each
backend and precision that this machine supports is first compared with the portable one, and only those that pass are
timed. Batch sizes and threads change nothing but rounding, so they are only timed, for the fastest variant.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from potstill.backends.machine import this_machine
from potstill.backends.plan import (
    MOST_DRIFT,
    PORTABLE,
    Plan,
    Speed,
    Tried,
    Variant,
    library_versions,
    refuse_unwritable,
    write_plan,
)
from potstill.bundle import load_bundle
from potstill.bundle.golden import windows
from potstill.bundle.reading import open_encoder
from potstill.errors import BadInput, BundleError, MissingExtra
from potstill.machine import Watch
from potstill.speed.material import Material, from_file, no_material
from potstill.speed.proving import LARGEST_CHANGED, answers, change_of, objection
from potstill.speed.timing import interleaved
from potstill.students.blend import BlendStudent
from potstill.students.neural import NeuralStudent
from potstill.terminal import steps
from potstill.types import Article

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import polars as pl

    from potstill.backends.plan import Change
    from potstill.bundle import Bundle

WORTH = 1.03
"""Minimum speed-up of a variant over what it replaces; smaller differences are noise."""

BUDGETS = (512, 1024, 2048, 4096, 8192)
"""Batch sizes to try, in tokens."""

STREAMED_BUDGETS = (512, 1024)
"""Batch sizes to try if each core runs its own batches: small ones, so that no core waits long for the last batch."""

SINGLES = 8
"""Number of articles that are timed one at a time."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Amount of work: `articles` for the comparison, and `timed` of them for throughput in each of `rounds`.

    `changed` is the largest admissible share of articles that change tier, as a one-sided 95% bound.
    """

    articles: int = 400
    timed: int = 48
    rounds: int = 3
    changed: float = LARGEST_CHANGED


@dataclass(frozen=True, slots=True)
class Optimised:
    """The plan, and the path that it was written to."""

    plan: Plan
    path: Path


@dataclass(slots=True)
class _Candidate:
    """A variant with its open student, and its results."""

    variant: Variant
    student: NeuralStudent | BlendStudent
    change: Change | None = None
    speed: Speed | None = field(default=None, init=False)

    @property
    def rate(self) -> float:
        return self.speed.articles_per_second if self.speed is not None else 0.0


def optimise_bundle(
    folder: str | Path,
    articles: str | Path | Material | None = None,
    *,
    limits: Limits | None = None,
    seed: int = 0,
) -> Optimised:
    """Measure a bundle's variants on this machine, and write the plan that `Scorer.load` follows.

    Args:
        folder: the bundle.
        articles: articles for comparison and timing: a file, or labelled rows of a run that were not used for model
            selection. Without any, no other precision is admitted, and golden texts are timed.
        limits: amount of work; see `Limits`.
        seed: random seed for sampling rows and for the order of timing.

    Returns:
        The plan and its path.

    Raises:
        BadInput: the student has no network that could run in another way, or the plan cannot be written.
        BundleError: the bundle fails its self-test.
        ArticleError: the file is missing or broken.
    """
    limits = limits or Limits()
    bundle = load_bundle(folder)
    student = bundle.student
    runs = bool(bundle.manifest.encoders) and bundle.manifest.kind == "self-contained"
    if not isinstance(student, NeuralStudent | BlendStudent) or not runs:
        kind = "an adapter, for torch" if bundle.manifest.encoders else f"a {bundle.manifest.student} student"
        raise BadInput(f"{folder}: contains {kind}, which can run in only one way, so there is nothing to optimize")
    refuse_unwritable(Path(folder))
    if articles is None:
        material = no_material(bundle.filter)
    elif isinstance(articles, Material):
        material = articles
    else:
        material = from_file(articles, bundle.filter, limits.articles)
    portable = _Candidate(PORTABLE, student)
    with steps("proving", None):
        admitted, others = _prove(bundle, portable, material, limits.changed)
    frame = _timed(bundle, material, limits.timed, seed)
    watch = Watch()
    with steps("timing", None):
        _time_candidates(admitted, frame, limits.rounds, seed)
        winner = _fastest(admitted)
        # The winner is timed again together with its settings, because only times from the same rounds can be compared.
        settings = [_Candidate(winner.variant, winner.student, winner.change), *_settings(bundle, winner)]
        _time_candidates(settings, frame, limits.rounds, seed)
    load, chosen = watch.load(), _fastest(settings)
    plan = Plan(
        bundle=bundle.hash,
        machine=this_machine(),
        versions=library_versions(),
        variant=chosen.variant,
        drift=_drift(bundle, chosen),
        why=_why(admitted, settings, chosen) + (f"; {load.words}" if load.heavy else ""),
        proven_on=material.origin,
        tried=(*_timed_ones(admitted, settings, chosen), *others),
        load=load,
    )
    return Optimised(plan, write_plan(Path(folder), plan))


def _variants() -> tuple[list[Variant], list[Tried]]:
    """Return the other variants that this machine can run, and those that it cannot."""
    wanted = [Variant(backend="openvino", precision="f32"), Variant(backend="openvino", precision="bf16")]
    try:
        from potstill.backends.openvino import precisions

        able: tuple[str, ...] = precisions()
        lacking = "this processor has no instructions for it"
    except MissingExtra as error:
        able, lacking = (), str(error)
    missing = [one for one in wanted if one.precision not in able]
    return [one for one in wanted if one.precision in able], [
        Tried(variant=one, change=None, speed=None, verdict="unavailable", why=lacking) for one in missing
    ]


def _prove(
    bundle: Bundle, portable: _Candidate, material: Material, largest_changed: float
) -> tuple[list[_Candidate], list[Tried]]:
    """Return the admitted variants, the portable one first, and the others with the reasons."""
    able, others = _variants()
    admitted = [portable]
    reference = answers(bundle, portable.student, material.frame) if len(material) else None
    for variant in able:
        change = None
        try:
            candidate = _opened(bundle, portable.student, variant)
            if reference is not None:
                found = answers(bundle, candidate.student, material.frame)
                change = candidate.change = change_of(reference, found, material.labels)
            why = _objection(bundle, candidate, largest_changed)
        except BundleError as error:
            why = str(error)
        if why is None:
            admitted.append(candidate)
        else:
            others.append(Tried(variant=variant, change=change, speed=None, verdict="refused", why=why))
    return admitted, others


def _objection(bundle: Bundle, candidate: _Candidate, largest_changed: float) -> str | None:
    if candidate.change is None:
        return (
            None
            if candidate.variant.exact
            else "there are no articles to measure its changes on; pass some with --articles"
        )
    if _drift(bundle, candidate) > MOST_DRIFT:
        return f"a raw score moves by {candidate.change.largest_raw:.3g}"
    # An exact variant differs only in rounding. It needs no bound on tiers, which a few articles could not provide.
    most = 1.0 if candidate.variant.exact else largest_changed
    return objection(candidate.change, _span(bundle), most)


def _drift(bundle: Bundle, candidate: _Candidate) -> float:
    """Return the tolerance for golden texts as a share of the scale: twice the largest change on the articles."""
    if candidate.change is None or candidate.variant.exact:
        return 0.0
    return 2 * candidate.change.largest_raw / _span(bundle)


def _span(bundle: Bundle) -> float:
    return bundle.filter.scale.max - bundle.filter.scale.min


def _opened(bundle: Bundle, student: NeuralStudent | BlendStudent, variant: Variant) -> _Candidate:
    encoder = open_encoder(bundle.folder, bundle.manifest, variant)
    if encoder is None:
        raise BundleError(f"{bundle.folder}: has no encoder")
    return _Candidate(variant, student.on(encoder))


def _settings(bundle: Bundle, winner: _Candidate) -> list[_Candidate]:
    """Return the winner with other batch sizes, other threads (all or half of the cores), and one stream per core."""
    cores = this_machine().cores
    updates: list[dict[str, int]] = [{"token_budget": budget} for budget in BUDGETS]
    updates += [{"threads": threads} for threads in sorted({cores, max(1, cores // 2)})]
    if winner.variant.backend == "openvino" and cores > 1:
        updates += [{"threads": cores, "streams": cores, "token_budget": budget} for budget in STREAMED_BUDGETS]
    variants = [winner.variant.model_copy(update=update) for update in updates]
    opened = [_opened(bundle, winner.student, variant) for variant in variants if variant != winner.variant]
    for one in opened:
        one.change = winner.change
    return opened


def _timed(bundle: Bundle, material: Material, count: int, seed: int) -> pl.DataFrame:
    """Return the windows to time: a sample of the material, or golden texts if there is none."""
    if not len(material):
        return windows([Article(row.id, row.title, row.content) for row in bundle.golden], bundle.filter)
    rows = np.random.default_rng(seed).permutation(len(material))[:count]
    drawn: pl.DataFrame = material.frame[np.sort(rows).tolist()]
    return drawn


def _time_candidates(candidates: Sequence[_Candidate], frame: pl.DataFrame, rounds: int, seed: int) -> None:
    """Time candidates in turn, in bulk and on single articles."""
    singles = [frame[row : row + 1] for row in range(min(frame.height, SINGLES))]
    bulk = interleaved({str(n): _work(one, [frame]) for n, one in enumerate(candidates)}, rounds, seed=seed)
    alone = interleaved({str(n): _work(one, singles) for n, one in enumerate(candidates)}, rounds, seed=seed)
    for n, one in enumerate(candidates):
        rates = [round(frame.height / seconds, 3) for seconds in bulk[str(n)]]
        one.speed = Speed(
            articles_per_second=float(np.median(rates)),
            rounds=tuple(rates),
            milliseconds=round(1000 * float(np.median(alone[str(n)])) / len(singles), 3),
        )


def _work(candidate: _Candidate, frames: Sequence[pl.DataFrame]) -> Callable[[], None]:
    def run() -> None:
        for frame in frames:
            candidate.student.predict(frame)

    return run


def _fastest(candidates: Sequence[_Candidate]) -> _Candidate:
    """Return the candidate with the highest throughput if it is clearly faster than the first, else the first."""
    best = max(candidates, key=lambda one: one.rate)
    return best if best.rate > WORTH * candidates[0].rate else candidates[0]


def _timed_ones(admitted: Sequence[_Candidate], settings: Sequence[_Candidate], chosen: _Candidate) -> list[Tried]:
    return [
        Tried(
            variant=one.variant,
            change=one.change,
            speed=one.speed,
            verdict="chosen" if one is chosen else "slower",
            why=f"{one.rate / race[0].rate:.2f} times as fast as {_named(race[0].variant)} in the same rounds",
        )
        for race in (admitted, settings)
        for one in race
    ]


def _named(variant: Variant) -> str:
    threads = "" if variant.threads is None else f", {variant.threads} threads"
    streams = "" if variant.streams == 1 else f", {variant.streams} streams"
    return f"{variant.title} in batches of {variant.token_budget:,} tokens{streams}{threads}"


def _why(admitted: Sequence[_Candidate], settings: Sequence[_Candidate], chosen: _Candidate) -> str:
    """Explain the choice in one sentence."""
    backend = next(one for one in admitted if one.variant == settings[0].variant)
    sentence = f"{_named(chosen.variant)}: {chosen.rate:.1f} articles/s"
    if backend is not admitted[0]:
        faster = backend.rate / admitted[0].rate
        sentence += f"; {backend.variant.title} was {faster:.2f} times as fast as {admitted[0].variant.title}"
    if chosen is not settings[0]:
        sentence += (
            f"; these batch and thread settings were {chosen.rate / settings[0].rate:.2f} times as fast as the defaults"
        )
    if backend is admitted[0] and chosen is settings[0]:
        sentence += f"; no other admitted variant was at least {WORTH - 1:.0%} faster"
    return sentence
