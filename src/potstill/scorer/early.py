"""Early answers: a cheap student scores first, and its answer is final where this loses hardly any positive article.

Input: a cascade's folder, which `potstill cascade` makes next to a bundle: a second bundle, and a threshold with the
recall that was measured for it. Output: for each article whether the cheap student's answer is final. It is never final
if the cheap student itself considers the article positive.
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

    schema_version: int = 1
    bundle: str
    """Hash of the second student's bundle."""
    student: str
    first: str
    """Recipe of the first student."""
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

    def final(self, decided: Decided, raw: FloatArray) -> BoolArray:
        """Return for which articles the first student's answer is final; see `final_answers`."""
        return final_answers(decided, raw, self.bundle.filter, self.record.chosen.threshold)

    def decide(
        self,
        raw: FloatArray,
        folded: pl.Series,
        level: float,
        *,
        outputs: FloatArray | None = None,
        probabilities: bool = False,
    ) -> Decided:
        """Compute the first student's verdicts, with its own calibration."""
        own = self.bundle
        return decide_raw(raw, folded, own.filter, own.calibration, level, outputs=outputs, probabilities=probabilities)


def final_answers(decided: Decided, raw: FloatArray, filter_: Filter, threshold: float) -> BoolArray:
    """Return for which articles a first student's answer is final, shape (articles,).

    Args:
        decided: the first student's verdicts.
        raw: its raw scores, shape (articles, dimensions), NaN where it gave none.
        filter_: the filter whose positive tiers must not be lost.
        threshold: articles with a lower signal are answered early.
    """
    judged = decided.judged
    positive = np.isin(judged.tiers, [at for at, tier in enumerate(filter_.tiers) if tier.positive])
    return np.asarray(np.isfinite(judged.overall) & ~positive & (signal(raw, filter_) < threshold))


def signal(raw: FloatArray, filter_: Filter) -> FloatArray:
    """Compute the signal for early answers, shape (rows,): the weighted mean of raw scores, clipped to the scale.

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
    if record.bundle != bundle.hash:
        raise BundleError(f"{path}: was made for another bundle than {bundle.folder}; run: potstill cascade")
    own = load_bundle(folder / CASCADE_LAYOUT["first"], check=check)
    if own.manifest.filter_hash != bundle.manifest.filter_hash:
        raise BundleError(f"{own.folder}: is for another filter than {bundle.folder}")
    return Early(folder, record, own)
