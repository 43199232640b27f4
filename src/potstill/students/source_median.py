"""The per-source median: a baseline that uses only an article's source and not its text.

Input: examples whose frame has a column `source`. Output: a student that reveals leaks and is never shipped. If it
performs well, the low error of another student may come from knowledge of the source.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from potstill.errors import DatasetError
from potstill.students.constant import baseline_rows, check_labelled, check_shape

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl
    from numpy.typing import NDArray

    from potstill.dataset import Examples
    from potstill.students.recipes import SourceMedianRecipe
    from potstill.types import FloatArray


@dataclass(frozen=True)
class SourceMedianStudent:
    """Predicts the `medians` of an article's source, shape (sources, dimensions); `overall` for unknown sources."""

    dimensions: tuple[str, ...]
    sources: tuple[str, ...]
    medians: FloatArray
    overall: FloatArray
    kind: ClassVar[str] = "source-median"

    def predict(self, articles: pl.DataFrame) -> FloatArray:
        """Predict scores from the column `source`, shape (articles, dimensions).

        Raises:
            DatasetError: there is no such column.
        """
        if "source" not in articles.columns:
            raise DatasetError("the per-source median needs a column 'source'; these articles have none")
        # The last row is used for sources that did not occur in training, and for a missing source.
        table = np.vstack([self.medians, self.overall])
        place = {source: row for row, source in enumerate(self.sources)}
        rows = [place.get(str(source), len(place)) for source in articles["source"]]
        return np.asarray(table[rows], dtype=np.float64).reshape(articles.height, len(self.dimensions))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays for `student.safetensors`."""
        return {"medians": self.medians, "overall": self.overall}

    def settings(self) -> dict[str, Any]:
        """Return the settings for `student.json`: the sources, in the order of the rows of `medians`."""
        return {"sources": list(self.sources)}

    @classmethod
    def restore(
        cls, dimensions: tuple[str, ...], arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]
    ) -> SourceMedianStudent:
        """Rebuild the student from `arrays` and `settings`."""
        sources = tuple(settings["sources"])
        check_shape("medians", arrays["medians"], (len(sources), len(dimensions)))
        check_shape("overall", arrays["overall"], (len(dimensions),))
        return cls(dimensions, sources, arrays["medians"], arrays["overall"])


def fit_source_median(recipe: SourceMedianRecipe, train: Examples, *, seed: int = 0) -> SourceMedianStudent:
    """Fit each dimension's median within each source, on `baseline_rows`.

    Raises:
        DatasetError: there is no column `source`, or a dimension has no label.
    """
    del recipe, seed
    rows = baseline_rows(train)
    check_labelled(rows)
    if "source" not in rows.frame.columns:
        raise DatasetError("the per-source median needs a column 'source'; these examples have none")
    overall = np.nanmedian(rows.scores, axis=0)
    named = np.array([str(source) for source in rows.frame["source"]], dtype=object)
    sources = tuple(sorted(set(named.tolist())))
    medians = np.empty((len(sources), len(rows.dimensions)))
    for row, source in enumerate(sources):
        scores = rows.scores[named == source]
        for column in range(len(rows.dimensions)):
            known = scores[~np.isnan(scores[:, column]), column]
            medians[row, column] = np.median(known) if known.size else overall[column]
    return SourceMedianStudent(tuple(rows.dimensions), sources, medians, overall)
