"""Compute verdicts: scores -> weighted mean -> gates and caps -> tier.

Input: scores, and for each cap whether its terms occur in the text. Output: `overall`, the tier and the reasons of the
gates and caps that fired, as arrays (`judge`) or as columns (`decide`). All computations are vectorized in numpy and
give the same result for one article as for a million, so stored scores can be evaluated under other rules in
milliseconds.

A row with a missing or non-finite score is `unscored`: a tier is never assigned from incomplete scores.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl
from pydantic import Field

from potstill.conditions import Condition, parse, rounded
from potstill.errors import BadInput
from potstill.prefilter import TermRule, fold_all, found
from potstill.records import Part
from potstill.types import UNSCORED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from potstill.conditions.computing import Columns
    from potstill.types import BoolArray, FloatArray, IntArray

MOST_LIMITS = 60
"""Maximum number of gates, and of caps, of a filter."""

OVERALL = "overall"
"""The name of the weighted mean in conditions."""


class Gate(Part):
    """A condition on scores that limits `overall` to at most `cap`."""

    when: str
    cap: float
    reason: str = Field(min_length=1)


class Cap(TermRule):
    """Terms in the text, with an optional condition, that limit `overall` to at most `cap`."""

    when: str | None = None
    cap: float
    reason: str = Field(min_length=1)


class Tier(Part):
    """A class of articles; without `when` it takes all articles that the tiers above it left."""

    name: str = Field(min_length=1)
    when: str | None = None
    positive: bool = False


class Rules(Protocol):
    """The parts of a filter that a verdict needs."""

    @property
    def dimension_names(self) -> tuple[str, ...]:
        """The names of the dimensions, in order."""
        ...

    @property
    def weights(self) -> FloatArray:
        """The weights of the dimensions, in order; they sum to 1."""
        ...

    @property
    def gates(self) -> Sequence[Gate]:
        """The gates, in order."""
        ...

    @property
    def caps(self) -> Sequence[Cap]:
        """The caps, in order."""
        ...

    @property
    def tiers(self) -> Sequence[Tier]:
        """The tiers, in order; the first match wins."""
        ...


def cap_hits(texts: Iterable[str | None], rules: Rules) -> pl.DataFrame:
    """Return which caps have their terms in which windows: Boolean columns `cap_0`, `cap_1`... in order."""
    return cap_hits_of(fold_all(texts), rules)


def cap_hits_of(folded: pl.Series, rules: Rules) -> pl.DataFrame:
    """Return the same as `cap_hits`, for windows that are already folded."""
    hits = [found(cap, folded).alias(name) for name, cap in zip(cap_columns(rules), rules.caps, strict=True)]
    # A filter may have no caps. Dropping the column then keeps the number of rows, but selecting no columns would not.
    return pl.DataFrame({"folded": folded}).with_columns(hits).drop("folded")


def cap_columns(rules: Rules) -> list[str]:
    """Return the names of the columns of `cap_hits`."""
    return [f"cap_{index}" for index in range(len(rules.caps))]


@dataclass(frozen=True, eq=False)
class Judged:
    """Verdicts, one per row.

    `overall` is NaN for unscored rows. `tiers` are indices into the filter's tiers, -1 for unscored. The bits of
    `gates` and `caps` mark which ones fired, in the filter's order.
    """

    overall: FloatArray
    tiers: IntArray
    gates: NDArray[np.uint64]
    caps: NDArray[np.uint64]
    rules: Rules

    def __len__(self) -> int:
        return self.overall.size

    @cached_property
    def tier_names(self) -> list[str]:
        """The name of each row's tier."""
        names = [tier.name for tier in self.rules.tiers] + [UNSCORED]
        return [names[place] for place in self.tiers.tolist()]

    def gate_reasons(self, row: int) -> tuple[str, ...]:
        """Return the reasons of the gates that fired for a row."""
        return _spelled(int(self.gates[row]), self.rules.gates)

    def cap_reasons(self, row: int) -> tuple[str, ...]:
        """Return the reasons of the caps that fired for a row."""
        return _spelled(int(self.caps[row]), self.rules.caps)

    def where(self, which: BoolArray, others: Judged) -> Judged:
        """Select these verdicts where `which`, shape (rows,), is True, else those of `others`, under the same rules."""
        return Judged(
            np.where(which, self.overall, others.overall),
            np.where(which, self.tiers, others.tiers),
            np.where(which, self.gates, others.gates),
            np.where(which, self.caps, others.caps),
            self.rules,
        )

    @cached_property
    def frame(self) -> pl.DataFrame:
        """The columns of `decide`."""
        names = pl.Series([UNSCORED, *(tier.name for tier in self.rules.tiers)], dtype=pl.String)
        return pl.DataFrame(
            [
                pl.Series("overall", self.overall).fill_nan(None),
                names.gather(pl.Series(self.tiers + 1)).alias("tier"),
                _reasons("gates", self.gates, self.rules.gates),
                _reasons("caps", self.caps, self.rules.caps),
            ]
        )


def weighted_mean(scores: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the weighted mean of each row, shape (rows,), NaN where a score is missing or not finite.

    It is rounded to 9 decimals, so that a score of 7 in every dimension gives a mean of exactly 7 for any weights.
    """
    # The mean of very large numbers may overflow.
    with np.errstate(over="ignore", invalid="ignore"):
        mean = rounded(weighted_sum(scores, weights))
    known = np.isfinite(scores).all(axis=1) & np.isfinite(mean)
    return np.where(known, mean, np.nan)


def weighted_sum(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the weighted sum of each row, shape (rows,), added in the order of the columns for any number of rows.

    A matrix product may add in another order for another number of rows.
    """
    if len(values) == 1:
        found: FloatArray = np.cumsum(values * weights, axis=1)[:, -1]
        return found
    total: FloatArray = values[:, 0] * weights[0]
    for column in range(1, len(weights)):
        total += values[:, column] * weights[column]
    return total


def judge(scores: FloatArray, rules: Rules, hits: BoolArray | None = None) -> Judged:
    """Return the verdict of each row of scores.

    Gates and the conditions of caps read the dimensions and the weighted mean, as `overall`. Each one that fires limits
    `overall` to its cap. Tiers read the limited `overall`; the first match wins.

    Args:
        scores: scores on the filter's scale, shape (rows, dimensions); values that are not finite are missing.
        rules: the filter.
        hits: which caps have their terms in the rows' texts, shape (rows, caps); None if the texts were not searched,
            and then no cap fires.
    """
    columns = {name: scores[:, place] for place, name in enumerate(rules.dimension_names)}
    columns[OVERALL] = mean = weighted_mean(scores, rules.weights)
    known, gates, caps = _limit(columns, rules, hits, np.isfinite(mean))
    tiers, known = _tiers(columns, rules, known)
    return Judged(np.where(known, columns[OVERALL], np.nan), tiers, _code(gates, known), _code(caps, known), rules)


def tiers_of(scores: FloatArray, rules: Rules, hits: BoolArray | None = None) -> IntArray:
    """Return the tiers that `judge` returns, in less time, for scores that are all on the filter's scale.

    Args:
        scores: shape (rows, dimensions), without missing values; fastest if the columns are contiguous.
        rules: the filter.
        hits: as for `judge`.
    """
    columns = {name: scores[:, place] for place, name in enumerate(rules.dimension_names)}
    columns[OVERALL] = rounded(weighted_sum(scores, rules.weights))
    known = _limit(columns, rules, hits, np.ones(len(scores), dtype=np.bool_))[0]
    return _tiers(columns, rules, known)[0]


def _limit(
    columns: dict[str, FloatArray], rules: Rules, hits: BoolArray | None, known: BoolArray
) -> tuple[BoolArray, list[BoolArray], list[BoolArray]]:
    """Limit `overall` in `columns` by gates and caps; return the rows that have one, and where each of them fires."""
    overall = columns[OVERALL]
    limits: list[Gate | Cap] = [*rules.gates, *rules.caps]
    known = known & _computed(limits, rules, columns)
    gates = [known & _holds(gate.when, rules, columns) for gate in rules.gates]
    caps = []
    if hits is not None:
        caps = [known & hits[:, at] & _holds(cap.when, rules, columns) for at, cap in enumerate(rules.caps)]
    # Gates come first in `limits`; without texts it has no caps to match.
    for fires, limit in zip([*gates, *caps], limits, strict=False):
        overall = np.where(fires, np.minimum(overall, limit.cap), overall)
    # From here on, conditions read the limited value.
    columns[OVERALL] = overall
    return known, gates, caps


def _tiers(columns: Columns, rules: Rules, known: BoolArray) -> tuple[IntArray, BoolArray]:
    """Return the first tier whose condition holds, -1 if there is none, and the rows in which all are defined."""
    known = known & _computed(rules.tiers, rules, columns)
    tiers = np.full(known.size, -1)
    for place in range(len(rules.tiers) - 1, -1, -1):
        np.copyto(tiers, place, where=known & _holds(rules.tiers[place].when, rules, columns))
    return tiers, known


def positive_places(rules: Rules) -> list[int]:
    """Return the indices of the positive tiers, in order."""
    return [place for place, tier in enumerate(rules.tiers) if tier.positive]


def with_named(judged: Judged, scores: FloatArray, named: BoolArray) -> Judged:
    """Return verdicts whose positive tiers are decided by something else than their conditions.

    A row takes the first positive tier that names it. If none does, it takes the first tier that is not positive and
    whose condition holds, or the last that is not positive if no condition holds.

    Args:
        judged: the verdicts by score; rows without a tier stay as they are.
        scores: the scores of `judged`, shape (rows, dimensions).
        named: which positive tiers name which rows, shape (rows, positive tiers), in the filter's order.
    """
    rules = judged.rules
    places = positive_places(rules)
    others = [place for place in range(len(rules.tiers)) if place not in places]
    columns = {name: scores[:, place] for place, name in enumerate(rules.dimension_names)}
    columns[OVERALL] = judged.overall
    tiers = np.full(len(judged), others[-1] if others else places[-1])
    for place in reversed(others):
        np.copyto(tiers, place, where=_holds(rules.tiers[place].when, rules, columns))
    for column in range(len(places) - 1, -1, -1):
        np.copyto(tiers, places[column], where=named[:, column])
    return replace(judged, tiers=np.where(judged.tiers < 0, -1, tiers))


def decide(scores: pl.DataFrame, rules: Rules, cap_hits: pl.DataFrame | None = None) -> pl.DataFrame:
    """Return the verdict of each row of scores, as `judge` does, from columns to columns.

    Args:
        scores: data frame with a numeric column per dimension, on the filter's scale; other columns are ignored.
        rules: the filter.
        cap_hits: the result of `cap_hits` for the same rows; None if the texts were not searched, and then no cap
            fires. A null makes its row unscored.

    Returns:
        One row per input row, in order: `overall` (Float64, null if unscored), `tier` (String), `gates` and `caps`
        (List[String], the reasons of those that fired).

    Raises:
        BadInput: a dimension's column is missing or not numeric, or `cap_hits` has other rows or caps.
    """
    return decide_rows(_numbers(scores, rules), rules, cap_hits)


def decide_rows(scores: FloatArray, rules: Rules, cap_hits: pl.DataFrame | None = None) -> pl.DataFrame:
    """Return the same as `decide`, for scores of shape (rows, dimensions), NaN where a score is missing."""
    return judge_rows(scores, rules, cap_hits).frame


def judge_rows(scores: FloatArray, rules: Rules, cap_hits: pl.DataFrame | None = None) -> Judged:
    """Return the same as `judge`, with the columns of `cap_hits` for the same rows; a null makes its row unscored.

    Raises:
        BadInput: `cap_hits` has other rows or caps.
    """
    if cap_hits is None:
        return judge(scores, rules)
    hits, known = marks_of(cap_hits, rules, scores.shape[0])
    if not known.all():
        scores = np.where(known[:, None], scores, np.nan)
    return judge(scores, rules, hits)


def condition(text: str, rules: Rules) -> Condition:
    """Parse a condition over the filter's dimensions and `overall`."""
    return parse(text, (*rules.dimension_names, OVERALL))


def _numbers(scores: pl.DataFrame, rules: Rules) -> FloatArray:
    for name in rules.dimension_names:
        if name not in scores.columns:
            raise BadInput(f"scores: no column {name}; the dimensions are {', '.join(rules.dimension_names)}")
        if not (scores.schema[name].is_numeric() or scores.schema[name] == pl.Null):
            raise BadInput(f"scores: column {name} is {scores.schema[name]}, expected numbers")
    columns = [scores[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in rules.dimension_names]
    return np.column_stack(columns)


def marks_of(hits: pl.DataFrame, rules: Rules, rows: int) -> tuple[BoolArray, BoolArray]:
    """Return which caps have their terms in which rows, and for which rows all of this is known."""
    names = cap_columns(rules)
    if hits.columns != names:
        raise BadInput(f"cap hits: columns are {hits.columns}, expected {names}")
    if not names:
        return np.zeros((rows, 0), dtype=np.bool_), np.ones(rows, dtype=np.bool_)
    if hits.height != rows:
        raise BadInput(f"cap hits: {hits.height} rows for {rows} rows of scores")
    columns = [hits[name].cast(pl.Boolean) for name in names]
    known = np.logical_and.reduce([column.is_not_null().to_numpy() for column in columns])
    return np.column_stack([column.fill_null(False).to_numpy() for column in columns]), known


def _holds(when: str | None, rules: Rules, columns: Columns) -> BoolArray:
    return np.ones((), dtype=np.bool_) if when is None else condition(when, rules).truth(columns)


def _computed(parts: Sequence[Gate | Cap | Tier] | Sequence[Tier], rules: Rules, columns: Columns) -> BoolArray:
    """Return where all quotients in the conditions are numbers; the inputs are checked elsewhere."""
    found = np.ones((), dtype=np.bool_)
    for text in {part.when for part in parts if part.when is not None}:
        for finite in condition(text, rules).computed(columns):
            found = found & finite
    return found


def _code(fired: Sequence[BoolArray], known: BoolArray) -> NDArray[np.uint64]:
    """Encode which of up to 60 limits fired as the bits of one integer."""
    code = np.zeros(known.size, dtype=np.uint64)
    for bit, fires in enumerate(fired):
        code[fires & known] |= np.uint64(1 << bit)
    return code


def _spelled(code: int, limits: Sequence[Gate | Cap]) -> tuple[str, ...]:
    return tuple(limit.reason for bit, limit in enumerate(limits) if code >> bit & 1) if code else ()


def _reasons(name: str, codes: NDArray[np.uint64], limits: Sequence[Gate | Cap]) -> pl.Series:
    """Convert codes to lists of reasons; each distinct code is converted only once."""
    series = pl.Series(name, codes)
    # `unique` uses hashing; sorting a hundred thousand codes would take longer than the whole verdict.
    distinct = series.unique()
    places = series.replace_strict(distinct, pl.int_range(len(distinct), dtype=pl.UInt32, eager=True))
    spelled = [list(_spelled(code, limits)) for code in distinct.to_list()]
    return pl.Series(name, spelled, dtype=pl.List(pl.String)).gather(places)
