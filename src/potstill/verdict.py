"""The verdict: scores -> weighted mean -> gates and caps -> tier.

In: one column of scores per dimension, and for each cap whether its words are in the text. Out: `overall`,
`tier` and the reasons of what fired, all as columns. Everything is one pass of Polars expressions, so that
stored scores can be decided again under other rules in milliseconds.

A row with a score that is missing or not finite is `unscored`: no tier is ever given on part of the scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from potstill.conditions import DECIMALS, Condition, parse
from potstill.errors import BadInput
from potstill.prefilter import TermRule, fold_all, matcher
from potstill.records import UNSCORED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from potstill.records import FloatArray

MOST_LIMITS = 60
"""How many gates, and how many caps, a filter may have."""

OVERALL = "overall"
"""The name by which conditions read the weighted mean."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Gate(_Part):
    """A condition on scores under which `overall` is at most `cap`."""

    when: str
    cap: float
    reason: str = Field(min_length=1)


class Cap(TermRule):
    """Words in the text, and a condition if given, under which `overall` is at most `cap`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    when: str | None = None
    cap: float
    reason: str = Field(min_length=1)


class Tier(_Part):
    """A class of articles; without `when` it takes all that the tiers above it left."""

    name: str = Field(min_length=1)
    when: str | None = None
    positive: bool = False


class Rules(Protocol):
    """What a verdict needs of a filter."""

    @property
    def dimension_names(self) -> tuple[str, ...]:
        """The dimensions, in order."""
        ...

    @property
    def weights(self) -> FloatArray:
        """A weight per dimension, in order; they sum to 1."""
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
        """The tiers; the first that matches wins."""
        ...


def cap_hits(texts: Iterable[str | None], rules: Rules) -> pl.DataFrame:
    """Which caps have their words in which windows: a Boolean column `cap_0`, `cap_1`... per cap, in order."""
    return cap_hits_of(fold_all(texts), rules)


def cap_hits_of(folded: pl.Series, rules: Rules) -> pl.DataFrame:
    """As `cap_hits`, for windows that are folded already."""
    frame = pl.DataFrame({"folded": folded})
    hits = {name: matcher(cap) for name, cap in zip(cap_columns(rules), rules.caps, strict=True)}
    # Dropping a column keeps the rows where selecting none would not: a filter may have no caps.
    return frame.with_columns(**hits).drop("folded")


def cap_columns(rules: Rules) -> list[str]:
    """The names of the columns of `cap_hits`."""
    return [f"cap_{index}" for index in range(len(rules.caps))]


def weighted_mean(rules: Rules) -> pl.Expr:
    """The weighted mean of the dimensions' columns, null where one is missing or not finite.

    It is rounded to 9 decimals, so that sevens in every dimension make a seven whatever the weights.
    """
    names = rules.dimension_names
    parts = [pl.col(name) * float(weight) for name, weight in zip(names, rules.weights, strict=True)]
    mean = pl.sum_horizontal(parts).round(DECIMALS)
    known = pl.all_horizontal(pl.col(name).is_finite().fill_null(False) for name in names)
    # The mean of very large numbers may overflow.
    return pl.when(known & mean.is_finite()).then(mean).otherwise(None)


def decide(scores: pl.DataFrame, rules: Rules, cap_hits: pl.DataFrame | None = None) -> pl.DataFrame:
    """Give each row of scores its verdict.

    Gates and the conditions of caps read the dimensions and the weighted mean, as `overall`. Each that fires
    limits `overall` to its cap. Tiers read the limited `overall`; the first match wins.

    Args:
        scores: A numeric column per dimension, on the filter's scale; further columns are not read.
        rules: The filter.
        cap_hits: What `cap_hits` gives for the same rows. Without it no text was looked at and no cap fires. A
            null in it makes its row unscored.

    Returns:
        `overall` (Float64, null if unscored), `tier` (String), `gates` and `caps` (List[String]: the reasons
        of those that fired), a row each, in order.

    Raises:
        BadInput: a dimension's column is missing or not numeric, or `cap_hits` is of other rows or caps.
    """
    limits: list[Gate | Cap] = [*rules.gates, *rules.caps]
    hits = [_mark(name) for name in cap_columns(rules)]
    gates = [_fires(gate.when, rules) for gate in rules.gates]
    caps = [_fires(cap.when, rules) & pl.col(hit) for cap, hit in zip(rules.caps, hits, strict=True)]
    known = [pl.col(OVERALL).is_not_null(), *(pl.col(hit).is_not_null() for hit in hits)]
    decided = (
        _inputs(scores, rules, cap_hits)
        .with_columns(weighted_mean(rules).alias(OVERALL))
        .with_columns(
            pl.all_horizontal(*known, *_computed(limits, rules)).alias(_mark("known")),
            _code(gates).alias(_mark("gates")),
            _code(caps).alias(_mark("caps")),
            _limited([*gates, *caps], limits).alias(_mark("limited")),
        )
        # From here on conditions read the limited value.
        .with_columns(pl.col(_mark("limited")).alias(OVERALL))
        .with_columns(pl.all_horizontal(pl.col(_mark("known")), *_computed(rules.tiers, rules)).alias(_mark("known")))
        .select(
            pl.when(pl.col(_mark("known"))).then(pl.col(OVERALL)).alias("overall"),
            _tier(rules).alias("tier"),
            _if_known("gates"),
            _if_known("caps"),
        )
    )
    return decided.with_columns(
        _reasons(decided["gates"], [gate.reason for gate in rules.gates]),
        _reasons(decided["caps"], [cap.reason for cap in rules.caps]),
    )


def decide_rows(scores: FloatArray, rules: Rules, cap_hits: pl.DataFrame | None = None) -> pl.DataFrame:
    """As `decide`, for scores of shape (rows, dimensions), NaN where one is missing."""
    columns = {name: scores[:, i] for i, name in enumerate(rules.dimension_names)}
    return decide(pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.Float64)), rules, cap_hits)


def condition(text: str, rules: Rules) -> Condition:
    """A condition over the filter's dimensions and `overall`."""
    return parse(text, (*rules.dimension_names, OVERALL))


# Helper columns are marked so that no dimension can have their names.
def _mark(name: str) -> str:
    return f"*{name}"


def _inputs(scores: pl.DataFrame, rules: Rules, hits: pl.DataFrame | None) -> pl.DataFrame:
    for name in rules.dimension_names:
        if name not in scores.columns:
            raise BadInput(f"scores: no column {name}; the dimensions are {', '.join(rules.dimension_names)}")
        if not (scores.schema[name].is_numeric() or scores.schema[name] == pl.Null):
            raise BadInput(f"scores: column {name} is {scores.schema[name]}, expected numbers")
    frame = scores.select(pl.col(name).cast(pl.Float64) for name in rules.dimension_names)
    names = cap_columns(rules)
    if hits is None:
        return frame.with_columns(pl.lit(False).alias(_mark(name)) for name in names)
    if hits.columns != names:
        raise BadInput(f"cap hits: columns are {hits.columns}, expected {names}")
    if names and hits.height != frame.height:
        raise BadInput(f"cap hits: {hits.height} rows for {frame.height} rows of scores")
    return frame.with_columns(hits[name].cast(pl.Boolean).alias(_mark(name)) for name in names)


def _fires(when: str | None, rules: Rules) -> pl.Expr:
    return pl.lit(True) if when is None else condition(when, rules).truth()


def _computed(parts: Sequence[Gate | Cap | Tier] | Sequence[Tier], rules: Rules) -> list[pl.Expr]:
    """For each quotient in their conditions, whether a row has one; the inputs are checked elsewhere."""
    texts = sorted({part.when for part in parts if part.when is not None})
    return [expr for text in texts for expr in condition(text, rules).computed()]


def _limited(fired: Sequence[pl.Expr], limits: Sequence[Gate | Cap]) -> pl.Expr:
    if not fired:
        return pl.col(OVERALL)
    least = [pl.when(expr).then(pl.lit(float(limit.cap))) for expr, limit in zip(fired, limits, strict=True)]
    return pl.min_horizontal(pl.col(OVERALL), *least)


def _code(fired: Sequence[pl.Expr]) -> pl.Expr:
    """Which of up to 60 limits fired, as the bits of one number."""
    bits = [expr.cast(pl.UInt64) * (1 << bit) for bit, expr in enumerate(fired)]
    return pl.sum_horizontal(pl.lit(0, dtype=pl.UInt64), *bits)


def _if_known(name: str) -> pl.Expr:
    return pl.when(pl.col(_mark("known"))).then(pl.col(_mark(name))).otherwise(pl.lit(0, dtype=pl.UInt64)).alias(name)


def _reasons(codes: pl.Series, reasons: Sequence[str]) -> pl.Series:
    """Codes to lists of reasons. Few of them differ, so each is only spelled out once."""
    # By hash: sorting a hundred thousand codes takes longer than the whole verdict.
    distinct = codes.unique()
    places = codes.replace_strict(distinct, pl.int_range(len(distinct), dtype=pl.UInt32, eager=True))
    spelled = [[reason for bit, reason in enumerate(reasons) if code >> bit & 1] for code in distinct.to_list()]
    return pl.Series(codes.name, spelled, dtype=pl.List(pl.String)).gather(places)


def _tier(rules: Rules) -> pl.Expr:
    tier = pl.lit(UNSCORED)
    for rule in reversed(rules.tiers):
        tier = pl.when(_fires(rule.when, rules)).then(pl.lit(rule.name)).otherwise(tier)
    return pl.when(pl.col(_mark("known"))).then(tier).otherwise(pl.lit(UNSCORED))
