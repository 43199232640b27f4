"""Compute the metrics of one student on one set of rows.

Input: scores, labels, predictions of a constant baseline, and clusters, all for the same rows. Output: a `Judgement`.
Nothing here depends on where the predictions come from, so a new bundle, a model of the leaderboard and a published
file are evaluated in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from potstill import metrics
from potstill.evaluation.positive_tiers import judge_positive_tiers, ranking_scores
from potstill.evaluation.ranking import judge_ranking
from potstill.evaluation.records import Band, Bootstrap, Figures, Judgement, Positives, Rounding, Tiers
from potstill.findings import FEWEST_POSITIVES
from potstill.metrics import number as number  # noqa: PLC0414 - its users know it from here
from potstill.records import Interval
from potstill.training.folding import turns
from potstill.types import UNSCORED
from potstill.verdict import decide_rows

if TYPE_CHECKING:
    import polars as pl

    from potstill.dataset import Examples
    from potstill.evaluation.positive_tiers import DecidedTiers
    from potstill.evaluation.records import Source
    from potstill.filters import Filter
    from potstill.types import FloatArray, IntArray

BANDS = 5
"""Number of equal bands of the scale for which the bias is reported."""

DEFAULT_BOOTSTRAP = Bootstrap(resamples=metrics.RESAMPLES, level=0.95, seed=0)


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """One student's scores for some rows, with everything that is needed to evaluate them.

    `scores` and `labels` have shape (rows, dimensions); masked labels are NaN. `constant` has shape (rows, dimensions +
    1): the predictions of a constant baseline that was fitted on the same rows as the student, for each dimension and,
    in the last column, for the weighted overall score. `folds` is the number of folds of out-of-fold scores. `decided`
    is None if the filter's conditions on the scores decide the tiers.
    """

    source: Source
    ids: tuple[str, ...]
    scores: FloatArray
    labels: FloatArray
    constant: FloatArray
    clusters: IntArray
    cap_hits: pl.DataFrame | None = None
    folds: int | None = None
    decided: DecidedTiers | None = None


def judge(predicted: Predicted, filter_: Filter, bootstrap: Bootstrap = DEFAULT_BOOTSTRAP) -> Judgement:
    """Compute all metrics of one student on one set of rows, with bootstrap intervals over clusters."""
    errors, constants = _errors(predicted, filter_)
    p, y = with_overall(predicted.scores, filter_), with_overall(predicted.labels, filter_)
    columns = _figures(p, y, errors, constants, predicted.clusters, bootstrap)
    bands = _bands(p, y, filter_)
    names = (*filter_.dimension_names, "overall")
    oracle = verdicts(predicted.labels, filter_, predicted.cap_hits)
    student = student_verdicts(predicted, filter_)
    score = ranking_scores(student, predicted.decided, filter_)
    positive_tiers = judge_positive_tiers(oracle, student, score, predicted, filter_, bootstrap)
    return Judgement(
        source=predicted.source,
        rows=len(predicted.ids),
        clusters=len(np.unique(predicted.clusters)),
        folds=predicted.folds,
        mean=_mean_figures(columns[:-1], errors[:, :-1], constants[:, :-1], predicted.clusters, bootstrap),
        overall=columns[-1],
        dimensions=dict(zip(filter_.dimension_names, columns[:-1], strict=True)),
        bands=dict(zip(names, bands, strict=True)),
        tiers=judge_tiers(
            oracle["tier"],
            student["tier"],
            predicted.clusters,
            filter_,
            bootstrap,
        ),
        positive_tiers=positive_tiers,
        ranking=None
        if not positive_tiers
        else judge_ranking(oracle, student["tier"], score[:, -1], filter_.positive_tiers, filter_.scale.min),
        rounding=_rounding(predicted, filter_),
    )


def with_overall(scores: FloatArray, filter_: Filter) -> FloatArray:
    """Append the filter-weighted mean of the scores as one more column; see `metrics.with_overall`."""
    return metrics.with_overall(scores, filter_.weights)


def constant_for(learned: FloatArray, filter_: Filter, rows: int) -> FloatArray:
    """Return the constant baseline's predictions for `rows` rows after fitting it on `learned`.

    Its overall score is the median of the overall score in `learned`, which is the best possible constant, and not the
    weighted mean of the dimensions' medians.

    Returns:
        Predictions of shape (rows, dimensions + 1).
    """
    return np.tile(metrics.constant(with_overall(learned, filter_)), (rows, 1))


def out_of_fold_constant(examples: Examples, folds: IntArray, filter_: Filter) -> FloatArray:
    """Return the constant's predictions for the same folds, shape (rows, dimensions + 1); see `constant_for`."""
    result = np.full((len(examples), len(examples.dimensions) + 1), np.nan)
    for learned, held_out in turns(examples, folds):
        scores = examples.take(learned).untargeted().scores
        result[held_out] = constant_for(scores, filter_, int(held_out.sum()))
    return result


def verdicts(scores: FloatArray, filter_: Filter, cap_hits: pl.DataFrame | None) -> pl.DataFrame:
    """Apply the filter's verdict to rows of scores; the result has the columns of `verdict.decide`."""
    return decide_rows(scores, filter_, cap_hits)


def student_verdicts(predicted: Predicted, filter_: Filter) -> pl.DataFrame:
    """Return the student's verdicts: as they were decided, or by its scores."""
    if predicted.decided is not None:
        return predicted.decided.verdict
    return verdicts(predicted.scores, filter_, predicted.cap_hits)


def judge_tiers(
    oracle: pl.Series,
    student: pl.Series,
    clusters: IntArray,
    filter_: Filter,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> Tiers:
    """Compute the agreement of two columns of tiers; rows where either tier is unscored are ignored."""
    known = ((oracle != UNSCORED) & (student != UNSCORED)).to_numpy()
    ours, theirs, clusters = student.filter(known), oracle.filter(known), clusters[known]
    names = tuple(filter_.tier_names)
    table = metrics.confusion(theirs.to_list(), ours.to_list(), names)
    rows, counts = int(table.sum()), table.sum(axis=1)
    same = (ours == theirs).to_numpy().astype(np.float64)[:, None]
    commonest = int(counts.argmax()) if rows else None
    positive = tuple(filter_.positive_tiers)
    return Tiers(
        rows=rows,
        names=names,
        confusion=tuple(tuple(row) for row in table.tolist()),
        accuracy=number(metrics.accuracy(table)),
        accuracy_interval=_interval(metrics.bootstrap_mean(same, clusters, **_settings(bootstrap))) if rows else None,
        majority=None if commonest is None else number(counts[commonest] / rows),
        majority_tier=None if commonest is None else names[commonest],
        kappa=number(metrics.kappa(table)),
        fewest_positives=FEWEST_POSITIVES,
        positives=_positives(theirs, ours, positive, clusters, bootstrap) if positive else None,
        by_tier=tuple(_positives(theirs, ours, (name,), clusters, bootstrap) for name in names),
    )


def _errors(predicted: Predicted, filter_: Filter) -> tuple[FloatArray, FloatArray]:
    """Return absolute errors of the student and the constant, shape (rows, dimensions + 1), NaN where masked."""
    y = with_overall(predicted.labels, filter_)
    return np.abs(with_overall(predicted.scores, filter_) - y), np.abs(predicted.constant - y)


def _figures(
    p: FloatArray,
    y: FloatArray,
    errors: FloatArray,
    constants: FloatArray,
    clusters: IntArray,
    bootstrap: Bootstrap,
) -> list[Figures]:
    """Return one record of metrics per column."""
    settings = _settings(bootstrap)
    mae_low, mae_high = metrics.bootstrap_mean(errors, clusters, **settings)
    ratio_low, ratio_high = metrics.bootstrap_ratio(
        np.nan_to_num(errors), np.nan_to_num(constants), clusters, **settings
    )
    found = {
        "mae": metrics.mae(p, y),
        "rmse": metrics.rmse(p, y),
        "bias": metrics.bias(p, y),
        "r2": metrics.r2(p, y),
        "spearman": metrics.spearman(p, y),
        "kendall": metrics.kendall(p, y),
    }
    base = np.array([_mean(column) for column in constants.T])
    skill = metrics.skill(found["mae"], base)
    return [
        Figures(
            rows=int(np.isfinite(y[:, i]).sum()),
            **{name: number(values[i]) for name, values in found.items()},
            mae_interval=_ends(mae_low[i], mae_high[i]),
            constant_mae=number(base[i]),
            skill=number(skill[i]),
            # 1 - skill is a ratio of errors on the same rows, so the ends of its interval are swapped.
            skill_interval=_ends(1 - ratio_high[i], 1 - ratio_low[i]) if base[i] > 0 else None,
        )
        for i in range(y.shape[1])
    ]


def _mean_figures(
    columns: list[Figures], errors: FloatArray, constants: FloatArray, clusters: IntArray, bootstrap: Bootstrap
) -> Figures:
    """Average each metric over dimensions; all dimensions have equal weight, whatever their number of labels."""
    settings = _settings(bootstrap)
    ours, theirs = metrics.row_shares(errors), metrics.row_shares(constants)
    low, high = metrics.bootstrap_mean(ours, clusters, **settings)
    ratio_low, ratio_high = metrics.bootstrap_ratio(ours, theirs, clusters, **settings)
    mae, base = _average(columns, "mae"), _average(columns, "constant_mae")
    return Figures(
        rows=len(errors),
        mae=mae,
        mae_interval=_ends(low[0], high[0]),
        rmse=_average(columns, "rmse"),
        bias=_average(columns, "bias"),
        r2=_average(columns, "r2"),
        spearman=_average(columns, "spearman"),
        kendall=_average(columns, "kendall"),
        constant_mae=base,
        skill=None if mae is None or not base else number(1 - mae / base),
        skill_interval=_ends(1 - ratio_high[0], 1 - ratio_low[0]) if base else None,
    )


def _rounding(predicted: Predicted, filter_: Filter) -> Rounding | None:
    """Compute the error of scores rounded to the labels' grid; return None if the labels have no grid."""
    low, high = filter_.scale.min, filter_.scale.max
    step = metrics.step_of(predicted.labels, low)
    if step is None:
        return None
    clipped = np.clip(predicted.scores, low, high)
    rounded = np.clip(low + np.round((clipped - low) / step) * step, low, high)
    return Rounding(
        step=step,
        mae=number(metrics.average(metrics.mae(predicted.scores, predicted.labels))),
        mae_rounded=number(metrics.average(metrics.mae(rounded, predicted.labels))),
    )


def _average(columns: list[Figures], name: str) -> float | None:
    values = [getattr(figures, name) for figures in columns]
    return number(metrics.average([value for value in values if value is not None]))


def _bands(p: FloatArray, y: FloatArray, filter_: Filter) -> list[tuple[Band, ...]]:
    edges = np.linspace(filter_.scale.min, filter_.scale.max, BANDS + 1)
    found = metrics.band_bias(p, y, edges)
    return [
        tuple(
            Band(
                low=float(edges[band]),
                high=float(edges[band + 1]),
                rows=int(found.counts[band, column]),
                bias=number(found.bias[band, column]),
            )
            for band in range(BANDS)
        )
        for column in range(y.shape[1])
    ]


def _positives(
    oracle: pl.Series, student: pl.Series, tiers: tuple[str, ...], clusters: IntArray, bootstrap: Bootstrap
) -> Positives:
    y, p = oracle.is_in(tiers).to_numpy(), student.is_in(tiers).to_numpy()
    counts = metrics.positives(y, p)
    recall, precision = counts.recall, counts.precision
    if recall is None and precision is None:
        return Positives(tiers=tiers, oracle=counts.actual, student=counts.predicted, both=counts.found)
    of_recall, of_precision = metrics.positive_intervals(y, p, clusters, **_settings(bootstrap))
    return Positives(
        tiers=tiers,
        oracle=counts.actual,
        student=counts.predicted,
        both=counts.found,
        recall=None if recall is None else number(recall),
        recall_interval=None if recall is None else _interval(of_recall),
        precision=None if precision is None else number(precision),
        precision_interval=None if precision is None else _interval(of_precision),
    )


class _Settings(TypedDict):
    n: int
    seed: int
    level: float


def _settings(bootstrap: Bootstrap) -> _Settings:
    return _Settings(n=bootstrap.resamples, seed=bootstrap.seed, level=bootstrap.level)


def _interval(found: metrics.Bounds) -> Interval | None:
    return _ends(float(np.ravel(found.low)[0]), float(np.ravel(found.high)[0]))


def _ends(low: float, high: float) -> Interval | None:
    first, last = number(low), number(high)
    return None if first is None or last is None else Interval(low=first, high=last)


def _mean(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
