"""Early answers: a cheap student scores first, and its answer is final where this loses hardly any positive article.

Input: a cascade's folder, which `potstill cascade` makes next to a bundle: a second bundle, and a threshold with the
recall that was measured for it. Output: for each article whether the cheap student's answer is final. It is final if
the signal, the weighted mean of the scores or the probability of a positive tier, is below the threshold; but never if
the cheap student itself puts the article in a positive tier.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from pydantic import Field

from potstill.bundle import load_bundle
from potstill.bundle.deciding import decide_raw
from potstill.errors import BundleError
from potstill.records import Part, Record
from potstill.verdict import positive_places

if TYPE_CHECKING:
    import polars as pl

    from potstill.bundle import Bundle
    from potstill.bundle.deciding import Decided
    from potstill.bundle.reading import Check
    from potstill.filters import Filter
    from potstill.students import Outputs
    from potstill.types import BoolArray, FloatArray

SignalKind: TypeAlias = Literal["score", "probability"]
"""The signal of early answers: the weighted mean of raw scores, or the probability of any positive tier."""

CASCADE_LAYOUT = {"record": "cascade.json", "first": "first"}
"""Contents of a cascade's folder: its record, and the bundle of the first student."""


class Point(Part):
    """One threshold, and its measured effects."""

    recall: float
    """Share of positive articles that are passed to the second student: at least this, with the stated confidence."""
    threshold: float
    """An article whose signal is below it is answered early."""
    lost: int
    """Number of clusters with a positive article below it, among those behind the bound."""
    early: float
    """Share of the evaluated articles that are answered early."""
    early_at_5_percent: float
    """The same on a stream in which 5% of the articles are positive."""
    articles_per_second: float
    """Expected throughput on the evaluated articles, computed from the students' separate times."""


class Held(Part):
    """Results of the chosen threshold on the test part, which was not used for any selection."""

    articles: int
    early: int
    positives: int
    passed: int
    """Number of positives that were passed to the second student."""


class Cascade(Record):
    """`cascade.json`."""

    fault = BundleError
    made_by = "potstill cascade RUN"

    schema_version: int = 2
    bundle: str
    """Hash of the second student's bundle."""
    student: str
    first: str
    """Recipe of the first student."""
    signal: SignalKind = "score"
    """What the thresholds are compared with; cascades of version 1 have none and use the score."""
    compared: dict[SignalKind, Point] = Field(default_factory=dict)
    """The point for the wanted recall by each signal that was tried."""
    signal_reason: str = ""
    wanted: float
    confidence: float
    chosen: Point
    highest: float
    """Highest recall that can be shown with this number of positives."""
    positives: int
    """Number of positive articles, by the oracle's labels, behind the threshold."""
    positive_clusters: int
    """Number of clusters of near-duplicates among them: the trials of the bound."""
    articles: int
    """Number of all articles behind the threshold."""
    positive_tiers: tuple[str, ...]
    first_milliseconds: float
    """Bulk time per article of the first student, in milliseconds; that of the second is in addition for the others."""
    second_milliseconds: float
    frontier: tuple[Point, ...] = Field(min_length=1)
    test: Held
    why: str


@dataclass(frozen=True, slots=True, eq=False)
class Early:
    """An open cascade."""

    folder: Path
    record: Cascade
    bundle: Bundle

    def final(self, decided: Decided) -> BoolArray:
        """Return for which articles the first student's answer is final; see `final_answers`."""
        return final_answers(decided, self.bundle.filter, self.record.signal, self.record.chosen.threshold)

    def decide(
        self,
        given: Outputs,
        folded: pl.Series,
        level: float,
        *,
        probabilities: bool = False,
    ) -> Decided:
        """Compute the first student's verdicts, with its own calibration."""
        own = self.bundle
        return decide_raw(given, folded, own.filter, own.calibration, level, probabilities=probabilities)


def final_answers(decided: Decided, filter_: Filter, kind: SignalKind, threshold: float) -> BoolArray:
    """Return for which articles a first student's answer is final, shape (articles,).

    Args:
        decided: the first student's verdicts, by its operating point.
        filter_: the filter whose positive tiers must not be lost.
        kind: the signal.
        threshold: articles with a lower signal are answered early.
    """
    judged = decided.judged
    positive = np.isin(judged.tiers, positive_places(filter_))
    return np.asarray(np.isfinite(judged.overall) & ~positive & (signal(decided, filter_, kind) < threshold))


def signal(decided: Decided, filter_: Filter, kind: SignalKind) -> FloatArray:
    """Return the signal for early answers, shape (articles,), NaN where the student gave no score.

    Raises:
        BundleError: the student decides no tier by its probability, and that is the signal.
    """
    if kind == "score":
        return weighted_mean(decided.raw, filter_)
    if decided.positive is None:
        raise BundleError("cascade: its first student computes no probability of a tier; run: potstill cascade")
    # The last column is the probability of the last positive tier or a better one.
    return decided.positive[:, -1]


def weighted_mean(raw: FloatArray, filter_: Filter) -> FloatArray:
    """Return the weighted mean of raw scores, clipped to the scale, shape (rows,).

    It does not use calibration, gates or caps, so that it contains nothing that was fitted on the same rows.
    """
    weighted: FloatArray = np.clip(raw, filter_.scale.min, filter_.scale.max) @ filter_.weights
    return weighted


def load_early(folder: str | Path, bundle: Bundle, *, check: Check = "short") -> Early:
    """Open a cascade that belongs to `bundle`.

    Raises:
        BundleError: the folder holds no cascade, or one for another bundle, or its own bundle does not pass its checks.
    """
    folder = Path(folder)
    path = folder / CASCADE_LAYOUT["record"]
    record = Cascade.from_file(path)
    refit = bundle.facts.refit
    # The bound is about the first student's answers, so it also holds before the same student, fitted on more rows.
    if record.bundle not in {bundle.hash, None if refit is None else refit.measured}:
        raise BundleError(f"{path}: was made for another bundle than {bundle.folder}; run: potstill cascade")
    own = load_bundle(folder / CASCADE_LAYOUT["first"], check=check)
    if own.manifest.filter_hash != bundle.manifest.filter_hash:
        raise BundleError(f"{own.folder}: is for another filter than {bundle.folder}")
    return Early(folder, record, own)
