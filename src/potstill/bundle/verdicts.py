"""Golden verdicts: what a bundle's filter and calibration decide for selected scores and texts.

Input: a filter and a calibration. Output: `verdicts.json`, and a check that a loaded bundle still decides the same. The
golden texts check the student on a few texts, and few of these lie near a rule's boundary. This file records scores at,
just below and just above each boundary of every gate, cap and tier (`boundaries`), one text per term (`rule_texts`),
each curve at its knots, the width of each interval at every level, tier probabilities, and when to ask the oracle. It
also repeats the manifest's description of the bundle.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from potstill.bundle.boundaries import GENERATOR, NEAR, boundary_rows
from potstill.bundle.rule_texts import rule_texts
from potstill.calibration import LEVELS, cut_for
from potstill.errors import BundleError
from potstill.prefilter import fold_all, found
from potstill.records import Part, Record
from potstill.students.encoding import EncoderFacts
from potstill.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import polars as pl

    from potstill.bundle.layout import Manifest, Tolerance
    from potstill.calibration import Calibration, Decisions
    from potstill.calibration.curves import Curve
    from potstill.filters import Filter
    from potstill.types import BoolArray, FloatArray

RATES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
"""Error rates for which the deferral threshold is recorded."""

_ODDS_ROWS = 24
"""Number of rows whose tier probabilities are recorded; few, because each row is decided once per residual."""

_PLACES = 33
"""Number of raw scores, from below the scale to above it, at which each curve is recorded in addition to its knots."""


class Identity(Part):
    """Description of a bundle, as in its manifest."""

    kind: Literal["self-contained", "adapter"]
    filter: str
    filter_version: int
    filter_hash: str
    dimensions: tuple[str, ...]
    positive_tiers: tuple[str, ...]
    recipe: str
    student: str
    encoders: tuple[EncoderFacts, ...]


class Decision(Part):
    """A row of scores and its verdict; `marks`, `gates` and `caps` are indices into the filter's rules."""

    scores: tuple[float, ...]
    marks: tuple[int, ...]
    """The caps whose words are in the text."""
    overall: float | None
    tier: str
    gates: tuple[int, ...]
    caps: tuple[int, ...]


class Words(Part):
    """A text, with the indices of the prefilter rules and of the caps whose words are found in it."""

    text: str
    drops: tuple[int, ...]
    caps: tuple[int, ...]


class Calibrated(Part):
    """Values of one dimension's calibration.

    Raw scores, and for each the calibrated score, the middle of the interval and, where there is a spread, its centre
    and its reach below and above; the factors of the intervals by level (half-widths without a spread).
    """

    dimension: str
    knots: int
    raw: tuple[float, ...]
    scores: tuple[float, ...]
    middles: tuple[float, ...]
    widths: tuple[float | None, ...] = Field(min_length=len(LEVELS), max_length=len(LEVELS))
    spread: tuple[tuple[float, ...], ...] | None = None


class Odds(Part):
    """Tier probabilities for the decision with index `row`; None if its probabilities are undefined."""

    row: int = Field(ge=0)
    probabilities: tuple[float, ...] | None


class Sums(Part):
    """Checksums of the data behind probabilities, cuts and deferral: sums of each number times its position.

    `residuals` has one sum per dimension; `abstention` has those of the thresholds, of the counts kept and of the
    counts wrong; `decisions` has four per positive tier: of its signal's coefficients, of its curve's cuts and counts,
    and of the chosen cut; `familiarity` has one, of the distances.
    """

    residuals: tuple[float, ...]
    abstention: tuple[float, ...]
    decisions: tuple[float, ...] = ()
    familiarity: tuple[float, ...] = ()


class Verdicts(Record):
    """`verdicts.json`."""

    fault = BundleError
    made_by = "potstill bundle RUN"

    schema_version: int = 1
    generator: int
    """Version of `boundaries.GENERATOR` that chose the rows."""
    identity: Identity
    decisions: tuple[Decision, ...] = Field(min_length=1)
    words: tuple[Words, ...] = Field(min_length=1)
    curves: tuple[Calibrated, ...]
    odds: tuple[Odds, ...]
    ask_below: tuple[float | None, ...] | None
    """For each of `RATES`, the probability below which the oracle is asked; None if no threshold is known."""
    sums: Sums | None = None
    """None in bundles made before these were recorded."""


def identity_of(manifest: Manifest, filter_: Filter) -> Identity:
    """Return a manifest's description of a bundle, with the filter's positive tiers."""
    known = manifest.model_dump(exclude={"schema_version", "tolerance", "files", "encoders"})
    return Identity(**known, encoders=manifest.encoders, positive_tiers=filter_.positive_tiers)


def verdicts_of(identity: Identity, filter_: Filter, calibration: Calibration) -> Verdicts:
    """Compute the golden verdicts of a filter and a calibration, as a bundle stores them.

    Raises:
        BundleError: the filter has more terms than can be checked.
    """
    scores, marks = boundary_rows(filter_)
    odds = range(0, len(scores), max(1, len(scores) // _ODDS_ROWS)) if calibration.residuals is not None else ()
    return Verdicts(
        generator=GENERATOR,
        identity=identity,
        decisions=tuple(_decisions(scores, marks, filter_)),
        words=tuple(_words(rule_texts(filter_), filter_)),
        curves=tuple(_curve(curve, _raw_scores(curve, filter_), calibration) for curve in calibration.curves),
        odds=tuple(_odds(scores, marks, list(odds), filter_, calibration)),
        ask_below=_ask_below(calibration),
        sums=_sums(calibration),
    )


def prove_verdicts(
    verdicts: Verdicts,
    identity: Identity,
    filter_: Filter,
    calibration: Calibration,
    tolerance: Tolerance,
    *,
    whole: bool,
) -> int:
    """Check a loaded bundle against its golden verdicts; return the number of verdicts.

    Args:
        verdicts: the recorded verdicts.
        identity: the bundle's description of itself.
        filter_: the bundle's filter.
        calibration: the bundle's calibration.
        tolerance: allowed differences of numbers.
        whole: also check that the rows and texts are those that the filter's rules require, and check the tier
            probabilities; loading skips both.

    Raises:
        BundleError: something differs; the message says what.
    """
    _same_identity(verdicts.identity, identity)
    scores, marks = _arrays(verdicts.decisions, filter_)
    _same_rows(verdicts.decisions, _decisions(scores, marks, filter_), filter_, tolerance.exact)
    _same_words(verdicts.words, _words([one.text for one in verdicts.words], filter_))
    _same_curves(verdicts.curves, calibration, tolerance.exact)
    if verdicts.ask_below != _ask_below(calibration):
        raise BundleError("when to ask the oracle is not as recorded; calibration.json is not that of the training")
    if verdicts.sums is not None and not _equal(verdicts.sums, _sums(calibration)):
        raise BundleError(
            "the residuals, the decisions, the distances or the deferral table are not as recorded; calibration.json "
            "is not that of the training"
        )
    if whole:
        _same_choice(verdicts, scores, marks, filter_)
        _same_odds(verdicts.odds, scores, marks, filter_, calibration, tolerance.exact)
    return len(verdicts.decisions) + len(verdicts.words)


def _decisions(scores: FloatArray, marks: BoolArray, filter_: Filter) -> Iterable[Decision]:
    judged = judge(scores, filter_, marks)
    overall = judged.overall.tolist()
    for row, tier in enumerate(judged.tier_names):
        yield Decision(
            scores=tuple(scores[row].tolist()),
            marks=tuple(np.flatnonzero(marks[row]).tolist()),
            overall=None if math.isnan(overall[row]) else overall[row],
            tier=tier,
            gates=_places(int(judged.gates[row])),
            caps=_places(int(judged.caps[row])),
        )


def _places(code: int) -> tuple[int, ...]:
    return tuple(place for place in range(code.bit_length()) if code >> place & 1)


def _arrays(decisions: Sequence[Decision], filter_: Filter) -> tuple[FloatArray, BoolArray]:
    """Return the scores, shape (rows, dimensions), and marks, shape (rows, caps), of decisions.

    Raises:
        BundleError: they do not have the filter's dimensions or caps.
    """
    dimensions, caps = len(filter_.dimension_names), len(filter_.caps)
    if any(len(one.scores) != dimensions or not set(one.marks) <= set(range(caps)) for one in decisions):
        raise BundleError(f"its rows are not of {dimensions} dimensions and {caps} caps, as the filter's are")
    marks = np.zeros((len(decisions), caps), dtype=np.bool_)
    for row, one in enumerate(decisions):
        marks[row, list(one.marks)] = True
    return np.array([one.scores for one in decisions], dtype=np.float64), marks


def _words(texts: Sequence[str], filter_: Filter) -> Iterable[Words]:
    folded = fold_all(texts)
    drops, caps = (_found(rules, folded) for rules in (filter_.prefilter.drop, filter_.caps))
    for row, text in enumerate(texts):
        yield Words(text=text, drops=drops[row], caps=caps[row])


def _found(rules: Sequence[Any], folded: pl.Series) -> list[tuple[int, ...]]:
    """Return for each text the indices of the rules whose words are in it."""
    each = [found(rule, folded).to_list() for rule in rules]
    return [tuple(place for place, rule in enumerate(each) if rule[row]) for row in range(len(folded))]


def _raw_scores(curve: Curve, filter_: Filter) -> FloatArray:
    """Return raw scores from below the scale to above it, the curve's knots and the midpoints between them."""
    low, high = filter_.scale.min, filter_.scale.max
    beyond = (high - low) / 4
    knots = np.array(curve.x)
    return np.unique(
        np.concatenate([np.linspace(low - beyond, high + beyond, _PLACES), knots, (knots[1:] + knots[:-1]) / 2])
    )


def _curve(curve: Curve, raw: FloatArray, calibration: Calibration) -> Calibrated:
    widths = (calibration.width(curve.dimension, level) for level in LEVELS)
    return Calibrated(
        dimension=curve.dimension,
        knots=len(curve.x),
        raw=tuple(raw.tolist()),
        scores=tuple(np.clip(curve.apply(raw), calibration.low, calibration.high).tolist()),
        middles=tuple(curve.middle(raw).tolist()),
        spread=None if curve.spread is None else tuple(tuple(c.tolist()) for c in curve.spread.at(curve.middle(raw))),
        widths=tuple(None if math.isinf(width) else width for width in widths),
    )


def _odds(
    scores: FloatArray, marks: BoolArray, rows: list[int], filter_: Filter, calibration: Calibration
) -> Iterable[Odds]:
    if calibration.residuals is None or not rows:
        return
    import polars as pl

    from potstill.verdict import cap_columns

    hits = pl.DataFrame({name: marks[rows, at] for at, name in enumerate(cap_columns(filter_))})
    likely = calibration.tier_odds(scores[rows], filter_, hits if filter_.caps else None)
    for row, each in zip(rows, likely, strict=True):
        yield Odds(row=row, probabilities=tuple(each.tolist()) if np.isfinite(each).all() else None)


def _ask_below(calibration: Calibration) -> tuple[float | None, ...] | None:
    if calibration.abstention is None:
        return None
    cuts = (cut_for(calibration.abstention, rate) for rate in RATES)
    return tuple(None if cut is None else cut.probability for cut in cuts)


def _sums(calibration: Calibration) -> Sums:
    def placed(values: Sequence[Sequence[float]]) -> tuple[float, ...]:
        return tuple(math.fsum(place * value for place, value in enumerate(column, start=1)) for column in values)

    table = calibration.abstention
    return Sums(
        residuals=() if calibration.residuals is None else placed(list(zip(*calibration.residuals.rows, strict=True))),
        abstention=() if table is None else placed([table.probabilities, table.kept, table.wrong]),
        decisions=() if calibration.decisions is None else placed(_numbers(calibration.decisions)),
        familiarity=() if calibration.familiarity is None else placed([calibration.familiarity.distances]),
    )


def _numbers(decisions: Decisions) -> list[Sequence[float]]:
    """Return the numbers on which the decisions depend, by tier and kind."""
    return [
        part
        for signal, curve, cut in zip(decisions.signals, decisions.curves, decisions.cuts, strict=True)
        for part in (
            (signal.intercept, *signal.weights),
            curve.cuts,
            (*curve.named, *curve.found, curve.positives, curve.rows),
            (-1.0 if cut.probability is None else cut.probability,),
        )
    ]


def _equal(recorded: Sums, given: Sums) -> bool:
    pairs = (
        (recorded.residuals, given.residuals),
        (recorded.abstention, given.abstention),
        (recorded.decisions, given.decisions),
        (recorded.familiarity, given.familiarity),
    )
    return all(len(a) == len(b) and np.allclose(a, b, rtol=1e-12, atol=1e-9) for a, b in pairs)


def _same_identity(recorded: Identity, given: Identity) -> None:
    for name in Identity.model_fields:
        was, is_ = getattr(recorded, name), getattr(given, name)
        if was != is_:
            raise BundleError(f"{name}: the bundle says {_shown(is_)}, recorded was {_shown(was)}")


def _shown(value: Any) -> str:  # noqa: ANN401 - any of the identity's fields
    parts = value if isinstance(value, tuple) else (value,)
    return ", ".join(part.backbone if isinstance(part, EncoderFacts) else str(part) for part in parts) or "none"


def _same_rows(recorded: Sequence[Decision], given: Iterable[Decision], filter_: Filter, allowed: float) -> None:
    for was, is_ in zip(recorded, given, strict=True):
        near = (was.overall is None and is_.overall is None) or (
            was.overall is not None and is_.overall is not None and abs(was.overall - is_.overall) <= allowed
        )
        if not near or (was.tier, was.gates, was.caps) != (is_.tier, is_.gates, is_.caps):
            scores = ", ".join(
                f"{name} {score:.6g}" for name, score in zip(filter_.dimension_names, was.scores, strict=True)
            )
            raise BundleError(
                f"scores {scores}: the verdict is {_verdict(is_)}, recorded was {_verdict(was)}; filter.yaml is not "
                "that of the training"
            )


def _verdict(one: Decision) -> str:
    fired = [f"gate {place + 1}" for place in one.gates] + [f"cap {place + 1}" for place in one.caps]
    overall = "none" if one.overall is None else f"{one.overall:.9g}"
    return " with ".join([f"{one.tier} {overall}", *fired[:3]])


def _same_words(recorded: Sequence[Words], given: Iterable[Words]) -> None:
    for was, is_ in zip(recorded, given, strict=True):
        for what, now, before in (("prefilter rules", is_.drops, was.drops), ("caps", is_.caps, was.caps)):
            if now != before:
                raise BundleError(
                    f"the text {was.text!r}: found by the {what} {_numbered(now)}, recorded was {_numbered(before)}; "
                    "filter.yaml is not that of the training"
                )


def _numbered(places: tuple[int, ...]) -> str:
    return ", ".join(str(place + 1) for place in places) or "none"


def _same_curves(recorded: Sequence[Calibrated], calibration: Calibration, allowed: float) -> None:
    names = tuple(one.dimension for one in recorded)
    if names != calibration.dimensions:
        raise BundleError(f"calibrates {', '.join(calibration.dimensions)}; recorded were {', '.join(names)}")
    for was, curve in zip(recorded, calibration.curves, strict=True):
        is_ = _curve(curve, np.array(was.raw), calibration)
        same = (
            was.knots == is_.knots
            and _near(was.scores, is_.scores, allowed)
            and _near(was.middles, is_.middles, allowed)
        )
        same &= (was.spread is None) == (is_.spread is None) and all(
            _near(before, now, allowed) for before, now in zip(was.spread or (), is_.spread or (), strict=True)
        )
        if not same:
            raise BundleError(
                f"{was.dimension}: its curve or spread is not as recorded; calibration.json is not that of the training"
            )
        for level, before, now in zip(LEVELS, was.widths, is_.widths, strict=True):
            if not _near((before,), (now,), allowed):
                raise BundleError(
                    f"{was.dimension}: the factor of the interval at {level:.1%} is {now}, recorded was {before}; "
                    "calibration.json is not that of the training"
                )


def _near(recorded: Sequence[float | None], given: Sequence[float | None], allowed: float) -> bool:
    pairs = zip(recorded, given, strict=True) if len(recorded) == len(given) else [(None, 0.0)]
    return all(was is is_ if was is None or is_ is None else abs(was - is_) <= allowed for was, is_ in pairs)


def _same_choice(verdicts: Verdicts, scores: FloatArray, marks: BoolArray, filter_: Filter) -> None:
    """Check that nothing was left out: the rows and texts must be those that the filter's rules require."""
    if [one.text for one in verdicts.words] != rule_texts(filter_):
        raise BundleError("its texts are not those that the filter's terms ask for")
    if verdicts.generator != GENERATOR:
        return
    wanted, wanted_marks = boundary_rows(filter_)
    near = 4 * NEAR * (filter_.scale.max - filter_.scale.min)
    same = wanted.shape == scores.shape and (wanted_marks == marks).all() and (np.abs(wanted - scores) <= near).all()
    if not same:
        raise BundleError("its rows of scores are not those that the filter's rules ask for")


def _same_odds(
    recorded: Sequence[Odds],
    scores: FloatArray,
    marks: BoolArray,
    filter_: Filter,
    calibration: Calibration,
    allowed: float,
) -> None:
    rows = [one.row for one in recorded]
    if any(row >= len(scores) for row in rows) or bool(rows) != (calibration.residuals is not None):
        raise BundleError("tiers' probabilities are not as recorded; calibration.json is not that of the training")
    for was, is_ in zip(recorded, _odds(scores, marks, rows, filter_, calibration), strict=True):
        if not _near(was.probabilities or (), is_.probabilities or (), allowed):
            raise BundleError(
                f"row {was.row + 1}: tiers' probabilities are not as recorded; calibration.json is not that of the "
                "training"
            )
