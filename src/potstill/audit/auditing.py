"""Run the audit: compute every part that the rows allow, and give the reason for each omitted part.

Input: labelled rows. Output: an `Audit`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill import metrics
from potstill.audit.advice import findings_of
from potstill.audit.agreement import side_by_side
from potstill.audit.boilerplate import boilerplate_of
from potstill.audit.duplicates import duplicates_of
from potstill.audit.labelled import means
from potstill.audit.learning import curve_of
from potstill.audit.marked import marked_of
from potstill.audit.prefiltering import prefiltering_of
from potstill.audit.records import Audit
from potstill.audit.redundancy import redundancy_of
from potstill.audit.repeats import repeats_of
from potstill.audit.spread import spread_of
from potstill.audit.suspects import MOST, baselines_of, held_out, suspects_of
from potstill.audit.truncation import truncation_of
from potstill.findings import FEWEST_ROWS_FOR_CURVE
from potstill.verdict import cap_hits

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from potstill.audit.labelled import Answer, Labelled
    from potstill.audit.records import Pair


def audit_labels(
    rows: Labelled,
    articles: pl.DataFrame,
    oracles: Mapping[str, Mapping[str, Answer]],
    *,
    dropped: Mapping[str, Answer] | None = None,
    pool: pl.DataFrame | None = None,
    learn: bool = True,
    suspects: int = MOST,
    seed: int = 0,
    resamples: int = metrics.RESAMPLES,
    inputs: Mapping[str, str] | None = None,
) -> Audit:
    """Audit one oracle's labels, and compare several oracles.

    Args:
        rows: the audited oracle's rows, from `labelled`.
        articles: all articles, labelled or not.
        oracles: answers by oracle and article, including the audited oracle's.
        dropped: further answers for articles of `pool` that the prefilter drops, in addition to those in `oracles`.
        pool: articles on which the prefilter is audited. Default: `articles`.
        learn: whether to fit cheap students, for suspects, baselines and the learning curve.
        suspects: number of suspicious labels to list.
        seed: random seed for folds, subsets and resamples.
        resamples: number of bootstrap resamples.
        inputs: name -> SHA-256 of each input, for the record.

    Returns:
        The audit. Parts that were omitted are None, and `skipped` gives the reasons.

    Raises:
        MissingExtra: scikit-learn is not installed and `learn` is true.
    """
    filter_ = rows.filter
    skipped: dict[str, str] = {}
    repeats = repeats_of(rows, seed=seed, resamples=resamples)
    if repeats is None:
        skipped["repeats"] = "no article was labelled more than once"
    redundancy = redundancy_of(
        rows.scores, filter_.dimension_names, rows.clusters, repeats, seed=seed, resamples=resamples
    )
    if redundancy is None:
        skipped["redundancy"] = "too few complete rows, or fewer than two dimensions that vary"
    found = Audit(
        filter=filter_.name,
        filter_version=filter_.version,
        oracle=rows.oracle,
        oracles={name: len(answers) for name, answers in oracles.items()},
        rows=len(rows),
        clusters=int(rows.clusters.max()) + 1,
        dimensions=filter_.dimension_names,
        scale=(filter_.scale.min, filter_.scale.max),
        seed=seed,
        inputs=dict(inputs or {}),
        scores=spread_of(rows),
        repeats=repeats,
        redundancy=redundancy,
        pairs=tuple(_pairs(rows, articles, oracles, seed, resamples)),
        skipped=skipped,
    )
    parts = _of_text(rows, seed, resamples, skipped) | _learned(rows, found, learn, suspects, seed, resamples, skipped)
    if filter_.prefilter.drop and filter_.positive_tiers:
        known = {**oracles[rows.oracle], **(dropped or {})}
        parts["prefilter"] = prefiltering_of(articles if pool is None else pool, known, filter_)
    else:
        skipped["prefilter"] = "the filter has no prefilter, or no positive tier"
    found = found.model_copy(update=parts | {"skipped": skipped})
    return found.model_copy(update={"findings": findings_of(found)})


def _pairs(
    rows: Labelled,
    articles: pl.DataFrame,
    oracles: Mapping[str, Mapping[str, Answer]],
    seed: int,
    resamples: int,
) -> list[Pair]:
    """Compare every two oracles; near-duplicate clusters are known only for the audited rows, so none are used here."""
    if len(oracles) < 2:
        return []
    ids = articles["id"].to_list()
    texts = [rows.filter.text.of(title, content) for title, content in articles.select("title", "content").iter_rows()]
    scores = {name: means(ids, answers, len(rows.filter.dimension_names)) for name, answers in oracles.items()}
    hits = cap_hits(texts, rows.filter) if rows.filter.caps else None
    return side_by_side(scores, rows.filter, cap_hits=hits, seed=seed, resamples=resamples)


def _of_text(rows: Labelled, seed: int, resamples: int, skipped: dict[str, str]) -> dict[str, object]:
    if not rows.has_text:
        skipped.update(
            dict.fromkeys(("duplicates", "boilerplate", "truncation", "markup"), "the articles came without text")
        )
        return {}
    return {
        "duplicates": duplicates_of(rows),
        "boilerplate": boilerplate_of(rows),
        "truncation": truncation_of(rows, seed=seed, resamples=resamples),
        "markup": marked_of(rows),
    }


def _learned(
    rows: Labelled,
    found: Audit,
    learn: bool,  # noqa: FBT001 - one flag, passed on
    suspects: int,
    seed: int,
    resamples: int,
    skipped: dict[str, str],
) -> dict[str, object]:
    parts = ("suspects", "baselines", "curve")
    if not learn or not rows.has_text:
        skipped.update(dict.fromkeys(parts, "not requested" if rows.has_text else "the articles came without text"))
        return {}
    heard = held_out(rows, seed=seed)
    curve = curve_of(rows, found.repeats, seed=seed)
    if curve is None:
        skipped["curve"] = f"fewer than {FEWEST_ROWS_FOR_CURVE} labelled rows, or too few distinct ones"
    return {
        "suspects": suspects_of(rows, heard, most=suspects),
        "baselines": baselines_of(rows, heard, seed=seed, resamples=resamples),
        "curve": curve,
    }
