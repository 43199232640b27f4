"""Evaluate a bundle on new articles: an oracle labels a random sample, and the bundle is compared with these labels.

Input: a bundle, articles that it was not trained on, and an oracle. Output: a `FreshEvaluation`, and a table of
predictions and labels; for a run's bundle they are the run's stage `fresh`. The oracle gets the bundle's own filter,
and its answers are stored in a separate ledger. Repeating the evaluation therefore costs nothing, and no run's labels
change.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from potstill.articles import read_all, read_articles
from potstill.bundle import BUNDLE_LAYOUT
from potstill.bundle.deciding import decide_articles
from potstill.bundle.facts import BundleFacts
from potstill.bundle.seen import refuse_seen
from potstill.dataset import clusters_of, near_duplicates
from potstill.errors import BadInput, LabelError, OracleError
from potstill.evaluation.findings import file_findings, floor_findings
from potstill.evaluation.floor import floor_of
from potstill.evaluation.judging import DEFAULT_BOOTSTRAP, Predicted, constant_for, judge, number
from potstill.evaluation.new_sample import Sample, draw
from potstill.evaluation.positive_tiers import DecidedTiers
from potstill.evaluation.records import Asked, FreshEvaluation
from potstill.evaluation.slices import slices_of
from potstill.files import check_ledger, check_output_folder, replacing
from potstill.findings import Finding
from potstill.labelling import Ledger, label
from potstill.labelling.changes import refuse_others
from potstill.oracle.prompt import Prompt
from potstill.pipeline.run import LAYOUT, Run
from potstill.scorer import Scorer
from potstill.verdict import cap_hits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from potstill.bundle.seen import SeenRows
    from potstill.evaluation.records import Bootstrap, Floor, Judgement
    from potstill.filters import Filter
    from potstill.labelling import Limits, Price
    from potstill.oracle import Oracle
    from potstill.types import FloatArray


FRESH_LAYOUT: Mapping[str, str] = {
    "evaluation": Path(LAYOUT["fresh_record"]).name,
    "predictions": "predictions.parquet",
    "ledger": "ledger.sqlite",
}
"""Names of the files in the folder of a fresh evaluation."""


FEWEST = 10
"""Minimum number of labels; with fewer, metrics and especially their intervals would not be meaningful."""


@dataclass(frozen=True, slots=True, eq=False)
class FreshCheck:
    """Everything except the oracle that an evaluation on new articles needs; `prepare` creates it.

    `folder` is the folder for results, or None to write nothing. `run` is the bundle's run if the evaluation is one of
    its stages.
    """

    scorer: Scorer
    sample: Sample
    ledger: Path
    folder: Path | None
    run: Run | None

    def carry_out(
        self,
        oracle: Oracle,
        *,
        samples: int = 1,
        limits: Limits | None = None,
        price: Price | None = None,
        bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    ) -> FreshEvaluation:
        """Label, evaluate and write the results; see `evaluate_fresh`.

        Raises:
            RunError: another process is writing to the run.
        """
        facts = {"oracle": f"{oracle.name}:{oracle.model}", "sample": self.sample.articles.height, "samples": samples}
        seeds = {"draw": self.sample.seed, "bootstrap": bootstrap.seed}
        stage = nullcontext() if self.run is None else self.run.recording("fresh", parameters=facts, seeds=seeds)
        with stage:
            found, table = evaluate_fresh(
                self.scorer, self.sample, oracle, self.ledger, samples=samples, limits=limits, price=price,
                bootstrap=bootstrap,
            )  # fmt: skip
            if self.folder is not None:
                write_fresh(found, table, self.folder)
        return found


def prepare(
    place: str | Path,
    articles: str | Path,
    n: int,
    *,
    seed: int = 0,
    folder: Path | None = None,
    ledger: Path | None = None,
    keeps: bool = True,
) -> FreshCheck:
    """Open a bundle and sample the articles for its evaluation; the oracle is not queried yet.

    Args:
        place: a bundle, or a run whose bundle is evaluated.
        articles: a file of new articles.
        n: number of articles to sample.
        seed: random seed for sampling.
        folder: folder for results and bought labels. Default for a run's bundle: the run's own folder for them.
        ledger: another path for the bought labels.
        keeps: whether results and labels will be saved; a plan writes nothing.

    Returns:
        The prepared evaluation.

    Raises:
        BadInput: there are too few articles, or no path for the labels.
        ArticleError: the file cannot be read.
        BundleError: the bundle fails its self-test.
    """
    bundle, run = run_of(place)
    own = () if run is None else (run.path("bundle").resolve(), run.path("shipped").resolve())
    if run is not None and bundle.resolve() in own and folder is None:
        folder, stage_of = run.path("fresh"), run
    else:
        stage_of = None
    kept = ledger or (None if folder is None else folder / FRESH_LAYOUT["ledger"])
    if kept is None:
        raise BadInput("say where the labels are kept: --out FOLDER")
    if keeps:
        if folder is not None:
            check_output_folder(folder, folders=[bundle])
        check_ledger(kept, inputs=[articles], folders=[bundle])
    scorer = Scorer.load(bundle, follow_plan=False)
    filter_ = scorer.bundle.filter
    seen = set() if run is None else seen_by(run, filter_)
    drawn = draw(read_all(articles, on_empty="keep"), filter_, n, seed=seed, seen=seen, learned=scorer.bundle.seen)
    return FreshCheck(scorer, drawn, kept, folder, stage_of)


def run_of(place: str | Path) -> tuple[Path, Run | None]:
    """Return a bundle's folder, and the run that contains it, if any; `place` is the bundle, or a run that ships it."""
    folder = Path(place)
    if (folder / LAYOUT["manifest"]).exists():
        run = Run.open(folder)
        return run.shipped(), run
    above = folder.resolve().parent
    return folder, Run.open(above) if (above / LAYOUT["manifest"]).exists() else None


def write_fresh(found: FreshEvaluation, predictions: pl.DataFrame, folder: Path) -> None:
    """Write both results of `evaluate_fresh` to a folder, each atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / FRESH_LAYOUT["predictions"]) as temporary:
        predictions.write_parquet(temporary)
    found.save(folder / FRESH_LAYOUT["evaluation"])


def evaluate_fresh(
    scorer: Scorer,
    sample: Sample,
    oracle: Oracle,
    ledger: str | Path,
    *,
    samples: int = 1,
    limits: Limits | None = None,
    price: Price | None = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> tuple[FreshEvaluation, pl.DataFrame]:
    """Have an oracle label a sample, and evaluate a bundle on these labels.

    If a limit ends the labelling early, the bundle is evaluated on the labels so far, which are a random subset.

    Args:
        scorer: an open bundle.
        sample: a sample that was drawn with the bundle's filter.
        oracle: the oracle; it is closed at the end.
        ledger: file for the answers. Existing answers are not paid for again.
        samples: answers per article; at least 2 are needed to estimate label noise.
        limits: limits on number, cost and rate, over all calls of the ledger.
        price: price per million tokens, which a cost limit needs unless the oracle is free.
        bootstrap: settings of the intervals.

    Returns:
        The record, and a row per labelled article with id, title, source, language, published, text, cluster, `y_`,
        `p_`, `low_` and `high_<dimension>` and `cap_0`, `cap_1`..., in the format of `read_predictions`.

    Raises:
        LabelError: there are too few labels, or the ledger's labels are of another rubric than the bundle's.
        OracleError: the oracle cannot be queried. Answers so far are kept.
        BadInput: a cost limit was given without a price, or the bundle has learned from an article of the sample.
    """
    filter_, path = scorer.bundle.filter, Path(ledger)
    names = filter_.dimension_names
    if path.exists():
        with Ledger(path) as kept:
            refuse_others(kept, Prompt.of(filter_), "Choose another ledger or folder for the bundle's own.")
    # Everything that can fail without the oracle is done before the oracle is paid.
    refuse_seen(
        scorer.bundle.seen, scorer.bundle.folder, "this sample", sample.articles["id"].to_list(),
        sample.articles["text"].to_list(),
    )  # fmt: skip
    rows = scorer.score_batch(sample.articles)
    clusters = clusters_of(rows.height, near_duplicates(rows["text"].to_list()))
    rows = rows.with_columns(pl.Series("cluster", clusters))
    summary = label(
        path, sample.articles.select("id", "title", "content"), filter_, oracle, samples=samples, limits=limits,
        price=price,
    )  # fmt: skip
    if summary.fatal:
        raise OracleError(
            f"labelling stopped: {summary.stopped}; all answers so far are kept, and the same command goes on"
        )
    asked_of = f"{oracle.name}:{oracle.model}"
    labels = _labels(path, filter_, asked_of)
    judged = rows.join(labels, on="id", how="inner", maintain_order="left")
    labelled = judged.height
    judged = judged.filter(pl.all_horizontal(pl.col(f"score_{name}").is_not_null() for name in names))
    if judged.height < FEWEST:
        why = summary.stopped or summary.first_failure or ", ".join(summary.given_up)
        raise LabelError(
            f"{judged.height} articles with a label and a score are too few to judge by; {FEWEST} are needed; all "
            f"answers so far are kept{f' ({why})' if why else ''}"
        )
    predicted = replace(_predicted(judged, filter_), decided=_decided(scorer, judged))
    judgement = judge(predicted, filter_, bootstrap)
    found = slices_of(predicted, judged.select("id", "source", "language", "published", "text"))
    validation = _validation_mae(scorer.bundle.folder)
    asked = Asked(
        oracle=asked_of,
        ledger=str(path),
        articles=sample.pool,
        left_out=sample.left_out,
        drawn=sample.articles.height,
        labelled=labelled,
        failed=_added(summary.failed, summary.given_up),
        already=summary.already,
        bought=summary.bought,
        calls=summary.calls,
        cost=summary.cost,
        stopped=summary.stopped,
        seed=sample.seed,
        samples=samples,
    )
    floor = _floor(path, filter_, asked_of, judged["id"])
    span = filter_.scale.max - filter_.scale.min
    evaluation = FreshEvaluation(
        bundle=str(scorer.bundle.folder),
        bundle_sha256=scorer.bundle.hash,
        recipe=scorer.bundle.manifest.recipe,
        filter=filter_.name,
        filter_version=filter_.version,
        filter_hash=filter_.content_hash,
        dimensions=names,
        asked=asked,
        judgement=judgement,
        interval_level=scorer.only.level,
        coverage=_coverage(judged, filter_),
        validation_mae=validation,
        floor=floor,
        slices=found,
        findings=(
            *_fewer_labels(asked),
            *_beside_validation(judgement, validation),
            *_refitted(scorer.bundle.seen),
            *floor_findings(floor, judgement),
            *file_findings(judgement, found, span=span, blind_caps=0),
        ),
        bootstrap=bootstrap,
    )
    return evaluation, _table(judged, predicted, filter_)


def _labels(path: Path, filter_: Filter, oracle: str) -> pl.DataFrame:
    """Return columns id and `y_<dimension>` of the oracle's labels, null where masked."""
    columns = [f"y_{name}" for name in filter_.dimension_names]
    with Ledger.reading(path) as ledger:
        found = ledger.labels(filter_)
    return found.filter(pl.col("oracle") == oracle).select(pl.col("article").alias("id"), *columns)


def _floor(path: Path, filter_: Filter, oracle: str, ids: pl.Series) -> Floor | None:
    with Ledger.reading(path) as ledger:
        answers = ledger.answers(filter_).filter((pl.col("oracle") == oracle) & pl.col("article").is_in(ids.to_list()))
    columns = [f"y_{name}" for name in filter_.dimension_names]
    each = (group.select(columns).to_numpy().astype(np.float64) for _, group in answers.group_by("article"))
    return floor_of(each, filter_.dimension_names)


def _predicted(judged: pl.DataFrame, filter_: Filter) -> Predicted:
    labels = _array(judged, "y", filter_)
    return Predicted(
        source="fresh",
        ids=tuple(judged["id"].to_list()),
        scores=_array(judged, "score", filter_),
        labels=labels,
        constant=constant_for(labels, filter_, judged.height),
        clusters=judged["cluster"].to_numpy(),
        cap_hits=cap_hits(judged["text"], filter_),
    )


def _decided(scorer: Scorer, judged: pl.DataFrame) -> DecidedTiers | None:
    """Return what the bundle decided, with the probability of each positive tier."""
    bundle = scorer.bundle
    if bundle.calibration.decisions is None:
        return None
    found = decide_articles(bundle.student, judged, bundle.filter, bundle.calibration)
    return DecidedTiers.of(found, bundle.calibration.decisions)


def _array(rows: pl.DataFrame, what: str, filter_: Filter) -> FloatArray:
    """Return columns as an array of shape (rows, dimensions), NaN where null."""
    columns = [rows[f"{what}_{name}"].cast(pl.Float64).fill_null(float("nan")) for name in filter_.dimension_names]
    return np.column_stack([column.to_numpy() for column in columns])


def _coverage(judged: pl.DataFrame, filter_: Filter) -> dict[str, float | None]:
    labels, low, high = (_array(judged, what, filter_) for what in ("y", "low", "high"))
    inside, known = (labels >= low - 1e-9) & (labels <= high + 1e-9), np.isfinite(labels)
    return {
        name: number(float(inside[known[:, i], i].mean())) if known[:, i].any() else None
        for i, name in enumerate(filter_.dimension_names)
    }


def _table(judged: pl.DataFrame, predicted: Predicted, filter_: Filter) -> pl.DataFrame:
    names = filter_.dimension_names
    hits = [] if predicted.cap_hits is None else predicted.cap_hits.get_columns()
    return judged.select(
        *("id", "title", "source", "language", "published", "text", "cluster"),
        *(f"y_{name}" for name in names),
        *(pl.col(f"score_{name}").alias(f"p_{name}") for name in names),
        *(f"{end}_{name}" for end in ("low", "high") for name in names),
    ).with_columns(hits)


def _validation_mae(bundle: Path) -> float | None:
    choice = BundleFacts.from_file(bundle / BUNDLE_LAYOUT["facts"]).choice
    return None if choice is None else choice.validation_mae.get(choice.rung)


def _added(first: dict[str, int], second: dict[str, int]) -> dict[str, int]:
    return {reason: first.get(reason, 0) + second.get(reason, 0) for reason in sorted({*first, *second})}


def _fewer_labels(asked: Asked) -> Iterator[Finding]:
    missing = asked.drawn - asked.labelled
    if not missing:
        return
    why = asked.stopped or ", ".join(f"{reason} {count:,}" for reason, count in asked.failed.items())
    yield Finding(
        rule="fewer-labels-than-drawn",
        tone="caution",
        text=f"{missing:,} of {asked.drawn:,} drawn articles have no label ({why}).",
        evidence={"drawn": asked.drawn, "labelled": asked.labelled},
    )


def _beside_validation(judged: Judgement, validation: float | None) -> Iterator[Finding]:
    """Compare the error on new articles with that on the validation part, which was used for model selection."""
    mae, interval = judged.mean.mae, judged.mean.mae_interval
    if validation is None or mae is None or interval is None:
        return
    ends, evidence = (
        f"{mae:.3f} ({interval.low:.3f} to {interval.high:.3f})",
        {"mae": mae, "validation_mae": validation},
    )
    if interval.low > validation:
        text = (
            f"The error is {ends}, where the validation part had {validation:.3f}: new articles are harder for it, or "
            "this oracle judges otherwise than the one it learned from."
        )
        yield Finding(rule="worse-than-on-validation", tone="bad", text=text, evidence=evidence)
    elif interval.high < validation:
        text = f"The error is {ends}, below the {validation:.3f} of the validation part."
        yield Finding(rule="better-than-on-validation", tone="neutral", text=text, evidence=evidence)
    else:
        text = f"The error is {ends}, which goes with the {validation:.3f} of the validation part."
        yield Finding(rule="as-on-validation", tone="good", text=text, evidence=evidence)


def _refitted(seen: SeenRows | None) -> Iterator[Finding]:
    if seen is not None:
        yield Finding(
            rule="refitted-on-all-rows",
            tone="neutral",
            text=(
                f"The student was refitted on all {seen.rows:,} labelled rows of its run. The error of the validation "
                "part is that of the student before; the figures here are those of the refitted student."
            ),
            evidence={"rows": seen.rows},
        )


def seen_by(run: Run, filter_: Filter) -> set[str]:
    """Return the windows of a run's articles, which cannot be used for a new evaluation of its bundle."""
    path = run.path("articles")
    return {
        filter_.text.of(title, content)
        for frame in (read_articles(path) if path.exists() else ())
        for title, content in frame.select("title", "content").iter_rows()
    }
