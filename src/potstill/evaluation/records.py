"""What an evaluation writes down: strict records, from which every figure of a report comes.

In: nothing but numbers that `judging` and its neighbours worked out. Out: `evaluation.json`. A figure that
cannot be had (no label, no variance, too few positives) is null here and "not recorded" in a report; it is
never 0 and never left over from an earlier run.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - pydantic reads it
from typing import Literal, TypeAlias

from pydantic import Field

from potstill.bundle.facts import Choice  # noqa: TC001 - pydantic reads it
from potstill.errors import RunError
from potstill.load import Load  # noqa: TC001 - pydantic reads it
from potstill.records import Interval, Part, Record

SCHEMA_VERSION = 1

Source: TypeAlias = Literal["out-of-fold", "validation", "test", "file", "fresh"]
"""Where predictions come from: refitted without the row's fold over all rows, the fitted student on a part, a file
that somebody made, or a bundle on new articles."""


class Figures(Part):
    """How near predictions are to labels, for one dimension, for their mean, or for the weighted overall.

    Errors are on the filter's scale. `bias` is prediction minus label. `skill` is 1 - mae / constant_mae, on
    the same rows; the constant is each dimension's median among the rows that the student learned from.
    """

    rows: int
    mae: float | None
    mae_interval: Interval | None
    rmse: float | None
    bias: float | None
    r2: float | None
    spearman: float | None
    kendall: float | None
    constant_mae: float | None
    skill: float | None
    skill_interval: Interval | None


class Band(Part):
    """The rows whose label lies in [low, high), the last band with its upper end, and their mean error."""

    low: float
    high: float
    rows: int
    bias: float | None


class Positives(Part):
    """Tiers that a reader waits for: how many the oracle sees, how many of those the student finds.

    Recall and precision are null where the oracle sees fewer than `Tiers.fewest_positives`.
    """

    tiers: tuple[str, ...]
    oracle: int
    student: int
    both: int
    recall: float | None = None
    recall_interval: Interval | None = None
    precision: float | None = None
    precision_interval: Interval | None = None


class Tiers(Part):
    """Agreement of tiers, both by the filter's own verdict, on rows where oracle and student give one.

    `confusion[i][j]` counts rows of the oracle's tier i and the student's tier j, in the order of `names`.
    """

    rows: int
    names: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    accuracy: float | None
    accuracy_interval: Interval | None
    majority: float | None
    majority_tier: str | None
    kappa: float | None
    fewest_positives: int
    positives: Positives | None
    by_tier: tuple[Positives, ...]


class Rounding(Part):
    """What clipping to the scale and rounding to the labels' `step` would do to the mean MAE over dimensions.

    It tells how much of an error comes from labels that can only take a few values.
    """

    step: float
    mae: float | None
    mae_rounded: float | None


class AtK(Part):
    """Recall of the positive tiers and NDCG (gain: the oracle's overall) among the first `k` rows."""

    k: int
    recall: float | None
    ndcg: float | None


class Threshold(Part):
    """Where to cut the student's overall. `recall_low` is what the recall is at least, at 95% confidence.

    The cut was chosen on these very rows: on others recall is near `recall_low` rather than `recall`.
    """

    overall_at_least: float
    rows: int
    positives: int
    found: int | None = None
    """Positives among the rows that are named; None where nobody recorded it."""
    recall: float | None
    recall_low: float | None
    precision: float | None


class Cuts(Part):
    """Where to cut the student's overall for a wanted recall of the positive tiers, on `rows` rows of `source`."""

    source: Source
    rows: int
    by_recall: dict[str, Threshold]


class Ranking(Part):
    """How well the student's overall orders rows for a reader; ties count as all their orders.

    `average_precision` stands beside `by_chance`, what any order has on average: the share of positives.
    """

    tiers: tuple[str, ...]
    rows: int
    positives: int
    average_precision: float | None
    by_chance: float | None
    at: tuple[AtK, ...]


class Slice(Part):
    """The rows that share a value of some fact, and whether the student is worse on them than on the others.

    `difference` is the slice's MAE less that of all other rows. `p` is two-sided, from errors summed by cluster;
    `p_adjusted` allows for all slices that were looked at (Benjamini & Hochberg 1995).
    """

    by: str
    value: str
    rows: int
    clusters: int
    mae: float | None
    constant_mae: float | None
    skill: float | None
    bias: float | None
    difference: float | None
    difference_interval: Interval | None
    p: float | None
    p_adjusted: float | None


class Judgement(Part):
    """One set of predictions against the labels of the same rows."""

    source: Source
    rows: int
    clusters: int
    folds: int | None = None
    mean: Figures
    overall: Figures
    dimensions: dict[str, Figures]
    bands: dict[str, tuple[Band, ...]]
    tiers: Tiers
    ranking: Ranking | None = None
    rounding: Rounding | None = None


class Said(Part):
    """Rows whose probability lies in [low, high): the mean of what was `said`, and the share for which it `came`."""

    low: float
    high: float
    rows: int
    said: float | None
    came: float | None


class AskedAbove(Part):
    """Asking the oracle about unsure tiers, for a wanted `error` rate among those kept.

    `probability` is the threshold that the calibration's own rows support, None where they support none; then
    nothing can be kept. Of `rows`, `kept` are as sure or surer, and `wrong` of them differ from the oracle's tier.
    """

    error: float
    rows: int
    probability: float | None = None
    kept: int | None = None
    wrong: int | None = None
    kept_share: float | None = None
    observed: float | None = None
    observed_interval: Interval | None = None


class Odds(Part):
    """Tiers' probabilities against what came, on one row per cluster.

    `brier` is beside what the tiers' shares among the rows that the student learned from would have, said of every
    row alike; `brier_skill` is 1 - brier / brier_of_shares. `own` is about the tier that the verdict gives,
    `positive` about the filter's positive tiers together. `sure` is how sure an asked error rate is to be kept.
    """

    rows: int
    brier: float | None
    brier_of_shares: float | None
    brier_skill: float | None
    own: tuple[Said, ...]
    positive: tuple[Said, ...]
    sure: float
    asked: tuple[AskedAbove, ...]


class Latency(Part):
    """What one article costs on the machine that evaluated: measured, one article at a time and in bulk."""

    milliseconds_p50: float
    articles_per_second: float
    articles: int
    threads: int
    machine: str
    load: Load | None = None
    """How busy the machine was meanwhile; None where nobody recorded it."""

    @property
    def under_load(self) -> bool:
        """Whether the machine was too busy for these figures to be facts about the student."""
        return self.load is not None and self.load.heavy


class Finding(Part):
    """A verdict in plain words, with the rule that gave it and the figures that it rests on."""

    rule: str
    tone: Literal["good", "caution", "bad", "neutral"]
    text: str
    evidence: Mapping[str, float | int | str | None] = Field(default_factory=dict)


class Plateau(Part):
    """The slope of the last validation errors per epoch, and its 95% interval: a plateau's holds 0."""

    epochs: int
    slope: float
    interval: Interval


class Training(Part):
    """What a rung's own history says: the gap is validation MAE less train MAE at the epoch that was kept."""

    epochs: int
    best_epoch: int | None
    gap: float | None
    plateau: Plateau | None
    flags: tuple[Finding, ...] = ()


class HistoryEvaluation(Record):
    """What `potstill evaluate --history` prints; `unread` names facts in the files that no rule reads."""

    fault = RunError

    schema_version: int = 1
    file: str
    sha256: str | None
    training: Training
    unread: tuple[str, ...] = ()


class Rung(Part):
    """One student of the ladder; its figure is that of `judgements[headline]`."""

    name: str
    student: str
    headline: Source | None
    judgements: dict[Source, Judgement]
    latency: Latency | None = None
    latency_missing: str | None = None
    training: Training | None = None


class Shipped(Part):
    """The bundle itself, calibrated and clipped as a user gets it, on the test part."""

    rung: str
    bundle_sha256: str | None = None
    judgement: Judgement
    interval_level: float | None = None
    coverage: dict[str, float | None] = Field(default_factory=dict)
    odds: Odds | None = None
    latency: Latency | None = None
    slices: tuple[Slice, ...] = ()


class Floor(Part):
    """The error of a perfect student against these labels, from the oracle's disagreement with itself.

    `difference` is the mean absolute difference d of two answers for the same article, and `floor` the mean
    over articles of d / sqrt(2 K) for labels that are means of K answers. Repeats of one prompt don't reveal
    a bias that they share.
    """

    articles: int
    samples: float
    difference: dict[str, float]
    floor: dict[str, float]
    mean_difference: float
    mean_floor: float


class LabelSummary(Part):
    """One dimension's labels at a glance; `at_minimum` is the share that sits on the scale's lowest value."""

    labels: int
    missing: int
    mean: float
    median: float
    deviation: float
    at_minimum: float
    commonest_share: float
    repeat_deviation: float | None


class Data(Part):
    """The rows that the run works with."""

    rows: int
    parts: dict[str, int]
    clusters: int
    samples_per_article: float | None


class Bootstrap(Part):
    """How intervals were drawn: clusters with replacement, percentiles of the statistic."""

    resamples: int
    level: float
    seed: int


class Evaluation(Record):
    """`evaluation.json`."""

    fault = RunError
    made_by = "potstill evaluate RUN"

    schema_version: int = 1
    filter: str
    filter_version: int
    filter_hash: str
    dimensions: tuple[str, ...]
    weights: dict[str, float]
    scale: tuple[float, float]
    data: Data
    labels: dict[str, LabelSummary]
    floor: Floor | None
    ladder: tuple[Rung, ...]
    choice: Choice | None
    shipped: Shipped | None
    cuts: Cuts | None = None
    findings: tuple[Finding, ...]
    bootstrap: Bootstrap

    def rung(self, name: str) -> Rung:
        """A rung by its name.

        Raises:
            RunError: the ladder has no such rung.
        """
        for rung in self.ladder:
            if rung.name == name:
                return rung
        raise RunError(f"{name}: no such rung; the ladder has: {', '.join(r.name for r in self.ladder)}")


class FileEvaluation(Record):
    """What `potstill evaluate --predictions` prints: a file of predictions and labels, judged.

    The constant is each dimension's median of the file's own labels, the best constant there could be.
    """

    fault = RunError

    schema_version: int = 1
    file: str
    sha256: str | None
    filter: str
    filter_version: int
    filter_hash: str
    dimensions: tuple[str, ...]
    caps_applied: bool
    judgement: Judgement
    slices: tuple[Slice, ...] = ()
    findings: tuple[Finding, ...]
    bootstrap: Bootstrap


class Asked(Part):
    """What was asked of an oracle about new articles, and what came of it.

    Of `articles`, `left_out` (by reason) were not drawn from; `drawn` were asked about, and `labelled` have a label.
    `samples` is how many answers were asked for about each. `failed` counts, by reason, those without. `calls`, `cost`
    (None without a price) and `bought` are this time's, `already` what the ledger had; `stopped` says why the asking
    ended early.
    """

    oracle: str
    ledger: str
    articles: int
    left_out: dict[str, int]
    drawn: int
    labelled: int
    failed: dict[str, int]
    already: int
    bought: int
    calls: int
    cost: float | None
    stopped: str | None
    seed: int
    samples: int = 1


class FreshEvaluation(Record):
    """What `potstill evaluate BUNDLE --oracle` writes down: a bundle on new articles that an oracle labelled for it.

    The constant is each dimension's median of the new labels, the best constant there could be. `coverage` is the
    share of the new labels in the bundle's intervals of `interval_level`. `validation_mae` is the student's before
    calibration, where the bundle's facts tell. `floor` is that of the new labels, where the oracle was asked twice.
    """

    fault = RunError
    made_by = "potstill evaluate RUN --oracle ORACLE --articles FILE"

    schema_version: int = 1
    bundle: str
    bundle_sha256: str
    recipe: str
    filter: str
    filter_version: int
    filter_hash: str
    dimensions: tuple[str, ...]
    asked: Asked
    judgement: Judgement
    interval_level: float
    coverage: dict[str, float | None]
    validation_mae: float | None
    floor: Floor | None = None
    slices: tuple[Slice, ...] = ()
    findings: tuple[Finding, ...]
    bootstrap: Bootstrap
