"""Define the record of behaviour tests: how many pass, by test and by dimension, for a student and for an oracle.

Input: counts. Output: frozen records. A rate is null where nothing was compared.
"""

from __future__ import annotations

from typing import Literal

import polars as pl
from pydantic import Field

from potstill.errors import RunError
from potstill.findings import Finding  # noqa: TC001 - pydantic reads it
from potstill.records import Interval, Part, Record

_COLUMNS = {
    **dict.fromkeys(("check", "dimension"), pl.String),
    **dict.fromkeys(("passed", "compared"), pl.Int64),
    **dict.fromkeys(("rate", "low", "high", "change"), pl.Float64),
}

Subject = Literal["student", "oracle"]
"""Who was tested."""


class Passes(Part):
    """How many comparisons of one test passed, in one dimension or in all.

    `flat` counts steps of a ramp, or negations, in which the score neither rises nor falls by as much as counts.
    `unscored` counts comparisons of which a text has no score; they are not among the `compared`. `interval` is the
    exact 95% interval of the rate, which takes the comparisons to be independent. `change` is the mean of the second
    score minus the first, in points of the scale.
    """

    passed: int
    compared: int
    flat: int = 0
    unscored: int = 0
    rate: float | None = None
    interval: Interval | None = None
    change: float | None = None


class Check(Part):
    """The outcome of one test: over all dimensions, and in each."""

    overall: Passes
    dimensions: dict[str, Passes]


class Failing(Part):
    """A comparison that failed: both texts with the scores of the dimension."""

    check: str
    dimension: str
    first: str
    second: str
    first_score: float
    second_score: float


class Asked(Part):
    """What an oracle was asked: distinct texts, answers and their cost."""

    oracle: str
    ledger: str
    texts: int
    already: int
    bought: int
    calls: int
    cost: float | None
    failed: dict[str, int]
    stopped: str | None = None
    samples: int = 1


class Probed(Part):
    """The outcome for a student or an oracle. `name` is a recipe or the name of an oracle.

    `failing` holds the worst two comparisons that failed of each test in each dimension.
    """

    name: str
    bundle: str | None = None
    bundle_sha256: str | None = None
    asked: Asked | None = None
    checks: dict[str, Check]
    failing: tuple[Failing, ...] = ()

    def to_frame(self) -> pl.DataFrame:
        """Return a row per test and dimension: check, dimension, passed, compared, rate, low, high, change."""
        rows = [
            {
                "check": check,
                "dimension": dimension,
                "passed": one.passed,
                "compared": one.compared,
                "rate": one.rate,
                "low": one.interval and one.interval.low,
                "high": one.interval and one.interval.high,
                "change": one.change,
            }
            for check, found in self.checks.items()
            for dimension, one in {**found.dimensions, "all": found.overall}.items()
        ]
        return pl.DataFrame(rows, schema=_COLUMNS)


class Relative(Part):
    """The student's rate of ramps in order divided by the oracle's; null where the oracle has none."""

    overall: float | None
    dimensions: dict[str, float | None]


class Texts(Part):
    """Where the tests and the articles are from. `articles_from` is `ramps`, `test part` or a file."""

    probes: str
    probes_sha256: str
    ramps: int
    negations: int
    paraphrases: int
    articles_from: str
    articles: int
    seed: int
    distinct: int
    unchanged: dict[str, int] = Field(default_factory=dict)


class Target(Part):
    """A pass rate that was asked for with `--least`: of one test, over all dimensions."""

    check: str
    least: float
    rate: float | None
    met: bool


class ProbeRecord(Record):
    """Record of `potstill probe`: the behaviour of a student, of an oracle, or of both, on the same texts.

    `rise` is the smallest difference in points at which a ramp or a negation is in order; `shift` is the largest at
    which a changed text counts as steady.
    """

    fault = RunError
    made_by = "potstill probe RUN"

    schema_version: int = 1
    filter: str
    filter_version: int
    filter_hash: str
    dimensions: tuple[str, ...]
    rise: float
    shift: float
    texts: Texts
    subjects: dict[Subject, Probed]
    relative: Relative | None = None
    targets: tuple[Target, ...] = ()
    met: bool | None = None
    findings: tuple[Finding, ...] = ()
