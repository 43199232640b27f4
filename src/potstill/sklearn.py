"""A scikit-learn estimator: fits a recipe on texts and scores, for pipelines and cross-validation.

Input: texts and their scores. Output: an estimator with `fit`, `predict` and `score` that can be cloned and nested. It
needs no filter; the scores are any numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl

from potstill.errors import require

require("sklearn", "train")

from sklearn.base import BaseEstimator, RegressorMixin  # noqa: E402 - after the check that it is installed
from sklearn.utils.validation import check_is_fitted  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from potstill.dataset import Examples
    from potstill.types import FloatArray


class ScoreRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Predicts one or several scores of a text.

    Args:
        recipe: name of a built-in recipe (`potstill recipes` lists them) or the path of a recipe file.
        random_state: random seed, an integer of at least 0.
        validation_fraction: share of the texts on which a recipe that trains a network selects its epoch, above 0 and
            below 1; other recipes are fitted on all texts.
        device: device for recipes that train a network: `auto`, `cpu`, `cuda` or `mps`.

    Attributes:
        student_: the fitted model.
        n_outputs_: number of scores per text.

    Example:
        >>> from sklearn.model_selection import cross_val_score
        >>> texts = [f"{word} news of the {place}" for word in ("good", "bad") for place in "abcdefghij"]
        >>> scores = [5.0] * 10 + [1.0] * 10
        >>> model = ScoreRegressor("tfidf-ridge").fit(texts, scores)
        >>> model.predict(["good news of the town"]).shape
        (1,)
    """

    def __init__(
        self,
        recipe: str = "tfidf-ridge",
        *,
        random_state: int = 0,
        validation_fraction: float = 0.1,
        device: str = "auto",
    ) -> None:
        self.recipe = recipe
        self.random_state = random_state
        self.validation_fraction = validation_fraction
        self.device = device

    def fit(self, X: Sequence[str], y: ArrayLike) -> Self:  # noqa: N803 - scikit-learn's name
        """Fit the recipe.

        Args:
            X: texts, shape (rows,).
            y: scores, shape (rows,) or (rows, outputs); NaN where masked, at least one number per output.

        Raises:
            ValueError: the shapes do not match, a text is no string, or a score is infinite.
            MissingExtra, MissingModel: the libraries or the weights of the recipe's network are not installed.
        """
        from potstill.api import Rows, Student
        from potstill.filters import Filter

        texts = _texts(X)
        scores = _scores(y, len(texts))
        self.n_outputs_ = 1 if scores.ndim == 1 else scores.shape[1]
        self._flat = scores.ndim == 1
        table = scores[:, None] if scores.ndim == 1 else scores
        names = tuple(f"y{place}" for place in range(table.shape[1]))
        known = table[np.isfinite(table)]
        low, high = float(known.min()), float(known.max())
        filter_ = Filter("scores", names, scale=(low, high if high > low else low + 1.0))
        rows = _examples(texts, table, names)
        train, validation = self._divided(rows, len(texts))
        student = Student(self.recipe, seed=self.random_state, device=self.device)
        student.fit(Rows(filter_, train), Rows(filter_, validation))
        self.student_ = student._model.student  # noqa: SLF001 - the fitted model of the same package
        return self

    def predict(self, X: Sequence[str]) -> FloatArray:  # noqa: N803 - scikit-learn's name
        """Return the scores of texts, shape (rows,) or (rows, outputs) as in `fit`; they are not clipped."""
        check_is_fitted(self)
        scores = self.student_.predict(pl.DataFrame({"text": _texts(X)}, schema={"text": pl.String}))
        return scores[:, 0] if self._flat else scores

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401 - scikit-learn has no types
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        return tags

    def _divided(self, rows: Examples, count: int) -> tuple[Examples, Examples]:
        """Return the training and validation rows; they are the same for a recipe that selects nothing."""
        from potstill.students.recipes import FineTunedRecipe, load_recipe

        if not isinstance(load_recipe(self.recipe), FineTunedRecipe):
            return rows, rows
        held_out = round(self.validation_fraction * count)
        if not 0 < self.validation_fraction < 1 or not 0 < held_out < count:
            raise ValueError(
                f"validation_fraction={self.validation_fraction:g} leaves {held_out} of {count} texts for validation; "
                "at least one is needed, and one to train on"
            )
        order = np.random.default_rng(self.random_state).permutation(count)
        return rows.take(np.sort(order[held_out:])), rows.take(np.sort(order[:held_out]))


def _examples(texts: list[str], scores: FloatArray, names: tuple[str, ...]) -> Examples:
    """Return texts and scores as examples; near-duplicates are not looked for, since folds are the caller's."""
    from potstill.dataset import Examples

    ids = tuple(str(row) for row in range(len(texts)))
    frame = pl.DataFrame({"id": list(ids), "text": texts}, schema={"id": pl.String, "text": pl.String})
    return Examples(ids, frame, scores, np.arange(len(texts), dtype=np.int64), names)


def _texts(X: Sequence[str]) -> list[str]:  # noqa: N803 - scikit-learn's name
    if isinstance(X, str):
        raise ValueError("X is one text; expected a list of texts")  # noqa: TRY004 - what scikit-learn raises
    texts = list(np.asarray(X, dtype=object).ravel()) if np.ndim(X) == 2 and np.shape(X)[1] == 1 else list(X)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"X holds {type(text).__name__} at row {row}; expected texts")  # noqa: TRY004 - as above
    return texts


def _scores(y: ArrayLike, rows: int) -> FloatArray:
    scores = np.asarray(y, dtype=np.float64)
    if scores.ndim not in {1, 2} or len(scores) != rows:
        raise ValueError(f"y has shape {scores.shape}; expected ({rows},) or ({rows}, outputs)")
    if np.isinf(scores).any():
        raise ValueError("y holds an infinite score")
    if not rows or np.isnan(scores).all(axis=0).any():
        raise ValueError("an output of y has no score")
    return scores
