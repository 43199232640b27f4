"""Run the stage `evaluate`: evaluate a run's candidate models and its bundle.

Input: a run with a built bundle. Output: `evaluation.json` and `predictions.parquet` in the run. With few labels, the
cheap models are refitted with k-fold cross-validation, so that every label is used for evaluation. A student with a
trained encoder is evaluated on the test part, which was not used for model selection.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from potstill import metrics
from potstill.bundle import BUNDLE_LAYOUT
from potstill.bundle.deciding import LEVEL, decide_articles
from potstill.bundle.facts import BundleFacts
from potstill.bundle.seen import refuse_seen
from potstill.dataset import Dataset, folds
from potstill.errors import RunError, Unavailable
from potstill.evaluation.findings import findings
from potstill.evaluation.flags import training_of
from potstill.evaluation.floor import floor_of
from potstill.evaluation.history import read_history
from potstill.evaluation.judging import (
    Predicted,
    constant_for,
    judge,
    number,
    out_of_fold_constant,
    student_verdicts,
    verdicts,
    with_overall,
)
from potstill.evaluation.latency import measure
from potstill.evaluation.odds import judge_odds
from potstill.evaluation.positive_tiers import DecidedTiers, at_least, unseen_counts
from potstill.evaluation.records import (
    Bootstrap,
    Data,
    Evaluation,
    LabelSummary,
    Latency,
    Rung,
    Shipped,
    Source,
    Training,
)
from potstill.evaluation.slices import slices_of
from potstill.evaluation.whatif import cuts_of
from potstill.files import read_json, read_object, replacing
from potstill.labelling import Ledger
from potstill.scorer import Scorer
from potstill.students.recipes import (
    EncoderHeadRecipe,
    recorded_recipe,
)
from potstill.students.storage import feature_folder, load_student
from potstill.terminal import note, steps, track
from potstill.training.fit import refitter
from potstill.training.folder import LAYOUT, read_scores
from potstill.training.folding import out_of_fold
from potstill.verdict import cap_hits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from potstill.dataset import Examples
    from potstill.evaluation.records import Floor, Judgement, PositiveTier
    from potstill.filters import Filter
    from potstill.pipeline.run import Run
    from potstill.students.recipes import Recipe
    from potstill.types import FloatArray

FOLDS = 10
MOST_FOLDED = 1500
"""Largest number of rows for which cheap models are cross-validated; with more rows, the test part is sufficient."""

_RANKS = ("constant", "source-median", "tfidf-ridge", "encoder-head", "blend", "distilled", "fine-tuned", "ensemble")
_HEAD_RANKS = ("ridge", "rbf-ridge", "support-vectors")
_SOURCES: tuple[Source, ...] = ("out-of-fold", "test", "validation")
"""Sources of judgements in order of preference. A model's headline is the first one that it has."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A student of a run that is stored on disk."""

    recipe: Recipe
    folder: Path
    tiny: bool = False

    @property
    def rank(self) -> tuple[int, int, str]:
        """Its position on the leaderboard: by training cost, then by name."""
        head = self.recipe.head.kind if isinstance(self.recipe, EncoderHeadRecipe) else _HEAD_RANKS[0]
        return _RANKS.index(self.recipe.student), _HEAD_RANKS.index(head), self.recipe.name


def evaluate_run(
    run: Run, *, k: int | None = None, seed: int = 0, resamples: int = metrics.RESAMPLES, timed: bool = True
) -> Evaluation:
    """Evaluate a run's candidate models and bundle, and record it as the stage `evaluate`.

    A run whose folder is read-only is evaluated as well, but nothing is recorded.

    Args:
        run: an open run with a built bundle.
        k: number of cross-validation folds for the cheap models; 0 for none. By default 10 (or the number of clusters,
            if that is smaller) for up to `MOST_FOLDED` rows, and none for more rows.
        seed: random seed for folds and bootstrap resamples.
        resamples: number of bootstrap resamples.
        timed: whether to measure the latency per article.

    Returns:
        The evaluation, which is also saved if the run's folder can be written.

    Raises:
        RunError: an earlier stage is missing, or another process is writing to the run.
        BadInput: the bundle was refitted and has learned from the rows that it would be judged on.
        BundleError: the bundle fails its self-test.
        DatasetError: there are fewer clusters than folds.
    """
    filter_ = run.filter
    names = filter_.dimension_names
    bundle = run.need("bundle", "bundle")
    dataset = Dataset.load(run.need("rows", "dataset"), names)
    if k is None:
        few = len(dataset.frame) <= MOST_FOLDED
        k = min(FOLDS, dataset.frame["cluster"].n_unique()) if few else 0
    bootstrap = Bootstrap(resamples=resamples, level=0.95, seed=seed)
    parameters = {"folds": k, "resamples": resamples, "timed": timed}
    seeds = {"folds": seed, "bootstrap": seed}
    with run.recording("evaluate", parameters=parameters, seeds=seeds) if run.writable else nullcontext():
        scorer = Scorer.load(bundle, follow_plan=False)
        for name in ("validation", "test"):
            rows = dataset.part(name)
            refuse_seen(scorer.bundle.seen, bundle, f"the {name} part of {run.folder}", rows.ids, rows.texts)
        chosen = scorer.bundle.manifest.recipe
        found = candidates(run.need("students", "train"))
        work = _Work(run, filter_, dataset, k, seed, bootstrap, timed)
        names_found = [candidate.recipe.name for candidate in found]
        predicted = dict(zip(names_found, track(map(work.everything, found), "predicting", len(found)), strict=True))
        cost = work.cost(scorer)
        ladder = tuple(
            work.rung(candidate, predicted[candidate.recipe.name], cost if candidate.recipe.name == chosen else None)
            for candidate in track(found, "judging", len(found))
        )
        floor = run_floor(run, filter_, dataset)
        choice = BundleFacts.from_file(bundle / BUNDLE_LAYOUT["facts"]).choice
        shipped, judged, table = work.shipped(scorer, predicted.get(chosen, {}), cost)
        everything = dataset.all()
        evaluation = Evaluation(
            filter=filter_.name,
            filter_version=filter_.version,
            filter_hash=filter_.content_hash,
            dimensions=names,
            weights=dict(zip(names, filter_.weights.tolist(), strict=True)),
            scale=(filter_.scale.min, filter_.scale.max),
            data=_data(dataset),
            labels=summarise(everything.scores, dataset, filter_),
            floor=floor,
            ladder=ladder,
            choice=choice,
            shipped=shipped,
            cuts=cuts_of(predicted.get(chosen, {}).get("out-of-fold", judged), filter_),
            findings=findings(ladder, choice, shipped, floor, span=filter_.scale.max - filter_.scale.min),
            bootstrap=bootstrap,
        )
        if not run.writable:
            note(f"{run.folder}: cannot be written, so this evaluation is not recorded there")
            return evaluation
        with replacing(run.path("predictions")) as temporary:
            table.write_parquet(temporary)
        evaluation.save(run.path("evaluation"))
    return evaluation


def candidates(students: Path) -> list[Candidate]:
    """List the students of a run, the cheapest first.

    Raises:
        RunError: there is no student.
    """
    found = []
    for path in sorted(students.glob(f"*/{LAYOUT['record']}")):
        record = read_object(path)
        recipe = recorded_recipe(record["recipe"], str(path))
        found.append(Candidate(recipe, path.parent, bool(record.get("tiny"))))
    if not found:
        raise RunError(f"{students}: no student; run: potstill train {students.parent}")
    return sorted(found, key=lambda candidate: candidate.rank)


def summarise(scores: FloatArray, dataset: Dataset, filter_: Filter) -> dict[str, LabelSummary]:
    """Summarise the labels of each dimension; dimensions without labels are left out."""
    return {
        name: _summary(scores[:, column], dataset.frame, name, filter_.scale.min)
        for column, name in enumerate(dataset.dimensions)
        if np.isfinite(scores[:, column]).any()
    }


@dataclass(frozen=True, slots=True)
class _Work:
    """Data and settings that are needed throughout the evaluation of a run."""

    run: Run
    filter_: Filter
    dataset: Dataset
    k: int
    seed: int
    bootstrap: Bootstrap
    timed: bool

    def predictions(self, candidate: Candidate) -> Iterator[tuple[Source, Predicted]]:
        """Yield each available set of held-out predictions, with its source."""
        name = candidate.recipe.name
        fit = None
        if self.k:
            fit = refitter(candidate.recipe, seed=self.seed, cache=feature_folder(), tiny=candidate.tiny)
        if fit is not None:
            rows = self.dataset.all()
            fold = folds(rows.clusters, rows.scores, self.k, self.seed, self.filter_.weights)
            with steps(f"{name}, fold by fold", self.k) as advance:
                scores = out_of_fold(fit, rows, fold, done=advance)
            constant = out_of_fold_constant(rows, fold, self.filter_)
            random = ~rows.targeted
            yield (
                "out-of-fold",
                self._predicted("out-of-fold", rows.take(random), scores[random], constant[random]),
            )
        validation = self.dataset.part("validation")
        yield (
            "validation",
            self._of_part("validation", validation, saved(candidate.folder, validation)),
        )
        test = self.dataset.part("test")
        try:
            student = load_student(candidate.folder, cache=feature_folder())
        except Unavailable:
            return
        yield "test", self._of_part("test", test, student.predict(test.frame))

    def everything(self, candidate: Candidate) -> dict[Source, Predicted]:
        """Return all of `predictions` as a mapping from source to predictions."""
        return dict(self.predictions(candidate))

    def cost(self, scorer: Scorer) -> Latency | None:
        """Measure the bundle's latency from text to verdict, on articles of the test part."""
        if not self.timed:
            return None
        return measure(lambda texts: list(scorer.score_many(texts)), self.dataset.part("test").texts)

    def rung(self, candidate: Candidate, predicted: Mapping[Source, Predicted], cost: Latency | None) -> Rung:
        """Return one student's leaderboard entry; `cost` is the shipped student's latency, which is known already."""
        judgements: dict[Source, Judgement] = {
            source: judge(scores, self.filter_, self.bootstrap) for source, scores in predicted.items()
        }
        latency, missing = cost, None
        if cost is None:
            latency, missing = self._latency(candidate) if self.timed else (None, "not asked for")
        return Rung(
            name=candidate.recipe.name,
            student=candidate.recipe.student,
            headline=next((source for source in _SOURCES if source in judgements), None),
            judgements=judgements,
            latency=latency,
            latency_missing=missing,
            training=_training(candidate.folder),
        )

    def shipped(
        self, scorer: Scorer, predicted: Mapping[Source, Predicted], cost: Latency | None
    ) -> tuple[Shipped, Predicted, pl.DataFrame]:
        """Return the bundle's results on the test part, its scores there, and all predictions of its student."""
        test = self.dataset.part("test")
        calibration = scorer.bundle.calibration
        decided = decide_articles(
            scorer.bundle.student,
            test.frame,
            self.filter_,
            calibration,
            LEVEL,
            probabilities=calibration.residuals is not None,
        )
        inside = (test.scores >= decided.low - 1e-9) & (test.scores <= decided.high + 1e-9)
        known = np.isfinite(test.scores)
        judged = replace(
            self._of_part("test", test, decided.scores), decided=DecidedTiers.of(decided, calibration.decisions)
        )
        judgement = judge(judged, self.filter_, self.bootstrap)
        tables = [self._table(judged, decided.low, decided.high)]
        tables += [self._table(scores) for source, scores in predicted.items() if source != "test"]
        return (
            Shipped(
                rung=scorer.bundle.manifest.recipe,
                bundle_sha256=scorer.bundle.hash,
                judgement=judgement,
                unseen=unseen_counts([judgement.positive_tiers, self._validation_tiers(scorer)]),
                interval_level=LEVEL,
                coverage={
                    name: number(float(inside[known[:, i], i].mean())) if known[:, i].any() else None
                    for i, name in enumerate(self.dataset.dimensions)
                },
                odds=judge_odds(
                    calibration,
                    decided,
                    test.scores,
                    self.dataset.part("train").scores,
                    test.clusters,
                    self.filter_,
                    judged.cap_hits,
                ),
                latency=cost,
                slices=slices_of(judged, self._facts(test)),
            ),
            judged,
            pl.concat(tables, how="vertical"),
        )

    def _validation_tiers(self, scorer: Scorer) -> tuple[PositiveTier, ...]:
        """Return the counts of the bundle's positive tiers on the validation part."""
        rows, calibration = self.dataset.part("validation"), scorer.bundle.calibration
        found = decide_articles(scorer.bundle.student, rows.frame, self.filter_, calibration)
        decided = DecidedTiers.of(found, calibration.decisions)
        predicted = replace(self._of_part("validation", rows, found.scores), decided=decided)
        return judge(predicted, self.filter_, Bootstrap(resamples=1, level=0.95, seed=0)).positive_tiers

    def _facts(self, rows: Examples) -> pl.DataFrame:
        """Return the columns that slices are made from, in the order of the rows."""
        names = ("id", "source", "language", "published", "text", "cut")
        there = [name for name in names if name in self.dataset.frame.columns]
        ids = pl.DataFrame({"id": rows.ids})
        return ids.join(self.dataset.frame.select(there), on="id", how="left", maintain_order="left")

    def _of_part(self, source: Source, rows: Examples, scores: FloatArray) -> Predicted:
        constant = constant_for(self.dataset.part("train").untargeted().scores, self.filter_, len(rows))
        return self._predicted(source, rows, scores, constant)

    def _predicted(self, source: Source, rows: Examples, scores: FloatArray, constant: FloatArray) -> Predicted:
        scale = self.filter_.scale
        return Predicted(
            source=source,
            ids=rows.ids,
            # Predictions are clipped to the scale because the scorer clips them too.
            scores=np.clip(scores, scale.min, scale.max),
            labels=rows.scores,
            constant=constant,
            clusters=rows.clusters,
            cap_hits=cap_hits(rows.frame["text"], self.filter_),
            folds=self.k if source == "out-of-fold" else None,
        )

    def _latency(self, candidate: Candidate) -> tuple[Latency | None, str | None]:
        """Measure the latency without a feature cache, on articles of the test part."""
        try:
            student = load_student(candidate.folder)
        except Unavailable as error:
            return None, str(error)
        frame = self.dataset.part("test").frame
        return measure(lambda rows: student.predict(frame[list(rows)]), range(frame.height)), None

    def _table(
        self, predicted: Predicted, low: FloatArray | None = None, high: FloatArray | None = None
    ) -> pl.DataFrame:
        """Return rows of `predictions.parquet`."""
        names = self.dataset.dimensions
        nothing = np.full(predicted.scores.shape, np.nan)
        oracle = verdicts(predicted.labels, self.filter_, predicted.cap_hits)
        student = student_verdicts(predicted, self.filter_)
        positive = np.full((len(predicted.ids), len(self.filter_.positive_tiers)), np.nan)
        if predicted.decided is not None:
            positive = predicted.decided.positive
        place = self.dataset.frame.select("id", "split", "cluster")
        numbers = {
            "y": with_overall(predicted.labels, self.filter_),
            "p": with_overall(predicted.scores, self.filter_),
            "low": nothing if low is None else low,
            "high": nothing if high is None else high,
        }
        columns = [
            pl.Series(f"{kind}_{name}", values[:, i], dtype=pl.Float64).fill_nan(None)
            for kind, values in numbers.items()
            for i, name in enumerate((*names, "overall")[: values.shape[1]])
        ]
        frame = pl.DataFrame({"id": predicted.ids, "source": [predicted.source] * len(predicted.ids)})
        frame = frame.join(place, on="id", how="left", maintain_order="left").with_columns(columns)
        return frame.with_columns(
            oracle["overall"].alias("overall_oracle"),
            student["overall"].alias("overall_student"),
            oracle["tier"].alias("tier_oracle"),
            student["tier"].alias("tier_student"),
            *(
                pl.Series(at_least(name), positive[:, column]).fill_nan(None)
                for column, name in enumerate(self.filter_.positive_tiers)
            ),
            *(predicted.cap_hits.iter_columns() if predicted.cap_hits is not None else ()),
        )


def _training(folder: Path) -> Training | None:
    """Return the training summary from a student's history, or None if the student was not trained by epochs."""
    path = folder / LAYOUT["history"]
    return training_of(read_history(path)) if path.exists() and read_json(path) else None


def saved(folder: Path, rows: Examples) -> FloatArray:
    """Return the validation scores that training saved, in the order of `rows`, shape (rows, dimensions).

    Raises:
        RunError: the saved scores are of other rows.
    """
    path = folder / LAYOUT["validation"]
    ids, scores = read_scores(path, rows.dimensions)
    place = {id_: i for i, id_ in enumerate(ids)}
    if place.keys() != set(rows.ids):
        raise RunError(f"{path}: holds other rows than the validation part; run: potstill train")
    return scores[[place[id_] for id_ in rows.ids]]


def run_floor(run: Run, filter_: Filter, dataset: Dataset) -> Floor | None:
    """Estimate the noise floor from the ledger's repeated answers by the oracle that labelled the dataset."""
    if not run.path("ledger").exists():
        return None
    with Ledger.reading(run.path("ledger")) as ledger:
        answers = ledger.answers(filter_)
    stage = run.manifest.stages.get("dataset")
    oracle = stage.parameters.get("record", {}).get("oracle") if stage is not None else None
    if oracle is not None:
        answers = answers.filter(pl.col("oracle") == oracle)
    kept = answers.join(dataset.frame.select("id"), left_on="article", right_on="id", how="semi")
    columns = [f"y_{name}" for name in filter_.dimension_names]
    groups = kept.group_by("article", "oracle", maintain_order=True)
    return floor_of(
        (group.select(columns).to_numpy().astype(np.float64) for _, group in groups), filter_.dimension_names
    )


def _data(dataset: Dataset) -> Data:
    frame = dataset.frame
    counts = dict(frame.group_by("split").len().iter_rows())
    samples = frame["samples"].mean() if "samples" in frame.columns else None
    return Data(
        rows=frame.height,
        parts=dict(sorted(counts.items())),
        clusters=frame["cluster"].n_unique(),
        samples_per_article=number(float(samples)) if isinstance(samples, int | float) else None,
    )


def _summary(labels: FloatArray, frame: pl.DataFrame, name: str, low: float) -> LabelSummary:
    known = labels[np.isfinite(labels)]
    counts = np.unique(known, return_counts=True)[1]
    return LabelSummary(
        labels=len(known),
        missing=len(labels) - len(known),
        mean=round(float(known.mean()), 6),
        median=round(float(np.median(known)), 6),
        deviation=round(float(known.std()), 6),
        at_minimum=round(float((known == low).mean()), 6),
        commonest_share=round(float(counts.max() / len(known)), 6),
        repeat_deviation=_repeat_deviation(frame, name),
    )


def _repeat_deviation(frame: pl.DataFrame, name: str) -> float | None:
    """Return the mean standard deviation of repeated answers, over the articles that have some, or None."""
    if f"s_{name}" not in frame.columns or "samples" not in frame.columns:
        return None
    spread: Any = frame.filter(pl.col("samples") > 1)[f"s_{name}"].mean()
    return None if spread is None else number(float(spread))
