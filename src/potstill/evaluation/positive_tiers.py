"""Judge each positive tier or a better one: recall, precision, F1, and the ranking at the oracle's volume and twice it.

Input: verdicts of oracle and student on the same rows, and the probabilities and cuts that decided the student's tiers,
if any. Output: a `PositiveTier` for each positive tier, and paired differences of two students. Intervals come from
resampling whole clusters. Ties in a ranking are averaged over all possible orders.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from potstill import metrics
from potstill.evaluation.records import AtVolume, PositiveTier, Unseen
from potstill.findings import FEWEST_POSITIVES
from potstill.metrics import number
from potstill.records import Interval
from potstill.types import UNSCORED

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from potstill.bundle.deciding import Decided
    from potstill.calibration import Decisions, TierCut
    from potstill.evaluation.judging import Predicted
    from potstill.evaluation.records import Bootstrap
    from potstill.filters import Filter
    from potstill.types import BoolArray, FloatArray, IntArray

VOLUMES = (1, 2)
"""Multiples of the oracle's volume at which the ranking is evaluated."""


@dataclass(frozen=True, slots=True, eq=False)
class DecidedTiers:
    """Verdicts that the scores alone do not give.

    `verdict` has the columns of `verdict.decide`. `positive` is the probability of each positive tier or a better one,
    shape (rows, positive tiers); NaN in the column of a tier that is decided by score. `cuts` are those of the positive
    tiers, in the filter's order, or empty if they are not known.
    """

    verdict: pl.DataFrame
    positive: FloatArray
    cuts: tuple[TierCut, ...] = ()

    @classmethod
    def of(cls, decided: Decided, decisions: Decisions | None) -> Self | None:
        """Return what a bundle decided at its operating points; None if the bundle has none."""
        if decisions is None:
            return None
        by_score = np.array([cut.probability is None for cut in decisions.cuts])
        unknown = np.full((len(decided.judged), len(decisions.cuts)), np.nan)
        positive = unknown if decided.positive is None else np.where(by_score, np.nan, decided.positive)
        return cls(decided.verdict, positive, decisions.cuts)

    def __getitem__(self, rows: Sequence[int]) -> Self:
        """Return the same for some of the rows."""
        return replace(self, verdict=self.verdict[rows], positive=self.positive[np.asarray(rows)])


class _Statistics(NamedTuple):
    """Statistics of one tier, each of shape (resamples,); NaN where undefined."""

    recall: FloatArray
    precision: FloatArray
    f1: FloatArray
    average_precision: FloatArray
    equal_volume: FloatArray
    twice_volume: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class TierRows:
    """One tier or a better one on some rows: whether the oracle and the student put each row there, and its ranking."""

    belongs: BoolArray
    named: BoolArray
    score: FloatArray

    def statistics(self, counts: FloatArray) -> _Statistics:
        """Compute all statistics.

        Args:
            counts: how often each row counts, shape (resamples, rows).
        """
        order = np.argsort(-self.score, kind="stable")
        # The last row of each group of equal scores.
        ends = np.append(np.flatnonzero(np.diff(self.score[order])), len(order) - 1)
        ranked = counts[:, order]
        rows = np.cumsum(ranked, axis=1)[:, ends]
        found = np.cumsum(ranked * self.belongs[order], axis=1)[:, ends]
        positives, named = counts @ self.belongs, counts @ self.named
        both = counts @ (self.belongs & self.named)
        gained = np.diff(found, axis=1, prepend=0.0)
        precision_there = np.nan_to_num(metrics.share(found, rows))
        at_volume = [metrics.share(_found_among(times * positives, rows, found), positives) for times in VOLUMES]
        return _Statistics(
            metrics.share(both, positives),
            metrics.share(both, named),
            metrics.share(2 * both, positives + named),
            metrics.share((gained * precision_there).sum(axis=1), positives),
            *at_volume,
        )


def at_least(tier: str) -> str:
    """Return the column of a table of predictions with the probability of a positive tier or a better one."""
    return f"at_least_{tier}"


def ranking_scores(student: pl.DataFrame, decided: DecidedTiers | None, filter_: Filter) -> FloatArray:
    """Return what ranks the rows for each positive tier, shape (rows, positive tiers).

    It is the tier's probability if a cut on it decides, else the overall score after gates and caps.
    """
    overall = student["overall"].fill_null(float("nan")).to_numpy()
    columns = []
    for place in range(len(filter_.positive_tiers)):
        own = overall if decided is None else decided.positive[:, place]
        columns.append(overall if np.isnan(own).all() else own)
    return np.column_stack(columns) if columns else np.empty((len(overall), 0))


def tier_rows(oracle: pl.Series, student: pl.Series, score: FloatArray, filter_: Filter) -> list[TierRows]:
    """Return the rows of each positive tier or a better one.

    Args:
        oracle: the oracle's tiers, without unscored rows.
        student: the student's.
        score: as `ranking_scores` returns it, for the same rows.
        filter_: the filter.
    """
    names = filter_.positive_tiers
    return [
        TierRows(
            oracle.is_in(names[: place + 1]).to_numpy(), student.is_in(names[: place + 1]).to_numpy(), score[:, place]
        )
        for place in range(len(names))
    ]


def judge_positive_tiers(
    oracle: pl.DataFrame,
    student: pl.DataFrame,
    score: FloatArray,
    predicted: Predicted,
    filter_: Filter,
    bootstrap: Bootstrap,
) -> tuple[PositiveTier, ...]:
    """Judge each positive tier or a better one; rows where either tier is unscored are ignored.

    Args:
        oracle: verdicts on the labels.
        student: the student's verdicts.
        score: as `ranking_scores` returns it.
        predicted: clusters, and the cuts if there are any.
        filter_: the filter.
        bootstrap: settings of the intervals.
    """
    known = ((oracle["tier"] != UNSCORED) & (student["tier"] != UNSCORED)).to_numpy()
    rows = tier_rows(oracle["tier"].filter(known), student["tier"].filter(known), score[known], filter_)
    cuts = () if predicted.decided is None else predicted.decided.cuts
    clusters = predicted.clusters[known]
    counts = list(metrics.resampled_counts(clusters, n=bootstrap.resamples, seed=bootstrap.seed)) if known.any() else []
    return tuple(
        _judged(filter_.positive_tiers[: place + 1], one, counts, cut, bootstrap.level)
        for place, (one, cut) in enumerate(zip(rows, cuts or (None,) * len(rows), strict=True))
    )


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """A statistic of the first student minus that of the second, with its interval."""

    value: float
    low: float
    high: float


def differences(
    first: Sequence[TierRows], second: Sequence[TierRows], clusters: IntArray, *, at_volume: bool, bootstrap: Bootstrap
) -> tuple[Difference, Difference]:
    """Compare recall and average precision of two recipes on the same rows by a paired cluster bootstrap.

    Args:
        first: the rows of one tier by each seed of the first recipe.
        second: the same rows by each seed of the second; the numbers of seeds may differ.
        clusters: cluster of each row, shape (rows,).
        at_volume: whether to compare the recall of the first articles in the ranking, as many as the oracle puts in the
            tier, instead of that of the named articles.
        bootstrap: settings of the intervals.
    """
    own = _gap(first, second, np.ones((1, len(clusters))), at_volume=at_volume)[0]
    blocks = metrics.resampled_counts(clusters, n=bootstrap.resamples, seed=bootstrap.seed)
    draws = np.concatenate([_gap(first, second, counts, at_volume=at_volume) for counts in blocks])
    low, high = metrics.percentiles(draws, bootstrap.level)
    recall, precision = (Difference(float(own[i]), float(low[i]), float(high[i])) for i in range(2))
    return recall, precision


def _gap(first: Sequence[TierRows], second: Sequence[TierRows], counts: FloatArray, *, at_volume: bool) -> FloatArray:
    """Return the differences of mean recall and mean average precision, shape (resamples, 2)."""
    means = []
    for side in (first, second):
        found = [one.statistics(counts) for one in side]
        recalls = [one.equal_volume if at_volume else one.recall for one in found]
        means.append((np.mean(recalls, axis=0), np.mean([one.average_precision for one in found], axis=0)))
    (recall, precision), (other_recall, other_precision) = means
    return np.column_stack([recall - other_recall, precision - other_precision])


def unseen_counts(judged: Sequence[Sequence[PositiveTier]]) -> tuple[Unseen, ...]:
    """Add up counts of rows that trained nothing: those that chose each cut, and those of several judgements.

    A tier that no cut decides is left out, because nothing is counted on the rows that would have chosen it.

    Args:
        judged: the positive tiers of each judgement, on different rows and by the same cuts.
    """
    return tuple(
        Unseen(
            tier=each[0].tier,
            tiers=each[0].tiers,
            rows=cut.rows + sum(one.rows for one in each),
            oracle=cut.positives + sum(one.oracle for one in each),
            named=cut.named + sum(one.named for one in each),
            both=cut.found + sum(one.both for one in each),
            cut=cut,
        )
        for each in zip(*judged, strict=True)
        if (cut := each[0].cut) is not None and cut.probability is not None
    )


def _judged(
    tiers: tuple[str, ...], rows: TierRows, counts: list[FloatArray], cut: TierCut | None, level: float
) -> PositiveTier:
    total, positives = len(rows.belongs), int(rows.belongs.sum())
    nothing = np.full(1, np.nan)
    own = rows.statistics(np.ones((1, total))) if total else _Statistics(*[nothing] * 6)
    figures: dict[str, tuple[float | None, Interval | None]] = dict.fromkeys(_Statistics._fields, (None, None))
    if positives:
        draws = np.concatenate([np.column_stack(rows.statistics(block)) for block in counts])
        low, high = metrics.percentiles(draws, level)
        figures = {
            field: (number(own[place][0]), _interval(low[place], high[place]))
            for place, field in enumerate(_Statistics._fields)
        }
    # Average precision has an interval that shows how little few positives say; a recall would be read without it.
    shown = figures if positives >= FEWEST_POSITIVES else dict.fromkeys(_Statistics._fields, (None, None))
    volumes = {
        field: AtVolume(
            named=min(times * positives, total),
            found=round(float(np.nan_to_num(getattr(own, field)[0])) * positives, 6),
            recall=shown[field][0],
            recall_interval=shown[field][1],
        )
        for field, times in zip(("equal_volume", "twice_volume"), VOLUMES, strict=True)
    }
    return PositiveTier(
        tier=tiers[-1],
        tiers=tiers,
        rows=total,
        oracle=positives,
        named=int(rows.named.sum()),
        both=int((rows.belongs & rows.named).sum()),
        recall=shown["recall"][0],
        recall_interval=shown["recall"][1],
        precision=shown["precision"][0],
        precision_interval=shown["precision"][1],
        f1=shown["f1"][0],
        f1_interval=shown["f1"][1],
        average_precision=figures["average_precision"][0],
        average_precision_interval=figures["average_precision"][1],
        by_chance=number(positives / total) if total else None,
        cut=cut,
        **volumes,
    )


def _found_among(first: FloatArray, rows: FloatArray, found: FloatArray) -> FloatArray:
    """Return how many positives are among the first rows, shape (resamples,).

    Args:
        first: number of first rows, shape (resamples,).
        rows: rows up to the end of each group of equal scores, shape (resamples, groups).
        found: positives among these.
    """
    wanted = np.minimum(first, rows[:, -1])
    group = (rows < wanted[:, None]).sum(axis=1)
    at = np.arange(len(rows))
    rows_before, found_before = (np.where(group > 0, values[at, group - 1], 0.0) for values in (rows, found))
    inside = np.nan_to_num(metrics.share(wanted - rows_before, rows[at, group] - rows_before))
    result: FloatArray = found_before + inside * (found[at, group] - found_before)
    return result


def _interval(low: float, high: float) -> Interval | None:
    first, last = number(low), number(high)
    return None if first is None or last is None else Interval(low=first, high=last)
