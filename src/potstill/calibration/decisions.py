"""Decide positive tiers by their probability: how it is computed, and the cut above which a tier is named.

Input: held-out scores, tier outputs of the student if it has them, and the oracle's labels. Output: `Decisions`, one
record with, for each positive tier, a way to compute its probability, the counts at every cut, and the chosen cut.

The probability of a positive tier is that of the tier *or a better one*: of any positive tier up to it, in the filter's
order. Three ways to compute it are compared on rows that they were not fitted on: the shares of tiers that the
residuals give (`odds`); a logistic regression on the scores, `overall` and the student's tier outputs; and the mean of
the log-odds of both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeAlias

import numpy as np
from pydantic import Field, model_validator

from potstill.calibration.cuts import PrecisionRecall, TierCut, choose_cut
from potstill.calibration.odds import MOST_RESIDUALS, fit_residuals
from potstill.errors import require
from potstill.findings import FEWEST_TO_DECIDE
from potstill.operating_points import points_of
from potstill.records import Part
from potstill.verdict import Judged, judge_rows, positive_places, weighted_sum

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

    from potstill.operating_points import OperatingPoint
    from potstill.types import BoolArray, FloatArray, IntArray
    from potstill.verdict import Rules

Kind: TypeAlias = Literal["residuals", "head", "blend"]
"""A way to compute a tier's probability."""

STRENGTH = 0.1
"""Inverse strength of the logistic regression's L2 penalty, on standardised inputs."""

LEAST = 1e-4
"""Probabilities are kept this far from 0 and 1 where their logarithm is taken."""

NOISE = 1.0
"""Standard errors by which a way must lower the log-loss of a tier's share of articles to be used instead of the
residuals: on labels of noise none does."""

BINS = 5
"""Number of equal bins of probability in a reliability table."""

FEWEST_FOR_FOLDS = 5
"""Minimum number of independent rows to fit anything in folds."""

_FOLDS = 10

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Reliability(Part):
    """Rows with a probability in [low, high): their mean probability, and the share that belongs to the tier."""

    low: float
    high: float
    rows: int
    predicted: float | None
    observed: float | None


class Quality(Part):
    """How well one way of computing a tier's probability did on rows that it was not fitted on."""

    log_loss: float
    average_precision: float
    reliability: tuple[Reliability, ...]


class Signal(Part):
    """How the probability of one positive tier, or a better one, is computed.

    For `head` and `blend`, the log-odds are `intercept` plus `weights` times the inputs: the scores of the dimensions,
    `overall` after gates and caps, and the student's tier outputs if there are any. `quality` holds all ways that were
    compared, `share_log_loss` is the log-loss of always giving the tier's share of articles, and `reason` says why this
    way is used.
    """

    tier: str
    kind: Kind
    intercept: Finite = 0.0
    weights: tuple[Finite, ...] = ()
    quality: dict[Kind, Quality] = Field(default_factory=dict)
    share_log_loss: float | None = None
    reason: str

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.kind == "residuals") != (not self.weights):
            raise ValueError("a head or a blend has weights, and residuals have none")
        return self

    @cached_property
    def _weights(self) -> FloatArray:
        return np.array(self.weights)

    def probability(
        self,
        inputs: FloatArray,
        residuals: FloatArray | None,
        share: float,
        widening: FloatArray | None = None,
    ) -> FloatArray:
        """Return the probability for each row, shape (rows,).

        Args:
            inputs: shape (rows, inputs); not used by `residuals`.
            residuals: what the residuals give, shape (rows,); not used by `head`.
            share: the tier's share of held-out articles.
            widening: factor by which the log-odds of a row come closer to those of `share`, shape (rows,); the
                residuals are widened before.
        """
        if self.kind == "residuals" and residuals is not None:
            return residuals
        log_odds = self.intercept + weighted_sum(inputs, self._weights)
        if widening is not None:
            usual = float(_log_odds(np.array([share]))[0])
            log_odds = usual + (log_odds - usual) / widening
        if self.kind == "blend" and residuals is not None:
            log_odds = (log_odds + _log_odds(residuals)) / 2
        return _sigmoid(log_odds)


class Decisions(Part):
    """For each positive tier, in the filter's order: its signal, the counts at every cut, and the chosen cut.

    `outputs` is the number of tier outputs of the student among the inputs of the signals: one per tier, or none.
    """

    signals: tuple[Signal, ...] = Field(min_length=1)
    outputs: int = Field(ge=0)
    curves: tuple[PrecisionRecall, ...]
    cuts: tuple[TierCut, ...]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = self.tiers
        if tuple(cut.tier for cut in self.cuts) != names or len(self.curves) != len(names):
            raise ValueError("every positive tier needs a signal, a curve and a cut")
        if self.outputs not in {0, len(names)}:
            raise ValueError("the student has one tier output for each positive tier, or none")
        return self

    @property
    def tiers(self) -> tuple[str, ...]:
        """Names of the positive tiers, in order."""
        return tuple(signal.tier for signal in self.signals)

    @property
    def by_score(self) -> bool:
        """Whether every tier is decided by score, so that no probability is needed for a verdict."""
        return all(cut.probability is None for cut in self.cuts)

    @property
    def need_residuals(self) -> bool:
        """Whether a probability is computed from the residuals, which takes longer than the other ways."""
        return any(signal.kind != "head" for signal in self.signals)

    def chosen(self, decide: Mapping[str, OperatingPoint]) -> Decisions:
        """Return the same with the cuts of other operating points, for the tiers that `decide` names."""
        cuts = tuple(
            choose_cut(cut.tier, curve, decide[cut.tier]) if cut.tier in decide else cut
            for cut, curve in zip(self.cuts, self.curves, strict=True)
        )
        return self.model_copy(update={"cuts": cuts})

    def probabilities(
        self,
        scores: FloatArray,
        overall: FloatArray,
        outputs: FloatArray | None,
        residuals: FloatArray | None,
        widening: FloatArray | None = None,
    ) -> FloatArray:
        """Return the probability of each positive tier or a better one, shape (rows, positive tiers), never falling.

        Args:
            scores: calibrated scores, shape (rows, dimensions).
            overall: `overall` after gates and caps, shape (rows,).
            outputs: the student's tier outputs, shape (rows, positive tiers); None if it has none.
            residuals: the probabilities that the residuals give, of the result's shape; None if not needed.
            widening: as for `Signal.probability`.
        """
        inputs = _inputs(scores, overall, outputs)
        each = [
            signal.probability(inputs, None if residuals is None else residuals[:, place], curve.share, widening)
            for place, (signal, curve) in enumerate(zip(self.signals, self.curves, strict=True))
        ]
        return np.maximum.accumulate(np.array(each), axis=0).T

    def named(self, probabilities: FloatArray, judged: Judged) -> BoolArray:
        """Return which positive tiers name which rows, shape (rows, positive tiers).

        Args:
            probabilities: as `probabilities` returns them.
            judged: the verdicts by score, which count for a tier that is decided by score.
        """
        return _named(self.cuts, probabilities, judged)


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Rows that were not used to fit the student and whose scores and labels both give a tier.

    `scores` (rows, dimensions) are calibrated by curves fitted without the row; `labels` have the same shape. `overall`
    (rows,) is that of the scores after gates and caps. `outputs` (rows, positive tiers) are the student's tier outputs,
    fitted without the row, or None.
    """

    scores: FloatArray
    labels: FloatArray
    clusters: IntArray
    judged: Judged
    cap_hits: pl.DataFrame | None = None
    outputs: FloatArray | None = None

    @classmethod
    def of(
        cls,
        scores: FloatArray,
        labels: FloatArray,
        clusters: IntArray,
        rules: Rules,
        cap_hits: pl.DataFrame | None = None,
        outputs: FloatArray | None = None,
    ) -> HeldOut:
        """Keep the rows with all labels and finite scores and outputs."""
        known = (judge_rows(labels, rules, cap_hits).tiers >= 0) & (judge_rows(scores, rules, cap_hits).tiers >= 0)
        if outputs is not None:
            known &= np.isfinite(outputs).all(axis=1)
        rows = np.flatnonzero(known)
        hits = None if cap_hits is None else cap_hits[rows]
        judged = judge_rows(scores[rows], rules, hits)
        return cls(scores[rows], labels[rows], clusters[rows], judged, hits, None if outputs is None else outputs[rows])

    @property
    def clusters_count(self) -> int:
        """Number of independent rows."""
        return len(np.unique(self.clusters))

    @property
    def one_each(self) -> IntArray:
        """The first row of each cluster, since near-duplicates are not independent."""
        return np.unique(self.clusters, return_index=True)[1]

    def folds(self, seed: int) -> IntArray:
        """Return the fold of each row, shape (rows,); clusters stay whole."""
        from potstill.dataset import folds

        return folds(self.clusters, self.labels, min(_FOLDS, self.clusters_count), seed)


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Decisions, and the cross-fitted probability of each positive tier or a better one, shape (rows, tiers)."""

    decisions: Decisions
    positive: FloatArray


def with_cap(cap_hits: pl.DataFrame | None, rows: int) -> BoolArray:
    """Return in which rows the words of a cap occur, shape (rows,).

    The probability of such a row comes from the residuals in any case: they know what the cap does for any scores.
    """
    found = np.zeros(rows, dtype=np.bool_)
    for column in () if cap_hits is None else cap_hits.iter_columns():
        found |= column.fill_null(value=False).to_numpy()
    return found


def belonging(labels: FloatArray, rules: Rules, cap_hits: pl.DataFrame | None = None) -> FloatArray:
    """Return 1 where the oracle's scores give a positive tier or a better one, else 0, shape (rows, positive tiers).

    NaN in rows whose labels give no tier.

    Args:
        labels: shape (rows, dimensions), NaN where masked.
        rules: the filter.
        cap_hits: as in `verdict.decide`.
    """
    tiers = judge_rows(labels, rules, cap_hits).tiers
    places = positive_places(rules)
    found = np.column_stack([np.isin(tiers, places[: last + 1]) for last in range(len(places))]).astype(np.float64)
    found[tiers < 0] = np.nan
    return found


def of_residuals(odds: FloatArray, judged: Judged, capped: BoolArray, *, low: float, high: float) -> FloatArray:
    """Return the probability of each positive tier or a better one, shape (rows, positive tiers).

    It is the share of the residuals that give such a tier. Below the step between two shares, rows are ordered by
    `overall`, because for many rows no residual gives the tier.

    Args:
        odds: the share of each tier, shape (rows, tiers).
        judged: the verdicts by score.
        capped: which rows contain the words of a cap, shape (rows,); there, no residual means no chance.
        low: lower end of the scale.
        high: upper end of the scale.
    """
    shares = np.minimum(np.cumsum(odds[:, positive_places(judged.rules)], axis=1), 1.0)
    place = np.where(capped | np.isnan(judged.overall), 0.0, (judged.overall - low) / (high - low))
    found: FloatArray = shares + (1 - shares) * place[:, None] / (2 * MOST_RESIDUALS)
    return found


def of_each_tier(odds: FloatArray, positive: FloatArray, rules: Rules) -> FloatArray:
    """Return the probability of each tier, shape (rows, tiers).

    Positive tiers have the probabilities `positive`; the rest is divided among the others as in `odds`.

    Args:
        odds: the probability of each tier by the residuals, shape (rows, tiers).
        positive: the probability of each positive tier or a better one, shape (rows, positive tiers).
        rules: the filter.
    """
    places = positive_places(rules)
    others = [place for place in range(len(rules.tiers)) if place not in places]
    found = np.empty(odds.shape)
    found[:, places] = np.diff(positive, axis=1, prepend=0.0)
    if not others:
        return found
    share = odds[:, others]
    # Where no draw gave one of the others, they are equally likely.
    share = np.where(share.sum(axis=1, keepdims=True) > 0, share, 1.0)
    found[:, others] = share / share.sum(axis=1, keepdims=True) * (1 - positive[:, -1:])
    return found


def cross_fitted_odds(rows: HeldOut, rules: Rules, *, low: float, high: float, seed: int) -> FloatArray:
    """Return the probability of each tier by the residuals of other folds, shape (rows, tiers).

    Args:
        rows: held-out rows, in at least two clusters.
        rules: the filter.
        low: lower end of the scale.
        high: upper end of the scale.
        seed: random seed of the folds.
    """
    fold = rows.folds(seed)
    found = np.full((len(rows.labels), len(rules.tiers)), np.nan)
    for number in np.unique(fold):
        inside, outside = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        fitted = fit_residuals(rows.scores[inside], rows.labels[inside], low=low, seed=seed)
        if fitted is not None:
            hits = None if rows.cap_hits is None else rows.cap_hits[outside]
            found[outside] = fitted.tier_probabilities(rows.scores[outside], rules, hits, low=low, high=high)
    # A row for which no draw gives a tier, because a condition is undefined, may be in any.
    return np.where(np.isfinite(found), found, 1 / len(rules.tiers))


def fit_decisions(
    rows: HeldOut,
    odds: FloatArray,
    rules: Rules,
    decide: Mapping[str, OperatingPoint],
    *,
    low: float,
    high: float,
    seed: int,
) -> Fitted | None:
    """Fit and compare the signals of each positive tier, count at every cut, and choose the cuts.

    Every probability that is compared, counted or cut comes from a fit without the row's fold. Of near-duplicates only
    the first counts. A way other than the residuals is used only if its log-loss is lower than theirs, and lower than
    that of the tier's share of articles by more than `NOISE` standard errors, and only for tiers with at least
    `FEWEST_TO_DECIDE` articles in and outside of them.

    Args:
        rows: held-out rows.
        odds: what `cross_fitted_odds` returns for them.
        rules: the filter.
        decide: operating point by positive tier; the default names as many articles as the oracle.
        low: lower end of the scale.
        high: upper end of the scale.
        seed: random seed of the folds, as for `odds`.

    Returns:
        None for a filter without a positive tier.
    """
    places = positive_places(rules)
    if not places:
        return None
    names = [rules.tiers[place].name for place in places]
    belongs = belonging(rows.labels, rules, rows.cap_hits)
    inputs, fold, first = _inputs(rows.scores, rows.judged.overall, rows.outputs), rows.folds(seed), rows.one_each
    capped = with_cap(rows.cap_hits, len(rows.labels))
    residuals = of_residuals(odds, rows.judged, capped, low=low, high=high)
    signals, found = [], np.empty(belongs.shape)
    for column, name in enumerate(names):
        signal, found[:, column] = _signal(name, inputs, residuals[:, column], belongs[:, column], capped, fold, first)
        signals.append(signal)
    found = np.maximum.accumulate(found, axis=1)
    curves = [PrecisionRecall.of(found[first, column], belongs[first, column] > 0) for column in range(len(names))]
    points = points_of(decide, names)
    decisions = Decisions(
        signals=tuple(signals),
        outputs=0 if rows.outputs is None else len(names),
        curves=tuple(curves),
        cuts=tuple(choose_cut(name, curve, points[name]) for name, curve in zip(names, curves, strict=True)),
    )
    return Fitted(decisions, found)


def _signal(
    tier: str,
    inputs: FloatArray,
    residuals: FloatArray,
    belongs: FloatArray,
    capped: BoolArray,
    fold: IntArray,
    first: IntArray,
) -> tuple[Signal, FloatArray]:
    """Return the signal of one tier, and its cross-fitted probabilities, shape (rows,)."""
    members = int(belongs[first].sum())
    fewest = min(members, len(first) - members)
    quality: dict[Kind, Quality] = {"residuals": _quality(residuals[first], belongs[first])}
    if fewest < FEWEST_TO_DECIDE:
        where = "in" if members == fewest else "outside"
        reason = (
            f"{fewest} held-out {'article' if fewest == 1 else 'articles'} {where} the tier, too few to learn it from; "
            f"{FEWEST_TO_DECIDE} are needed"
        )
        return Signal(tier=tier, kind="residuals", quality=quality, reason=reason), residuals
    head, share = np.empty(len(belongs)), np.empty(len(belongs))
    for number in np.unique(fold):
        inside, outside = fold != number, fold == number
        weights, intercept = _logistic(inputs[inside], belongs[inside])
        head[outside] = _sigmoid(inputs[outside] @ weights + intercept)
        share[outside] = belongs[inside].mean()
    head = np.where(capped, residuals, head)
    each: dict[Kind, FloatArray] = {
        "residuals": residuals,
        "head": head,
        "blend": np.where(capped, residuals, _sigmoid((_log_odds(head) + _log_odds(residuals)) / 2)),
    }
    quality |= {kind: _quality(each[kind][first], belongs[first]) for kind in ("head", "blend")}
    base = round(float(_log_losses(share[first], belongs[first]).mean()), 6)
    kind: Kind = min(("head", "blend"), key=lambda name: quality[name].log_loss)
    gains = {
        name: _gain(before[first], each[kind][first], belongs[first])
        for name, before in (("the residuals", residuals), ("the tier's share", share))
    }
    compared = "log-loss " + ", ".join(
        f"{-gain:+.4f} +- {noise:.4f} against {name}" for name, (gain, noise) in gains.items()
    )
    over_share, noise = gains["the tier's share"]
    if gains["the residuals"][0] <= 0 or over_share <= NOISE * noise:
        what = "the residuals" if gains["the residuals"][0] <= 0 else "the tier's share by more than noise"
        reason = f"no other way is better than {what}; the {kind} has {compared}"
        return Signal(tier=tier, kind="residuals", quality=quality, share_log_loss=base, reason=reason), residuals
    weights, intercept = _logistic(inputs, belongs)
    signal = Signal(
        tier=tier,
        kind=kind,
        intercept=intercept,
        weights=tuple(weights.tolist()),
        quality=quality,
        share_log_loss=base,
        reason=f"it is better than the residuals: {compared}",
    )
    return signal, each[kind]


def _inputs(scores: FloatArray, overall: FloatArray, outputs: FloatArray | None) -> FloatArray:
    parts = [scores, overall[:, None]]
    return np.concatenate(parts if outputs is None else [*parts, outputs], axis=1)


def _logistic(inputs: FloatArray, belongs: FloatArray) -> tuple[FloatArray, float]:
    """Fit a logistic regression on standardised inputs; return weights for the inputs themselves, and the intercept."""
    if belongs.min() == belongs.max():
        return np.zeros(inputs.shape[1]), float(_log_odds(belongs[:1])[0])
    linear_model = require("sklearn.linear_model", "train")
    middle, spread = inputs.mean(axis=0), inputs.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    fitted = linear_model.LogisticRegression(C=STRENGTH, max_iter=5_000).fit((inputs - middle) / spread, belongs)
    weights = np.round(fitted.coef_[0] / spread, 8)
    return weights, round(float(fitted.intercept_[0] - weights @ middle), 8)


def _quality(probabilities: FloatArray, belongs: FloatArray) -> Quality:
    curve = PrecisionRecall.of(probabilities, belongs > 0)
    place = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    return Quality(
        log_loss=round(float(_log_losses(probabilities, belongs).mean()), 6),
        average_precision=round(curve.average_precision or 0.0, 6),
        reliability=tuple(
            Reliability(
                low=bin_ / BINS,
                high=(bin_ + 1) / BINS,
                rows=int(inside.sum()),
                predicted=round(float(probabilities[inside].mean()), 6) if inside.any() else None,
                observed=round(float(belongs[inside].mean()), 6) if inside.any() else None,
            )
            for bin_ in range(BINS)
            for inside in (place == bin_,)
        ),
    )


def _gain(before: FloatArray, after: FloatArray, belongs: FloatArray) -> tuple[float, float]:
    """Return the mean decrease of the log-loss and its standard error."""
    falls = _log_losses(before, belongs) - _log_losses(after, belongs)
    return float(falls.mean()), float(falls.std()) / math.sqrt(max(1, len(falls) - 1))


def _log_losses(probabilities: FloatArray, belongs: FloatArray) -> FloatArray:
    inside = np.clip(probabilities, LEAST, 1 - LEAST)
    return -np.where(belongs > 0, np.log(inside), np.log1p(-inside))


def _log_odds(probabilities: FloatArray) -> FloatArray:
    inside = np.minimum(np.maximum(probabilities, LEAST), 1 - LEAST)
    found: FloatArray = np.log(inside / (1 - inside))
    return found


def _sigmoid(values: FloatArray) -> FloatArray:
    return 1 / (1 + np.exp(-np.minimum(np.maximum(values, -50.0), 50.0)))


def _named(cuts: Sequence[TierCut], probabilities: FloatArray, judged: Judged) -> BoolArray:
    places = positive_places(judged.rules)
    columns = [
        np.isin(judged.tiers, places[: column + 1])
        if cut.probability is None
        else probabilities[:, column] >= cut.probability
        for column, cut in enumerate(cuts)
    ]
    return np.array(columns).T
