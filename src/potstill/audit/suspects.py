"""Find suspicious labels, and measure baselines that do not read the text, with out-of-fold cheap students.

Input: rows. Output: `Suspects` and `Baselines`, from the same folds. A cheap student predicts the label of a held-out
row from similar texts. Where label and prediction differ most, either the label is wrong or the article needs careful
reading. A person can tell within seconds which it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from potstill import metrics
from potstill.audit.means import Means
from potstill.audit.records import LEVEL, Baselines, Rung, Suspect, Suspects, interval
from potstill.metrics import number
from potstill.students.recipes import TfidfRecipe, load_recipe
from potstill.training import fitter, predict_out_of_fold

if TYPE_CHECKING:
    from potstill.audit.labelled import Labelled
    from potstill.types import FloatArray

FOLDS = 5
MANY_ROWS = 2000
"""Number of rows above which the cheap student uses only words, so that an audit takes at most minutes."""

MOST = 50
"""Default number of suspects to list."""


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Out-of-fold scores of every row by student, shape (rows, dimensions) each."""

    student: str
    scores: dict[str, FloatArray]


def cheap_student(rows: int) -> TfidfRecipe:
    """Return a recipe of TF-IDF and ridge regression with fixed penalty, with character n-grams for few rows."""
    small = rows <= MANY_ROWS
    return TfidfRecipe(
        name="tfidf-words-characters" if small else "tfidf-words",
        student="tfidf-ridge",
        words=(1, 2),
        characters=(4, 4) if small else None,
        max_features=50_000,
        alphas=(1.0,),
    )


def held_out(rows: Labelled, *, seed: int = 0, recipe: TfidfRecipe | None = None) -> HeldOut:
    """Compute out-of-fold scores of the constant, the per-source median (if sources are known), and a cheap text model.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    examples = rows.examples()
    reader = recipe or cheap_student(len(rows))
    recipes = [load_recipe("constant"), reader]
    if len(set(filter(None, rows.names("source")))) > 1:
        recipes.insert(1, load_recipe("source-median"))
    low, high = rows.filter.scale.min, rows.filter.scale.max
    return HeldOut(
        reader.name,
        {
            recipe.name: np.clip(
                predict_out_of_fold(fitter(recipe, seed=seed), examples, FOLDS, seed, recipe.name), low, high
            )
            for recipe in recipes
        },
    )


def baselines_of(rows: Labelled, found: HeldOut, *, seed: int = 0, resamples: int = metrics.RESAMPLES) -> Baselines:
    """Compute the error of each student on the same rows, and the gain from knowing the source."""
    means = Means(rows.clusters, seed, resamples)
    errors = {name: np.abs(scores - rows.scores) for name, scores in found.scores.items()}
    rungs = []
    for name, error in errors.items():
        mae, ends = means.of_all(error)
        rungs.append(Rung(name=name, mae=mae, interval=ends))
    gain, ends = None, None
    if "source-median" in errors:
        with_source, without = (_row_mean(errors[name]) for name in ("source-median", "constant"))
        low, high = metrics.bootstrap_ratio(with_source, without, rows.clusters, n=resamples, seed=seed, level=LEVEL)
        gain = number(1 - float(with_source.sum() / without.sum())) if without.sum() else None
        ends = interval(1 - float(high[0]), 1 - float(low[0]))
    return Baselines(
        rows=len(rows),
        sources=len(set(filter(None, rows.names("source")))),
        rungs=tuple(rungs),
        source_gain=gain,
        source_gain_interval=ends,
    )


def suspects_of(rows: Labelled, found: HeldOut, *, most: int = MOST) -> Suspects:
    """Return the rows whose labels differ most from the predictions, the most suspicious first."""
    expected = found.scores[found.student]
    residuals = expected - rows.scores
    relative, score = _relative(residuals), suspicion(residuals)
    order = np.argsort(-np.nan_to_num(score), kind="stable")[:most]
    names = rows.filter.dimension_names
    titles, sources, languages = (rows.articles[name].to_list() for name in ("title", "source", "language"))
    mae = metrics.average(metrics.mae(expected, rows.scores))
    return Suspects(
        student=found.student,
        folds=FOLDS,
        rows=len(rows),
        mae=number(mae),
        constant_mae=number(metrics.average(metrics.mae(found.scores["constant"], rows.scores))),
        items=tuple(
            Suspect(
                id=rows.ids[row],
                title=titles[row],
                text=rows.texts[row],
                evidence=rows.evidence[row],
                source=sources[row],
                language=languages[row],
                suspicion=round(float(score[row]), 6),
                worst=names[int(np.argmax(relative[row]))],
                labels={name: number(rows.scores[row, i]) for i, name in enumerate(names)},
                expected={name: round(float(expected[row, i]), 6) for i, name in enumerate(names)},
            )
            for row in order.tolist()
            if np.isfinite(score[row])
        ),
    )


def suspicion(residuals: FloatArray) -> FloatArray:
    """Return each row's root mean square, over dimensions, of its residuals relative to the typical ones.

    A value of 1 is an ordinary row. The shape is (rows,), with NaN where no residual is known.
    """
    known = np.isfinite(residuals)
    here = known.sum(axis=1)
    squares = _relative(residuals) ** 2
    mean: FloatArray = np.divide(squares.sum(axis=1), here, out=np.full(len(here), np.nan), where=here > 0)
    return np.sqrt(mean)


def _relative(residuals: FloatArray) -> FloatArray:
    """Return absolute residuals divided by the root mean square of their dimension, same shape; 0 where unknown."""
    known = np.isfinite(residuals)
    count = known.sum(axis=0)
    squares = np.where(known, residuals, 0.0) ** 2
    usual = np.divide(squares.sum(axis=0), count, out=np.zeros(residuals.shape[1]), where=count > 0)
    shares: FloatArray = np.divide(squares, usual, out=np.zeros(squares.shape), where=usual > 0)
    relative: FloatArray = np.sqrt(shares)
    return relative


def _row_mean(errors: FloatArray) -> FloatArray:
    """Return each row's mean error, shape (rows, 1); 0 where nothing is known."""
    known = np.isfinite(errors)
    total = np.where(known, errors, 0.0).sum(axis=1)
    mean: FloatArray = np.divide(total, known.sum(axis=1), out=np.zeros(len(total)), where=known.any(axis=1))
    return mean[:, None]
