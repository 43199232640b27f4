"""Turns raw scores into verdicts: the steps after the student, shared by scoring and bundle verification.

Input: raw scores and the text windows they belong to. Output: calibrated scores, intervals and verdicts, as arrays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from potstill.calibration.decisions import of_each_tier, of_residuals, with_cap
from potstill.prefilter import fold_all
from potstill.students import Outputs, outputs_of
from potstill.verdict import Judged, cap_hits_of, judge_rows, positive_places, with_named

if TYPE_CHECKING:
    import polars as pl

    from potstill.calibration import Calibration
    from potstill.calibration.decisions import Decisions
    from potstill.filters import Filter
    from potstill.students import Student
    from potstill.types import BoolArray, FloatArray

LEVEL = 0.9
"""Default nominal coverage of intervals."""


@dataclass(frozen=True, slots=True, eq=False)
class Reasons:
    """Why rows have their tiers: the probability that counted, the cut it was compared with, and both in words.

    `probability` and `cut` have shape (rows,), NaN where the tier was decided by score; `texts` is None without a
    verdict.
    """

    probability: FloatArray
    cut: FloatArray
    texts: list[str | None]


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """Scores, low and high, shape (rows, dimensions), NaN in a row without a verdict, and the verdicts in `judged`.

    `raw` are the student's raw scores, of the same shape. `probabilities`, if asked for, has shape (rows, tiers), with
    NaN in the same rows. `positive`, if tiers are decided by their probability, is that of each positive tier or a
    better one, shape (rows, positive tiers); NaN in a row that was decided by score. `novelty`, if the student measures
    distances, is the p-value of the hypothesis that the article is like the training articles, shape (rows,), NaN in a
    row without a verdict.
    """

    scores: FloatArray
    low: FloatArray
    high: FloatArray
    judged: Judged
    raw: FloatArray
    probabilities: FloatArray | None = None
    positive: FloatArray | None = None
    reasons: Reasons | None = None
    novelty: FloatArray | None = None

    @property
    def verdict(self) -> pl.DataFrame:
        """Return the columns of `verdict.decide`, one row per article."""
        return self.judged.frame


def decide_raw(
    given: Outputs,
    folded: pl.Series | None,
    filter_: Filter,
    calibration: Calibration,
    level: float = LEVEL,
    *,
    probabilities: bool = False,
) -> Decided:
    """Calibrate raw scores and decide the verdict of each row.

    Positive tiers are decided by their probability and the cuts of the calibration's decisions; without these, all
    tiers are decided by score. Intervals and tier probabilities of articles that are unlike the training articles are
    widened.

    Args:
        given: what the student says; a row with a raw score that is not finite gets no verdict. Tier outputs are needed
            if the decisions use them.
        folded: the rows' text windows as `prefilter.fold_all` returns them, for the words of the caps; not used if
            there are no caps.
        filter_: weights, gates, caps and tiers.
        calibration: maps raw scores to the scale and computes intervals.
        level: nominal coverage of the intervals, above 0 and below 1.
        probabilities: whether to compute tier probabilities, which takes as long as a few hundred verdicts per row.

    Raises:
        BadInput: probabilities are asked for and the calibration holds no residuals.
    """
    # A row in which one score is missing gets no scores at all.
    raw, outputs = given.raw, given.tiers
    known = np.asarray(np.isfinite(raw).all(axis=1))
    whole = np.where(known[:, None], raw, np.nan)
    novelty, widening = _unlike(given, calibration, known)
    scores, low, high = calibration.scores_and_intervals(whole, level, widening)
    hits = cap_hits_of(folded, filter_) if filter_.caps and folded is not None else None
    judged = judge_rows(scores, filter_, hits)
    decisions = calibration.decisions
    if decisions is None or (decisions.by_score and not probabilities):
        odds = calibration.tier_odds(scores, filter_, hits, widening) if probabilities else None
        return Decided(scores, low, high, judged, raw, odds, novelty=novelty)
    capped = with_cap(hits, len(scores))
    odds = None
    if probabilities or decisions.need_residuals or capped.any():
        odds = calibration.tier_odds(scores, filter_, hits, widening)
    of_odds = None
    if odds is not None:
        of_odds = of_residuals(odds, judged, capped, low=calibration.low, high=calibration.high)
    if not decisions.outputs:
        outputs = None
    elif outputs is None:
        # The student was not run, because none of the rows has a text to score.
        outputs = np.full((len(scores), decisions.outputs), np.nan)
    positive = decisions.probabilities(scores, judged.overall, outputs, of_odds, widening)
    if of_odds is not None:
        positive = np.where(capped[:, None], of_odds, positive)
    judged = with_named(judged, scores, decisions.named(positive, judged))
    each = of_each_tier(odds, positive, filter_) if odds is not None and probabilities else None
    if decisions.by_score:
        return Decided(scores, low, high, judged, raw, each, novelty=novelty)
    reasons = _explained(judged, positive, decisions)
    return Decided(scores, low, high, judged, raw, each, positive, reasons, novelty)


def _unlike(given: Outputs, calibration: Calibration, known: BoolArray) -> tuple[FloatArray | None, FloatArray | None]:
    """Return the novelty of each row, and the factor by which its intervals are widened; None if none is measured.

    The factor is None as well if it is 1 for every row.
    """
    familiarity = calibration.familiarity
    if familiarity is None:
        return None, None
    # The student was not run if none of the rows has a text to score.
    distances = np.full(len(known), np.nan) if given.distances is None else np.where(known, given.distances, np.nan)
    widening = familiarity.widening(distances)
    return familiarity.p_values(distances), widening if (widening > 1).any() else None


def decide_articles(
    student: Student,
    articles: pl.DataFrame,
    filter_: Filter,
    calibration: Calibration,
    level: float = LEVEL,
    *,
    probabilities: bool = False,
) -> Decided:
    """Score articles with a student and decide their verdicts, as `decide_raw` does.

    Args:
        student: the student.
        articles: text windows in the column `text`, and other columns that the student reads.
        filter_: weights, gates, caps and tiers.
        calibration: as for `decide_raw`.
        level: as for `decide_raw`.
        probabilities: as for `decide_raw`.
    """
    folded = fold_all(articles["text"])
    return decide_raw(outputs_of(student, articles), folded, filter_, calibration, level, probabilities=probabilities)


def _explained(judged: Judged, positive: FloatArray, decisions: Decisions) -> Reasons:
    """Explain the tier of each row by the probability and the cut that decided it."""
    places = positive_places(judged.rules)
    # A tier that is not positive is explained by the last positive tier, which has the lowest cut.
    column = np.full(len(judged), len(places) - 1)
    for number, place in enumerate(places):
        column[judged.tiers == place] = number
    cuts = np.array([np.nan if cut.probability is None else cut.probability for cut in decisions.cuts])[column]
    probability = np.where(np.isnan(cuts), np.nan, positive[np.arange(len(judged)), column])
    goals = [cut.goal for cut in decisions.cuts]
    texts = [
        None if math.isnan(overall) else _why(overall, own, cut, goals[number])
        for overall, own, cut, number in zip(
            judged.overall.tolist(), probability.tolist(), cuts.tolist(), column.tolist(), strict=True
        )
    ]
    return Reasons(probability, np.where(np.isnan(probability), np.nan, cuts), texts)


def _why(overall: float, probability: float, cut: float, goal: str) -> str:
    if math.isnan(probability) or math.isnan(cut):
        return f"overall {overall:.1f}, decided by score"
    side = "" if probability >= cut else "below the "
    return f"overall {overall:.1f}, probability {probability:.2f}, {side}cut {cut:.2f} for {goal}"


def merged(these: Decided, others: Decided, which: BoolArray) -> Decided:
    """Return the rows of `these` where `which`, shape (rows,), is true, and those of `others` elsewhere."""
    rows = which[:, None]
    odds = None
    if these.probabilities is not None and others.probabilities is not None:
        odds = np.where(rows, these.probabilities, others.probabilities)
    positive = None
    if these.positive is not None or others.positive is not None:
        unknown = np.full((len(which), 1), np.nan)
        positive = np.where(
            rows,
            unknown if these.positive is None else these.positive,
            unknown if others.positive is None else others.positive,
        )
    return Decided(
        np.where(rows, these.scores, others.scores),
        np.where(rows, these.low, others.low),
        np.where(rows, these.high, others.high),
        these.judged.where(which, others.judged),
        np.where(rows, these.raw, others.raw),
        odds,
        positive,
        _merged_reasons(these, others, which),
        _merged_novelty(these.novelty, others.novelty, which),
    )


def _merged_novelty(these: FloatArray | None, others: FloatArray | None, which: BoolArray) -> FloatArray | None:
    if these is None and others is None:
        return None
    unknown = np.full(len(which), np.nan)
    return np.where(which, unknown if these is None else these, unknown if others is None else others)


def _merged_reasons(these: Decided, others: Decided, which: BoolArray) -> Reasons | None:
    if these.reasons is None and others.reasons is None:
        return None
    one, other = (each.reasons or _by_score(each.judged) for each in (these, others))
    return Reasons(
        np.where(which, one.probability, other.probability),
        np.where(which, one.cut, other.cut),
        [first if chosen else second for chosen, first, second in zip(which, one.texts, other.texts, strict=True)],
    )


def _by_score(judged: Judged) -> Reasons:
    unknown = np.full(len(judged), np.nan)
    overall = judged.overall.tolist()
    return Reasons(
        unknown, unknown, [None if math.isnan(value) else _why(value, value, math.nan, "") for value in overall]
    )
