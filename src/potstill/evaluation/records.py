"""Define the records of an evaluation. Every figure of a report is read from them.

Input: the numbers that `judging` and its neighbouring modules compute. Output: `evaluation.json`. A figure that cannot
be computed (no labels, no variance, too few positives) is null here and "not recorded" in a report. It is never 0 and
never kept from an earlier evaluation.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field

from potstill.bundle.facts import Choice  # noqa: TC001 - pydantic reads it
from potstill.calibration import TierCut  # noqa: TC001 - pydantic reads it
from potstill.errors import RunError
from potstill.findings import Finding  # noqa: TC001 - pydantic reads it
from potstill.machine import Load  # noqa: TC001 - pydantic reads it
from potstill.records import Interval, Part, Record

Source: TypeAlias = Literal["out-of-fold", "validation", "test", "file", "fresh"]
"""Origin of predictions.

"out-of-fold" means all rows, each predicted by a student that was refitted without the row's fold. "validation" and
"test" are predictions of the fitted student on that part of the dataset. "file" is a file of predictions, and "fresh" a
bundle on new articles.
"""


class Figures(Part):
    """Regression metrics for one dimension, for the mean over dimensions, or for the weighted overall score.

    Errors are on the filter's scale. `bias` is the mean of prediction minus label. `skill` is 1 - mae / constant_mae on
    the same rows. The constant is each dimension's median among the rows that the student was trained on.
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
    """The rows with a label in [low, high), and their mean prediction minus label. The last band includes `high`."""

    low: float
    high: float
    rows: int
    bias: float | None


class Positives(Part):
    """Number of rows in `tiers` according to the oracle, to the student, and to both.

    Recall and precision are null if the oracle has fewer such rows than `Tiers.fewest_positives`.
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
    """Agreement of tiers on rows where oracle and student both have one; the filter's verdict gives both tiers.

    `confusion[i][j]` is the number of rows with the oracle's tier i and the student's tier j, in the order of `names`.
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


class AtVolume(Part):
    """What the `named` first articles by the student's ranking find; ties are averaged over all possible orders."""

    named: int
    found: float
    recall: float | None = None
    recall_interval: Interval | None = None


class PositiveTier(Part):
    """One positive tier *or a better one*, as its cut is defined: what the student names and how well it ranks.

    `tiers` are the tier and the better ones. Of `rows`, the oracle puts `oracle` there, the student names `named`, and
    `both` are right. `cut` holds the operating point and the cut on the tier's probability; it is null if the scores
    alone decide. Articles are ranked by what decides: the probability, or the overall score. `equal_volume` names as
    many articles as the oracle, and `twice_volume` twice as many. `by_chance` is the average precision of a random
    order.

    With fewer positives than `Tiers.fewest_positives`, only counts and average precision are given.
    """

    tier: str
    tiers: tuple[str, ...]
    rows: int
    oracle: int
    named: int
    both: int
    recall: float | None = None
    recall_interval: Interval | None = None
    precision: float | None = None
    precision_interval: Interval | None = None
    f1: float | None = None
    f1_interval: Interval | None = None
    average_precision: float | None = None
    average_precision_interval: Interval | None = None
    by_chance: float | None = None
    equal_volume: AtVolume
    twice_volume: AtVolume
    cut: TierCut | None = None

    @property
    def by_probability(self) -> bool:
        """Whether a cut on the tier's probability decides."""
        return self.cut is not None and self.cut.probability is not None

    @property
    def how(self) -> str:
        """How the tier is decided, in words: the operating point and the cut, or by score."""
        if self.cut is None or self.cut.probability is None:
            return "by score"
        return f"at {self.cut.goal} (cut {self.cut.probability:.2f})"

    @property
    def title(self) -> str:
        """The tier and the better ones in words."""
        return " or ".join(self.tiers)


class Rounding(Part):
    """Effect on the mean MAE over dimensions of clipping scores to the scale and rounding them to the labels' `step`.

    It shows how much of the error is due to labels that can only take a few values.
    """

    step: float
    mae: float | None
    mae_rounded: float | None


class AtK(Part):
    """Recall of the positive tiers, and NDCG with the oracle's overall score as gain, among the first `k` rows."""

    k: int
    recall: float | None
    ndcg: float | None


class Threshold(Part):
    """A threshold on the student's overall score. `recall_low` is the lower bound of recall at 95% confidence.

    The threshold was chosen on these rows, so on new rows recall will be closer to `recall_low` than to `recall`.
    """

    overall_at_least: float
    rows: int
    positives: int
    found: int | None = None
    """Number of positives among the rows at or above the threshold; None if it was not recorded."""
    recall: float | None
    recall_low: float | None
    precision: float | None


class Cuts(Part):
    """Thresholds on the student's overall score by target recall of the positive tiers, on `rows` rows of `source`."""

    source: Source
    rows: int
    by_recall: dict[str, Threshold]


class Ranking(Part):
    """Quality of the ranking by the last positive tier's probability, or by the overall score if that decides.

    Ties are averaged over all possible orders.

    `average_precision` is to be compared with `by_chance`, the expectation for a random order, which is the share of
    positives.
    """

    tiers: tuple[str, ...]
    rows: int
    positives: int
    average_precision: float | None
    by_chance: float | None
    at: tuple[AtK, ...]


class Slice(Part):
    """The rows that share a value of some attribute, and whether the student's error on them differs from the others.

    `difference` is the slice's MAE minus that of all other rows. `p` is a two-sided p-value from errors summed by
    cluster. `p_adjusted` controls the false discovery rate over all tested slices (Benjamini & Hochberg 1995).
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
    """Metrics of one set of predictions against the labels of the same rows."""

    source: Source
    rows: int
    clusters: int
    folds: int | None = None
    mean: Figures
    overall: Figures
    dimensions: dict[str, Figures]
    bands: dict[str, tuple[Band, ...]]
    tiers: Tiers
    positive_tiers: tuple[PositiveTier, ...] = ()
    ranking: Ranking | None = None
    rounding: Rounding | None = None


class Said(Part):
    """Rows with a probability in [low, high): their mean predicted probability `said` and observed share `came`."""

    low: float
    high: float
    rows: int
    said: float | None
    came: float | None


class AskedAbove(Part):
    """Results of deferring uncertain tiers to the oracle, for a target `error` rate among the articles that are kept.

    `probability` is the threshold derived from the calibration rows. It is None if no threshold is supported, and then
    no article can be kept. Of `rows`, `kept` have at least this probability, and for `wrong` of them the tier differs
    from the oracle's.
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
    """Calibration of the tiers' probabilities, on one row per cluster.

    `brier` is compared with `brier_of_shares`, the score of always predicting the tier frequencies of the rows that the
    student was trained on. `brier_skill` is 1 - brier / brier_of_shares. `own` is the reliability of the probability of
    the verdict's tier, and `positive` that of all positive tiers of the filter together. `sure` is the confidence with
    which a target error rate holds.
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
    """Measured latency and throughput on the evaluation machine: one article at a time, and in bulk."""

    milliseconds_p50: float
    articles_per_second: float
    articles: int
    threads: int
    machine: str
    load: Load | None = None
    """Load of the machine during the measurement; None if it was not recorded."""

    @property
    def under_load(self) -> bool:
        """Whether the machine was too busy for these figures to be reliable."""
        return self.load is not None and self.load.heavy


class Plateau(Part):
    """Slope of the last validation errors per epoch, with its 95% interval. On a plateau the interval contains 0."""

    epochs: int
    slope: float
    interval: Interval


class Training(Part):
    """Training summary from a student's history; `gap` is validation MAE minus training MAE at the best epoch."""

    epochs: int
    best_epoch: int | None
    gap: float | None
    plateau: Plateau | None
    flags: tuple[Finding, ...] = ()


class HistoryEvaluation(Record):
    """Output of `potstill check-history`. `unread` names fields of the files that no rule uses."""

    fault = RunError

    schema_version: int = 1
    file: str
    sha256: str | None
    training: Training
    unread: tuple[str, ...] = ()


class Rung(Part):
    """One student of the leaderboard. Its headline figures are those of `judgements[headline]`."""

    name: str
    student: str
    headline: Source | None
    judgements: dict[Source, Judgement]
    latency: Latency | None = None
    latency_missing: str | None = None
    training: Training | None = None


class Unseen(Part):
    """Counts of one positive tier or a better one on `rows` articles that did not train what decided them.

    These are the articles that chose the cut, each decided by a model that had not seen it, and those of the validation
    and test parts.
    """

    tier: str
    tiers: tuple[str, ...]
    rows: int
    oracle: int
    named: int
    both: int
    cut: TierCut

    @property
    def precision(self) -> float | None:
        """Share of the named articles that belong to the tier."""
        return self.both / self.named if self.named else None


class Shipped(Part):
    """The bundle as delivered, with calibrated and clipped scores, on the test part; `unseen` has more rows."""

    rung: str
    bundle_sha256: str | None = None
    judgement: Judgement
    unseen: tuple[Unseen, ...] = ()
    interval_level: float | None = None
    coverage: dict[str, float | None] = Field(default_factory=dict)
    odds: Odds | None = None
    latency: Latency | None = None
    slices: tuple[Slice, ...] = ()


class Floor(Part):
    """The noise floor: the expected error of a perfect student on these labels, estimated from repeated answers.

    `difference` is the mean absolute difference d between two answers for the same article. `floor` is the mean over
    articles of d / sqrt(2 K), for labels that are means of K answers. Repeats of one prompt do not reveal a bias that
    they share.
    """

    articles: int
    samples: float
    difference: dict[str, float]
    floor: dict[str, float]
    mean_difference: float
    mean_floor: float


class LabelSummary(Part):
    """Summary of one dimension's labels. `at_minimum` is the share of labels at the scale's minimum."""

    labels: int
    missing: int
    mean: float
    median: float
    deviation: float
    at_minimum: float
    commonest_share: float
    repeat_deviation: float | None


class Data(Part):
    """The rows of the run's dataset."""

    rows: int
    parts: dict[str, int]
    clusters: int
    samples_per_article: float | None


class Bootstrap(Part):
    """Settings of the bootstrap intervals: percentiles of the statistic over clusters drawn with replacement."""

    resamples: int
    level: float
    seed: int


class Evaluation(Record):
    """Contents of `evaluation.json`."""

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
        """Return a leaderboard entry by name.

        Raises:
            RunError: the leaderboard has no such entry.
        """
        for rung in self.ladder:
            if rung.name == name:
                return rung
        raise RunError(f"{name}: no such candidate; the ladder has: {', '.join(r.name for r in self.ladder)}")


class FileEvaluation(Record):
    """Output of `potstill evaluate-predictions`: the evaluation of a file of predictions and labels.

    The constant is each dimension's median of the training labels in `training`, a run or a file with `training_rows`
    such rows. If they are None, it is that of the file's own labels, which is the best possible constant.
    """

    fault = RunError

    schema_version: int = 2
    file: str
    training: str | None = None
    training_rows: int | None = None
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
    """Questions that were put to an oracle about new articles, and their outcome.

    Of `articles`, `left_out` (by reason) were excluded from sampling, `drawn` were sent to the oracle, and `labelled`
    have a label. `samples` is the number of answers requested per article. `failed` counts articles without a label, by
    reason. `calls`, `cost` (None without a price) and `bought` refer to this session, and `already` to answers that the
    ledger already had. `stopped` is the reason if labelling ended early.
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
    """Record of `potstill evaluate BUNDLE --oracle`: a bundle on new articles that an oracle labelled for this purpose.

    The constant is each dimension's median of the new labels, which is the best possible constant. `coverage` is the
    share of new labels inside the bundle's intervals of level `interval_level`. `validation_mae` is the student's
    before calibration, if the bundle's facts contain it. `floor` is the noise floor of the new labels, if the oracle
    was asked twice.
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
