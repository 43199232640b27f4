"""Conclusions from the figures: strengths, weaknesses, readiness, suitability. Each from a rule, with evidence.

In: facts. Out: sections. A rule whose figures are not recorded says so or gives no conclusion; thresholds are shown
from `rules.RULES`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report import charts
from potstill.report.blocks import Column, Findings, Paragraph, Row, Section, Shown, Table, Text
from potstill.report.rules import RULES, grade, holds, rate, threshold
from potstill.report.sections.decisions import current
from potstill.report.sections.parts import half_width, headline, interval, load_remark, measured_hash, show, spaced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from potstill.report.blocks import Kind
    from potstill.report.facts import Fact, Facts, Record
    from potstill.report.sections.parts import Path

_TONES = {"excellent": "good", "good": "good", "weak": "caution", "unproven": "caution", "none": "bad"}


def strengths(facts: Facts) -> Section:
    """Strengths and weaknesses of the student, overall and by dimension."""
    evaluation, at = facts.evaluation, headline(facts.evaluation)
    found = [*_anyway(evaluation), *_whole(evaluation, at), *_each_dimension(evaluation, at), *_held(facts)]
    order = {"good": 0, "caution": 1, "bad": 2}
    found.sort(key=lambda item: order[item.tone or "caution"])
    opening = Paragraph(
        (
            (
                "Ratings follow fixed rules. A dimension is rated by the share of the avoidable error that the student "
                "removes. The avoidable error is the constant's error minus the noise floor, or the "
                "whole error if the floor is unknown. Excellent: at least "
            ),
            _rule("percent", "rating", "excellent"),
            "; good: at least ",
            _rule("percent", "rating", "good"),
            "; fair: at least ",
            _rule("percent", "rating", "fair"),
            (
                "; unproven: better than the constant, but the interval of its skill includes zero; none: not better "
                "than the constant."
            ),
        )
    )
    if not found:
        return Section("strengths", "Strengths and weaknesses", (opening, Paragraph(("Not recorded.",))))
    return Section("strengths", "Strengths and weaknesses", (opening, Findings(tuple(found))))


def readiness(facts: Facts) -> Section:
    """Checks that must pass before the bundle is used in production; a check without a record is open."""
    evaluation, at = facts.evaluation, headline(facts.evaluation)
    checks = tuple(
        Row(((name,), (_answer(holds),), evidence), strong=holds is False)
        for name, holds, evidence in _checks(facts, evaluation, at)
    )
    open_ = any(holds is None for _, holds, _ in _checks(facts, evaluation, at))
    failed = any(holds is False for _, holds, _ in _checks(facts, evaluation, at))
    said = (
        Paragraph(("Not ready: at least one check below fails.",), "bad")
        if failed
        else Paragraph(("Not confirmed: at least one check below is not recorded.",), "caution")
        if open_
        else Paragraph(("All checks below pass.",), "good")
    )
    table = Table(
        "Checks",
        (
            Column("Check", numeric=False, wraps=True),
            Column("Passed", numeric=False),
            Column("Evidence", numeric=False, wraps=True),
        ),
        checks,
    )
    return Section("readiness", "Production readiness", (said, table))


def suitability(facts: Facts) -> Section:
    """Uses for which the scores are suitable: tiers, ranking, exact values."""
    evaluation, at = facts.evaluation, headline(facts.evaluation)
    kappa, spearman = evaluation.at(*at, "tiers", "kappa"), evaluation.at(*at, "overall", "spearman")
    widest = _widest(facts)
    low, high = (evaluation.at("scale", place).value for place in (0, 1))
    share = None if widest is None or low is None or high is None else widest[1].value / (high - low)
    exact: Text = (
        ("half the interval width of the widest dimension: not recorded",)
        if widest is None
        else ("half the interval width of the widest dimension, ", spaced(widest[0]), ": ", Shown(widest[1], "score"))
    )
    rows: tuple[tuple[str, str | None, Text, Text], ...] = (
        (
            "Assigning articles to tiers",
            grade("tiers", kappa.value),
            (
                "Cohen's kappa of tiers ",
                Shown(kappa, "score"),
                ", agreement ",
                show(evaluation, "percent", *at, "tiers", "accuracy"),
            ),
            _bounds("tiers", "Cohen's kappa"),
        ),
        (
            "Ranking articles",
            grade("ranking", spearman.value),
            ("Spearman correlation of the weighted overall ", Shown(spearman, "score")),
            _bounds("ranking", "Spearman"),
        ),
        ("Exact scores", grade("exact", share), exact, _bounds("exact", "half interval width as a share of the scale")),
    )
    table = Table(
        "Suitability",
        (
            Column("Use", numeric=False),
            Column("Verdict", numeric=False),
            Column("Evidence", numeric=False, wraps=True),
            Column("Rule", numeric=False, wraps=True),
        ),
        tuple(Row(((use,), (verdict or "not recorded",), evidence, rule)) for use, verdict, evidence, rule in rows),
    )
    return Section("suitability", "Suitable uses", (table,))


def rating(evaluation: Record, path: Path, name: str) -> str | None:
    """The rating of one dimension of a judgement, a word of `rules.RATINGS`."""
    at = (*path, "dimensions", name)
    return rate(
        evaluation.at(*at, "mae").value,
        evaluation.at(*at, "constant_mae").value,
        evaluation.at("floor", "floor", name).value,
        evaluation.at(*at, "skill_interval", "low").value,
    )


# Rules


def _anyway(evaluation: Record) -> Iterator[Paragraph]:
    """The finding that the student was shipped although it is not shown to be better than the constant."""
    for place in range(evaluation.size("findings")):
        if evaluation.at("findings", place, "rule").value == "shipped-anyway":
            yield Paragraph((show(evaluation, "text", "findings", place, "text"),), "bad")


def _whole(evaluation: Record, at: Path) -> Iterator[Paragraph]:
    lowest = evaluation.at(*at, "mean", "skill_interval", "low").value
    if lowest is not None:
        better = lowest > 0
        yield Paragraph(
            (
                "Skill over all dimensions is ",
                show(evaluation, "percent", *at, "mean", "skill"),
                " (interval ",
                *interval(evaluation, "percent", *at, "mean", "skill_interval"),
                "), which is entirely above zero." if better else "), which is not entirely above zero.",
            ),
            "good" if better else "bad",
        )
    accuracy, majority = (
        evaluation.at(*at, "tiers", "accuracy_interval", "low").value,
        evaluation.at(*at, "tiers", "majority").value,
    )
    if accuracy is not None and majority is not None:
        better = accuracy > majority
        yield Paragraph(
            (
                "Student and oracle agree on the tier of ",
                show(evaluation, "percent", *at, "tiers", "accuracy"),
                " of rows, ",
                "more" if better else "not significantly more",
                " than always predicting the most common tier (",
                show(evaluation, "percent", *at, "tiers", "majority"),
                ").",
            ),
            "good" if better else "caution",
        )


def _each_dimension(evaluation: Record, at: Path) -> Iterator[Paragraph]:
    for name in charts.ordered(evaluation, *at, "dimensions"):
        word = rating(evaluation, at, name)
        if word not in _TONES:
            continue
        path = (*at, "dimensions", name)
        floor = evaluation.at("floor", "floor", name)
        distance: Text = (
            ("; ", Shown(evaluation.minus((*path, "mae"), ("floor", "floor", name)), "score"), " above its noise floor")
            if floor.recorded
            else ("; its noise floor is unknown",)
        )
        yield Paragraph(
            (
                f"{spaced(name)}: rated {word}. MAE ",
                show(evaluation, "score", *path, "mae"),
                ", skill ",
                show(evaluation, "percent", *path, "skill"),
                *_doubt(evaluation, word, path),
                *distance,
                ".",
            ),
            _TONES[word],
        )


def _doubt(evaluation: Record, word: str | None, path: Path) -> Text:
    """The skill interval of a dimension that is rated unproven."""
    return (" (", *interval(evaluation, "percent", *path, "skill_interval"), ")") if word == "unproven" else ()


def _held(facts: Facts) -> Iterator[Paragraph]:
    evaluation = facts.evaluation
    for name in charts.ordered(evaluation, "shipped", "coverage"):
        if _coverage_fits(evaluation, name) is False:
            yield Paragraph(
                (
                    f"{spaced(name)}: intervals with a nominal coverage of ",
                    show(evaluation, "percent", "shipped", "interval_level"),
                    " contain ",
                    show(evaluation, "percent", "shipped", "coverage", name),
                    " of the labels of the test part.",
                ),
                "caution",
            )


def _checks(facts: Facts, evaluation: Record, at: Path) -> Iterator[tuple[str, bool | None, Text]]:
    lowest = evaluation.at(*at, "mean", "skill_interval", "low")
    yield (
        "Clearly beats the constant",
        None if lowest.value is None else lowest.value > 0,
        ("interval of skill ", *interval(evaluation, "percent", *at, "mean", "skill_interval")),
    )
    proven = evaluation.at("choice", "skill", "interval", "low")
    yield (
        "Was shown to beat the constant on rows that selected nothing before it was shipped",
        None if not evaluation.at("choice", "skill", "rows").recorded else bool(proven.recorded and proven.value > 0),
        (
            "interval of skill ",
            *interval(evaluation, "percent", "choice", "skill", "interval"),
            " on ",
            show(evaluation, "count", "choice", "skill", "rows"),
            " rows",
        ),
    )
    words = [rating(evaluation, at, name) for name in charts.ordered(evaluation, *at, "dimensions")]
    yield (
        "Every dimension clearly beats the constant",
        None if not words or None in words else not {"none", "unproven"} & set(words),
        ("ratings: ", ", ".join(str(word) for word in words) if words else "not recorded"),
    )
    accuracy = evaluation.at(*at, "tiers", "accuracy_interval", "low").value
    majority = evaluation.at(*at, "tiers", "majority").value
    yield (
        "Tier agreement beats the most common tier",
        None if accuracy is None or majority is None else accuracy > majority,
        (
            "agreement ",
            *interval(evaluation, "percent", *at, "tiers", "accuracy_interval"),
            " compared with ",
            show(evaluation, "percent", *at, "tiers", "majority"),
        ),
    )
    rows = evaluation.at(*at, "rows")
    yield (
        "Evaluated on enough rows",
        None if rows.value is None else rows.value >= threshold("rows", "judged"),
        (Shown(rows, "count"), " rows; at least ", _rule("count", "rows", "judged")),
    )
    fits = [_coverage_fits(evaluation, name) for name in evaluation.keys("shipped", "coverage")]
    yield (
        "Intervals reach their nominal coverage",
        None if not fits or None in fits else all(fits),
        (
            "coverage on test: ",
            *_coverages(evaluation),
            "; nominal ",
            show(evaluation, "percent", "shipped", "interval_level"),
            "; coverage is too low if chance alone would cause it in less than ",
            _rule("percent", "coverage", "chance"),
            " of evaluations",
        ),
    )
    proof = measured_hash(facts)
    yield (
        "The bundle is verified and is the one evaluated",
        None if not proof.recorded else _same(proof, evaluation.at("shipped", "bundle_sha256")),
        ("bundle ", Shown(proof, "hash"), ", evaluated ", show(evaluation, "hash", "shipped", "bundle_sha256")),
    )
    met = facts.acceptance.at("met")
    yield (
        "Meets its targets",
        bool(met.value) if met.recorded and current(facts) else None,
        (f"{facts.acceptance.file}: ", Shown(met, "plain") if current(facts) else "not recorded for this evaluation"),
    )
    cost = evaluation.at("shipped", "latency", "milliseconds_p50")
    load = evaluation.at("shipped", "latency", "load", "heavy")
    yield (
        "Scoring time is measured without heavy load",
        not load.value if cost.recorded else None,
        (
            Shown(cost, "milliseconds", "not measured"),
            " ms per article",
            *load_remark(evaluation, "shipped", "latency", "load"),
        ),
    )


def _same(first: Fact, second: Fact) -> bool | None:
    return None if not second.recorded else bool(first.value == second.value)


def _coverages(evaluation: Record) -> Text:
    names = charts.ordered(evaluation, "shipped", "coverage")
    parts = [
        (", " if place else "", f"{spaced(name)} ", show(evaluation, "percent", "shipped", "coverage", name))
        for place, name in enumerate(names)
    ]
    return tuple(part for group in parts for part in group if part) or ("not recorded",)


def _coverage_fits(evaluation: Record, name: str) -> bool | None:
    return holds(
        evaluation.at("shipped", "coverage", name).value,
        evaluation.at("shipped", "judgement", "dimensions", name, "rows").value,
        evaluation.at("shipped", "interval_level").value,
        len(evaluation.keys("shipped", "coverage")),
    )


def _widest(facts: Facts) -> tuple[str, Fact] | None:
    """The dimension with the widest interval, and half the width of the interval."""
    record = facts.calibration
    widths = [
        (str(record.at("curves", i, "dimension").value), record.at(*half_width(record, i)))
        for i in range(record.size("curves"))
    ]
    known = [item for item in widths if item[1].recorded]
    return max(known, key=lambda item: item[1].value) if known and len(known) == len(widths) else None


def _bounds(rule: str, what: str) -> Text:
    way = "at most" if rule == "exact" else "at least"
    kind: Kind = "percent" if rule == "exact" else "plain"
    suited, care = (Shown(RULES.at(rule, word), kind) for word in ("suited", "with care"))
    return f"{what}: {way} ", suited, f" is suited, {way} ", care, " is suited with care"


def _rule(kind: Kind, *path: str) -> Shown:
    return Shown(RULES.at(*path), kind)


def _answer(holds: bool | None) -> str:  # noqa: FBT001 - three answers, one of them unknown
    return "not recorded" if holds is None else "yes" if holds else "no"
