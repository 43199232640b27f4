"""Findings: what the figures of an evaluation show, each from a rule that names its evidence.

In: the parts of an evaluation. Out: findings, the most important first. A rule applies only if the figures it needs
are recorded, and its text states how uncertain they are.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from potstill import metrics
from potstill.findings import (
    BROKEN_PROMISE,
    FEW_ROWS,
    FEWEST_ROWS_IN_BAND,
    GOOD_RECALL,
    ROUND_TARGET_STEP,
    SIGNIFICANCE,
    STRONG_BIAS,
    WEAK_SKILL,
    Finding,
    is_weak,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from potstill.bundle.facts import Choice
    from potstill.evaluation.records import Figures, Floor, Judgement, Odds, PositiveTier, Rung, Shipped, Slice

TRAINED = "fine-tuned"
"""The kind of student with a trained encoder; all other kinds are cheap."""

BASELINES = ("constant", "source-median")
"""Kinds of student that do not read the text."""


def findings(
    ladder: Sequence[Rung],
    choice: Choice | None,
    shipped: Shipped | None,
    floor: Floor | None,
    *,
    span: float,
) -> tuple[Finding, ...]:
    """The findings of all rules; `span` is the width of the filter's scale."""
    chosen = next((rung for rung in ladder if shipped is not None and rung.name == shipped.rung), None)
    judged = chosen.judgements[chosen.headline] if chosen is not None and chosen.headline else None
    return (
        *positive_tier_findings(judged if shipped is None else shipped.judgement),
        *_against_constant(ladder, chosen, judged),
        *_shipped_anyway(choice),
        *_choice(choice),
        *_cheaper_rung(ladder, chosen),
        *floor_findings(floor, judged),
        *_tiers(judged),
        *_bands(judged, span),
        *_held_out(shipped),
        *odds_findings(shipped.odds if shipped is not None else None),
        *_rounding(shipped.judgement if shipped is not None else None),
        *_slices(shipped.slices if shipped is not None else ()),
        *(chosen.training.flags if chosen is not None and chosen.training is not None else ()),
    )


def file_findings(judged: Judgement, found: Sequence[Slice], *, span: float, blind_caps: int) -> tuple[Finding, ...]:
    """The findings for a file of predictions; `blind_caps` is the number of caps that could not be applied."""
    return (
        *positive_tier_findings(judged),
        *_file_skill(judged),
        *_easy_target(judged, span),
        *_rounding(judged),
        *_tiers(judged),
        *_bands(judged, span),
        *_slices(found),
        *_blind_caps(blind_caps),
    )


def _file_skill(judged: Judgement) -> Iterator[Finding]:
    figure = judged.mean
    if figure.skill is None:
        return
    beats = _beats(figure)
    yield Finding(
        rule="beats-the-constant" if beats else "does-not-beat-the-constant",
        tone="good" if beats else "bad",
        text=(
            f"The predictions remove {_percent(figure.skill)} of the constant's error "
            f"(interval {_ends(figure, 'percent')}): MAE {_score(figure.mae)}, compared with "
            f"{_score(figure.constant_mae)} for the constant, on {judged.rows:,} rows."
            if beats
            else f"The predictions do not clearly beat the constant: MAE {_score(figure.mae)}, compared with "
            f"{_score(figure.constant_mae)} for the constant; the interval of the skill is {_ends(figure, 'percent')}."
        ),
        evidence={"skill": figure.skill, "mae": figure.mae, "constant_mae": figure.constant_mae},
    )


def _easy_target(judged: Judgement, span: float) -> Iterator[Finding]:
    """People often set the round number just below the constant's error as a target, which is weak."""
    base = judged.mean.constant_mae
    if not base:
        return
    step = span * ROUND_TARGET_STEP
    round_one = (math.ceil(round(base / step, 9)) - 1) * step
    under = 1 - round_one / base
    if round_one <= 0 or not is_weak(under):
        return
    yield Finding(
        rule="easy-target",
        tone="caution",
        text=(
            f'"MAE < {round_one:g}" would be a weak target: it is only {_percent(under)} below the constant\'s MAE of '
            f"{_score(base)}. A skill of {_percent(WEAK_SKILL)} needs an MAE of {_score(base * (1 - WEAK_SKILL))}."
        ),
        evidence={"target": round_one, "constant_mae": base, "skill": round(under, 6)},
    )


def odds_findings(odds: Odds | None) -> Iterator[Finding]:
    """Tier probabilities that are no better than tier frequencies, and deferral that keeps too many errors."""
    if odds is None:
        return
    if odds.brier_skill is not None and odds.brier_skill <= 0:
        yield Finding(
            rule="odds-no-better-than-shares",
            tone="bad",
            text=(
                f"Tier probabilities are no better than always predicting the tier frequencies of the training labels: "
                f"Brier score {_score(odds.brier)}, compared with {_score(odds.brier_of_shares)}, on {odds.rows:,} "
                f"test articles."
            ),
            evidence={"brier": odds.brier, "brier_of_shares": odds.brier_of_shares},
        )
    for asked in odds.asked:
        if asked.observed_interval is not None and asked.observed_interval.low > asked.error:
            yield Finding(
                rule="asking-broke-its-promise",
                tone="bad",
                text=(
                    f"If the oracle is asked about uncertain tiers, at most {_percent(asked.error)} of the remaining "
                    f"tiers should be wrong; on the test articles, {asked.wrong:,} of {asked.kept:,} are wrong."
                ),
                evidence={"error": asked.error, "observed": asked.observed, "kept": asked.kept},
            )


def _rounding(judged: Judgement | None) -> Iterator[Finding]:
    """If labels take only a few values, rounded scores have a lower error without being a better model."""
    found = None if judged is None else judged.rounding
    if found is None or found.mae is None or found.mae_rounded is None or found.mae_rounded >= found.mae:
        return
    what = "integers" if found.step == 1 else f"multiples of {found.step:g}"
    yield Finding(
        rule="rounding",
        tone="neutral",
        text=(
            f"The labels are {what}. Clipping the scores to the scale and rounding them to {what} would give an MAE of "
            f"{_score(found.mae_rounded)} instead of {_score(found.mae)}. The gain comes from the labels' step, not "
            f"from a better model."
        ),
        evidence={"step": found.step, "mae": found.mae, "mae_rounded": found.mae_rounded},
    )


def _slices(found: Sequence[Slice]) -> Iterator[Finding]:
    worse = [
        one
        for one in found
        if (one.difference or 0) > 0 and one.p_adjusted is not None and one.p_adjusted < SIGNIFICANCE
    ]
    if worse:
        worst = worse[0]
        yield Finding(
            rule="worst-slice",
            tone="caution",
            text=(
                f"The worst slice is {worst.by} {worst.value}: MAE {_score(worst.mae)} on {worst.rows:,} rows, "
                f"{_score(worst.difference)} more than on all other rows (p = {worst.p_adjusted:.2g}, adjusted for "
                f"{len(found)} slices; skill in this slice: {_percent(worst.skill)})."
            ),
            evidence={"by": worst.by, "value": worst.value, "mae": worst.mae, "p_adjusted": worst.p_adjusted},
        )


def _blind_caps(count: int) -> Iterator[Finding]:
    if count:
        yield Finding(
            rule="caps-not-applied",
            tone="caution",
            text=(
                f"The file has no texts, so the filter's {count} word-based caps were not applied to the labels or to "
                f"the predictions."
            ),
            evidence={"caps": count},
        )


def _against_constant(ladder: Sequence[Rung], chosen: Rung | None, judged: Judgement | None) -> Iterator[Finding]:
    cheap = [rung for rung in ladder if rung.student not in {TRAINED, *BASELINES} and rung.headline]
    figures = {rung.name: rung.judgements[rung.headline].mean for rung in cheap if rung.headline}
    if figures and not any(_beats(figure) for figure in figures.values()):
        best = min(figures, key=lambda name: _or_infinite(figures[name].mae))
        figure = figures[best]
        yield Finding(
            rule="cheap-students-do-not-beat-the-constant",
            tone="bad",
            text=(
                f"No cheap student clearly beats the constant: the best one, {best}, has an MAE of "
                f"{_score(figure.mae)}, compared with {_score(figure.constant_mae)} for the constant, and the interval "
                f"of its skill, {_ends(figure, 'percent')}, is not entirely above 0."
            ),
            evidence={"rung": best, "mae": figure.mae, "constant_mae": figure.constant_mae, "skill": figure.skill},
        )
    if chosen is None or judged is None or judged.mean.skill is None:
        return
    figure = judged.mean
    where = f"{judged.rows:,} rows ({_source(judged)})"
    if chosen.student in BASELINES:
        yield Finding(
            rule="shipped-is-a-baseline",
            tone="bad",
            text=f"The bundle is {chosen.name}, which does not read the text: its scores do not depend on the article.",
            evidence={"rung": chosen.name},
        )
    elif _beats(figure):
        yield Finding(
            rule="shipped-beats-the-constant",
            tone="good",
            text=(
                f"{chosen.name} removes {_percent(figure.skill)} of the constant's error "
                f"(interval {_ends(figure, 'percent')}): MAE {_score(figure.mae)}, compared with "
                f"{_score(figure.constant_mae)} for the constant, on {where}."
            ),
            evidence={"rung": chosen.name, "skill": figure.skill, "mae": figure.mae},
        )
    else:
        yield Finding(
            rule="shipped-does-not-beat-the-constant",
            tone="bad",
            text=(
                f"{chosen.name} does not clearly beat the constant: MAE {_score(figure.mae)}, compared with "
                f"{_score(figure.constant_mae)} for the constant, on {where}; the interval of its skill is "
                f"{_ends(figure, 'percent')}."
            ),
            evidence={"rung": chosen.name, "skill": figure.skill, "mae": figure.mae},
        )


def _shipped_anyway(choice: Choice | None) -> Iterator[Finding]:
    """The student, which is no baseline, was shipped although it is not shown to be better than the constant."""
    if choice is None or choice.skill is None or choice.skill.baseline or choice.skill.caution is None:
        return
    yield Finding(
        rule="shipped-anyway",
        tone="bad",
        text=f"{choice.rung}: {choice.skill.caution}.",
        evidence={
            "rung": choice.rung,
            "skill": choice.skill.skill,
            "rows": choice.skill.rows,
            "labels_needed": None if choice.skill.labels is None else choice.skill.labels.articles,
        },
    )


def _choice(choice: Choice | None) -> Iterator[Finding]:
    if choice is None or choice.runner_up is None or choice.margin is None:
        return
    interval = choice.margin_interval
    ends = "" if interval is None else f" (interval {_score(interval.low)} to {_score(interval.high)})"
    evidence: dict[str, float | int | str | None] = {
        "rung": choice.rung,
        "runner_up": choice.runner_up,
        "margin": choice.margin,
    }
    if choice.margin < 0:
        yield Finding(
            rule="choice-is-not-validations",
            tone="caution",
            text=(
                f"The bundle contains {choice.rung}, although the validation MAE of {choice.runner_up} is "
                f"{_score(-choice.margin)} lower."
            ),
            evidence=evidence,
        )
        return
    clear = interval is not None and interval.low > 0
    close = ". The difference is too small for validation to tell them apart."
    yield Finding(
        rule="choice-is-clear" if clear else "choice-is-close",
        tone="good" if clear else "neutral",
        text=(
            f"The validation MAE of {choice.rung} is {_score(choice.margin)} lower than that of "
            f"{choice.runner_up}{ends}{'.' if clear else close}"
        ),
        evidence=evidence,
    )


def _cheaper_rung(ladder: Sequence[Rung], chosen: Rung | None) -> Iterator[Finding]:
    """A trained encoder is not worth its cost if a frozen one is as good on the same rows."""
    if chosen is None or chosen.student != TRAINED or "test" not in chosen.judgements:
        return
    ours = chosen.judgements["test"].mean
    for rung in ladder:
        theirs = rung.judgements["test"].mean if "test" in rung.judgements else None
        if theirs is None or rung.student in {TRAINED, *BASELINES} or ours.mae is None or theirs.mae is None:
            continue
        if ours.mae_interval is not None and theirs.mae <= ours.mae_interval.high:
            yield Finding(
                rule="a-cheaper-rung-is-as-good",
                tone="caution",
                text=(
                    f"{rung.name} does not train an encoder, yet its MAE on the same test rows, {_score(theirs.mae)}, "
                    f"is not above the interval of {chosen.name} (MAE {_score(ours.mae)})."
                ),
                evidence={"rung": rung.name, "mae": theirs.mae, "shipped_mae": ours.mae},
            )
            return


def floor_findings(floor: Floor | None, judged: Judgement | None) -> Iterator[Finding]:
    """How far the student's error is above the noise floor, or that the floor is unknown."""
    if floor is None:
        yield Finding(
            rule="floor-unknown",
            tone="neutral",
            text=(
                "The noise floor is unknown: no article was labelled twice, so the oracle's own error cannot be "
                "estimated."
            ),
        )
    elif judged is not None and judged.mean.mae is not None:
        above = judged.mean.mae - floor.mean_floor
        distance = f"{_score(abs(above))} {'above' if above >= 0 else 'below'} the floor"
        yield Finding(
            rule="distance-to-the-floor",
            tone="neutral",
            text=(
                f"The noise floor is {_score(floor.mean_floor)}: two answers of the oracle differ by "
                f"{_score(floor.mean_difference)} on average. The student's MAE is {distance}. "
                f"Repeated answers to the same prompt do not reveal a bias that they share."
            ),
            evidence={"floor": floor.mean_floor, "difference": floor.mean_difference, "mae": judged.mean.mae},
        )


def _tiers(judged: Judgement | None) -> Iterator[Finding]:
    if judged is None:
        return
    tiers = judged.tiers
    if tiers.accuracy is not None and tiers.majority is not None and tiers.accuracy_interval is not None:
        better = tiers.accuracy_interval.low > tiers.majority
        yield Finding(
            rule="tiers-beat-the-majority" if better else "tiers-do-not-beat-the-majority",
            tone="good" if better else "caution",
            text=(
                f"Student and oracle agree on the tier of {_percent(tiers.accuracy)} of rows; always predicting "
                f"{tiers.majority_tier} would agree on {_percent(tiers.majority)}"
                + ("." if better else ", and the interval of the student's agreement is not entirely above that.")
            ),
            evidence={"accuracy": tiers.accuracy, "majority": tiers.majority},
        )


def positive_tier_findings(judged: Judgement | None) -> Iterator[Finding]:
    """What is found of each positive tier at its operating point, and promises that the rows contradict."""
    if judged is None:
        return
    fewest = judged.tiers.fewest_positives
    for found in judged.positive_tiers:
        where = f"the {found.oracle:,} articles that the oracle puts in {found.title} ({_rows(judged)})"
        counts = (
            f"{_capital(found.how)}, the student finds {found.both:,} of {where} and names {found.named:,} articles in "
            f"total"
        )
        evidence: dict[str, float | int | str | None] = {
            "tier": found.tier,
            "oracle": found.oracle,
            "named": found.named,
            "both": found.both,
            "recall": found.recall,
            "precision": found.precision,
            "average_precision": found.average_precision,
        }
        if found.oracle < fewest:
            yield Finding(
                rule="too-few-positives",
                tone="caution",
                text=f"{counts}. With fewer than {fewest} articles in the tier, only counts are given and no recall.",
                evidence=evidence,
            )
        elif found.recall is not None:
            yield Finding(
                rule="recall-of-positives",
                tone="good" if found.recall >= GOOD_RECALL else "caution",
                text=(
                    f"{counts}: recall {_percent(found.recall)}, precision {_percent(found.precision)}. Average "
                    f"precision is {_score(found.average_precision)} ({_score(found.by_chance)} for a random order)."
                ),
                evidence=evidence,
            )
        yield from _broken_promises(found, judged)


def _broken_promises(found: PositiveTier, judged: Judgement) -> Iterator[Finding]:
    """A promise whose bound these rows contradict, by a one-sided binomial test."""
    cut = found.cut
    if cut is None or cut.promise is None:
        return
    name, bound, trials = (
        ("recall", cut.recall_at_least, found.oracle)
        if cut.point.recall is not None
        else ("precision", cut.precision_at_least, found.named)
    )
    if bound is None or not trials:
        return
    chance = metrics.chance_of_at_most(found.both, trials, bound)
    if chance < BROKEN_PROMISE:
        yield Finding(
            rule="promise-broken",
            tone="bad",
            text=(
                f"The cut of {found.tier} promises {cut.promise}, and the articles that chose it showed a {name} of at "
                f"least {_percent(bound)}. On {_rows(judged)}, it is {found.both:,} of {trials:,} "
                f"({_percent(found.both / trials)}); if the promise held, chance would give so few with a probability "
                f"of {chance:.2g}. New articles may differ from those that chose the cut: bundle again with newer "
                "labels."
            ),
            evidence={"tier": found.tier, "bound": bound, "both": found.both, "trials": trials, "p": round(chance, 6)},
        )


def _rows(judged: Judgement) -> str:
    kind = {"fresh": "new ", "file": ""}.get(judged.source, f"{judged.source} ")
    return f"{judged.rows:,} {kind}rows"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _bands(judged: Judgement | None, span: float) -> Iterator[Finding]:
    """Whether the highest scores are predicted too low or too high on average; a filter exists to find them."""
    if judged is None:
        return
    for band in reversed(judged.bands["overall"]):
        if band.rows < FEWEST_ROWS_IN_BAND or band.bias is None:
            continue
        if abs(band.bias) > STRONG_BIAS * span:
            way = "low" if band.bias < 0 else "high"
            yield Finding(
                rule="highest-band-leans",
                tone="caution",
                text=(
                    f"Where the oracle's overall score is {band.low:g} to {band.high:g}, the student scores "
                    f"{_score(abs(band.bias))} too {way} on average ({band.rows} rows)."
                ),
                evidence={"low": band.low, "high": band.high, "bias": band.bias, "rows": band.rows},
            )
        return


def _held_out(shipped: Shipped | None) -> Iterator[Finding]:
    if shipped is None or shipped.judgement.mean.mae is None:
        return
    judgement, figure = shipped.judgement, shipped.judgement.mean
    few = judgement.rows < FEW_ROWS
    yield Finding(
        rule="held-out-is-small" if few else "held-out",
        tone="neutral",
        text=(
            f"The bundle as shipped has an MAE of {_score(figure.mae)} on the {judgement.rows:,} test rows, which were "
            f"not used for model selection (interval {_ends(figure, 'score')})."
            + (" With so few rows, rely on the interval rather than on the MAE itself." if few else "")
        ),
        evidence={"rows": judgement.rows, "mae": figure.mae},
    )


def _beats(figure: Figures) -> bool:
    """Whether a student clearly beats the constant: the paired interval of its skill is above 0."""
    return figure.skill_interval is not None and figure.skill_interval.low > 0


def _or_infinite(value: float | None) -> float:
    return math.inf if value is None else value


def _source(judged: Judgement) -> str:
    return f"out-of-fold, {judged.folds} folds" if judged.source == "out-of-fold" else judged.source


def _ends(figure: Figures, how: str) -> str:
    interval = figure.skill_interval if how == "percent" else figure.mae_interval
    if interval is None:
        return "unknown"
    show = _percent if how == "percent" else _score
    return f"{show(interval.low)} to {show(interval.high)}"


def _score(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0%}"
