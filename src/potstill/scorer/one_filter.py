"""The scoring steps of one filter: prefilter, student, calibration and verdict.

Input: articles with the filter's text windows. Output: an `Outcome`, as columns or as verdicts. Articles that are empty
or dropped by the prefilter are never tokenized. The steps before the student (`prepare`) and the rest (`finish`) are
separate calls, so that reading and preparing can run in parallel with the student.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypedDict

import numpy as np
import polars as pl

from potstill.bundle.deciding import LEVEL, Decided, decide_raw, merged
from potstill.calibration import cut_for, given_probability, least_error
from potstill.errors import BadInput
from potstill.operating_points import as_points
from potstill.prefilter import fold_all
from potstill.students import Outputs, outputs_of
from potstill.types import DROPPED, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from potstill.bundle import Bundle
    from potstill.bundle.deciding import Reasons
    from potstill.calibration import Calibration, Cut, TierCut
    from potstill.operating_points import Decide
    from potstill.scorer.early import Early
    from potstill.text import Window
    from potstill.types import BoolArray, FloatArray
    from potstill.verdict import Judged

EMPTY = "empty text"
"""Reason given for an article without a text."""

NOT_FINITE = "the student's score is not finite"
"""Reason given for an article if the student returned NaN or infinity."""

UNDEFINED = "a condition of the filter has no value for these scores"
"""Reason given for an article if a gate or tier is undefined for its finite scores, for example a division by 0."""


class ScoringOptions(TypedDict, total=False):
    """Options of a scorer that apply to each of its filters; `FilterScorer` explains them."""

    level: float
    probabilities: bool
    ask_oracle_above: float | None
    ask_oracle_below: float | None
    decide: Decide | None


class FilterScorer:
    """Scores articles with the bundle of one filter; a part of `Scorer`."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        early: Early | None = None,
        level: float = LEVEL,
        probabilities: bool = False,
        ask_oracle_above: float | None = None,
        ask_oracle_below: float | None = None,
        decide: Decide | None = None,
    ) -> None:
        """Create it from an open bundle.

        Args:
            bundle: the bundle to score with.
            early: a cheap student that scores first; its answer is final if the cascade's rule accepts it.
            level: nominal coverage of the intervals, above 0 and below 1.
            probabilities: also compute the probability of each tier.
            ask_oracle_above: mark the articles with the least certain tiers, so that at most this share of the tiers of
                all other articles is wrong (see `calibration.cut_for`); above 0 and below 1.
            ask_oracle_below: mark the articles whose tier has less than this probability, above 0 and below 1, without
                any guarantee; with a cascade, only articles that its first student does not answer.
            decide: operating points that override those of the bundle: one for all positive tiers, such as
                `"recall=0.9"`, or a dictionary of tier -> operating point.

        Raises:
            BadInput: `level`, `ask_oracle_above` or `ask_oracle_below` is not above 0 and below 1; the bundle was built
                without its student's residuals; its calibration rows cannot support the error rate; or an error rate is
                combined with a cascade.
        """
        if not 0 < level < 1:
            raise BadInput(f"level: got {level:g}, expected above 0 and below 1")
        if ask_oracle_below is not None and not 0 < ask_oracle_below < 1:
            raise BadInput(f"probability to ask below: got {ask_oracle_below:g}, expected above 0 and below 1")
        if (probabilities or ask_oracle_below is not None) and bundle.calibration.residuals is None:
            raise BadInput(f"{bundle.folder}: was built without the errors that tiers' probabilities come from")
        if early is not None and ask_oracle_above is not None:
            raise BadInput(
                "an error rate is kept by the bundle's own student: leave out --cascade or --ask-oracle-above"
            )
        self.bundle = bundle
        self.calibration = bundle.calibration if decide is None else _decided_at(bundle, decide)
        """The bundle's calibration, with the cuts of the operating points that were asked for."""
        self.early = early
        self.level = level
        self.probabilities = probabilities
        self.cut = None if ask_oracle_above is None else _cut(bundle, ask_oracle_above)
        self.ask_below = ask_oracle_below if self.cut is None else self.cut.probability
        """Tiers with a lower probability are marked as uncertain; None if nothing is marked."""

    @property
    def cuts(self) -> tuple[TierCut, ...]:
        """The cut of each positive tier, in order; none if the bundle was built without probabilities of tiers."""
        decisions = self.calibration.decisions
        return () if decisions is None else decisions.cuts

    @property
    def by_probability(self) -> bool:
        """Whether any tier is decided by its probability, so that verdicts have `probability`, `cut` and `why`."""
        return any(cut.probability is not None for cut in self.cuts)

    @property
    def measures_novelty(self) -> bool:
        """Whether verdicts have a `novelty`."""
        first = self.early is not None and self.early.bundle.calibration.familiarity is not None
        return first or self.calibration.familiarity is not None

    @property
    def name(self) -> str:
        """The filter's name, without its version."""
        return self.bundle.filter.name

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the scored dimensions, in the filter's order."""
        return self.bundle.manifest.dimensions

    @property
    def window(self) -> Window:
        """The part of a text that the filter reads."""
        return self.bundle.filter.text

    def prepare(self, articles: pl.DataFrame, windows: Windows) -> Prepared:
        """Run the steps before the student: find the articles that are empty or that the prefilter drops."""
        empty = np.array([not text for text in windows.texts], dtype=np.bool_)
        prefilter, reasons = self.bundle.filter.prefilter, None
        dropped = np.zeros(len(empty), dtype=np.bool_)
        # Most filters drop nothing, and then the texts need not be case-folded here.
        if prefilter.drop:
            found = prefilter.reasons(windows.folded)
            dropped, reasons = found.is_not_null().to_numpy() & ~empty, found.to_list()
        return Prepared(articles, windows, empty, dropped, reasons)

    def finish(self, prepared: Prepared) -> Outcome:
        """Run the student and all later steps."""
        kept = ~prepared.empty & ~prepared.dropped
        # Some students read further columns, such as the source, so these are kept.
        texts = pl.Series("text", prepared.windows.texts, dtype=pl.String)
        rows = prepared.articles
        rows = rows.with_columns(texts) if "text" in rows.columns else rows.hstack([texts])
        if self.early is None:
            decided, answered_by = self._decide(self._said(self.bundle, rows, kept), prepared), None
        else:
            decided, answered_by = self._decide_with_cascade(self.early, prepared, rows, kept)
        outcome = Outcome.of(decided, prepared, answered_by)
        return outcome if decided.probabilities is None else self._with_probabilities(outcome, decided.probabilities)

    def flat_columns(self, outcome: Outcome) -> list[pl.Series]:
        """Return the columns that `Scorer.score_batch` adds for this filter."""
        added = [
            pl.Series(f"{what}_{name}", values[:, index]).fill_nan(None)
            for what, values in outcome.numbers.items()
            for index, name in enumerate(self.dimensions)
        ]
        probabilities = (
            column.alias(f"probability_{column.name}") for column in outcome.tier_probabilities.iter_columns()
        )
        return [*added, *outcome.verdict.iter_columns(), *probabilities, *outcome.marks]

    def nested_columns(self, outcome: Outcome) -> list[pl.Series]:
        """Return the columns that `Scorer.nested_batch` adds for this filter."""
        numbers = outcome.numbers
        scores = pl.DataFrame({name: numbers["score"][:, index] for index, name in enumerate(self.dimensions)})
        ends = {
            name: np.column_stack([numbers["low"][:, index], numbers["high"][:, index]])
            for index, name in enumerate(self.dimensions)
        }
        intervals = pl.DataFrame(
            {name: pl.Series(values, dtype=pl.Array(pl.Float64, 2)).arr.to_list() for name, values in ends.items()}
        )
        structs = {"scores": scores, "intervals": intervals}
        if outcome.tier_probabilities.width:
            structs["tier_probabilities"] = outcome.tier_probabilities
        nested = {name: frame.to_struct(name) for name, frame in structs.items()}
        frame = pl.DataFrame({**nested, "known": outcome.known})
        columns = frame.select(pl.when("known").then(name).alias(name) for name in structs).get_columns()
        return [*columns[:2], *outcome.verdict.iter_columns(), *columns[2:], *outcome.marks]

    def verdicts(self, articles: pl.DataFrame, outcome: Outcome) -> Iterator[Verdict]:
        """Yield the outcome as one verdict per article."""
        probabilities = outcome.tier_probabilities.to_dicts() if outcome.tier_probabilities.width else None
        overall = outcome.judged.overall.tolist()
        for index, id_ in enumerate(articles["id"]):
            known = bool(outcome.known[index])
            scores, low, high = (values[index].tolist() for values in outcome.numbers.values())
            yield Verdict(
                id=id_,
                tier=outcome.tiers[index],
                overall=overall[index] if known else None,
                scores=dict(zip(self.dimensions, scores, strict=True)) if known else {},
                intervals=dict(zip(self.dimensions, zip(low, high, strict=True), strict=True)) if known else {},
                gates=outcome.judged.gate_reasons(index),
                caps=outcome.judged.cap_reasons(index),
                reason=outcome.reasons[index],
                novelty=float(outcome.novelty[index]) if outcome.novelty is not None and known else None,
                **outcome.explanation(index),
                tier_probabilities=probabilities[index] if probabilities is not None and known else {},
                ask_oracle=outcome.marks[0][index] if outcome.marks else None,
                answered_by=None if outcome.answered_by is None else outcome.answered_by[index],
            )

    def _said(self, bundle: Bundle, rows: pl.DataFrame, which: BoolArray) -> Outputs:
        """Return what a bundle's student says about the selected rows; NaN in all others."""
        if not which.any():
            return Outputs(np.full((rows.height, len(self.dimensions)), np.nan))
        # An overflow gives a score that is not finite, which is reported as such.
        with np.errstate(all="ignore"):
            found = outputs_of(bundle.student, rows if which.all() else rows.filter(pl.Series(which)))
        if which.all():
            return found
        tiers, distances = (None if one is None else _spread_over(which, one) for one in (found.tiers, found.distances))
        return Outputs(_spread_over(which, found.raw), tiers, distances)

    def _decide(self, given: Outputs, prepared: Prepared) -> Decided:
        filter_ = self.bundle.filter
        folded = prepared.windows.folded if filter_.caps else None
        return decide_raw(given, folded, filter_, self.calibration, self.level, probabilities=self._needs_probabilities)

    @property
    def _needs_probabilities(self) -> bool:
        return self.probabilities or self.ask_below is not None

    def _decide_with_cascade(
        self, early: Early, prepared: Prepared, rows: pl.DataFrame, kept: BoolArray
    ) -> tuple[Decided, list[str | None]]:
        """Score with both students of a cascade; return the verdicts and which student gave each."""
        first = early.decide(
            self._said(early.bundle, rows, kept),
            prepared.windows.folded,
            self.level,
            probabilities=self._needs_probabilities,
        )
        final = early.final(first)
        second = self._decide(self._said(self.bundle, rows, kept & ~final), prepared)
        students = np.where(final, early.bundle.manifest.recipe, self.bundle.manifest.recipe).tolist()
        answered_by = [student if scored else None for student, scored in zip(students, kept.tolist(), strict=True)]
        return merged(first, second, final), answered_by

    def _with_probabilities(self, outcome: Outcome, probabilities: FloatArray) -> Outcome:
        """Add the tiers' probabilities if they were asked for, and the marks if there is a threshold for them."""
        names = self.bundle.filter.tier_names
        table = {name: pl.Series(probabilities[:, index]).fill_nan(None) for index, name in enumerate(names)}
        marks = []
        if self.ask_below is not None:
            own = given_probability(probabilities, names, np.array(outcome.tiers))
            # A verdict with an undefined probability counts as uncertain; articles without a verdict are handled
            # separately.
            uncertain = ~(own >= self.ask_below)
            if outcome.answered_by is not None:
                # Answers of the first student are final and never marked.
                uncertain &= np.array([name == self.bundle.manifest.recipe for name in outcome.answered_by])
            mark = pl.when(pl.Series(outcome.known)).then(pl.Series(uncertain)).alias("ask_oracle")
            marks = [pl.select(mark).to_series()]
        return replace(outcome, tier_probabilities=pl.DataFrame(table if self.probabilities else {}), marks=marks)


@dataclass(frozen=True, eq=False)
class Windows:
    """Text windows of articles, one per article."""

    texts: list[str]

    @classmethod
    def of(cls, articles: pl.DataFrame, window: Window) -> Self:
        """Extract the windows of articles.

        Raises:
            BadInput: as `Scorer.score_batch`.
        """
        return cls(list(map(window.of, _column(articles, "title"), _column(articles, "content"))))

    @cached_property
    def folded(self) -> pl.Series:
        """The case-folded windows for word search; computed only if a filter has words to search for."""
        return fold_all(self.texts)


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Articles ready for the student, with one text window each.

    `empty` and `dropped`, shape (articles,), mark the articles that are not scored; `reasons` says why an article was
    dropped, and is None if the filter has no drop rule.
    """

    articles: pl.DataFrame
    windows: Windows
    empty: BoolArray
    dropped: BoolArray
    reasons: list[str | None] | None


@dataclass(frozen=True, eq=False)
class Outcome:
    """Results of scoring: arrays of shape (articles, dimensions), verdicts, and reasons for missing verdicts.

    `tiers` and `reasons` cover all articles. `why` explains the tiers if they are decided by their probability.
    `novelty`, shape (articles,), is the p-value of an article's distance from the training articles, if it is measured.
    `answered_by` names the student that gave the scores, if there are two. If asked for, `tier_probabilities` has one
    column per tier, and `marks` holds the column `ask_oracle`.
    """

    numbers: Mapping[str, FloatArray]
    judged: Judged
    tiers: list[str]
    reasons: list[str | None]
    answered_by: list[str | None] | None = None
    why: Reasons | None = None
    novelty: FloatArray | None = None
    tier_probabilities: pl.DataFrame = field(default_factory=pl.DataFrame)
    marks: Sequence[pl.Series] = ()

    @classmethod
    def of(cls, decided: Decided, prepared: Prepared, answered_by: list[str | None] | None = None) -> Outcome:
        """Combine the decisions, the student behind each, and the reasons of the articles without one."""
        tiers = list(decided.judged.tier_names)
        reasons: list[str | None] = [None] * len(tiers)
        unknown = np.asarray(np.isnan(decided.scores).any(axis=1))
        # Only the few articles without a tier need a reason.
        for row in np.flatnonzero(unknown | (decided.judged.tiers < 0)).tolist():
            if prepared.empty[row]:
                reasons[row] = EMPTY
            elif prepared.dropped[row] and prepared.reasons is not None:
                tiers[row], reasons[row] = DROPPED, prepared.reasons[row]
            else:
                reasons[row] = NOT_FINITE if unknown[row] else UNDEFINED
        numbers = {"score": decided.scores, "low": decided.low, "high": decided.high}
        return cls(numbers, decided.judged, tiers, reasons, answered_by, decided.reasons, decided.novelty)

    @property
    def known(self) -> BoolArray:
        """Which articles have an overall score, shape (articles,)."""
        return np.asarray(np.isfinite(self.judged.overall))

    def explanation(self, row: int) -> dict[str, Any]:
        """Return why a row has its tier, as fields of `Verdict`; empty if tiers are decided by score."""
        if self.why is None or self.why.texts[row] is None:
            return {}
        probability, cut = (float(values[row]) for values in (self.why.probability, self.why.cut))
        return {
            "probability": None if math.isnan(probability) else probability,
            "cut": None if math.isnan(cut) else cut,
            "why": self.why.texts[row],
        }

    @cached_property
    def verdict(self) -> pl.DataFrame:
        """The columns of `verdict.decide`, then `reason`.

        After it come `novelty` if it is measured, `probability`, `cut` and `why` if tiers are decided by their
        probability, and `answered_by` if there are two students.
        """
        added = [
            pl.Series("tier", self.tiers, dtype=pl.String),
            pl.Series("reason", self.reasons, dtype=pl.String),
        ]
        known = self.known
        if self.novelty is not None:
            added.append(pl.Series("novelty", np.where(known, self.novelty, np.nan)).fill_nan(None))
        if self.why is not None:
            added += [
                pl.Series("probability", np.where(known, self.why.probability, np.nan)).fill_nan(None),
                pl.Series("cut", np.where(known, self.why.cut, np.nan)).fill_nan(None),
                pl.Series("why", self.why.texts, dtype=pl.String),
            ]
        if self.answered_by is not None:
            added.append(pl.Series("answered_by", self.answered_by, dtype=pl.String))
        return self.judged.frame.with_columns(added)


def _spread_over(which: BoolArray, values: FloatArray) -> FloatArray:
    """Return an array for all rows with the values of the selected ones, NaN elsewhere."""
    found = np.full((len(which), *values.shape[1:]), np.nan)
    found[which] = values
    return found


def _decided_at(bundle: Bundle, decide: Decide) -> Calibration:
    """Return a bundle's calibration with the cuts of other operating points.

    Raises:
        BadInput: the bundle was built without decisions, or `decide` is not valid.
    """
    decisions = bundle.calibration.decisions
    if decisions is None:
        raise BadInput(
            f"{bundle.folder}: its tiers are decided by score, because it was built without the rows or the positive "
            "tiers that an operating point needs; rebuild it with: potstill bundle RUN"
        )
    chosen = decisions.chosen(as_points(decide, decisions.tiers))
    return bundle.calibration.model_copy(update={"decisions": chosen})


def _cut(bundle: Bundle, error: float) -> Cut:
    """Return the threshold for an error rate.

    Raises:
        BadInput: the bundle's calibration rows cannot support that rate; the message says what is missing.
    """
    if not 0 < error < 1:
        raise BadInput(f"error rate: got {error:g}, expected above 0 and below 1")
    abstention = bundle.calibration.abstention
    if abstention is None:
        raise BadInput(f"{bundle.folder}: was built without the rows that tell when to ask the oracle")
    cut = cut_for(abstention, error)
    if cut is None:
        least = least_error(abstention)
        raise BadInput(
            f"error rate {error:g}: the {abstention.rows} articles that the bundle was calibrated on can't show that "
            f"any threshold keeps it; {'none can be shown' if least is None else f'the lowest is {least:g}'}"
        )
    return cut


def _column(articles: pl.DataFrame, name: str) -> list[str]:
    if name not in articles.columns:
        if name == "title":
            return [""] * articles.height
        raise BadInput(f"articles: no column {name}; there are {', '.join(articles.columns) or 'none'}")
    if articles.schema[name] not in {pl.String, pl.Null}:
        raise BadInput(f"articles: column {name} is {articles.schema[name]}, expected String")
    # Nulls are replaced here and not in Polars, which takes longer than everything else done to a single article.
    return [text or "" for text in articles[name].to_list()]
