"""Judge scores by behaviour tests.

Input: the pairs to compare, and the scores of their texts. Output: pass rates by test and dimension, the failing
examples, findings, and whether declared targets are met.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from potstill import metrics
from potstill.errors import BadInput
from potstill.findings import IN_ORDER_BY_CHANCE, MOSTLY_PASSED, RAMP_RISE, STEADY_SHIFT, Finding
from potstill.probing.cases import CHECKS, MOVES
from potstill.probing.records import Check, Failing, Passes, Relative, Target
from potstill.records import Interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from potstill.filters import Filter
    from potstill.probing.cases import Case, Cases
    from potstill.probing.records import Probed, Subject
    from potstill.types import BoolArray, FloatArray

_MOST_FAILING = 2
_MOST_SHOWN = 400
_EPSILON = 1e-9


def rise_of(filter_: Filter) -> float:
    """Return the smallest rise of a score that counts, in points."""
    return RAMP_RISE * (filter_.scale.max - filter_.scale.min)


def shift_of(filter_: Filter) -> float:
    """Return the largest shift of a score that counts as none, in points."""
    return STEADY_SHIFT * (filter_.scale.max - filter_.scale.min)


def judge_cases(cases: Cases, scores: FloatArray, filter_: Filter) -> tuple[dict[str, Check], tuple[Failing, ...]]:
    """Compare the scores of each pair.

    Args:
        cases: the texts and the pairs.
        scores: the scores of the texts, shape (texts, dimensions), on the filter's scale; NaN without a score.
        filter_: the filter, with its scale and dimensions.

    Returns:
        The outcome of each test that compares anything, and the comparisons that failed by most.
    """
    checks: dict[str, Check] = {}
    failing: list[Failing] = []
    for check in CHECKS:
        own = [case for case in cases.cases if case.check == check]
        if not own:
            continue
        change = _changes(own, scores)
        asked = _asked(own, filter_)
        passed = passes(change, moves=check in MOVES, filter_=filter_)
        flat = (np.abs(change) < rise_of(filter_) - _EPSILON) & (check in MOVES)
        every = _counted(change, passed, flat, asked)
        each = {
            name: _counted(change[:, place], passed[:, place], flat[:, place], asked[:, place])
            for place, name in enumerate(filter_.dimension_names)
            if asked[:, place].any()
        }
        checks[check] = Check(overall=every, dimensions=each)
        failing += _failing(own, cases, scores, change, asked & ~passed & np.isfinite(change), filter_)
    return checks, tuple(failing)


def passes(change: FloatArray, *, moves: bool, filter_: Filter) -> BoolArray:
    """Return whether each change of a score is as it should be: a rise, or as good as none. NaN never is.

    Args:
        change: second score minus first, in points.
        moves: whether the second text must score higher; otherwise the score must not move.
        filter_: the filter with the scale.
    """
    if moves:
        return change >= rise_of(filter_) - _EPSILON
    return np.abs(change) <= shift_of(filter_) + _EPSILON


def _changes(own: Sequence[Case], scores: FloatArray) -> FloatArray:
    """Return second score minus first, shape (pairs, dimensions)."""
    first, second = np.array([case.first for case in own]), np.array([case.second for case in own])
    changes: FloatArray = scores[second] - scores[first]
    return changes


def _asked(own: Sequence[Case], filter_: Filter) -> BoolArray:
    """Return which dimensions each pair tests, shape (pairs, dimensions)."""
    names = filter_.dimension_names
    return np.array([[case.dimension in (None, name) for name in names] for case in own])


def _counted(change: FloatArray, passed: BoolArray, flat: BoolArray, asked: BoolArray) -> Passes:
    known = asked & np.isfinite(change)
    compared, found = int(known.sum()), int((passed & known).sum())
    unscored = int(asked.sum()) - compared
    if not compared:
        return Passes(passed=0, compared=0, unscored=unscored)
    low, high = metrics.exact_interval(found, compared)
    return Passes(
        passed=found,
        compared=compared,
        flat=int((flat & known).sum()),
        unscored=unscored,
        rate=round(found / compared, 6),
        interval=Interval(low=round(low, 6), high=round(high, 6)),
        change=metrics.number(float(change[known].mean())),
    )


def _failing(
    own: Sequence[Case], cases: Cases, scores: FloatArray, change: FloatArray, failed: BoolArray, filter_: Filter
) -> Iterator[Failing]:
    """Yield the pairs that failed by most, a few for each dimension."""
    for place, name in enumerate(filter_.dimension_names):
        wrong = np.flatnonzero(failed[:, place])
        moves = own[0].check in MOVES
        worst = wrong[np.argsort(change[wrong, place] if moves else -np.abs(change[wrong, place]), kind="stable")]
        for pair in worst[:_MOST_FAILING].tolist():
            case = own[pair]
            yield Failing(
                check=case.check,
                dimension=name,
                first=_excerpt(cases.texts[case.first].content),
                second=_excerpt(cases.texts[case.second].content),
                first_score=round(float(scores[case.first, place]), 4),
                second_score=round(float(scores[case.second, place]), 4),
            )


def _excerpt(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}..."


def relative_to(student: Probed, oracle: Probed) -> Relative:
    """Return the student's rates of ramps in order, divided by those of the oracle."""
    ours, theirs = student.checks.get("ramps"), oracle.checks.get("ramps")
    if ours is None or theirs is None:
        return Relative(overall=None, dimensions={})
    return Relative(
        overall=_ratio(ours.overall, theirs.overall),
        dimensions={name: _ratio(one, theirs.dimensions[name]) for name, one in ours.dimensions.items()},
    )


def _ratio(ours: Passes, theirs: Passes) -> float | None:
    return None if ours.rate is None or not theirs.rate else round(ours.rate / theirs.rate, 6)


def targets_of(wanted: Sequence[str], checks: Mapping[str, Check]) -> tuple[Target, ...]:
    """Judge pass rates against what was asked for.

    Args:
        wanted: texts such as `0.9`, for every test, or `ramps=0.9`, for one of them.
        checks: the outcome of each test.

    Raises:
        BadInput: a text has another form, or names a test that there is not.
    """
    least: dict[str, float] = {}
    for text in wanted:
        name, share = read_target(text)
        if name and name not in checks:
            raise BadInput(f"--least {text}: there are no tests of this kind; tests: {', '.join(checks)}")
        least |= dict.fromkeys([name] if name else [check for check in checks if check not in least], share)
    found = []
    for check, share in least.items():
        rate = checks[check].overall.rate
        found.append(Target(check=check, least=share, rate=rate, met=rate is not None and rate >= share - _EPSILON))
    return tuple(found)


def read_target(text: str) -> tuple[str, float]:
    """Return the test, empty for all of them, and the share of a target such as `0.9` or `ramps=0.9`.

    Raises:
        BadInput: the text has another form.
    """
    name, _, share = text.rpartition("=")
    try:
        value = float(share)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1 or (name and name not in CHECKS):
        raise BadInput(
            f"--least: got {text!r}, expected a share from 0 to 1, such as 0.9, or one for a single test, such as "
            f"ramps=0.9; tests: {', '.join(CHECKS)}"
        )
    return name, value


def findings_of(subjects: Mapping[Subject, Probed], relative: Relative | None) -> tuple[Finding, ...]:
    """Return the conclusions about each subject, and about the student compared with the oracle."""
    found: list[Finding] = []
    for who, probed in subjects.items():
        found += _order(who, probed)
        found += _steadiness(who, probed)
    if relative is not None and relative.overall is not None:
        found.append(_compared(relative.overall))
    return tuple(found)


def _order(who: Subject, probed: Probed) -> Iterator[Finding]:
    ramps = probed.checks.get("ramps")
    if ramps is None or ramps.overall.rate is None or ramps.overall.interval is None:
        return
    rate, low = ramps.overall.rate, ramps.overall.interval.low
    counts = f"{ramps.overall.passed} of {ramps.overall.compared} steps of the ramps in order"
    evidence: dict[str, float | int | str | None] = {"rate": rate, "low": low}
    if low <= IN_ORDER_BY_CHANCE:
        text = f"The {who} puts {counts}{_flat(ramps.overall)}. Scores that ignore the texts could do the same."
        yield Finding(rule="ramps-by-chance", tone="bad", text=text, evidence=evidence)
        return
    good = rate >= MOSTLY_PASSED
    text = f"The {who} puts {counts} ({rate:.0%}){_flat(ramps.overall)}."
    yield Finding(
        rule="ramps-in-order" if good else "ramps-partly-in-order",
        tone="good" if good else "caution",
        text=text,
        evidence=evidence,
    )
    unsure = [
        name
        for name, one in ramps.dimensions.items()
        if one.interval is not None and one.interval.low <= IN_ORDER_BY_CHANCE
    ]
    if unsure:
        yield Finding(
            rule="dimensions-by-chance",
            tone="caution",
            text=f"The {who} orders the ramps of these dimensions no more often than chance could: "
            f"{', '.join(unsure)}.",
            evidence={"dimensions": ", ".join(unsure)},
        )


def _flat(ramps: Passes) -> str:
    return f"; in {ramps.flat} its score hardly changes" if ramps.flat else ""


def _steadiness(who: Subject, probed: Probed) -> Iterator[Finding]:
    steady = {
        name: one.overall for name, one in probed.checks.items() if name not in MOVES and one.overall.rate is not None
    }
    weak = {name: one for name, one in steady.items() if (one.rate or 0.0) < MOSTLY_PASSED}
    evidence: dict[str, float | int | str | None] = {name: one.rate for name, one in (weak or steady).items()}
    if weak:
        shown = ", ".join(f"{name} {one.rate:.0%}, mean change {one.change:+.2f}" for name, one in weak.items())
        text = f"Changes that leave the content as it is move the scores of the {who} (share that stays: {shown})."
        yield Finding(rule="scores-move", tone="caution", text=text, evidence=evidence)
    elif steady:
        text = f"Changes that leave the content as it is hardly move the scores of the {who}."
        yield Finding(rule="scores-stay", tone="good", text=text, evidence=evidence)


def _compared(ratio: float) -> Finding:
    good = ratio >= MOSTLY_PASSED
    return Finding(
        rule="near-the-oracle" if good else "below-the-oracle",
        tone="good" if good else "caution",
        text=f"The student's share of steps in order is {ratio:.2f} times the oracle's.",
        evidence={"ratio": ratio},
    )
