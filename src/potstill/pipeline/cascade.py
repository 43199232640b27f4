"""Build a cascade: a cheap student scores first, and its answer is final if few positive articles are lost that way.

Input: a run with a bundle and a cheap student. Output: a folder with the cheap student's bundle, a threshold, and the
evidence for the threshold. The threshold is chosen on rows that were held out from the cheap student: out-of-fold
training rows, validation rows and calibration rows. The test part is only used to check it.

The signal that is compared with the threshold is the weighted mean of raw scores, or the cheap student's probability of
any positive tier. The probability of a row comes from a calibration, and from tier outputs, that were fitted without
it. The signal that answers more articles early at the wanted recall is used. Because it is chosen on the same rows,
each of two signals gets a bound with half the risk, so that the bound of either choice holds (Bonferroni).

The bound is a distribution-free tolerance limit (Wilks 1941, "Determination of sample sizes for setting tolerance
limits"), which is the same as the Clopper-Pearson bound for a proportion. For n positives from the same distribution as
future ones, the threshold is the (k+1)-th smallest signal, where k is the largest number that a share of 1 - recall
would exceed with the given confidence. k depends on n alone, so choosing the threshold on the data does not invalidate
the bound. Positives that are near-duplicates count once, with the smallest of their signals.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from potstill.bundle import load_bundle
from potstill.bundle.deciding import decide_articles
from potstill.bundle.facts import Choice
from potstill.dataset import Dataset
from potstill.errors import BadInput, RunError
from potstill.files import replacing_folder
from potstill.metrics import exact_interval
from potstill.pipeline.bundle import calibrate_candidate, read_candidates, write_candidate
from potstill.pipeline.unseen import positives, unseen_rows
from potstill.scorer.early import CASCADE_LAYOUT, Cascade, Held, Point, final_answers
from potstill.terminal import note, steps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import polars as pl

    from potstill.bundle import Bundle
    from potstill.dataset import Examples
    from potstill.pipeline.bundle import Candidate
    from potstill.pipeline.run import Run
    from potstill.pipeline.unseen import Unseen
    from potstill.scorer.early import SignalKind
    from potstill.types import FloatArray

CONFIDENCE = 0.95
"""Confidence level of the promised recall."""

OF_TWO = 1 - (1 - CONFIDENCE) / 2
"""Confidence level of each bound if the better of two signals is chosen on the same rows."""

RECALLS = (0.99, 0.98, 0.95, 0.9, 0.8, 0.7, 0.5)
"""Recall levels on the frontier, as far as the number of positives can support them."""

STREAM = 0.05
"""Share of positives in an input for which the frontier also reports how many articles end early."""

PREFERRED = "tfidf-ridge"
"""Default first student, unless the bundle uses it."""

TIMED = 64
"""Number of articles on which both students are timed."""


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """The chosen signal: its kind, the rows behind the bound, the confidence of each bound, and why it was chosen.

    `compared` holds the point for the wanted recall by each signal that was tried.
    """

    kind: SignalKind
    unseen: Unseen
    confidence: float
    compared: dict[SignalKind, Point]
    reason: str


def highest_recall(positives: int, confidence: float = CONFIDENCE) -> float:
    """Return the recall that a number of positives demonstrates if none is lost: 300 for 0.99 at 95% confidence."""
    return exact_interval(positives, positives, 2 * confidence - 1)[0]


def may_lose(positives: int, recall: float, confidence: float = CONFIDENCE) -> int | None:
    """Return how many positives may lie below a threshold with a given recall; None if there are too few positives."""
    if highest_recall(positives, confidence) < recall:
        return None
    low, high = 0, positives
    while high - low > 1:
        middle = (low + high) // 2
        if exact_interval(positives - middle, positives, 2 * confidence - 1)[0] >= recall:
            low = middle
        else:
            high = middle
    return low


def point(unseen: Unseen, recall: float, seconds: tuple[float, float], confidence: float = CONFIDENCE) -> Point:
    """Return the threshold for a recall, or for the highest recall that the positives can support if that is lower.

    Args:
        unseen: rows that were held out from the cheap student.
        recall: the target recall, above 0 and below 1.
        seconds: seconds per article in bulk, for the first and the second student.
        confidence: confidence of the bound.
    """
    trials = unseen.trials
    lost = may_lose(trials.size, recall, confidence) or 0
    threshold = float(trials[lost])
    # Positives with equal signals fall on the same side of the threshold, so fewer may be lost than allowed.
    lost = int((trials < threshold).sum())
    early = unseen.early(threshold)
    return Point(
        recall=exact_interval(trials.size - lost, trials.size, 2 * confidence - 1)[0],
        threshold=threshold,
        lost=lost,
        early=early,
        early_at_5_percent=unseen.early(threshold, STREAM),
        articles_per_second=1 / (seconds[0] + (1 - early) * seconds[1]),
    )


def build_cascade(
    run: Run, recall: float = 0.95, *, first: str | None = None, clock: Callable[[], float] = time.perf_counter
) -> Cascade:
    """Put a cheap student in front of a run's bundle, and record it as the stage `cascade`.

    Args:
        run: an open run with a bundle.
        recall: target share of positive articles that are passed on to the bundle's student.
        first: name of the cheap student's recipe. Default: `PREFERRED`, or another recipe of its kind.
        clock: function that returns the current time in seconds.

    Returns:
        The cascade's record.

    Raises:
        BadInput: `recall` is not above 0 and below 1, or the filter has no positive tier.
        RunError: there is no bundle, no such student, no held-out prediction of it, or no positive article.
        BundleError: a bundle fails its self-test.
    """
    if not 0 < recall < 1:
        raise BadInput(f"recall: got {recall:g}, expected above 0 and below 1")
    filter_ = run.filter
    if not filter_.positive_tiers:
        raise BadInput(f"filter {filter_.name}: no tier is marked positive: true, so there is nothing not to lose")
    folder = run.path("cascade")
    run.need("bundle", "bundle")
    parameters = {"recall": recall, "first": first}
    with run.recording("cascade", parameters=parameters):
        dataset = Dataset.load(run.need("rows", "dataset"), filter_.dimension_names)
        main = load_bundle(run.path("bundle"))
        candidate = _candidate(run, dataset, first, main.manifest.recipe)
        parameters["first"] = candidate.name
        with replacing_folder(folder) as made, steps("finding what the first student may answer alone", None):
            fitted = calibrate_candidate(run, dataset, candidate)
            bundle = write_candidate(run, dataset, fitted, made / CASCADE_LAYOUT["first"], _choice(candidate, main))
            by_score, by_probability = unseen_rows(fitted, dataset, bundle.student, filter_)
            if not by_score.positive.any():
                raise RunError(
                    f"{run.folder}: none of {by_score.positive.size:,} articles is positive; nothing is lost"
                )
            sample = dataset.part("validation").frame.head(TIMED)
            seconds = _seconds([bundle.student.predict, main.student.predict], sample, clock)
            signal = choose_signal(by_score, by_probability, recall, seconds)
            chosen, trials = signal.compared[signal.kind], by_score.trials.size
            record = Cascade(
                bundle=main.hash,
                student=main.manifest.recipe,
                first=candidate.name,
                signal=signal.kind,
                compared=signal.compared,
                signal_reason=signal.reason,
                wanted=recall,
                confidence=CONFIDENCE,
                chosen=chosen,
                highest=highest_recall(trials, signal.confidence),
                positives=int(by_score.positive.sum()),
                positive_clusters=trials,
                articles=by_score.signals.size,
                positive_tiers=tuple(filter_.positive_tiers),
                first_milliseconds=1000 * seconds[0],
                second_milliseconds=1000 * seconds[1],
                frontier=frontier(signal.unseen, recall, seconds, signal.confidence),
                test=_held(bundle, signal.kind, chosen.threshold, dataset.part("test")),
                why=_why(chosen, recall, trials, candidate.name, signal),
            )
            record.save(made / CASCADE_LAYOUT["record"])
    note(f"cascade: {record.why}")
    return record


def _choice(candidate: Candidate, main: Bundle) -> Choice:
    return Choice(
        rung=candidate.name, validation_mae={}, reason=f"first student of the cascade for the bundle {main.hash}"
    )


def _candidate(run: Run, dataset: Dataset, first: str | None, shipped: str) -> Candidate:
    candidates = read_candidates(run, dataset)
    names = [candidate.name for candidate in candidates if candidate.name != shipped]
    if first is None:
        cheap = [one.name for one in candidates if one.name in names and one.record.recipe["student"] == "tfidf-ridge"]
        first = cheap[0] if cheap and PREFERRED not in names else PREFERRED
    if first not in names:
        others = ", ".join(names) or "none"
        raise RunError(f"{run.folder}: no student {first} besides the bundle's {shipped}; there are: {others}")
    return next(candidate for candidate in candidates if candidate.name == first)


def choose_signal(
    by_score: Unseen, by_probability: Unseen | None, recall: float, seconds: tuple[float, float]
) -> Chosen:
    """Choose the signal that answers more articles early at a recall.

    With too few positives to show the recall for each of two signals, the score is used, as without a probability.

    Args:
        by_score: unseen rows with the weighted mean of raw scores.
        by_probability: the same rows with the probability of a positive tier, or None.
        recall: the wanted recall.
        seconds: as for `point`.
    """
    few = highest_recall(by_score.trials.size, OF_TWO) < recall
    if by_probability is None or few:
        reason = (
            "the first student decides no tier by its probability"
            if by_probability is None
            else "the positives are too few to choose between the score and the probability"
        )
        only = point(by_score, recall, seconds)
        return Chosen("score", by_score, CONFIDENCE, {"score": only}, reason)
    compared: dict[SignalKind, Point] = {
        "score": point(by_score, recall, seconds, OF_TWO),
        "probability": point(by_probability, recall, seconds, OF_TWO),
    }
    by: SignalKind = "score"
    than: SignalKind = "probability"
    if compared["probability"].early > compared["score"].early:
        by, than = than, by
    reason = f"by {by} {compared[by].early:.1%} of articles are answered early, by {than} {compared[than].early:.1%}"
    return Chosen(by, by_probability if by == "probability" else by_score, OF_TWO, compared, reason)


def frontier(
    unseen: Unseen, recall: float, seconds: tuple[float, float], confidence: float = CONFIDENCE
) -> tuple[Point, ...]:
    """Return points from the highest supported recall downwards, including the target recall."""
    highest = highest_recall(unseen.trials.size, confidence)
    found = (point(unseen, value, seconds, confidence) for value in (highest, recall, *RECALLS) if value <= highest)
    by_threshold = {one.threshold: one for one in found}
    return tuple(by_threshold[threshold] for threshold in sorted(by_threshold))


def _seconds(
    predict: Sequence[Callable[[pl.DataFrame], FloatArray]], frame: pl.DataFrame, clock: Callable[[], float]
) -> tuple[float, float]:
    """Return each of two students' seconds per article in bulk: the best of three alternating rounds."""
    best = [float("inf"), float("inf")]
    for _ in range(3):
        for place, one in enumerate(predict):
            start = clock()
            one(frame)
            best[place] = min(best[place], clock() - start)
    first, second = (max(value / max(frame.height, 1), 1e-9) for value in best)
    return first, second


def _why(chosen: Point, recall: float, trials: int, first: str, signal: Chosen) -> str:
    said = (
        f"{first} answers {chosen.early:.0%} of articles alone, by {_MEANING[signal.kind]}; at least "
        f"{chosen.recall:.1%} of positive articles go on ({CONFIDENCE:.0%} confidence, {trials:,} positives)"
    )
    few = f", the highest recall that so few can show, where {recall:.1%} was wanted"
    return said + (few if recall > highest_recall(trials, signal.confidence) else "")


_MEANING: dict[SignalKind, str] = {"score": "their weighted mean", "probability": "the probability of a positive tier"}


def _held(first: Bundle, kind: SignalKind, threshold: float, rows: Examples) -> Held:
    """Check a threshold on rows that were not used to choose it."""
    if not len(rows):
        return Held(articles=0, early=0, positives=0, passed=0)
    decided = decide_articles(first.student, rows.frame, first.filter, first.calibration)
    early, good = final_answers(decided, first.filter, kind, threshold), positives(rows, first.filter)
    return Held(
        articles=len(rows), early=int(early.sum()), positives=int(good.sum()), passed=int((good & ~early).sum())
    )
