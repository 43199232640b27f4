"""Define the records of an audit. Every figure of its page is read from them.

Input: the numbers that the audit's parts compute. Output: `audit.json`. A figure that cannot be computed is null, never
0.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from potstill.dataset.reach import LabelReach  # noqa: TC001 - pydantic reads it
from potstill.errors import LabelError
from potstill.findings import Finding  # noqa: TC001 - pydantic reads it
from potstill.metrics import number
from potstill.records import Interval, Part, Record

LEVEL = 0.95
"""Nominal coverage of every interval in an audit."""


def interval(low: float, high: float) -> Interval | None:
    """Return an interval for a record, or None if an end is not finite."""
    first, last = number(low), number(high)
    return None if first is None or last is None else Interval(low=first, high=last)


class Spread(Part):
    """Distribution of the labels of one dimension or of the weighted overall. Shares are of its labelled rows.

    `used` is the share of the scale between the 5th and the 95th percentile. `levels` is the number of distinct values.
    `constant_mae` is the mean absolute distance to the median, which is the error of a constant baseline. `histogram`
    counts rows in equal bands of the scale, from its minimum to its maximum.
    """

    dimension: str
    rows: int
    mean: float | None
    median: float | None
    sd: float | None
    low: float | None
    high: float | None
    used: float | None
    at_floor: float | None
    at_ceiling: float | None
    levels: int
    constant_mae: float | None
    histogram: tuple[int, ...]


class Group(Part):
    """Distribution of the labels of one source or language in each dimension; `overall` is the last one."""

    name: str
    rows: int
    dimensions: dict[str, Spread]


class Scores(Part):
    """Distribution of all labels, and of groups with at least `least` rows; `small` counts rows of smaller sources.

    `reach` is the part of the scale that the labels of each dimension reach; None in older records.
    """

    dimensions: tuple[Spread, ...]
    by_source: tuple[Group, ...]
    by_language: tuple[Group, ...]
    least: int
    small: int
    reach: LabelReach | None = None


class Repeat(Part):
    """Statistics of repeated answers in one dimension.

    `difference` is the mean absolute difference of two answers. `floor` is the expected error of a perfect student on
    the labels used. `noise_sd` is the standard deviation of one answer. `signal` is the share of the labels' variance
    that is not oracle noise.
    """

    dimension: str
    difference: float | None
    difference_interval: Interval | None
    floor: float | None
    floor_interval: Interval | None
    noise_sd: float | None
    signal: float | None
    signal_interval: Interval | None


class Repeats(Part):
    """Agreement of the oracle with itself.

    `articles` of `rows` were labelled more than once. Labels are means of `samples` answers. `mean_...` are means over
    dimensions.
    """

    articles: int
    rows: int
    samples: float
    repeated_samples: float
    dimensions: tuple[Repeat, ...]
    overall: Repeat
    mean_difference: float | None
    mean_difference_interval: Interval | None
    mean_floor: float | None
    mean_floor_interval: Interval | None
    mean_signal: float | None


class Correlated(Part):
    """Two dimensions and their correlation."""

    first: str
    second: str
    r: float


class Component(Part):
    """A principal component of the correlation matrix: its share of the variance, and its loadings."""

    share: float
    loadings: dict[str, float]


class Redundancy(Part):
    """Estimate of how many distinct quantities the dimensions measure.

    `effective` is the participation ratio of the correlation matrix's eigenvalues, (sum)^2 / (sum of squares). It
    ranges from 1 (all dimensions identical) to the number of dimensions (all independent). `without_noise` is the same
    ratio for correlations that are corrected for the oracle's noise, which makes dimensions look more different than
    they are.
    """

    dimensions: tuple[str, ...]
    constant: tuple[str, ...]
    rows: int
    correlations: tuple[tuple[float, ...], ...]
    components: tuple[Component, ...]
    effective: float | None
    effective_interval: Interval | None
    without_noise: float | None
    high: tuple[Correlated, ...]
    rule: str
    warning: bool


class Difference(Part):
    """Comparison of two oracles on one dimension: mean absolute difference, and bias (first minus second)."""

    dimension: str
    rows: int
    difference: float | None
    difference_interval: Interval | None
    bias: float | None
    bias_interval: Interval | None
    spearman: float | None


class TierAgreement(Part):
    """Agreement of two oracles' tiers; in `confusion` the first oracle's tiers are rows, the second's columns."""

    names: tuple[str, ...]
    rows: int
    confusion: tuple[tuple[int, ...], ...]
    same: float | None
    same_interval: Interval | None
    kappa: float | None
    positive_first: int
    positive_second: int
    positive_both: int


class Pair(Part):
    """Comparison of two oracles on the articles that both have scored. `mean_...` are means over dimensions."""

    first: str
    second: str
    rows: int
    dimensions: tuple[Difference, ...]
    overall: Difference
    mean_difference: float | None
    mean_difference_interval: Interval | None
    mean_bias: float | None
    mean_bias_interval: Interval | None
    tiers: TierAgreement | None


class Suspect(Part):
    """A label that differs much from the prediction of a student that was not trained on it.

    `suspicion` is the root mean square over dimensions of the residual divided by that dimension's typical residual; 1
    is an ordinary row. `worst` is the dimension with the largest residual.
    """

    id: str
    title: str
    text: str
    evidence: str
    source: str | None
    language: str | None
    suspicion: float
    worst: str
    labels: dict[str, float | None]
    expected: dict[str, float]


class Suspects(Part):
    """The labels that are most worth checking, the most suspicious first."""

    student: str
    folds: int
    rows: int
    mae: float | None
    constant_mae: float | None
    items: tuple[Suspect, ...]


class Rung(Part):
    """Out-of-fold error of a cheap student, mean over dimensions."""

    name: str
    mae: float | None
    interval: Interval | None


class Baselines(Part):
    """Errors that are possible without reading the text, and with a cheap model that reads it.

    The baselines are the constant, the per-source median and a cheap text model. `source_gain` is the share of the
    constant's error that knowing the source removes.
    """

    rows: int
    sources: int
    rungs: tuple[Rung, ...]
    source_gain: float | None
    source_gain_interval: Interval | None


class Point(Part):
    """A subset size, and the errors of students that were trained on that many rows, one per seed."""

    rows: int
    mae: float
    errors: tuple[float, ...]


class Forecast(Part):
    """The predicted error for a number of labelled rows."""

    rows: int
    mae: float
    interval: Interval | None


class Curve(Part):
    """Learning curve: error by number of labels, fitted as asymptote + factor * rows ** -exponent.

    Intervals are over seeds and clusters. `gain` is the expected reduction of the error from the next 1,000 labels, and
    `doubling` that from twice the labels.
    """

    student: str
    held_out: int
    points: tuple[Point, ...]
    asymptote: float
    asymptote_interval: Interval | None
    factor: float
    exponent: float
    now: Forecast
    more: Forecast
    twice: Forecast
    gain: float
    gain_interval: Interval | None
    doubling: float
    doubling_interval: Interval | None
    floor: float | None
    advice: Literal["more labels", "better prompt", "stop", "measure the floor"]
    reason: str
    rule: str


class Missed(Part):
    """Dropped articles that the oracle has labelled, and how many of them it puts in a positive tier."""

    name: str
    dropped: int
    judged: int
    missed: int
    rate: float | None
    interval: Interval | None


class MissedItem(Part):
    """A dropped article that should have been kept."""

    id: str
    title: str
    reason: str
    overall: float | None
    tier: str


class Prefiltering(Part):
    """What the prefilter drops, and which of it the oracle would have kept. Intervals are Clopper-Pearson."""

    articles: int
    dropped: int
    all: Missed
    by_rule: tuple[Missed, ...]
    by_language: tuple[Missed, ...]
    by_source: tuple[Missed, ...]
    items: tuple[MissedItem, ...]


class Copies(Part):
    """A pair of near-duplicates with different labels."""

    first: str
    second: str
    title: str
    jaccard: float
    difference: float


class Duplicates(Part):
    """Near-duplicates among the rows. `same_text` counts rows with exactly the same text as an earlier row.

    `difference` is the mean absolute difference of the pairs' labels, over dimensions.
    """

    pairs: int
    clusters: int
    rows: int
    largest: int
    same_text: int
    across_sources: int
    difference: float | None
    apart: tuple[Copies, ...]


class Phrase(Part):
    """A sequence of words that many articles of a source share."""

    source: str
    phrase: str
    articles: int
    share: float


class Declared(Part):
    """Known boilerplate of one kind (cookies, paywall...): rows with it, and the mean overall with and without it."""

    kind: str
    rows: int
    share: float
    overall: float | None
    overall_without: float | None
    sources: tuple[str, ...]


class Boilerplate(Part):
    """Text that belongs to the web page and not to the article."""

    declared: tuple[Declared, ...]
    repeated: tuple[Phrase, ...]
    rule: str


class Marked(Part):
    """Texts with markup: counts of rows with HTML tags, entities or Markdown, and with any of them (`marked`).

    `taken` is the median share of the window's characters that are markup. `sources` lists the sources with the most
    such texts first.
    """

    rows: int
    marked: int
    share: float | None
    html: int
    entities: int
    markdown: int
    taken: float | None
    sources: tuple[str, ...]


class Truncation(Part):
    """Text that is lost by truncation. `lost` is the median share of characters that truncated articles lose.

    `high` describes which rows count as high scorers. `open_ended` counts articles that were already truncated in the
    input: they end with an ellipsis or with a count of missing characters.
    """

    max_chars: int
    rows: int
    cut: int
    cut_share: float | None
    lost: float | None
    high: str
    high_rows: int
    high_cut_share: float | None
    other_cut_share: float | None
    difference: float | None
    difference_interval: Interval | None
    open_ended: int


class Audit(Record):
    """Contents of `audit.json`. A part that could not be computed is null, and `skipped` gives the reason."""

    fault = LabelError
    made_by = "potstill audit"

    schema_version: int = 3
    filter: str
    filter_version: int
    oracle: str
    oracles: dict[str, int]
    rows: int
    clusters: int
    dimensions: tuple[str, ...]
    scale: tuple[float, float]
    seed: int
    level: float = LEVEL
    inputs: dict[str, str] = Field(default_factory=dict)
    scores: Scores
    repeats: Repeats | None = None
    redundancy: Redundancy | None = None
    pairs: tuple[Pair, ...] = ()
    suspects: Suspects | None = None
    baselines: Baselines | None = None
    curve: Curve | None = None
    prefilter: Prefiltering | None = None
    duplicates: Duplicates | None = None
    boilerplate: Boilerplate | None = None
    truncation: Truncation | None = None
    markup: Marked | None = None
    skipped: dict[str, str] = Field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
