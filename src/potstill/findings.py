"""Define the record of a finding, and every threshold by which potstill writes a finding, a warning or advice.

Input: none. Output: `Finding`, and constants. Evaluation, audit, targets and report compare recorded figures with these
constants, so a fact such as "few rows" has the same meaning everywhere. Each threshold has a test just below, at and
just above its value, marked with its name.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - pydantic reads it
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import Field, model_serializer

from potstill.records import Part

if TYPE_CHECKING:
    from pydantic import SerializerFunctionWrapHandler

Tone: TypeAlias = Literal["good", "caution", "bad", "neutral"]
"""How good the news is; it decides the colour and, in an audit, the order."""


class Finding(Part):
    """A conclusion in plain words.

    In an evaluation, `rule` names the rule that wrote it and `evidence` holds the figures that the rule compared. In an
    audit, `section` names the section of the page that shows these figures. What is not set is not written.
    """

    tone: Tone
    text: str
    rule: str | None = None
    section: str | None = None
    evidence: Mapping[str, float | int | str | None] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _without_unset(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value not in (None, {})}


def is_weak(skill: float) -> bool:
    """Whether a target that needs only this skill is weak; `WEAK_SKILL` itself is not."""
    return skill < WEAK_SKILL - 1e-9


# How many rows are enough.

FEW_ROWS = 100
"""Rows. With fewer, figures of an evaluation are only indications.

With normally distributed errors, the 95% interval of an MAE reaches 15% to either side at 100 rows.
"""

FEWEST_POSITIVES = 20
"""Rows in a positive tier. With fewer, counts are given and no recall or precision.

With 20, the 95% interval of a recall of 80% still reaches from 58% to 92%.
"""

FEWEST_TO_DECIDE = 10
"""Held-out rows in a positive tier. With fewer, the tier is decided by score instead of by its probability.

With 10, a cut that finds all of them shows a recall of 74% with 95% confidence; with 5 it shows 55%.
"""

VOLUME_DRIFT = 0.01
"""Two-sided p-value. Below it, a scored file is said to name another number of articles than its bundle's cut should.

One in a hundred files of the same kind of articles is then reported by chance.
"""

NOVEL = 0.05
"""p-value of an article's distance from the training articles. Below it, the article is said to be unlike them.

One in twenty articles of the training kind is said to be by chance; from there on, intervals are widened.
"""

NOVEL_FILE = 0.01
"""One-sided p-value. Below it, a scored file is said to hold more unlike articles than would be so by chance.

One in a hundred files of the training kind is then reported by chance.
"""

FEWEST_LABELS_AT_END = 5
"""Training labels of a dimension beyond a score. With fewer, the scores beyond it are said to have no labels.

The smallest number for which a student that is fitted in five folds has seen some in each.
"""

EMPTY_END = 0.3
"""Share of the scale at one end, without labels, from which it is said that scores there cannot be learned.

Three points on a scale of 0 to 10: what is above 7 decides most tiers for which articles are looked for.
"""

FEWEST_ROWS_IN_BAND = 10
"""Rows. With fewer, the mean error of a band of the scale is not reported: one outlier would decide it."""

FEWEST_HIGH_ROWS = 30
"""Rows in the two highest bands of the scale. With fewer, the advice is to label more high-scoring articles.

30 is the usual rule of thumb for a mean whose interval can be trusted.
"""

FEWEST_CLUSTERS_IN_SLICE = 20
"""Clusters of near-duplicates inside a slice, and outside it. With fewer, the slice is not reported.

The interval of a slice assumes that means are normally distributed, which does not hold for a handful of clusters.
"""

FEWEST_CLUSTERS_FOR_SKILL = 20
"""Clusters of held-out rows. With fewer, no student is shown to be better than the constant.

The bootstrap of a ratio takes the clusters for the whole population, and a handful of them may agree by chance.
"""

FEWEST_ROWS_IN_GROUP = 20
"""Labelled rows of a source or language. With fewer, an audit does not show its spread of labels separately.

The 5th and the 95th percentile of fewer rows are their smallest and largest value.
"""

FEWEST_JUDGED_IN_GROUP = 5
"""Dropped articles of a source or language that the oracle judged. With fewer, an audit does not list the group.

If none of 5 was missed, the exact 95% interval still reaches to 52%; with fewer it says almost nothing.
"""

FEWEST_ROWS_FOR_REDUNDANCY = 30
"""Rows with a label of every dimension. With fewer, an audit does not estimate how many dimensions differ.

At 30 rows, the standard error of a correlation of 0 is 0.19, so chance rarely produces a high one.
"""

FEWEST_ROWS_FOR_CURVE = 100
"""Labelled rows. With fewer, an audit has no learning curve.

A fifth is held out and the smallest subset has 40 rows, so 100 rows leave one doubling to fit the curve to.
"""

# What chance could explain.

SIGNIFICANCE = 0.05
"""Probability. What chance alone produces less often than this is reported as real; the usual level.

It applies to the adjusted p-value of a slice, to the p-value of a comparison, and to intervals that cover too few
labels (over all dimensions together).
"""

BROKEN_PROMISE = 0.05
"""Probability of finding so few if the promise held. Below this, a promised recall or precision is reported as broken.

The promise itself has a confidence of 95%.
"""

# How good a student is.

WEAK_SKILL = 0.2
"""Skill, the share of the constant's error that is removed. A target that less skill than this can meet is weak.

On published news labels, the median of each source, which does not read the text, removes a fifth of the error.
"""

ROUND_TARGET_STEP = 0.05
"""Share of the scale: the step between round numbers that people choose as targets, 0.5 on a scale of 0 to 10."""

STRONG_BIAS = 0.1
"""Share of the scale. A mean error of the highest band above this gives a warning: 1 point on a scale of 0 to 10."""

GOOD_RECALL = 0.8
"""Share of the positive rows that the student finds. From here on the finding is good; below, it is a caution.

A convention: one in five is missed.
"""

RATED_EXCELLENT = 0.8
"""Share of the avoidable error, from the constant's error to the noise floor, that an excellent student removes.

The shares of the three ratings are conventions: most of it, more than half, about a third.
"""

RATED_GOOD = 0.6
"""Share of the avoidable error that a good student removes; see `RATED_EXCELLENT`."""

RATED_FAIR = 0.3
"""Share of the avoidable error that a fair student removes; see `RATED_EXCELLENT`. With less it is weak."""

SUITED_KAPPA = 0.6
"""Cohen's kappa of student and oracle from which a student is suited to assign tiers.

Landis and Koch (1977) call agreement from 0.6 substantial.
"""

USABLE_KAPPA = 0.4
"""Cohen's kappa from which a student is suited to assign tiers with care: moderate agreement in the same scheme."""

SUITED_RANK_CORRELATION = 0.8
"""Spearman's correlation of the overall score from which a student is suited to rank articles.

Evans (1996) calls a correlation from 0.8 very strong.
"""

USABLE_RANK_CORRELATION = 0.6
"""Spearman's correlation from which a student is suited to rank articles with care: strong in the same scheme."""

SUITED_HALF_WIDTH = 0.1
"""Share of the scale. Up to this half-width of the widest interval, scores can be used as exact numbers.

On a scale of 0 to 10, such an interval is one point to either side.
"""

USABLE_HALF_WIDTH = 0.2
"""Share of the scale: the half-width up to which scores can be used as numbers with care, two points on 0 to 10."""

MANY_TRUNCATED = 0.1
"""Share of the training texts that are too long for a student. Above this, a student that reads more is recommended.

A convention: nine of ten texts are read whole.
"""

# How scores behave.

RAMP_RISE = 0.01
"""Share of the scale by which a score must at least rise from one text of a ramp to the next to be in order.

On a scale of 0 to 10 it is 0.1 point; smaller differences do not show in scores that are printed with one decimal.
"""

STEADY_SHIFT = 0.05
"""Share of the scale. A score that moves by at most this when a text is changed without its content counts as steady.

On a scale of 0 to 10 it is half a point, the step in which the oracles of the built-in filters score.
"""

IN_ORDER_BY_CHANCE = 0.5
"""Share of the steps of ramps that are in order if scores have nothing to do with the texts.

If the 95% interval of a rate reaches down to it, the order is reported as no better than chance.
"""

MOSTLY_PASSED = 0.9
"""Share of the behaviour tests of a kind that pass, from which the finding is good.

It is also the share of the oracle's own rate that a student should reach. A convention: one in ten fails.
"""

# How a training run went.

IMPROVING_EPOCH = 0.01
"""Share of the best error so far. An epoch that lowers it by at least this is improving; by less, slightly better.

A convention: smaller changes do not show in an MAE that is printed with two decimals.
"""

WIDE_GAP = 0.25
"""Share of the validation error. If the training error is lower by more than this, more labels are recommended.

A convention: the student owes a quarter of its error to rows that it has not seen.
"""

STALLED_PROGRESS = 0.1
"""Share of the progress in the epoch before a resume. If progress per epoch is below it afterwards, training stalled.

Learning slows down gradually; a drop to less than a tenth exactly at a resume has another cause.
"""

MOVING_MODEL_RATIO = 1.1
"""Ratio of train to validation MAE in the first epoch, above which train metrics may be averages over updates.

A model fits its training rows at least as well as others, so a clear excess means that other weights were measured.
"""

WIDEST_ENCODER = 32_768
"""Numbers per text. A count of parameters is taken to be that of a head up to this width of the encoder.

It is twice the width of the widest open models when this was written.
"""

TABLE_TOLERANCE = 2e-4
"""Points of the scale by which the mean of a printed table may differ from the epoch's figure that it belongs to.

Both are rounded to four decimals, which accounts for 1e-4; the rest is slack.
"""

# What labels are worth.

NARROW_SPREAD = 0.2
"""Share of the scale between the 5th and the 95th percentile of the labels. Below this, a dimension is narrow.

On a scale of 0 to 10, nine of ten labels then lie within 2 points, which is little more than an oracle's own error.
"""

CROWDED_END = 0.5
"""Share of the labels at one end of the scale. Above this, an audit warns: that end is then the best constant."""

LOW_SIGNAL = 0.8
"""Share of the labels' variance that is signal. Below this, labels are noisy: over a fifth is the oracle's error."""

MOSTLY_NOISE = 0.5
"""Share of the labels' variance that is signal. Below this, most of it is noise, and a better prompt is advised."""

FLOOR_NEAR_ERROR = 2 / 3
"""Ratio of the noise floor to the error. From here on, a perfect student would not be much better.

At most a third of the error can then be removed.
"""

WORTHWHILE_GAIN = 0.03
"""Share of the error that twice the labels remove. With less, more labels are not advised.

A convention: doubling the cost of labelling for less than that is seldom worth it.
"""

LABELS_IN_SIGHT = 20
"""Multiple of the labels that there are, up to which the number needed to show a skill is searched.

A learning curve that spans a factor of 8 says little about what lies farther away than that.
"""

NEARLY_IDENTICAL = 0.8
"""Absolute correlation from which two dimensions are nearly identical: they share two thirds of their variance."""

FEW_DISTINCT = 0.5
"""Ratio of the effective number of dimensions to those named. Below this, dimensions are redundant.

A convention: on average, each quantity then has more than two names.
"""

REPEAT_MULTIPLE = 2.0
"""Multiple of the difference between two answers of one oracle. A larger difference has another cause than noise."""

LARGE_SOURCE_GAIN = 0.1
"""Share of the constant's error that the median of each source removes. From here on, students may learn sources.

A tenth is half of `WEAK_SKILL`.
"""

TRUNCATION_DIFFERENCE = 0.05
"""Difference of the shares of truncated articles between high scorers and others. From here on, it is a caution.

A convention: one more in twenty high scorers is read in part.
"""

MANY_OPEN_ENDED = 0.1
"""Share of the texts that were already truncated when they were imported. Above this, an audit warns. A convention."""

MUCH_MARKUP = 0.1
"""Share of the texts with markup, and share of their windows that it takes up, from which an audit reports it.

A convention: oracle and student lose a tenth of what they could read.
"""

FREQUENT_PHRASE = 0.5
"""Share of a source's articles with the same phrase. From here on, an audit counts the source: it is the usual case."""

BOILERPLATE_ARTICLES = 5
"""Articles of a source that must share a phrase for it to be listed as boilerplate; fewer may quote one another."""

BOILERPLATE_SHARE = 0.05
"""Share of a source's articles that must share a phrase for it to be listed as boilerplate.

In a large source, a few articles share a phrase by subject, without it being boilerplate.
"""

EARLY_CALLS = 5000
"""Calls. After more, labelling gives no early warning about redundant dimensions: most of the money has been spent."""

# How busy a machine is.

OTHERS_LOAD = 0.5
"""Cores. With at most this load of other processes, times are not marked as measured under load.

The background services of an idle machine stay below half a core.
"""
