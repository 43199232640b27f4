"""Comparison of runs, bundles, predictions and published figures, and which differences are more than noise.

In: evaluated runs, bundles without their run, files of predictions or of figures. Out: a table sorted by skill, because
labels differ in spread and a small MAE may be easy to reach; and paired comparisons of entries that were evaluated on
the same rows. Both the sampled rows and the training runs vary: with several seeds per recipe, both are counted; with
one seed, only the rows are, and the comparison says so.
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
from potstill.calibration import Calibration
from potstill.errors import BadInput, RunError
from potstill.evaluation.judging import DEFAULT_BOOTSTRAP, student_verdicts, verdicts
from potstill.evaluation.positive_tiers import differences, ranking_scores, tier_rows
from potstill.evaluation.predictions import SOURCES
from potstill.files import read_json, sha256
from potstill.filters import load_filter
from potstill.findings import SIGNIFICANCE
from potstill.metrics import number
from potstill.pipeline.predictions import read_predictions, run_filter
from potstill.records import Interval, Part, Record
from potstill.types import UNSCORED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from potstill.calibration import Decisions
    from potstill.evaluation.predictions import Predictions
    from potstill.evaluation.records import PositiveTier
    from potstill.filters import Filter
    from potstill.pipeline.run import Run
    from potstill.types import FloatArray, IntArray

DRAWS = 10_000

BEFORE_REFIT = "validation, before the refit"
"""Source of the figures of a bundle whose student was refitted on all labelled rows: nothing is left to judge it on."""


class EntryTier(Part):
    """What an entry finds of one positive tier or a better one.

    Of `oracle` articles, `both` are among the `named` ones. `at_volume` means that these are the first articles in the
    entry's ranking, as many as the oracle puts in the tier, because no cut on a probability decides. `precision` is not
    in older records.
    """

    tier: str
    oracle: int
    named: float
    both: float
    at_volume: bool
    recall: float | None
    precision: float | None = None
    average_precision: float | None


class Entry(Part):
    """One entry of a comparison; figures are means over its seeds, each a mean over dimensions.

    `constant_mae` is the error of each dimension's median of the same labels; for a bundle without its run, it is the
    error of the run's constant student. `source` names the rows: a bundle without its run has figures of the validation
    part, on which it was selected (of a refitted bundle, those of the student before).
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
    positive_tiers: tuple[EntryTier, ...] = ()


class PairTier(Part):
    """Differences of recall and average precision for one positive tier or a better one, first minus second.

    `at_volume` is as in `EntryTier`; it holds unless cuts decide for both entries. The intervals count the sampling of
    rows, not that of seeds.
    """

    tier: str
    oracle: int
    at_volume: bool
    recall: float
    recall_interval: Interval
    average_precision: float
    average_precision_interval: Interval


class Pair(Part):
    """Two entries on the rows that both were evaluated on; `difference` is the first MAE minus the second.

    `p` is the two-sided p-value of the difference, given the sampling of rows and, if `seeds_counted`, of seeds.
    """

    first: str
    second: str
    rows: int
    difference: float
    interval: Interval
    p: float
    noise: bool
    seeds_counted: bool
    positive_tiers: tuple[PairTier, ...] = ()


class Published(Part):
    """A file of published figures without predictions."""

    filter: str
    filter_version: int
    mae: float = Field(ge=0, allow_inf_nan=False)
    constant_mae: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    spearman: float | None = Field(default=None, ge=-1, le=1)
    rows: int | None = Field(default=None, ge=1)


class Comparing(Record):
    """The table, best skill first, and every pair that can be compared; `notes` say what cannot be compared, and why.

    If the comparison is kept in a run, `evaluation_sha256` is the hash of the run's evaluation at that time.
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
        specs: each a run folder, a bundle folder, `FILE@FILTER` (predictions) or a JSON file of `Published` figures;
            several seeds of one recipe are joined by commas, as in `a1.json,a2.json@uplifting`.
        by: what to sort by: `skill`, `mae` or `spearman`.

    Raises:
        BadInput: fewer than two specs, a duplicate, a file without a filter, or seeds evaluated on different rows.
        BundleError: a bundle's files have changed since they were written.
    """
    if by not in {"skill", "mae", "spearman"}:
        raise BadInput(f"sort by {by}: expected skill, mae or spearman")
    if len(specs) < 2 or len(set(specs)) < len(specs):
        raise BadInput("expected at least two things to compare, all different")
    read = [_side(spec) for spec in specs]
    entries = [side.entry for side in read]
    pairs, notes = [], [
        f"{entry.name}: the error of a constant on its rows is not known, so its skill is not known either."
        for entry in entries
        if entry.skill is None
    ]  # fmt: skip
    if by == "mae" and len({(entry.constant_mae, entry.filter) for entry in entries}) > 1:
        notes.append(
            "Sorted by MAE across filters or rows whose labels differ in spread: a small MAE may only mean that the "
            "constant's MAE is small too. Compare skill instead."
        )
    bare = [side.entry.name for side in read if not side.seeds]
    if bare:
        notes.append(
            f"{', '.join(bare)}: figures without predictions, so articles cannot be paired. Compare the skills, not "
            "the errors."
        )
    for ours, theirs in combinations([side for side in read if side.seeds], 2):
        first, second = ours.entry.name, theirs.entry.name
        sources = {ours.entry.source, theirs.entry.source}
        pair: Pair | str
        if len(sources) > 1 and sources <= set(SOURCES):
            # Errors on rows that were used for calibration differ from errors on other rows, for any student.
            pair = (
                f"one is evaluated on {' rows, the other on '.join(sorted(sources))} rows; evaluate both on the same "
                "kind of rows"
            )
        else:
            pair = _pair(ours, theirs)
        if isinstance(pair, Pair):
            pairs.append(pair)
        else:
            notes.append(f"{first} and {second}: {pair}. Compare the skills, not the errors.")
    if any(not pair.seeds_counted for pair in pairs):
        notes.append(
            "If one side has only one seed, the p-value counts the sampling of rows but not the variation between "
            "training runs."
        )
    return Comparing(
        sorted_by=by,
        entries=tuple(sorted(entries, key=lambda entry: _rank(entry, by))),
        pairs=tuple(pairs),
        notes=tuple(notes),
    )


def keep_comparison(found: Comparing, run: Run) -> Comparing:
    """Write a comparison into a run, so that the run's report shows it.

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
    """Test whether one recipe's errors are smaller than another's, over both rows and seeds.

    Rows are sampled by a paired cluster bootstrap of the seeds' mean errors. For each side, the uncertainty of the mean
    over its k seeds is added to every sample: Student's t with k - 1 degrees of freedom, times the seeds' standard
    deviation divided by the square root of k (as in Welch 1938). A side with one seed adds nothing.

    Args:
        errors: absolute errors of the first, shape (seeds, rows).
        others: of the second, shape (seeds, rows) with the same rows; the numbers of seeds may differ.
        clusters: cluster of each row, shape (rows,).
        n: number of samples; `p` is never below 2 / (n + 1).
        seed: random seed of the samples.
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
    """One side of a comparison; without `seeds`, only its figures are known."""

    entry: Entry
    seeds: list[Predictions]
    filter_: Filter | None = None


def _rank(entry: Entry, by: str) -> tuple[bool, float]:
    """The sort key: the best first, unknown values last."""
    value = getattr(entry, by)
    return value is None, 0.0 if value is None else value if by == "mae" else -value


def _side(spec: str) -> _Side:
    path = Path(spec)
    if (path / BUNDLE_LAYOUT["manifest"]).is_file():
        return _Side(_of_bundle(path), [])
    if path.suffix.lower() == ".json" and path.is_file():
        return _Side(_published(path), [])
    seeds, filter_ = _read(spec)
    return _Side(_entry(spec, seeds, filter_), seeds, filter_)


def _of_bundle(folder: Path) -> Entry:
    """The entry of a bundle: its student's validation error, and that of the constant."""
    manifest, _ = read_manifest(folder)
    check_files(folder, manifest)
    facts = BundleFacts.from_file(folder / BUNDLE_LAYOUT["facts"])
    choice, source = facts.choice, "validation" if facts.refit is None else BEFORE_REFIT
    errors = {} if choice is None else choice.validation_mae
    mae = errors.get(manifest.recipe)
    if mae is None:
        raise BadInput(f"{folder}: its facts have no validation error; compare the run that it came from instead")
    constant = errors.get("constant", None if choice is None else choice.constant_mae)
    entry = _figures(str(folder), source, manifest.filter, manifest.filter_version, mae, constant)
    decisions = Calibration.from_file(folder / BUNDLE_LAYOUT["calibration"]).decisions
    return entry.model_copy(update={"positive_tiers": () if decisions is None else _recorded_tiers(decisions)})


def _recorded_tiers(decisions: Decisions) -> tuple[EntryTier, ...]:
    """What a bundle's cuts found on the articles that chose them."""
    return tuple(
        EntryTier(
            tier=cut.tier,
            oracle=cut.positives,
            named=cut.named,
            both=cut.found,
            at_volume=False,
            recall=None if cut.recall is None else number(cut.recall),
            precision=None if cut.precision is None else number(cut.precision),
            average_precision=None if curve.average_precision is None else number(curve.average_precision),
        )
        for cut, curve in zip(decisions.cuts, decisions.curves, strict=True)
        if cut.probability is not None
    )


def _published(path: Path) -> Entry:
    content = read_json(path)
    if not isinstance(content, dict) or "mae" not in content:
        raise BadInput(f"{path}: not a file of figures (no mae); for predictions, add the filter: {path}@FILTER")
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
        raise BadInput(f"{spec}: its runs have different filters; seeds of one recipe must have the same filter")
    seeds = [read_predictions(Path(path), filter_) for path in paths]
    if any(one.ids != seeds[0].ids or not _same(one.labels, seeds[0].labels) for one in seeds[1:]):
        raise BadInput(f"{spec}: its files have different rows or labels; seeds of one recipe must have the same")
    return seeds, filter_


def _entry(name: str, seeds: list[Predictions], filter_: Filter) -> Entry:
    judged = [one.judged(filter_) for one in seeds]
    first = judged[0]
    positives = [one.tiers.positives for one in judged]

    return Entry(
        name=name,
        filter=filter_.name,
        filter_version=filter_.version,
        seeds=len(seeds),
        rows=first.rows,
        source=first.source,
        mae=_mean([one.mean.mae for one in judged]),
        constant_mae=first.mean.constant_mae,
        skill=_mean([one.mean.skill for one in judged]),
        skill_interval=first.mean.skill_interval if len(judged) == 1 else None,
        spearman=_mean([one.mean.spearman for one in judged]),
        tier_accuracy=_mean([one.tiers.accuracy for one in judged]),
        tier_majority=first.tiers.majority,
        recall=_mean([None if one is None else one.recall for one in positives]),
        positive_tiers=tuple(
            _entry_tier([one.positive_tiers[place] for one in judged]) for place in range(len(first.positive_tiers))
        ),
    )


def _entry_tier(seeds: Sequence[PositiveTier]) -> EntryTier:
    """The means over the seeds of what one positive tier's judgements found."""
    at_volume = any(not one.by_probability for one in seeds)
    recalls = [one.equal_volume.recall if at_volume else one.recall for one in seeds]
    # As many are named as the oracle puts in the tier, so the precision is the recall.
    precisions = recalls if at_volume else [one.precision for one in seeds]
    return EntryTier(
        tier=seeds[0].tier,
        oracle=seeds[0].oracle,
        named=float(np.mean([one.equal_volume.named if at_volume else one.named for one in seeds])),
        both=float(np.mean([one.equal_volume.found if at_volume else one.both for one in seeds])),
        at_volume=at_volume,
        recall=_mean(recalls),
        precision=_mean(precisions),
        average_precision=_mean([one.average_precision for one in seeds]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return number(float(np.mean(known))) if known else None


def _pair(first: _Side, second: _Side) -> Pair | str:
    """The comparison, or the reason why there is none."""
    ours, theirs = first.seeds, second.seeds
    place = {id_: i for i, id_ in enumerate(theirs[0].ids)}
    here = [i for i, id_ in enumerate(ours[0].ids) if id_ in place]
    if not here:
        return "they have no article in common"
    there = [place[ours[0].ids[i]] for i in here]
    labels = ours[0].labels[here]
    if labels.shape != theirs[0].labels[there].shape or not _same(labels, theirs[0].labels[there]):
        return "the articles they have in common have different labels"
    known = np.isfinite(labels).any(axis=1)
    a, b = (
        np.array([_row_errors(one.scores[rows], labels)[known] for one in side])
        for side, rows in ((ours, here), (theirs, there))
    )
    found = compare_seeds(a, b, ours[0].clusters[here][known])
    return Pair(
        first=first.entry.name,
        second=second.entry.name,
        rows=int(known.sum()),
        difference=round(found.difference, 6),
        interval=Interval(low=round(found.low, 6), high=round(found.high, 6)),
        p=round(found.p, 6),
        noise=found.p >= SIGNIFICANCE,
        seeds_counted=min(len(ours), len(theirs)) > 1,
        positive_tiers=_pair_tiers(first, second, here, there),
    )


def _pair_tiers(first: _Side, second: _Side, here: Sequence[int], there: Sequence[int]) -> tuple[PairTier, ...]:
    """The differences for each positive tier; none if the filters differ or a side's rows have no positive."""
    filter_ = first.filter_
    if filter_ is None or second.filter_ is None or filter_.content_hash != second.filter_.content_hash:
        return ()
    both = [(side.seeds, rows) for side, rows in ((first, here), (second, there))]
    predicted = [[one.predicted(filter_) for one in seeds] for seeds, _ in both]
    each = [
        [student_verdicts(one, filter_)[rows] for one in seeds]
        for seeds, (_, rows) in zip(predicted, both, strict=True)
    ]
    oracle = verdicts(predicted[0][0].labels, filter_, predicted[0][0].cap_hits)["tier"][here]
    tiers = [oracle, *(one["tier"] for side in each for one in side)]
    known = np.logical_and.reduce([(one != UNSCORED).to_numpy() for one in tiers])
    if not known.any():
        return ()
    at_volume = any(one.decided is None for side in predicted for one in side)
    sides = [
        [
            tier_rows(
                oracle.filter(known),
                table["tier"].filter(known),
                ranking_scores(table, None if one.decided is None else one.decided[rows], filter_)[known],
                filter_,
            )
            for one, table in zip(seeds, tables, strict=True)
        ]
        for seeds, tables, (_, rows) in zip(predicted, each, both, strict=True)
    ]
    clusters = predicted[0][0].clusters[here][known]
    found = []
    for place, tier in enumerate(filter_.positive_tiers):
        ours, theirs = ([one[place] for one in side] for side in sides)
        if not ours[0].belongs.any():
            continue
        recall, precision = differences(ours, theirs, clusters, at_volume=at_volume, bootstrap=DEFAULT_BOOTSTRAP)
        found.append(
            PairTier(
                tier=tier,
                oracle=int(ours[0].belongs.sum()),
                at_volume=at_volume,
                recall=round(recall.value, 6),
                recall_interval=Interval(low=round(recall.low, 6), high=round(recall.high, 6)),
                average_precision=round(precision.value, 6),
                average_precision_interval=Interval(low=round(precision.low, 6), high=round(precision.high, 6)),
            )
        )
    return tuple(found)


def _row_errors(scores: FloatArray, labels: FloatArray) -> FloatArray:
    known = np.isfinite(labels)
    total = np.where(known, np.abs(scores - np.where(known, labels, 0.0)), 0.0).sum(axis=1)
    mean: FloatArray = total / np.maximum(1, known.sum(axis=1))
    return mean


def _same(a: FloatArray, b: FloatArray) -> bool:
    return bool(np.array_equal(a, b, equal_nan=True))
