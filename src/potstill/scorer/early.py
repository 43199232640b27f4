"""Early answers: a cheap student answers first, and alone where that loses hardly any positive article.

In: a cascade's folder, which `potstill cascade` makes beside a bundle: a second bundle and a threshold with the recall
that it was shown to keep. Out: for each article whether the cheap student's answer stands. It never stands for an
article that the cheap student itself holds for positive.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from potstill.bundle import load_bundle
from potstill.bundle.deciding import decide_raw
from potstill.errors import BundleError
from potstill.records import Part, Record

if TYPE_CHECKING:
    import polars as pl

    from potstill.bundle import Bundle
    from potstill.bundle.deciding import Decided
    from potstill.bundle.reading import Check
    from potstill.filters import Filter
    from potstill.types import BoolArray, FloatArray

CASCADE_LAYOUT = {"record": "cascade.json", "first": "first"}
"""What a cascade's folder holds: its record, and the bundle of the student that answers first."""


class Point(Part):
    """One threshold, and what it does."""

    recall: float
    """Share of positive articles that go on to the second student: no less than this, with the confidence stated."""
    threshold: float
    """An article whose signal is below it is answered early."""
    lost: int
    """Clusters with a positive article below it, of those that the bound comes from."""
    early: float
    """Share of the articles looked at that are answered early."""
    early_at_5_percent: float
    """The same on a stream of which 5% are positive."""
    articles_per_second: float
    """Expected, from what the students took alone; on the articles looked at."""


class Held(Part):
    """What the chosen threshold did on the test part, which chose nothing."""

    articles: int
    early: int
    positives: int
    passed: int
    """Positives that went on to the second student."""


class Cascade(Record):
    """`cascade.json`."""

    fault = BundleError
    made_by = "potstill cascade RUN"

    schema_version: int = 1
    bundle: str
    """Hash of the second student's bundle."""
    student: str
    first: str
    """Recipe of the student that answers first."""
    wanted: float
    confidence: float
    chosen: Point
    highest: float
    """The highest recall that so many positives can show."""
    positives: int
    """Positive articles, by the oracle's labels, that the threshold comes from."""
    positive_clusters: int
    """Clusters of near-duplicates that they are in: the trials of the bound."""
    articles: int
    """All articles that the threshold comes from."""
    positive_tiers: tuple[str, ...]
    first_milliseconds: float
    """Of one article in bulk, by the first student; the second's is what the others cost besides."""
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

    def answers(self, decided: Decided, raw: FloatArray) -> BoolArray:
        """For which articles the first student's answer stands; see `stands`."""
        return stands(decided, raw, self.bundle.filter, self.record.chosen.threshold)

    def decide(self, raw: FloatArray, folded: pl.Series, level: float, *, probabilities: bool) -> Decided:
        """The first student's verdicts, by its own calibration."""
        return decide_raw(raw, folded, self.bundle.filter, self.bundle.calibration, level, probabilities=probabilities)


def stands(decided: Decided, raw: FloatArray, filter_: Filter, threshold: float) -> BoolArray:
    """For which articles a first student's answer stands, shape (articles,).

    Args:
        decided: its verdicts.
        raw: its raw scores, shape (articles, dimensions), NaN where it gave none.
        filter_: whose positive tiers must not be lost.
        threshold: signals below it are answered early.
    """
    judged = decided.judged
    positive = np.isin(judged.tiers, [at for at, tier in enumerate(filter_.tiers) if tier.positive])
    return np.asarray(np.isfinite(judged.overall) & ~positive & (signal(raw, filter_) < threshold))


def signal(raw: FloatArray, filter_: Filter) -> FloatArray:
    """What an early answer is decided by, shape (rows,): the weighted mean of raw scores, held to the scale.

    It knows nothing of calibration, gates or caps, so that nothing that was fitted on the same rows is in it.
    """
    weighted: FloatArray = np.clip(raw, filter_.scale.min, filter_.scale.max) @ filter_.weights
    return weighted


def load_early(folder: str | Path, bundle: Bundle, *, check: Check = "short") -> Early:
    """Open a cascade that stands before `bundle`.

    Raises:
        BundleError: the folder holds no cascade, one for another bundle, or its own bundle does not prove itself.
    """
    folder = Path(folder)
    path = folder / CASCADE_LAYOUT["record"]
    record = Cascade.from_file(path)
    if record.bundle != bundle.hash:
        raise BundleError(f"{path}: was made for another bundle than {bundle.folder}; run: potstill cascade")
    own = load_bundle(folder / CASCADE_LAYOUT["first"], check=check)
    if own.manifest.filter_hash != bundle.manifest.filter_hash:
        raise BundleError(f"{own.folder}: is for another filter than {bundle.folder}")
    return Early(folder, record, own)
