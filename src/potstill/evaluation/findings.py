"""Verdicts in plain words: what the figures say, each from a rule that names its evidence.

In: the parts of an evaluation. Out: findings, the most telling first. A rule speaks only where its figures are
recorded; none of them rounds a doubt away.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from potstill.evaluation.records import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from potstill.bundle.facts import Choice
    from potstill.evaluation.records import Figures, Floor, Judgement, Odds, Rung, Shipped, Slice

TRAINED = "fine-tuned"
"""The kind of student whose encoder was trained; the others are cheap."""

BASELINES = ("constant", "source-median")
"""Kinds of student that read nothing."""

FEW_ROWS = 100
"""Held-out rows below which an interval is the figure, and the figure a hint."""

STRONG_LEAN = 0.1
"""Share of the scale beyond which a band's mean error is worth a warning."""

WEAK_SKILL = 0.2
"""A target that a skill below this meets asks for little."""

ROUND_STEP = 0.05
"""The grid of round numbers, as a share of the scale: halves on a scale of ten."""

SURE = 0.05
"""The adjusted p-value below which a slice is called worse."""

FEWEST_IN_BAND = 10
"""Rows that a band needs before its mean error is worth words."""


def findings(
    ladder: Sequence[Rung],
    choice: Choice | None,
    shipped: Shipped | None,
    floor: Floor | None,
    *,
    span: float,
) -> tuple[Finding, ...]:
    """All that the rules have to say; `span` is the width of the filter's scale."""
    chosen = next((rung for rung in ladder if shipped is not None and rung.name == shipped.rung), None)
    judged = chosen.judgements[chosen.headline] if chosen is not None and chosen.headline else None
    return (
        *_against_constant(ladder, chosen, judged),
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
    """What the rules say of a file of predictions; `blind_caps` counts the caps that could not be looked for."""
    return (
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
            f"It removes {_percent(figure.skill)} of the constant's error (interval {_ends(figure, 'percent')}): "
            f"{_score(figure.mae)} against {_score(figure.constant_mae)} on {judged.rows:,} rows."
            if beats
            else f"It does not clearly beat the constant: {_score(figure.mae)} against {_score(figure.constant_mae)}; "
            f"the interval of its skill is {_ends(figure, 'percent')}."
        ),
        evidence={"skill": figure.skill, "mae": figure.mae, "constant_mae": figure.constant_mae},
    )


def _easy_target(judged: Judgement, span: float) -> Iterator[Finding]:
    """The round number just below the constant's error is what people set as a target; it asks for little."""
    base = judged.mean.constant_mae
    if not base:
        return
    step = span * ROUND_STEP
    round_one = (math.ceil(round(base / step, 9)) - 1) * step
    under = 1 - round_one / base
    if round_one <= 0 or under >= WEAK_SKILL - 1e-9:
        return
    yield Finding(
        rule="easy-target",
        tone="caution",
        text=(
            f'"MAE < {round_one:g}" would be a weak target: it is only {_percent(under)} under the constant\'s '
            f"{_score(base)}. A skill of {_percent(WEAK_SKILL)} takes {_score(base * (1 - WEAK_SKILL))}."
        ),
        evidence={"target": round_one, "constant_mae": base, "skill": round(under, 6)},
    )


def odds_findings(odds: Odds | None) -> Iterator[Finding]:
    """Probabilities that say no more than shares do, and asking the oracle that kept more errors than promised."""
    if odds is None:
        return
    if odds.brier_skill is not None and odds.brier_skill <= 0:
        yield Finding(
            rule="odds-no-better-than-shares",
            tone="bad",
            text=(
                f"Tiers' probabilities are no better than the tiers' shares: Brier score {_score(odds.brier)} against "
                f"{_score(odds.brier_of_shares)} on {odds.rows:,} test articles."
            ),
            evidence={"brier": odds.brier, "brier_of_shares": odds.brier_of_shares},
        )
    for asked in odds.asked:
        if asked.observed_interval is not None and asked.observed_interval.low > asked.error:
            yield Finding(
                rule="asking-broke-its-promise",
                tone="bad",
                text=(
                    f"With the oracle asked about unsure tiers, at most {_percent(asked.error)} of the others should "
                    f"be wrong; on the test articles {asked.wrong:,} of {asked.kept:,} are."
                ),
                evidence={"error": asked.error, "observed": asked.observed, "kept": asked.kept},
            )


def _rounding(judged: Judgement | None) -> Iterator[Finding]:
    """Labels that only take a few values reward scores that do; it is no better model."""
    found = None if judged is None else judged.rounding
    if found is None or found.mae is None or found.mae_rounded is None or found.mae_rounded >= found.mae:
        return
    what = "integers" if found.step == 1 else f"steps of {found.step:g}"
    yield Finding(
        rule="rounding",
        tone="neutral",
        text=(
            f"Clipping to the scale and rounding to the labels' {what} would give {_score(found.mae_rounded)} instead "
            f"of {_score(found.mae)}: a gain from the labels' grid, not from a better model."
        ),
        evidence={"step": found.step, "mae": found.mae, "mae_rounded": found.mae_rounded},
    )


def _slices(found: Sequence[Slice]) -> Iterator[Finding]:
    worse = [one for one in found if (one.difference or 0) > 0 and one.p_adjusted is not None and one.p_adjusted < SURE]
    if worse:
        worst = worse[0]
        yield Finding(
            rule="worst-slice",
            tone="caution",
            text=(
                f"It is worst on {worst.by} {worst.value}: {_score(worst.mae)} on {worst.rows:,} rows, "
                f"{_score(worst.difference)} more than elsewhere (p {worst.p_adjusted:.2g}, adjusted for "
                f"{len(found)} slices; skill there {_percent(worst.skill)})."
            ),
            evidence={"by": worst.by, "value": worst.value, "mae": worst.mae, "p_adjusted": worst.p_adjusted},
        )


def _blind_caps(count: int) -> Iterator[Finding]:
    if count:
        yield Finding(
            rule="caps-not-applied",
            tone="caution",
            text=f"The file holds no text, so the filter's {count} caps on words were not applied to either side.",
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
                f"No cheap student clearly beats the constant: the best, {best}, has a mean absolute error of "
                f"{_score(figure.mae)} where the constant has {_score(figure.constant_mae)}, and the interval of "
                f"its skill {_ends(figure, 'percent')} does not lie above 0."
            ),
            evidence={"rung": best, "mae": figure.mae, "constant_mae": figure.constant_mae, "skill": figure.skill},
        )
    if chosen is None or judged is None or judged.mean.skill is None:
        return
    figure = judged.mean
    where = f"{judged.rows:,} rows, {_source(judged)}"
    if chosen.student in BASELINES:
        yield Finding(
            rule="shipped-is-a-baseline",
            tone="bad",
            text=f"Validation prefers {chosen.name}, which reads nothing of the text: there is nothing to ship.",
            evidence={"rung": chosen.name},
        )
    elif _beats(figure):
        yield Finding(
            rule="shipped-beats-the-constant",
            tone="good",
            text=(
                f"{chosen.name} removes {_percent(figure.skill)} of the constant's error "
                f"(interval {_ends(figure, 'percent')}): {_score(figure.mae)} against {_score(figure.constant_mae)} "
                f"on {where}."
            ),
            evidence={"rung": chosen.name, "skill": figure.skill, "mae": figure.mae},
        )
    else:
        yield Finding(
            rule="shipped-does-not-beat-the-constant",
            tone="bad",
            text=(
                f"{chosen.name} does not clearly beat the constant: {_score(figure.mae)} against "
                f"{_score(figure.constant_mae)} on {where}; the interval of its skill is {_ends(figure, 'percent')}."
            ),
            evidence={"rung": chosen.name, "skill": figure.skill, "mae": figure.mae},
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
                f"The bundle is {choice.rung}, although validation prefers {choice.runner_up} by "
                f"{_score(-choice.margin)}."
            ),
            evidence=evidence,
        )
        return
    clear = interval is not None and interval.low > 0
    close = ": too close for validation alone to tell them apart."
    yield Finding(
        rule="choice-is-clear" if clear else "choice-is-close",
        tone="good" if clear else "neutral",
        text=(
            f"Validation prefers {choice.rung} over {choice.runner_up} by {_score(choice.margin)}{ends}"
            f"{'.' if clear else close}"
        ),
        evidence=evidence,
    )


def _cheaper_rung(ladder: Sequence[Rung], chosen: Rung | None) -> Iterator[Finding]:
    """A trained encoder that a frozen one matches on the same rows is not worth its price."""
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
                    f"{rung.name}, which trains no encoder, is within the interval of {chosen.name} on the same test "
                    f"rows: {_score(theirs.mae)} against {_score(ours.mae)}."
                ),
                evidence={"rung": rung.name, "mae": theirs.mae, "shipped_mae": ours.mae},
            )
            return


def floor_findings(floor: Floor | None, judged: Judgement | None) -> Iterator[Finding]:
    """How far the student is from the error that no student can beat, or that nobody knows it."""
    if floor is None:
        yield Finding(
            rule="floor-unknown",
            tone="neutral",
            text="The floor is unknown: no article was labelled twice, so the oracle's own error cannot be told.",
        )
    elif judged is not None and judged.mean.mae is not None:
        above = judged.mean.mae - floor.mean_floor
        yield Finding(
            rule="distance-to-the-floor",
            tone="neutral",
            text=(
                f"The floor is {_score(floor.mean_floor)}: two answers of the oracle differ by "
                f"{_score(floor.mean_difference)} on average. The student is {_score(above)} above it. Repeats of one "
                f"prompt don't reveal a bias that they share."
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
                f"Tiers agree on {_percent(tiers.accuracy)} of rows; naming {tiers.majority_tier} every time would "
                f"agree on {_percent(tiers.majority)}"
                + ("." if better else ", and the interval of the first does not lie above the second.")
            ),
            evidence={"accuracy": tiers.accuracy, "majority": tiers.majority},
        )
    positives = tiers.positives
    if positives is None:
        return
    names = " or ".join(positives.tiers)
    if positives.oracle < tiers.fewest_positives:
        yield Finding(
            rule="too-few-positives",
            tone="caution",
            text=(
                f"The oracle puts {positives.oracle} rows in {names}; the student finds {positives.both} of them and "
                f"names {positives.student}. Under {tiers.fewest_positives} that is a count, not a recall."
            ),
            evidence={"oracle": positives.oracle, "student": positives.student, "both": positives.both},
        )
    elif positives.recall is not None:
        precise = "" if positives.precision is None else f", and {_percent(positives.precision)} of what it names is"
        yield Finding(
            rule="recall-of-positives",
            tone="good" if positives.recall >= 0.8 else "caution",
            text=f"It finds {_percent(positives.recall)} of the {positives.oracle} rows in {names}{precise}.",
            evidence={"recall": positives.recall, "precision": positives.precision, "oracle": positives.oracle},
        )


def _bands(judged: Judgement | None, span: float) -> Iterator[Finding]:
    """High labels are what a filter is for; a student that leans to the middle misses them first."""
    if judged is None:
        return
    for band in reversed(judged.bands["overall"]):
        if band.rows < FEWEST_IN_BAND or band.bias is None:
            continue
        if abs(band.bias) > STRONG_LEAN * span:
            way = "low" if band.bias < 0 else "high"
            yield Finding(
                rule="highest-band-leans",
                tone="caution",
                text=(
                    f"Where the oracle's overall is {band.low:g} to {band.high:g} the student scores "
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
            f"The bundle as shipped has {_score(figure.mae)} on the {judgement.rows:,} test rows that chose nothing "
            f"(interval {_ends(figure, 'score')})" + (": so few rows that the interval is the figure." if few else ".")
        ),
        evidence={"rows": judgement.rows, "mae": figure.mae},
    )


def _beats(figure: Figures) -> bool:
    """Whether a student is better than the constant beyond doubt: the paired interval of its skill is above 0."""
    return figure.skill_interval is not None and figure.skill_interval.low > 0


def _or_infinite(value: float | None) -> float:
    return math.inf if value is None else value


def _source(judged: Judgement) -> str:
    return f"{judged.folds}-fold, none seen in training" if judged.source == "out-of-fold" else judged.source


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
