"""Side by side: runs, bundles, predictions and published figures, and which differences are more than noise.

In: evaluated runs, bare bundles, files of predictions or of figures. Out: a table by skill, since scales differ in
spread and a small MAE may be easy to have; and, for those that judged the same rows, paired comparisons. Rows vary and
so do trainings: with several seeds of a recipe both count, with one seed only the rows do, and the comparison says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from potstill import metrics
from potstill.bundle import BUNDLE_LAYOUT
from potstill.bundle.facts import BundleFacts
from potstill.bundle.layout import check_files, read_manifest
from potstill.errors import BadInput, RunError
from potstill.evaluation.predictions import SOURCES, read_predictions, run_filter
from potstill.files import read_json, sha256
from potstill.filters import load_filter
from potstill.metrics import number
from potstill.records import Interval, Part, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from potstill.evaluation.predictions import Predictions
    from potstill.filters import Filter
    from potstill.runs import Run
    from potstill.types import FloatArray, IntArray

SURE = 0.05
"""A difference with a larger probability of being noise is called noise."""

DRAWS = 10_000


class Entry(Part):
    """One thing compared; figures are means over its seeds, each a mean over dimensions.

    `constant_mae` is that of each dimension's median of the same labels, for a bare bundle that of the run's constant
    student. `source` says which rows: a bare bundle has the figures of the validation part, which chose it.
    """

    name: str
    filter: str
    filter_version: int
    seeds: int = 1
    rows: int | None = None
    source: str
    mae: float | None
    constant_mae: float | None = None
    skill: float | None = None
    skill_interval: Interval | None = None
    spearman: float | None = None
    tier_accuracy: float | None = None
    tier_majority: float | None = None
    recall: float | None = None


class Pair(Part):
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


class Published(Part):
    """A file of figures that somebody printed, where there are no predictions."""

    filter: str
    filter_version: int
    mae: float = Field(ge=0, allow_inf_nan=False)
    constant_mae: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    spearman: float | None = Field(default=None, ge=-1, le=1)
    rows: int | None = Field(default=None, ge=1)


class Comparing(Record):
    """The table, best skill first, and every pair that can be compared; `notes` say what cannot, and why.

    Kept in a run, `evaluation_sha256` is that of the run's evaluation then.
    """

    fault = RunError
    made_by = "potstill compare"

    schema_version: int = 1
    evaluation_sha256: str | None = None
    sorted_by: str = "skill"
    entries: tuple[Entry, ...]
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]


def compare_paths(specs: Sequence[str], *, by: str = "skill") -> Comparing:
    """Compare runs and files.

    Args:
        specs: each a run's folder, a bundle's, `FILE@FILTER` (predictions) or a JSON file of `Published` figures;
            several seeds of one recipe are joined by commas, as in `a1.json,a2.json@uplifting`.
        by: what to sort by: `skill`, `mae` or `spearman`.

    Raises:
        BadInput: fewer than two, twice the same, a file without a filter, or seeds that judged other rows.
        BundleError: a bundle's files are not as they were written.
    """
    if by not in {"skill", "mae", "spearman"}:
        raise BadInput(f"sort by {by}: expected skill, mae or spearman")
    if len(specs) < 2 or len(set(specs)) < len(specs):
        raise BadInput("name two or more things to compare, each once")
    read = [_side(spec) for spec in specs]
    entries = [side.entry for side in read]
    pairs, notes = [], [
        f"{entry.name}: the error of a constant on its rows is not known, and so neither is its skill."
        for entry in entries
        if entry.skill is None
    ]  # fmt: skip
    if by == "mae" and len({(entry.constant_mae, entry.filter) for entry in entries}) > 1:
        notes.append(
            "Sorted by MAE, across filters or rows whose scores differ in spread: a small error may only mean that a "
            "constant's is small too. Skill compares."
        )
    bare = [side.entry.name for side in read if not side.seeds]
    if bare:
        notes.append(
            f"{', '.join(bare)}: figures without predictions, so that no article can be paired; skills stand side by "
            "side, errors don't compare."
        )
    for ours, theirs in combinations([side for side in read if side.seeds], 2):
        first, second = ours.entry.name, theirs.entry.name
        sources = {ours.entry.source, theirs.entry.source}
        pair: Pair | str
        if len(sources) > 1 and sources <= set(SOURCES):
            # Rows that a student was calibrated on, or not, err differently whatever the student.
            pair = f"one is judged on {' rows, the other on '.join(sorted(sources))} rows; evaluate both alike"
        else:
            pair = _pair(first, ours.seeds, second, theirs.seeds)
        if isinstance(pair, Pair):
            pairs.append(pair)
        else:
            notes.append(f"{first} and {second}: {pair}; their skills stand side by side, their errors don't compare.")
    if any(not pair.seeds_counted for pair in pairs):
        notes.append(
            "Where a side has one seed only, the probability counts the draw of rows and not that of the training."
        )
    return Comparing(
        sorted_by=by,
        entries=tuple(sorted(entries, key=lambda entry: _rank(entry, by))),
        pairs=tuple(pairs),
        notes=tuple(notes),
    )


def keep(found: Comparing, run: Run) -> Comparing:
    """Write a comparison into a run, whose report then shows it.

    Raises:
        RunError: the run is not evaluated, or another process writes to it.
    """
    evaluation = run.need("evaluation", "evaluate")
    with run.locked():
        kept = found.model_copy(update={"evaluation_sha256": sha256(evaluation)})
        kept.save(run.path("comparison"))
    return kept


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


@dataclass(frozen=True, slots=True)
class _Side:
    """One thing compared; without `seeds` only its figures are known."""

    entry: Entry
    seeds: list[Predictions]


def _rank(entry: Entry, by: str) -> tuple[bool, float]:
    """The best first, what is not known last."""
    value = getattr(entry, by)
    return value is None, 0.0 if value is None else value if by == "mae" else -value


def _side(spec: str) -> _Side:
    path = Path(spec)
    if (path / BUNDLE_LAYOUT["manifest"]).is_file():
        return _Side(_of_bundle(path), [])
    if path.suffix.lower() == ".json" and path.is_file():
        return _Side(_published(path), [])
    seeds, filter_ = _read(spec)
    return _Side(_entry(spec, seeds, filter_), seeds)


def _of_bundle(folder: Path) -> Entry:
    """What a bundle says of itself: its student's validation error, and that of the constant beside it."""
    manifest, _ = read_manifest(folder)
    check_files(folder, manifest)
    choice = BundleFacts.from_file(folder / BUNDLE_LAYOUT["facts"]).choice
    errors = {} if choice is None else choice.validation_mae
    mae = errors.get(manifest.recipe)
    if mae is None:
        raise BadInput(f"{folder}: its facts hold no validation error; compare the run that it came from")
    constant = errors.get("constant", None if choice is None else choice.constant_mae)
    return _figures(str(folder), "validation", manifest.filter, manifest.filter_version, mae, constant)


def _published(path: Path) -> Entry:
    content = read_json(path)
    if not isinstance(content, dict) or "mae" not in content:
        raise BadInput(f"{path}: is not a file of figures (no mae); for predictions, name the filter: {path}@FILTER")
    found = Published.validated(content, str(path))
    entry = _figures(str(path), "published", found.filter, found.filter_version, found.mae, found.constant_mae)
    return entry.model_copy(update={"spearman": found.spearman, "rows": found.rows})


def _figures(name: str, source: str, filter_: str, version: int, mae: float, constant: float | None) -> Entry:
    return Entry(
        name=name,
        filter=filter_,
        filter_version=version,
        source=source,
        mae=mae,
        constant_mae=constant,
        skill=number(1 - mae / constant) if constant else None,
    )


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
