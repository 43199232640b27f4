"""The Python interface: labelled data, students, leaderboards, scorers and runs, in memory.

Input: a filter, and tables of texts with scores. Output: students, their evaluation, and scorers. Nothing here needs a
run folder, except `Run`. Everything is imported from `potstill` itself: `import potstill as ps`.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast, get_args

import numpy as np
import polars as pl

from potstill import metrics
from potstill.articles.rows import TEXT_COLUMNS
from potstill.bundle.deciding import decide_articles
from potstill.bundle.exporting import (
    CALIBRATION_PART,
    OUT_OF_FOLD,
    bundle_student,
    calibrate,
    with_novelty,
    with_tier_head,
)
from potstill.bundle.facts import Choice, Refit
from potstill.bundle.layout import BUNDLE_LAYOUT
from potstill.bundle.reading import Bundle
from potstill.bundle.seen import SeenRows, refuse_seen
from potstill.calibration import no_calibration
from potstill.dataset import DEFAULT_FRACTIONS, PARTS, Examples, Fractions, assemble
from potstill.dataset.tables import Columns, read_articles, read_table
from potstill.errors import BadInput, DatasetError
from potstill.evaluation.judging import Predicted, constant_for, judge
from potstill.evaluation.positive_tiers import DecidedTiers
from potstill.frames import like, to_polars
from potstill.machine import Watch
from potstill.operating_points import as_points
from potstill.pipeline import run as runs
from potstill.scorer import scoring
from potstill.scorer.scoring import BATCH
from potstill.students import outputs_of
from potstill.students.recipes import load_recipe
from potstill.training.fit import predict_training_rows
from potstill.types import Article
from potstill.verdict import cap_hits

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Unpack

    from potstill.bundle.facts import HeldOutSkill
    from potstill.calibration import Calibration
    from potstill.dataset import DatasetRecord, Whole
    from potstill.evaluation.records import Evaluation, Judgement, Positives
    from potstill.filters import Filter, Probes
    from potstill.frames import Table
    from potstill.labelling import Price, Summary
    from potstill.operating_points import Decide
    from potstill.oracle import Oracle
    from potstill.pipeline.distill import Distilled
    from potstill.pipeline.refit import Refitted
    from potstill.probing import ProbeRecord
    from potstill.records import Interval
    from potstill.scorer.early import Early
    from potstill.scorer.one_filter import ScoringOptions
    from potstill.scorer.scoring import LoadingOptions
    from potstill.scorer.shared_encoders import SharedEncoders
    from potstill.students.recipes import Recipe
    from potstill.students.storage import AnyStudent
    from potstill.training.facts import Fitted, StudentRecord
    from potstill.types import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Labelled rows of one filter, such as the training part of a split.

    `examples` holds the text windows, the scores of shape (rows, dimensions) with NaN where masked, and the clusters of
    near-duplicates.
    """

    filter: Filter
    examples: Examples

    def __len__(self) -> int:
        return len(self.examples)

    def __repr__(self) -> str:
        return f"Rows({len(self):,} of {self.filter.name}: {', '.join(self.examples.dimensions)})"

    @property
    def texts(self) -> list[str]:
        """The text window of each row: title and text, cut to the filter's maximum length."""
        return self.examples.texts

    @property
    def scores(self) -> FloatArray:
        """The scores, shape (rows, dimensions), on the filter's scale; NaN where masked."""
        return self.examples.scores

    def to_frame(self) -> pl.DataFrame:
        """Return the rows as a Polars frame: id, text, and one column per dimension, null where masked."""
        columns = {name: self.scores[:, place] for place, name in enumerate(self.examples.dimensions)}
        known = pl.DataFrame({"id": list(self.examples.ids), "text": self.texts})
        return known.with_columns(pl.Series(name, values).fill_nan(None) for name, values in columns.items())


@dataclass(frozen=True, slots=True)
class Parts:
    """A dataset divided into four parts that share no near-duplicates; `calibration` is empty if there are few rows."""

    train: Rows
    validation: Rows
    calibration: Rows
    test: Rows
    notes: tuple[str, ...] = ()
    """Remarks about the data, such as a dimension whose scores never vary."""

    def __repr__(self) -> str:
        sizes = ", ".join(
            f"{name} {len(getattr(self, name)):,}" for name in ("train", "validation", "calibration", "test")
        )
        return f"Parts({sizes})"


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Texts with scores for the dimensions of a filter; create it with `from_frame` or `label`.

    `articles` has the columns id, title and content; `labels` one row per article and oracle with its mean score per
    dimension.

    Example:
        >>> flt = Filter("essays", ["cohesion"], scale=(1, 5))
        >>> data = Dataset.from_frame([{"text": "A short essay.", "cohesion": 3.5}], flt)
        >>> len(data)
        1
    """

    filter: Filter
    articles: pl.DataFrame
    labels: pl.DataFrame

    @classmethod
    def from_frame(
        cls,
        table: Table,
        filter_: Filter,
        *,
        text: str | None = None,
        title: str | None = None,
        id: str | None = None,  # noqa: A002 - the name of the column that users know
        scores: Mapping[str, str] | str | None = None,
        oracle: str | None = None,
        split: str | None = None,
    ) -> Self:
        """Create a dataset from a table of texts and scores.

        Args:
            table: a pandas, Polars or PyArrow table, a Hugging Face dataset, a list of dicts or a dict of columns.
            filter_: the filter with the dimensions and the scale.
            text: column of the text; by default `content`, `text`, `body` or `full_text`.
            title: column of the title; by default `title`, if there is one.
            id: column of unique ids; by default `id`, if there is one, else the number of the row.
            scores: dimension -> column, or the name of a column that holds a mapping in each row. By default, columns
                named like the dimensions (or `y_<dimension>`), or a column `scores`. NaN and null are masked.
            oracle: column that names who gave the scores; several rows of one id are then repeated answers.
            split: column of your own split, with train, validation, calibration or test in each row; the method `split`
                then takes it as it is.

        Raises:
            ArticleError: there is no column of text, a text is empty, or a split is unknown; the message names the row.
            LabelError: a score is missing from the columns, is no number or is outside the scale; the message names the
                row.
        """
        _need_filter(filter_)
        if scores is not None and not isinstance(scores, str | Mapping):
            raise BadInput(
                f"scores: expected a dict of dimension and column, or the name of one column; got {_kind(scores)}"
            )
        found = read_table(to_polars(table), filter_, Columns(text, title, id, scores, oracle, split))
        return cls(filter_, found.articles, found.labels)

    def __len__(self) -> int:
        return self.labels["article"].n_unique()

    def __repr__(self) -> str:
        return f"Dataset({len(self):,} texts for {self.filter.name}: {', '.join(self.filter.dimension_names)})"

    def split(
        self,
        *,
        seed: int = 0,
        fractions: Fractions | str = DEFAULT_FRACTIONS,
        whole: Whole | None = None,
        oracle: str | None = None,
    ) -> Parts:
        """Divide the dataset into training, validation, calibration and test parts, stratified by score.

        Near-duplicates are found first and stay in one part. With fewer than 1,000 rows there is no calibration part,
        and students are calibrated on predictions of training rows by models that had not seen them.

        Args:
            seed: random seed of the split; the same seed gives the same parts.
            fractions: shares of the parts, such as `"70/10/10/10"` or `"80/10/10"`.
            whole: `source` keeps each source in one part, `time` trains on the past and tests on the latest articles.
            oracle: the oracle whose labels to use, if there are several.

        Raises:
            DatasetError: there are too few rows, or the labels of no dimension vary.
            MissingExtra: datasketch is not installed.
        """
        _need_seed(seed)
        shares = _shares(fractions)
        if whole not in {None, "source", "time"}:
            raise BadInput(f"whole: got {whole!r}, expected 'source', 'time' or None")
        built, record, _ = assemble(
            self.articles, self.labels, self.filter, seed=seed, fractions=shares, whole=whole, oracle=oracle
        )
        train, validation, calibration, test = (Rows(self.filter, built.part(name)) for name in PARTS)
        return Parts(train, validation, calibration, test, tuple(record.notes))


def label(
    articles: Table,
    filter_: Filter,
    oracle: str | Oracle,
    *,
    text: str | None = None,
    title: str | None = None,
    id: str | None = None,  # noqa: A002 - as in `Dataset.from_frame`
    samples: int = 1,
    max_cost: float | None = None,
    price: tuple[float, float] | None = None,
    ledger: str | Path | None = None,
    retry_failed: bool = False,
) -> Dataset:
    """Buy an oracle's scores of articles, and return them as a dataset.

    Answers are stored in a ledger as they arrive. If the call is interrupted, the same call resumes: nothing is paid
    for twice.

    Args:
        articles: a table of texts, as in `Dataset.from_frame`.
        filter_: the filter to label for.
        oracle: `KIND:MODEL`, such as `openai:gpt-5-mini`, `anthropic:...`, `decisions:...` or `replay:FILE`.
        text: column of the text; by default `content`, `text`, `body` or `full_text`.
        title: column of the title; by default `title`, if there is one.
        id: column of unique ids; by default `id`, if there is one, else the number of the row.
        samples: number of answers per article; with 2 or more, the oracle's noise is known.
        max_cost: most dollars to spend; needs the model's prices, which are known for many models.
        price: dollars per million tokens of input and of output, if they are not known.
        ledger: file of the ledger; by default one per filter and rubric in potstill's cache folder (see
            `POTSTILL_CACHE`).
        retry_failed: whether to retry questions that failed permanently.

    Raises:
        BadInput: a limit on the cost has no price, or the filter or the oracle is not valid.
        OracleError: the oracle cannot be asked: no key, no credit, no such address.
        LabelError: not a single label could be bought; the message gives the first failure.
        MissingExtra: the oracle's client library is not installed.
    """
    from potstill.labelling import Ledger, Limits
    from potstill.labelling import label as buy
    from potstill.labelling.labels import no_label
    from potstill.pipeline.label import ledger_of

    _need_filter(filter_)
    rows = read_articles(to_polars(articles), Columns(text, title, id))
    opened, cost = _opened(oracle, price)
    path = Path(ledger) if ledger is not None else ledger_of(filter_)
    summary = buy(
        path,
        rows,
        filter_,
        opened,
        samples=samples,
        limits=Limits(max_cost=max_cost),
        price=cost,
        retry_failed=retry_failed,
    )
    with Ledger.reading(path) as stored:
        labels = stored.labels(filter_)
    labels = labels.filter(
        pl.col("article").is_in(rows["id"].to_list()) & (pl.col("oracle") == f"{opened.name}:{opened.model}")
    )
    if labels.is_empty():
        raise no_label(summary)
    return Dataset(filter_, rows, labels)


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """How a student scores rows that it was not trained on, compared with a constant.

    `judgement` holds every metric (see docs/evaluation.md). Printed, and in a notebook, a result is a table.
    """

    student: str
    judgement: Judgement

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.judgement.rows

    @property
    def mae(self) -> float | None:
        """Mean absolute error, in points of the scale: the mean over dimensions."""
        return self.judgement.mean.mae

    @property
    def mae_interval(self) -> Interval | None:
        """95% interval of `mae`, over clusters of near-duplicates."""
        return self.judgement.mean.mae_interval

    @property
    def constant_mae(self) -> float | None:
        """The error of always predicting each dimension's median of the training rows."""
        return self.judgement.mean.constant_mae

    @property
    def skill(self) -> float | None:
        """Share of the constant's error that the student removes: 1 - mae / constant_mae; at most 1."""
        return self.judgement.mean.skill

    @property
    def spearman(self) -> float | None:
        """Spearman's rank correlation with the labels, from -1 to 1: the mean over dimensions."""
        return self.judgement.mean.spearman

    @property
    def positives(self) -> Positives | None:
        """How many articles of the positive tiers are found; None for a filter without positive tiers."""
        return self.judgement.tiers.positives

    @property
    def by_dimension(self) -> pl.DataFrame:
        """One row per dimension: dimension, rows, mae, low, high, constant_mae, skill, spearman."""
        rows = [
            {
                "dimension": name,
                "rows": figures.rows,
                "mae": figures.mae,
                "low": figures.mae_interval and figures.mae_interval.low,
                "high": figures.mae_interval and figures.mae_interval.high,
                "constant_mae": figures.constant_mae,
                "skill": figures.skill,
                "spearman": figures.spearman,
            }
            for name, figures in {**self.judgement.dimensions, "mean": self.judgement.mean}.items()
        ]
        kinds = {"dimension": pl.String, "rows": pl.Int64}
        return pl.DataFrame(rows, schema={name: kinds.get(name, pl.Float64) for name in rows[0]})

    def __repr__(self) -> str:
        return f"{self._headline()}\n{_table(self.by_dimension)}"

    def _repr_html_(self) -> str:
        return f"<p>{self._headline()}</p>{self.by_dimension._repr_html_()}"

    def _headline(self) -> str:
        head = f"{self.student} on {self.rows:,} rows: MAE {_shown(self.mae)}, constant {_shown(self.constant_mae)}"
        found = self.positives
        return head if found is None else f"{head}; {found.both} of {found.oracle} positive articles found"


class Student:
    """A model that learns to give the oracle's scores.

    Args:
        recipe: name of a built-in recipe (`potstill recipes` lists them), the path of a recipe file, or a recipe.
        seed: random seed.
        device: device for recipes that train a network: `auto`, `cpu`, `cuda` or `mps`.
        cache: folder in which frozen encoders keep the features of texts; by default nothing is kept.

    Raises:
        RecipeError: there is no such recipe, or it is made from other students, which only a run holds.
        BadInput: another argument is not valid.
    """

    def __init__(
        self,
        recipe: str | Path | Recipe,
        *,
        seed: int = 0,
        device: str = "auto",
        cache: str | Path | None = None,
        tiny: bool = False,
    ) -> None:
        self.recipe = _recipe(recipe)
        _need_seed(seed)
        if not _DEVICE.fullmatch(str(device)):
            raise BadInput(f"device: got {device!r}, expected auto, cpu, cuda or mps")
        self.seed = seed
        self.device = device
        self.cache = None if cache is None else Path(cache)
        self.tiny = tiny
        self.fitted: Fitted | None = None
        """The fitted model and its history; None before `fit`."""
        self.calibration: Calibration | None = None
        """Set by `calibrate`."""
        self._calibrated_on: tuple[Examples, FloatArray, str] | None = None
        self.refitted: Refit | None = None
        """Set by `refit`: the rows that the student has learned from, and how it was calibrated."""
        self._before: Student | None = None
        self._train: Rows | None = None
        self._validation: Rows | None = None

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.recipe.name

    def __repr__(self) -> str:
        state = "not fitted" if self.fitted is None else "calibrated" if self.calibration else "fitted"
        return f"Student({self.name!r}, {state})"

    def fit(self, train: Rows, validation: Rows | None = None) -> Self:
        """Fit the student.

        Args:
            train: training rows.
            validation: rows on which the epoch is selected and students are compared. Default: the training rows, for
                recipes that select nothing on them.

        Returns:
            The student itself.

        Raises:
            BadInput: the arguments are no rows.
            DatasetError: there are no rows, or a recipe that trains a network has no validation rows.
            MissingExtra, MissingModel: the libraries or the weights of the recipe's network are not installed.
            TrainingError: training had to stop.
        """
        from potstill.students.recipes import FineTunedRecipe
        from potstill.training.fit import fit

        _need_rows(train, "fit", "parts.train, parts.validation")
        if validation is not None:
            _need_rows(validation, "fit", "parts.train, parts.validation")
            _need_dimensions(validation, train.examples.dimensions)
        if validation is None and isinstance(self.recipe, FineTunedRecipe):
            raise DatasetError(f"{self.name}: trains a network and selects its epoch on validation rows; give some")
        with tempfile.TemporaryDirectory(prefix="potstill-") as scratch:
            self.fitted = fit(
                self.recipe,
                train.examples,
                (validation or train).examples,
                workdir=Path(scratch),
                seed=self.seed,
                device=self.device,
                tiny=self.tiny,
                cache=self.cache,
                rubric=train.filter.rubric,
                # Predictions of training rows are made when `calibrate` needs them.
                crossfit=0,
            )
        self._train, self._validation = train, validation
        self.calibration, self.refitted, self._calibrated_on, self._before = None, None, None, None
        return self

    def predict(self, texts: Rows | Sequence[str] | Table) -> FloatArray:
        """Return raw scores, shape (texts, dimensions), on the scale of the labels; neither clipped nor calibrated.

        Args:
            texts: rows, a list, an array or a column of texts, or a table with a column `content`, `text`, `body` or
                `full_text`. Texts are read whole: the filter's window is applied to rows and by `Scorer`, not here.

        Raises:
            BadInput: the student is not fitted, or there are no texts in the argument.
        """
        model = self._model
        return model.student.predict(texts.examples.frame if isinstance(texts, Rows) else _texts(texts))

    def evaluate(self, rows: Rows) -> Result:
        """Compare the student's scores with labels that it was not trained on, such as `parts.test`.

        Scores are calibrated and tiers are decided at their operating points if the student is calibrated; scores are
        clipped to the filter's scale. The constant is the median of the training rows' labels in each dimension,
        without rows that were chosen by a predicted score.

        Raises:
            BadInput: the student is not fitted, there are no rows, or `refit` has learned from them.
            DatasetError: the rows have other dimensions than the training rows.
        """
        self._need_same(rows, "evaluate", "parts.test")
        self._refuse_seen(rows)
        if not len(rows):
            raise DatasetError("there are no rows to evaluate on")
        filter_, examples = rows.filter, rows.examples
        calibration = self.calibration or self._clipping(filter_)
        student = cast("AnyStudent", self._model.student)
        decided = decide_articles(student, examples.frame, filter_, calibration)
        predicted = Predicted(
            "test",
            examples.ids,
            decided.scores,
            examples.scores,
            constant_for(self._train_rows.examples.untargeted().scores, filter_, len(rows)),
            examples.clusters,
            cap_hits(examples.frame["text"], filter_),
            decided=DecidedTiers.of(decided, calibration.decisions),
        )
        return Result(self.name, judge(predicted, filter_))

    def calibrate(self, rows: Rows | None = None, *, decide: Decide | None = None) -> Student:
        """Return the student with calibration curves, prediction intervals, tier probabilities and cuts.

        Args:
            rows: rows that were used neither for training nor for a choice, such as `parts.calibration`. If there are
                none, the student's predictions of training rows by models that had not seen them are used.
            decide: operating points that override those of the filter: one for all positive tiers, such as
                `"recall=0.9"`, or a dictionary of tier -> operating point.

        Raises:
            BadInput: the student is not fitted, the argument is no rows, `refit` has learned from them, or `decide` is
                not valid.
            DatasetError: neither is available, or the rows have other dimensions than the training rows.
        """
        filter_ = self._train_rows.filter
        if rows is not None:
            self._need_same(rows, "calibrate", "parts.calibration")
            self._refuse_seen(rows)
        points = {} if decide is None else as_points(decide, filter_.positive_tiers)
        fitted = cast("AnyStudent", self._model.student)
        student, outputs = with_tier_head(fitted, self._train_rows.examples, filter_)
        if rows is not None and len(rows):
            examples, origin = rows.examples, CALIBRATION_PART
            predicted, outputs, _ = outputs_of(student, examples.frame)
        else:
            examples, origin = self._train_rows.examples, OUT_OF_FOLD
            predicted = self._held_out()
            if np.isnan(predicted).all():
                raise DatasetError(f"{self.name}: there are no calibration rows and no held-out predictions")
        unseen = [part.examples for part in (self._validation, rows) if part is not None]
        student, distances = with_novelty(student, self._train_rows.examples, unseen, seed=self.seed)
        calibrated = Student(self.recipe, seed=self.seed, device=self.device, cache=self.cache, tiny=self.tiny)
        calibrated.fitted = replace(self._model, student=student)
        calibrated._train, calibrated._validation = self._train, self._validation
        calibrated._calibrated_on = (examples, predicted, origin)
        calibrated.refitted, calibrated._before = self.refitted, self._before
        calibrated.calibration = calibrate(
            predicted,
            examples,
            filter_,
            origin,
            tier_outputs=outputs,
            decide=points,
            distances=distances,
            seed=self.seed,
        )
        return calibrated

    def proven_skill(self, *, anyway: bool = False) -> HeldOutSkill:
        """Test whether the student is better than the constant; `Scorer.save` does it before it writes a bundle.

        The test uses the rows that the student was calibrated on or, without calibration, its held-out predictions of
        training rows. Of a refitted student it is the skill of the student before.

        Args:
            anyway: whether to return the skill of a student that is not shown to be better, with the number of labels
                that it would take, instead of raising an error.

        Returns:
            The skill with its interval. Its `words` say it in one line.

        Raises:
            NoSkill: the interval of the skill does not lie above 0.
            BadInput: the student is not fitted.
        """
        from potstill.evaluation.skill import Claim, proven_skill

        if self._before is not None:
            return self._before.proven_skill(anyway=anyway)
        train = self._train_rows
        rows, predicted, origin = self._calibrated_on or (train.examples, self._held_out(), OUT_OF_FOLD)
        others = 0 if self._validation is None or self._validation is train else len(self._validation)
        claim = Claim(
            name=self.name,
            recipe=self.recipe,
            tiny=self.tiny,
            train=train.examples,
            rows=rows,
            predicted=predicted,
            origin=origin,
            labels=len({*train.examples.ids, *rows.ids}) + others,
            filter=train.filter,
        )
        return proven_skill(claim, anyway=anyway, cache=self.cache, seed=self.seed)

    def refit(self, parts: Parts, *, decide: Decide | None = None) -> Student:
        """Return the student fitted again on all rows of all parts, and calibrated: the one to ship.

        Evaluate this student first: nothing is left to judge the refitted one on, and it refuses the rows that it has
        learned from. Curves, intervals and cuts come from out-of-fold predictions of all rows. A student that trains a
        network is trained once more, for the number of epochs that the validation rows had chosen, and keeps the
        calibration that it has now.

        Args:
            parts: the parts of the dataset that the student was fitted on.
            decide: operating points that override those of the filter, as in `calibrate`.

        Raises:
            BadInput: the student is not fitted, the argument is not the parts of a dataset, or `decide` is not valid.
            DatasetError: the rows have other dimensions than the training rows, or a student that trains a network is
                not calibrated yet.
        """
        from potstill.bundle.refitting import calibrate_refitted
        from potstill.students.recipes import FineTunedRecipe
        from potstill.training.blending import FOLDS
        from potstill.training.fit import fit

        filter_, model = self._train_rows.filter, self._model
        if not isinstance(parts, Parts):
            raise BadInput(f"refit takes the parts of a dataset, such as data.split(); got {_kind(parts)}")
        _need_dimensions(parts.train, self._train_rows.examples.dimensions)
        trained = isinstance(self.recipe, FineTunedRecipe)
        if trained and self.calibration is None:
            raise DatasetError(f"{self.name}: trains a network, so it keeps its calibration; call calibrate first")
        points = {} if decide is None else as_points(decide, filter_.positive_tiers)
        each: dict[str, Examples] = {name: getattr(parts, name).examples for name in PARTS}
        rows = Examples.concat(list(each.values()))
        watch = Watch()
        with tempfile.TemporaryDirectory(prefix="potstill-") as scratch:
            fitted = fit(
                self.recipe,
                rows,
                None,
                workdir=Path(scratch),
                seed=self.seed,
                holdout=0.0,
                device=self.device,
                tiny=self.tiny,
                cache=self.cache,
                rubric=filter_.rubric,
                epochs=model.best_epoch,
            )
        student, calibration = calibrate_refitted(
            cast("AnyStudent", fitted.student),
            rows,
            fitted.held_out,
            filter_,
            self.calibration or self._clipping(filter_),
            decide=points,
            seed=self.seed,
        )
        shipped = Student(self.recipe, seed=self.seed, device=self.device, cache=self.cache, tiny=self.tiny)
        shipped.fitted, shipped._train = replace(fitted, student=student), Rows(filter_, rows)
        shipped.calibration, shipped._before = calibration, self
        shipped.refitted = Refit(
            measured="",
            seen=SeenRows.of(rows),
            parts={name: len(part) for name, part in each.items() if len(part)},
            calibration="kept" if trained else "out-of-fold",
            folds=None if trained else FOLDS,
            epochs=model.best_epoch,
            notes=fitted.notes,
            seconds=round(watch.load().wall_seconds, 3),
        )
        return shipped

    def _held_out(self) -> FloatArray:
        """Return scores of training rows by models that had not seen them, shape (rows, dimensions)."""
        found = self._model.held_out
        if not np.isnan(found).all():
            return found
        return predict_training_rows(self.recipe, self._model.student, self._train_rows.examples, self.seed)

    @property
    def _model(self) -> Fitted:
        if self.fitted is None:
            raise BadInput(f"{self.name} is not fitted; call fit(train, validation) first")
        return self.fitted

    @property
    def _train_rows(self) -> Rows:
        _ = self._model
        return self._train  # type: ignore[return-value]  # set together with the model

    def _need_same(self, rows: Rows, method: str, example: str) -> None:
        """Refuse what are not rows with the dimensions of the training rows."""
        trained = self._train_rows
        _need_rows(rows, method, example)
        _need_dimensions(rows, trained.examples.dimensions)

    def _refuse_seen(self, rows: Rows) -> None:
        """Refuse rows that a refitted student has learned from."""
        if self.refitted is not None:
            refuse_seen(self.refitted.seen, self.name, "these rows", rows.examples.ids, rows.texts)

    def _bundle(self, filter_: Filter) -> Bundle:
        """Return the fitted student as a bundle in memory."""
        model: Any = self._model.student
        return Bundle.in_memory(filter_, model, self.calibration or self._clipping(filter_), self.name)

    @staticmethod
    def _clipping(filter_: Filter) -> Calibration:
        return no_calibration(filter_.dimension_names, low=filter_.scale.min, high=filter_.scale.max)


@dataclass(frozen=True, slots=True, eq=False)
class Leaderboard:
    """Students by their error on one part of a dataset, the best first. Printed, and in a notebook, it is a table.

    `students` and `results` have the order of the table. `difference` in the table is a student's mean absolute error
    minus that of the first; `low` and `high` are its 95% interval over clusters of the same rows. An interval that
    contains 0 does not show that one is better.
    """

    students: tuple[Student, ...]
    results: tuple[Result, ...]
    table: pl.DataFrame
    part: str

    @property
    def best(self) -> Student:
        """The student with the lowest error."""
        return self.students[0]

    def __getitem__(self, name: str) -> Student:
        """Return the student of a recipe."""
        found = next((student for student in self.students if student.name == name), None)
        if found is None:
            raise KeyError(f"no student {name!r}; there are: {', '.join(student.name for student in self.students)}")
        return found

    def __repr__(self) -> str:
        return f"{self.results[0].rows:,} rows of the {self.part} part\n{_table(self.table)}"

    def _repr_html_(self) -> str:
        return self.table._repr_html_()


def compare(
    students: Sequence[str | Path | Recipe | Student],
    parts: Parts,
    *,
    part: Literal["validation", "test"] = "validation",
    seed: int = 0,
    device: str = "auto",
) -> Leaderboard:
    """Fit the students that are not fitted yet, and rank all of them by their error on the same rows.

    A constant is always included. Choose a student on the validation part; the test part then gives an error that the
    choice has not made too small.

    Args:
        students: recipes by name, path or object, and students.
        parts: the parts of a dataset.
        part: the part on which students are compared.
        seed: random seed of the students that are fitted here, and of the bootstrap.
        device: device for recipes that train a network.

    Raises:
        BadInput: an argument is not valid, or a student is given twice.
        DatasetError, MissingExtra, MissingModel, RecipeError, TrainingError: as `Student.fit`.
    """
    from potstill.terminal import track

    if isinstance(students, str | Path | Student):
        raise BadInput("students: expected a list of recipes and students; got one")
    if not isinstance(parts, Parts):
        raise BadInput(f"parts: expected the parts of a dataset, such as data.split(); got {_kind(parts)}")
    if part not in {"validation", "test"}:
        raise BadInput(f"part: got {part!r}, expected 'validation' or 'test'")
    wanted = [one if isinstance(one, Student) else Student(one, seed=seed, device=device) for one in students]
    if all(student.name != "constant" for student in wanted):
        wanted.append(Student("constant", seed=seed))
    twice = sorted({one.name for one in wanted if sum(other.name == one.name for other in wanted) > 1})
    if twice:
        raise BadInput(f"{twice[0]} is given twice; a leaderboard has one student of a name")
    rows = getattr(parts, part)
    for student in track(wanted, "fitting", len(wanted)):
        if student.fitted is None:
            student.fit(parts.train, parts.validation)
    results = {student.name: student.evaluate(rows) for student in wanted}
    order = sorted(wanted, key=lambda student: (results[student.name].mae is None, results[student.name].mae or 0.0))
    errors = {student.name: np.abs(_clipped(student, rows) - rows.scores) for student in wanted}
    first = errors[order[0].name]
    table = []
    for student in order:
        result, own = results[student.name], errors[student.name]
        gap = None if own is first else metrics.compare(own, first, rows.examples.clusters, seed=seed)
        table.append(
            {
                "student": student.name,
                "mae": result.mae,
                "skill": result.skill,
                "spearman": result.spearman,
                "difference": gap and gap.difference,
                "low": gap and gap.low,
                "high": gap and gap.high,
                "seconds": round(student._model.seconds, 1),  # noqa: SLF001 - of the same module
            }
        )
    kinds = {name: pl.String if name == "student" else pl.Float64 for name in table[0]}
    return Leaderboard(tuple(order), tuple(results[one.name] for one in order), pl.DataFrame(table, kinds), part)


class Scorer(scoring.Scorer[Any]):
    """Turns texts into verdicts: prefilter, student, calibration, and the filter's gates, caps and tiers.

    Create it from a filter and a fitted student, or load a bundle with `Scorer.load(folder)`; a list of folders scores
    with several filters at once.

    Args:
        filter_: the filter. (`load` passes opened bundles.)
        student: a fitted student. Without calibration its scores are only clipped to the scale and have no intervals.
        options: `level`, the coverage of the intervals (0.9 by default); `probabilities`, whether to compute the
            probability of each tier; `decide`, operating points, as in `Student.calibrate`.

    Raises:
        BadInput: an argument is not a filter or a student, the student is not fitted, or an option is not valid.
        BundleError: the student scores other dimensions than the filter's.
    """

    def __init__(
        self,
        filter_: Filter | Bundle | Sequence[Bundle],
        student: Student | None = None,
        *,
        early: Early | None = None,
        encoders: SharedEncoders | None = None,
        **options: Unpack[ScoringOptions],
    ) -> None:
        self.student = student
        bundles: Any = filter_
        if student is not None:
            _need_filter(bundles)
            if not isinstance(student, Student):
                raise BadInput(f"a scorer needs a fitted student; got {_kind(student)}")
            bundles = student._bundle(bundles)  # noqa: SLF001 - of the same module
        elif not isinstance(filter_, Bundle | list | tuple):
            raise BadInput("a scorer needs a fitted student: Scorer(filter, student); Scorer.load opens a bundle")
        super().__init__(bundles, early=early, encoders=encoders, **options)

    @classmethod
    def load(cls, paths: str | Path | Sequence[str | Path], **options: Unpack[LoadingOptions]) -> Any:  # noqa: ANN401 - of the class that loads it
        """Open a bundle, or several of different filters, and create their scorer.

        A run may be named for the bundle that it ships: the one refitted on all labelled rows, if there is one.

        Args:
            paths: the folder of a bundle or of a run, or a list of them.
            options: as the other arguments of `potstill.scorer.Scorer.load`.

        Raises:
            BadInput, BundleError, MissingExtra, MissingModel: as `potstill.scorer.Scorer.load`.
            RunError: a run has no bundle.
        """
        if isinstance(paths, str | Path):
            return super().load(_shipped(paths), **options)
        return super().load([_shipped(path) for path in paths], **options)

    def __reduce__(self) -> str:
        raise BadInput("a scorer cannot be pickled or copied; save it, and load the bundle where it is needed")

    def score_many(self, articles: Iterable[str | Article], *, batch_size: int = BATCH) -> Iterator[Any]:
        """Yield the verdict on each text or article, in input order; articles are scored in batches.

        Raises:
            BadInput: an element is neither a text nor an `Article`.
        """
        if isinstance(articles, str | bytes) or not hasattr(articles, "__iter__"):
            raise BadInput(f"expected texts or articles in a list or an iterator; got {_kind(articles)}")
        return super().score_many(map(_article, articles), batch_size=batch_size)

    def score_batch(self, articles: Table) -> Table:
        """Return the table with the verdict's columns added, as the same kind of table.

        The columns are `score_<dimension>`, `low_<dimension>` and `high_<dimension>` on the filter's scale, `overall`,
        `tier`, `gates`, `caps` and `reason` (see docs/scoring.md). A column of the input with one of these names is
        renamed to `input_<name>`.

        Args:
            articles: a pandas, Polars or PyArrow table, a Hugging Face dataset, a list of dicts or a dict of columns;
                with a column `content`, `text`, `body` or `full_text`, and optionally `title`. A missing text is empty.

        Raises:
            BadInput: there is no column of text, or it does not hold text.
        """
        if isinstance(articles, list) and not articles:
            return []
        frame = to_polars(articles)
        text = _text_column(frame)
        scored = super().score_batch(frame.rename({text: "content"}))
        return like(scored.rename({"content": text}), articles)

    def save(self, folder: str | Path, *, anyway: bool = False) -> Path:
        """Write a bundle: a folder that any machine can score with, and that proves its scores when it is loaded.

        A network is exported to ONNX, so that scoring needs no torch. Golden texts are scored before and after; a
        bundle whose scores differ is not written.

        Args:
            folder: the bundle's folder.
            anyway: whether to write it even if the student is not shown to be better than the constant. The bundle
                records this, and every output about it says so.

        Raises:
            NoSkill: the interval of the student's held-out skill does not lie above 0.
            BadInput: the scorer was loaded from a bundle, or the folder cannot be written, or it holds something else
                than a bundle, which would be lost.
            BundleError: the student cannot be exported.
            MissingExtra: torch is needed for the export and is not installed.
        """
        if self.student is None:
            raise BadInput("this scorer was loaded from a bundle; copy its folder instead")
        target = _path(folder)
        if target.is_dir() and any(target.iterdir()) and not (target / BUNDLE_LAYOUT["manifest"]).exists():
            raise BadInput(f"{folder}: holds other files than a bundle, which would be lost; name a new folder")
        bundle: Any = self.bundle
        student = self.student
        skill = student.proven_skill(anyway=anyway)
        written = bundle_student(
            target,
            bundle.student,
            student.name,
            bundle.filter,
            bundle.calibration,
            train_texts=student._train_rows.texts,  # noqa: SLF001 - of the same module
            seed=student.seed,
            choice=Choice(rung=student.name, validation_mae={}, reason="the student of the scorer", skill=skill),
            refit=student.refitted,
        )
        return written.folder

    def __repr__(self) -> str:
        return f"Scorer({', '.join(self.filters)})"


def probe(
    place: str | Path | Scorer | Run | Filter,
    *,
    oracle: str | Oracle | None = None,
    articles: str | Path | Table | None = None,
    probes: str | Path | Probes | None = None,
    number: int = runs.DEFAULT_PROBED,
    seed: int = 0,
    samples: int = 1,
    max_cost: float | None = None,
    price: tuple[float, float] | None = None,
    ledger: str | Path | None = None,
    least: Sequence[str] = (),
) -> ProbeRecord:
    """Test whether scores rise where the content does, and stay where only the wording changes.

    Args:
        place: a scorer of one filter, a run, or the path of a run or a bundle; or, with `oracle`, a filter, whose
            oracle is tested. The tests of a run are its stage `probe`.
        oracle: an oracle that is tested as well, on the same texts, as in `label`.
        articles: articles that are changed in ways that should not move scores: a file, or a table as in
            `Dataset.from_frame`. Default: the test part of the run, or else the texts of the ramps.
        probes: the behaviour tests: a `probes.yaml`, a filter's folder, the name of a built-in filter, or `Probes`.
            Default: those of the run's filter, or of the built-in filter of the same name.
        number: number of articles, chosen at random.
        seed: random seed of that choice.
        samples: number of the oracle's answers per text.
        max_cost: most dollars to spend on the oracle, over all sessions of its ledger.
        price: dollars per million tokens of input and of output, if they are not known.
        ledger: file of the oracle's answers. Default: one in the run's folder, or in potstill's cache folder.
        least: pass rates to reach, such as `0.9` for every test, or `ramps=0.9` for one; see `ProbeRecord.met`.

    Returns:
        The record: `subjects["student"].to_frame()` has the pass rates by test and dimension.

    Raises:
        BadInput: there is nothing to test, or an argument is not valid.
        FilterError: there are no behaviour tests, or they are not valid.
        BundleError: the bundle fails its self-test.
        LabelError, OracleError, MissingExtra: as `label`.
    """
    from potstill.labelling import Limits
    from potstill.pipeline.probe import prepare
    from potstill.probing import Text

    where: Any = place.folder if isinstance(place, runs.Run) else place
    texts: Any = articles
    if articles is not None and not isinstance(articles, str | Path):
        rows = read_articles(to_polars(articles), Columns())
        texts = [Text("\n\n".join(filter(None, row))) for row in rows.select("title", "content").iter_rows()]
    check = prepare(
        where,
        probes=probes,
        articles=texts,
        number=number,
        seed=seed,
        ledger=None if ledger is None else _path(ledger),
    )
    opened, cost = (None, None) if oracle is None else _opened(oracle, price)
    return check.carry_out(opened, samples=samples, limits=Limits(max_cost=max_cost), price=cost, least=least)


class Run(runs.Run):
    """A run folder: labels, dataset, students, bundle, evaluation and report of one filter, each recorded.

    `Run.open(folder)` opens one, `Run.create(folder, filter)` makes a new one. Each method runs a stage, as the command
    of the same name does; `status()` says which stages are done, stale or missing.
    """

    @classmethod
    def create(cls, folder: str | Path, filter_: Filter) -> Self:
        """Create a run of a filter, or open it if it exists.

        Raises:
            BadInput: the arguments are not a path and a filter.
            RunError: the folder is already a run of another filter.
        """
        _need_filter(filter_)
        created: Any = super().create(_path(folder), filter_)
        return created  # type: ignore[no-any-return]  # of the class that creates it

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Open an existing run.

        Raises:
            BadInput: the argument is no path.
            RunError: the folder is not a run, or a newer version of potstill wrote it.
        """
        opened: Any = super().open(_path(folder))
        return opened  # type: ignore[no-any-return]  # as above

    def label(
        self,
        oracle: str | Oracle,
        articles: str | Path | None = None,
        *,
        samples: int = 1,
        max_cost: float | None = None,
        price: tuple[float, float] | None = None,
        retry_failed: bool = False,
    ) -> Summary:
        """Buy the missing labels of the run's articles, after adding those of a file; as the function `label`.

        Args:
            oracle: `KIND:MODEL`, as in `label`.
            articles: a file of articles to add, in any format that `potstill score` reads.
            samples: number of answers per article.
            max_cost: most dollars to spend over all sessions of this run.
            price: dollars per million tokens of input and of output, if they are not known.
            retry_failed: whether to retry questions that failed permanently.

        Raises:
            BadInput, LabelError, OracleError, MissingExtra: as `label`.
            ArticleError: a row of the file cannot be read.
        """
        from potstill.labelling import Limits
        from potstill.pipeline.label import label_run

        opened, cost = _opened(oracle, price)
        return label_run(
            self.folder,
            None,
            articles,
            opened,
            samples=samples,
            limits=Limits(max_cost=max_cost),
            price=cost,
            retry_failed=retry_failed,
        )

    def dataset(
        self, *, seed: int = 0, fractions: Fractions | str = DEFAULT_FRACTIONS, whole: Whole | None = None
    ) -> DatasetRecord:
        """Split the run's labels without leakage, as `Dataset.split` does.

        Raises:
            RunError: there are no labels yet, or another process is writing to the run.
            DatasetError: no dataset can be made from the labels.
        """
        from potstill.pipeline.dataset import build_dataset

        shares = _shares(fractions)
        return build_dataset(self, seed=seed, fractions=shares, whole=whole)

    def train(
        self,
        recipes: Sequence[str | Path] | None = None,
        *,
        resume: bool = False,
        seed: int = 0,
        device: str = "auto",
        tiny: bool = False,
    ) -> list[StudentRecord]:
        """Fit students on the run's dataset, which is built first if it is missing or stale.

        Args:
            recipes: names of recipes or paths of recipe files; by default those that take at most a minute,
                with `e5-median` if 10% of the texts are not in English.
            resume: keep students that are complete, and continue the one that was interrupted.
            seed: random seed.
            device: device for recipes that train a network.
            tiny: use tiny random networks, to test the pipeline; scores are meaningless.

        Raises:
            RunError, RecipeError, TrainingError: as the command `potstill train`.
        """
        from potstill.pipeline.train import train_run

        self._ready("dataset", self.dataset)
        return train_run(self, recipes or None, resume=resume, seed=seed, device=device, tiny=tiny)

    def bundle(
        self, student: str | None = None, *, decide: Decide | None = None, anyway: bool = False, seed: int = 0
    ) -> Bundle:
        """Build the bundle of one student, by default of the one with the lowest validation error that reads the text.

        Args:
            student: name of its recipe.
            decide: operating points that override those of the filter, as in `Student.calibrate`.
            anyway: whether to ship the student even if it is not shown to be better than the constant, as in
                `Scorer.save`.
            seed: random seed of the golden texts and of the folds of the calibration.

        Raises:
            RunError: nothing is trained yet, or there is no such student.
            NoSkill: the interval of the student's held-out skill does not lie above 0; the previous bundle is kept.
            BadInput: `decide` is not valid.
            BundleError: the bundle cannot be made or does not pass its checks; the previous bundle is kept.
        """
        from potstill.pipeline.bundle import build_bundle

        points = None if decide is None else as_points(decide, self.filter.positive_tiers)
        return build_bundle(self, student, decide=points, anyway=anyway, seed=seed)

    def evaluate(self, *, folds: int | None = None, seed: int = 0) -> Evaluation:
        """Evaluate the students and the bundle, which is built first if it is missing or stale.

        Args:
            folds: number of cross-validation folds for students that are fitted in seconds; 0 for none. By default 10
                for up to 1,500 rows, and none for more.
            seed: random seed of the folds and of the bootstrap.
        """
        from potstill.pipeline.evaluate import evaluate_run

        self._ready("bundle", self.bundle)
        return evaluate_run(self, k=folds, seed=seed)

    def refit(self, *, device: str = "auto") -> Refitted:
        """Fit the bundle's student again on every labelled row, and write the bundle that `scorer` then opens.

        All figures stay those of the student before. The bundle records the rows that it has learned from and is never
        judged on them.

        Args:
            device: device on which a network is trained.

        Raises:
            RunError, BundleError, TrainingError: as the command `potstill refit`.
        """
        from potstill.pipeline.refit import refit_run

        self._ready("bundle", self.bundle)
        return refit_run(self, device=device)

    def report(self) -> Path:
        """Write the report of an evaluated run, and return the path of its HTML page.

        Raises:
            RunError: the run has not been evaluated.
            MissingExtra: the extra `report` is not installed.
        """
        from potstill.report import write_report

        return write_report(self)

    def distill(
        self,
        *,
        minutes: float | None = None,
        latency: float | None = None,
        recipes: Sequence[str | Path] | None = None,
        seed: int | None = None,
        device: str = "auto",
        anyway: bool = False,
    ) -> Distilled:
        """Run every stage of a labelled run that is missing or stale, from the dataset to the report.

        Args:
            minutes: time budget for training students; by default that of the last leaderboard.
            latency: maximum milliseconds per article of the student that goes into the bundle.
            recipes: names of recipes or paths of recipe files; by default all presets that train on a CPU.
            seed: random seed of the split and of training; by default the last one, or 0.
            device: device for recipes that train a network.
            anyway: whether to ship the student even if it is not shown to be better than the constant.

        Returns:
            What was done in each stage and why, the evaluation and the path of the report.

        Raises:
            NoSkill: the interval of the student's held-out skill does not lie above 0; what was trained is kept.
            RunError: the run has no labels, its labels are stale, or no student is within the latency budget.
        """
        from potstill.pipeline.distill import distill
        from potstill.report import write_report

        return distill(
            self,
            report=write_report,
            minutes=minutes,
            latency=latency,
            recipes=recipes,
            seed=seed,
            device=device,
            anyway=anyway,
        )

    def scorer(self) -> Scorer:
        """Open the run's bundle for scoring: the one refitted on all labelled rows, if there is one."""
        opened: Any = Scorer.load(self.shipped())
        return opened  # type: ignore[no-any-return]  # of the class that loads it

    def _ready(self, stage: str, work: Callable[[], object]) -> None:
        """Run a stage unless it is done and current."""
        if next(status.state for status in self.status() if status.stage == stage) != "done":
            work()


def _kind(value: object) -> str:
    return type(value).__name__


def _need_filter(value: object) -> None:
    from potstill.filters import Filter

    if not isinstance(value, Filter):
        raise BadInput(f"a filter is needed, such as ps.Filter.load(NAME); got {_kind(value)}")


def _need_seed(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise BadInput(f"seed: got {value!r}, expected a whole number of at least 0")


def _need_rows(value: object, method: str, example: str) -> None:
    if not isinstance(value, Rows):
        first = "split the dataset first: " if isinstance(value, Dataset) else ""
        raise BadInput(f"{first}{method} takes rows of a split, such as {example}; got {_kind(value)}")


def _need_dimensions(rows: Rows, expected: Sequence[str]) -> None:
    found = rows.examples.dimensions
    if tuple(found) != tuple(expected):
        raise DatasetError(f"the rows have the dimensions {', '.join(found)}; the training rows {', '.join(expected)}")


def _shares(fractions: Fractions | str) -> Fractions:
    if isinstance(fractions, str):
        return Fractions.parse(fractions)
    if not isinstance(fractions, Fractions):
        raise BadInput(f"fractions: got {fractions!r}, expected a text such as '70/10/10/10' or '80/10/10'")
    return fractions


def _shipped(place: str | Path) -> Path:
    """Return the bundle that a run ships, or the folder as it is if it is no run."""
    folder = _path(place)
    is_run = (folder / runs.LAYOUT["manifest"]).exists() and not (folder / BUNDLE_LAYOUT["manifest"]).exists()
    return Run.open(folder).shipped() if is_run else folder


def _path(folder: object) -> Path:
    if not isinstance(folder, str | os.PathLike):
        raise BadInput(f"a path is needed; got {_kind(folder)}")
    return Path(folder)


def _recipe(recipe: str | Path | Recipe) -> Recipe:
    from potstill.students.recipes import Recipe

    if isinstance(recipe, str | Path):
        return load_recipe(recipe)
    if not isinstance(recipe, get_args(Recipe)):
        raise BadInput(f"a recipe is needed: its name, the path of its file, or a recipe; got {_kind(recipe)}")
    known: Any = recipe
    return known  # type: ignore[no-any-return]  # one of the kinds of recipe


def _article(value: object) -> str | Article:
    if not isinstance(value, str | Article):
        raise BadInput(f"a text or an Article is needed; got {_kind(value)}; tables are scored with score_batch")
    return value


def _text_column(frame: pl.DataFrame) -> str:
    text = next((name for name in TEXT_COLUMNS if name in frame.columns), None)
    if text is None:
        raise BadInput(f"no column of text: expected {', '.join(TEXT_COLUMNS)}; got {', '.join(frame.columns)}")
    return text


def _texts(texts: object) -> pl.DataFrame:
    """Return a list or a column of texts, or a table with a column of them, as a frame with the column `text`."""
    if not hasattr(texts, "columns") and not isinstance(texts, str | bytes | Mapping) and hasattr(texts, "__iter__"):
        values = list(texts)
        if not any(isinstance(value, Mapping) for value in values):
            wrong = next((row for row, value in enumerate(values) if not isinstance(value, str)), None)
            if wrong is not None:
                raise BadInput(f"text {wrong + 1}: expected text, got {_kind(values[wrong])}")
            return to_polars({"text": [str(value) for value in values]}).cast({"text": pl.String})
        texts = values
    frame = to_polars(texts)
    column = _text_column(frame)
    if frame.schema[column] not in {pl.String, pl.Null}:
        raise BadInput(f"column {column}: expected text, got {frame.schema[column]}")
    return frame.select(pl.col(column).cast(pl.String).fill_null("").alias("text"))


def _clipped(student: Student, rows: Rows) -> FloatArray:
    scale = rows.filter.scale
    return np.clip(student.predict(rows), scale.min, scale.max)


def _table(frame: pl.DataFrame) -> str:
    """Return a frame as lines of text with three decimals and no frame around it."""
    shown = frame.select(
        pl.Series(name, [_shown(value, 1 if name == "seconds" else 3) for value in frame[name]], dtype=pl.String)
        for name in frame.columns
    )
    cells = [list(shown.columns), *(list(row) for row in shown.iter_rows())]
    widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) if place == 0 else cell.rjust(width)
                  for place, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in cells
    )  # fmt: skip


def _shown(value: object, decimals: int = 3) -> str:
    return "" if value is None else f"{value:.{decimals}f}" if isinstance(value, float) else str(value)


def _opened(oracle: str | Oracle, price: tuple[float, float] | None) -> tuple[Oracle, Price | None]:
    """Open an oracle, and find its price unless it is given."""
    from potstill.labelling import Price
    from potstill.labelling.prices import price_at
    from potstill.oracle import open_oracle

    if not isinstance(oracle, str) and not hasattr(oracle, "model"):
        raise BadInput(f"an oracle is needed, such as 'openai:MODEL'; got {_kind(oracle)}")
    known = price_at(oracle) if isinstance(oracle, str) and price is None else None
    opened = open_oracle(oracle) if isinstance(oracle, str) else oracle
    return opened, Price(*price) if price is not None else None if known is None else known.price
