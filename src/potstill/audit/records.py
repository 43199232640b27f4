"""What an audit writes down: strict records, from which every figure of its page comes.

In: numbers that the audit's parts worked out. Out: `audit.json`. A figure that can't be had is null, never 0.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from potstill.errors import LabelError
from potstill.metrics import number
from potstill.records import Interval, Part, Record

LEVEL = 0.95
"""Coverage aimed at by every interval of an audit."""


def interval(low: float, high: float) -> Interval | None:
    """An interval as a record holds it; None where an end is not finite."""
    first, last = number(low), number(high)
    return None if first is None or last is None else Interval(low=first, high=last)


class Spread(Part):
    """How one dimension (or the weighted overall) is used. Shares are of its labelled rows.

    `used` is the share of the scale between the 5th and the 95th percentile, `levels` the number of different
    values, `constant_mae` the mean distance to the median: what a constant's error would be. `histogram` counts
    rows in equal bands of the scale, from its floor to its ceiling.
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
    """How one source's or language's labels use each dimension, `overall` last."""

    name: str
    rows: int
    dimensions: dict[str, Spread]


class Scores(Part):
    """The spread of all labels, and of groups; groups of fewer than `least` rows are counted in `small`."""

    dimensions: tuple[Spread, ...]
    by_source: tuple[Group, ...]
    by_language: tuple[Group, ...]
    least: int
    small: int


class Repeat(Part):
    """One dimension of repeated answers.

    `difference` is the mean absolute difference of two answers, `floor` the expected error of a perfect student
    against the labels used, `noise_sd` the standard deviation of one answer, `signal` the share of the labels'
    variance that is not the oracle's noise.
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
    """The oracle against itself. `articles` of `rows` were asked more than once; labels are means of `samples`.

    `mean_...` are means over dimensions.
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
    """How many things the dimensions measure.

    `effective` is the participation ratio of the correlation matrix's eigenvalues, (sum)^2 / (sum of squares),
    from 1 (all the same) to the number of dimensions (all independent). `without_noise` is the same for
    correlations corrected for the oracle's own noise, which makes dimensions look more different than they are.
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
    """Two oracles on one dimension: mean absolute difference, and bias = first less second."""

    dimension: str
    rows: int
    difference: float | None
    difference_interval: Interval | None
    bias: float | None
    bias_interval: Interval | None
    spearman: float | None


class TierAgreement(Part):
    """What two oracles do to the tiers: `confusion` has the first's down and the second's across."""

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
    """Two oracles on the articles that both have scored. `mean_...` are means over dimensions."""

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
    """A label that a student, who had not seen it, would not have given.

    `suspicion` is the root mean square over dimensions of the residual over that dimension's usual residual: 1 is
    an ordinary row. `worst` is the dimension that is furthest off.
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
    """The labels most worth a second look, the worst first."""

    student: str
    folds: int
    rows: int
    mae: float | None
    constant_mae: float | None
    items: tuple[Suspect, ...]


class Rung(Part):
    """A cheap student's error over out-of-fold scores, mean over dimensions."""

    name: str
    mae: float | None
    interval: Interval | None


class Baselines(Part):
    """What labels can be had for without reading: the constant, the per-source median, and a cheap reader.

    `source_gain` is the share of the constant's error that knowing the source removes.
    """

    rows: int
    sources: int
    rungs: tuple[Rung, ...]
    source_gain: float | None
    source_gain_interval: Interval | None


class Point(Part):
    """A subset size and the errors of students that learned from so many rows, one per seed."""

    rows: int
    mae: float
    errors: tuple[float, ...]


class Forecast(Part):
    """The error to be expected with so many labelled rows."""

    rows: int
    mae: float
    interval: Interval | None


class Curve(Part):
    """Error by number of labels, fitted as asymptote + factor * rows ** -exponent; intervals over seeds and clusters.

    `gain` is what the next 1,000 labels would take off the error; `doubling` what twice the labels would.
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
    """Dropped articles that the oracle judged, and how many of them it puts in a positive tier."""

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
    """What the prefilter drops, and what of it the oracle would have kept; intervals are Clopper and Pearson's."""

    articles: int
    dropped: int
    all: Missed
    by_rule: tuple[Missed, ...]
    by_language: tuple[Missed, ...]
    by_source: tuple[Missed, ...]
    items: tuple[MissedItem, ...]


class Copies(Part):
    """Near-duplicates with labels that differ: one pair."""

    first: str
    second: str
    title: str
    jaccard: float
    difference: float


class Duplicates(Part):
    """Near-duplicates among the rows. `same_text` counts rows whose very text an earlier row has.

    `difference` is the mean absolute difference of the labels of the pairs, over dimensions.
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
    """A run of words that many of a source's articles share."""

    source: str
    phrase: str
    articles: int
    share: float


class Declared(Part):
    """Known boilerplate of a kind (cookies, paywall...): rows that have it, and their mean overall and others'."""

    kind: str
    rows: int
    share: float
    overall: float | None
    overall_without: float | None
    sources: tuple[str, ...]


class Boilerplate(Part):
    """Text that belongs to the page and not to the article."""

    declared: tuple[Declared, ...]
    repeated: tuple[Phrase, ...]
    rule: str


class Marked(Part):
    """Texts with markup: how many of `rows` have HTML tags, entities or Markdown, and how many any of them (`marked`).

    `taken` is the median share of their window's characters that is marks; `sources` has those with the most such
    texts first.
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
    """What windows lose. `lost` is the median share of their characters that cut articles lose.

    `high` says which rows count as high scorers. `open_ended` counts articles that were cut short before they came
    here: their last character is an ellipsis, or a count of missing characters.
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


class Finding(Part):
    """A verdict in words, and the section that it comes from."""

    tone: Literal["good", "caution", "bad", "neutral"]
    section: str
    text: str


class Audit(Record):
    """`audit.json`: what labels are worth. A part that could not be had is null, and `skipped` says why."""

    fault = LabelError
    made_by = "potstill audit"

    schema_version: int = 2
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
