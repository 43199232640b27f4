"""Side by side: runs and files of predictions, of one filter or of many, and which differences are more than noise.

In: evaluated runs, files of predictions. Out: a table by skill, since scales differ in spread and a small MAE may be
easy to have; and, for those that judged the same rows, paired comparisons. Rows vary and so do trainings: with several
seeds of a recipe both count, with one seed only the rows do, and the comparison says so.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

from potstill import metrics
from potstill.errors import BadInput
from potstill.evaluation.predictions import read_predictions, run_filter
from potstill.evaluation.records import Interval
from potstill.filters import load_filter
from potstill.metrics import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from potstill.evaluation.predictions import Predictions
    from potstill.filters import Filter
    from potstill.records import FloatArray, IntArray

SURE = 0.05
"""A difference with a larger probability of being noise is called noise."""

DRAWS = 10_000


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Entry(_Record):
    """One thing compared; figures are means over its seeds, each a mean over dimensions.

    `constant_mae` is that of each dimension's median of the same labels.
    """

    name: str
    filter: str
    filter_version: int
    seeds: int
    rows: int
    source: str
    mae: float | None
    constant_mae: float | None
    skill: float | None
    skill_interval: Interval | None
    spearman: float | None
    tier_accuracy: float | None
    tier_majority: float | None
    recall: float | None


class Pair(_Record):
    """Two entries on the rows that both judged; `difference` is the first's MAE less the second's.

    `p` is the two-sided probability of a difference at least as large by chance: by the draw of rows, and by that of
    seeds where `seeds_counted`.
    """

    first: str
    second: str
    rows: int
    difference: float
    interval: Interval
    p: float
    noise: bool
    seeds_counted: bool


class Comparing(_Record):
    """The table, best skill first, and every pair that can be compared; `notes` say what cannot, and why."""

    entries: tuple[Entry, ...]
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]


def compare_paths(specs: Sequence[str], *, by: str = "skill") -> Comparing:
    """Compare runs and files.

    Args:
        specs: each a run's folder, or `FILE@FILTER`; several seeds of one recipe are joined by commas, as in
            `a1.json,a2.json@uplifting`.
        by: what to sort by: `skill`, `mae` or `spearman`.

    Raises:
        BadInput: fewer than two, twice the same, a file without a filter, or seeds that judged other rows.
    """
    if by not in {"skill", "mae", "spearman"}:
        raise BadInput(f"sort by {by}: expected skill, mae or spearman")
    if len(specs) < 2 or len(set(specs)) < len(specs):
        raise BadInput("name two or more things to compare, each once")
    read = [(spec, *_read(spec)) for spec in specs]
    entries = [_entry(spec, seeds, filter_) for spec, seeds, filter_ in read]
    pairs, notes = [], []
    if by == "mae" and len({(entry.constant_mae, entry.filter) for entry in entries}) > 1:
        notes.append(
            "Sorted by MAE, across filters or rows whose scores differ in spread: a small error may only mean that a "
            "constant's is small too. Skill compares."
        )
    for (first, ours, _), (second, theirs, _) in combinations(read, 2):
        pair = _pair(first, ours, second, theirs)
        if isinstance(pair, Pair):
            pairs.append(pair)
        else:
            notes.append(f"{first} and {second}: {pair}; their skills stand side by side, their errors don't compare.")
    if any(not pair.seeds_counted for pair in pairs):
        notes.append(
            "Where a side has one seed only, the probability counts the draw of rows and not that of the training."
        )
    key = {"skill": lambda e: -(e.skill or 0), "mae": lambda e: e.mae or 0, "spearman": lambda e: -(e.spearman or 0)}
    return Comparing(entries=tuple(sorted(entries, key=key[by])), pairs=tuple(pairs), notes=tuple(notes))


def compare_seeds(
    errors: FloatArray, others: FloatArray, clusters: IntArray, *, n: int = DRAWS, seed: int = 0, level: float = 0.95
) -> metrics.Comparison:
    """Whether one recipe's errors are smaller than another's, over both rows and seeds.

    The draw of rows is a paired cluster bootstrap of the seeds' mean errors. To each draw the uncertainty of the mean
    over seeds is added, on either side: Student's t with one degree of freedom less than seeds, times the seeds'
    standard deviation over the root of their number (as in Welch 1938). A side with one seed adds nothing.

    Args:
        errors: absolute errors of the first, shape (seeds, rows).
        others: of the second, shape (seeds, rows) with the same rows; the numbers of seeds may differ.
        clusters: cluster of each row, shape (rows,).
        n: number of draws; `p` is never below 2 / (n + 1).
        seed: of the draws.
        level: coverage of the interval.
    """
    gap = errors.mean(axis=0) - others.mean(axis=0)
    draws = metrics.resampled_ratios(gap[:, None], np.ones((len(gap), 1)), clusters, n=n, seed=seed)[:, 0]
    rng = np.random.default_rng([seed, 1])
    for side in (errors, others):
        count = len(side)
        if count > 1:
            spread = float(side.mean(axis=1).std(ddof=1)) / np.sqrt(count)
            draws = draws + rng.standard_t(count - 1, size=n) * spread
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return metrics.Comparison(float(gap.mean()), float(low), float(high), min(1.0, 2.0 * (tail + 1) / (n + 1)))


def _read(spec: str) -> tuple[list[Predictions], Filter]:
    names, at, filter_name = spec.rpartition("@")
    paths = (names if at else spec).split(",")
    filter_ = load_filter(filter_name) if at else run_filter(paths[0])
    if not at and any(run_filter(path).content_hash != filter_.content_hash for path in paths[1:]):
        raise BadInput(f"{spec}: its runs have different filters; seeds of one recipe share theirs")
    seeds = [read_predictions(Path(path), filter_) for path in paths]
    if any(one.ids != seeds[0].ids or not _same(one.labels, seeds[0].labels) for one in seeds[1:]):
        raise BadInput(f"{spec}: its files have other rows or labels; seeds of one recipe judge the same")
    return seeds, filter_


def _entry(name: str, seeds: list[Predictions], filter_: Filter) -> Entry:
    judged = [one.judged(filter_) for one in seeds]
    first = judged[0]
    positives = [one.tiers.positives for one in judged]

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return number(float(np.mean(known))) if known else None

    return Entry(
        name=name,
        filter=filter_.name,
        filter_version=filter_.version,
        seeds=len(seeds),
        rows=first.rows,
        source=first.source,
        mae=mean([one.mean.mae for one in judged]),
        constant_mae=first.mean.constant_mae,
        skill=mean([one.mean.skill for one in judged]),
        skill_interval=first.mean.skill_interval if len(judged) == 1 else None,
        spearman=mean([one.mean.spearman for one in judged]),
        tier_accuracy=mean([one.tiers.accuracy for one in judged]),
        tier_majority=first.tiers.majority,
        recall=mean([None if one is None else one.recall for one in positives]),
    )


def _pair(first: str, ours: list[Predictions], second: str, theirs: list[Predictions]) -> Pair | str:
    """The comparison, or why there is none."""
    place = {id_: i for i, id_ in enumerate(theirs[0].ids)}
    here = [i for i, id_ in enumerate(ours[0].ids) if id_ in place]
    if not here:
        return "they have no article in common"
    there = [place[ours[0].ids[i]] for i in here]
    labels = ours[0].labels[here]
    if labels.shape != theirs[0].labels[there].shape or not _same(labels, theirs[0].labels[there]):
        return "the articles they share have other labels"
    known = np.isfinite(labels).any(axis=1)
    a, b = (
        np.array([_row_errors(one.scores[rows], labels)[known] for one in side])
        for side, rows in ((ours, here), (theirs, there))
    )
    found = compare_seeds(a, b, ours[0].clusters[here][known])
    return Pair(
        first=first,
        second=second,
        rows=int(known.sum()),
        difference=round(found.difference, 6),
        interval=Interval(low=round(found.low, 6), high=round(found.high, 6)),
        p=round(found.p, 6),
        noise=found.p >= SURE,
        seeds_counted=min(len(ours), len(theirs)) > 1,
    )


def _row_errors(scores: FloatArray, labels: FloatArray) -> FloatArray:
    known = np.isfinite(labels)
    total = np.where(known, np.abs(scores - np.where(known, labels, 0.0)), 0.0).sum(axis=1)
    mean: FloatArray = total / np.maximum(1, known.sum(axis=1))
    return mean


def _same(a: FloatArray, b: FloatArray) -> bool:
    return bool(np.array_equal(a, b, equal_nan=True))
