"""Provide a run's articles as a searchable table with the oracle's and the student's scores side by side.

Input: an evaluated run. Output: an `Explorer`, which answers queries in JSON. Each article appears once, with held-out
scores of the student.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import polars as pl
from pydantic import Field

from potstill.labelling import Ledger
from potstill.parquet import read_parquet
from potstill.records import Part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from potstill.filters import Filter
    from potstill.pipeline.run import Run

PAGE = 50
"""Number of rows per page of results."""

MOST_VALUES = 30
"""Maximum number of values of a facet; an attribute with more values is not offered as a facet."""

MOST_FACETS = 20
"""Maximum number of facets in one query."""

MOST_ROWS = 2**31
"""Maximum index of the first row of a page."""

BEGINNING = 90
"""Number of characters of the text that stand in for a missing title."""

Sort = Literal["disagreement", "dimension", "oracle", "student", "title"]
"""Sort order of articles.

"disagreement" is the difference of the overall scores, "dimension" the largest difference of a dimension, and "oracle"
and "student" sort by either's overall score.
"""

_JUDGED = ("out-of-fold", "test", "validation")
"""Sources of scores in order of preference. The first one that an article has is shown."""

_FACETS = ("tier_oracle", "tier_student", "judged", "split", "source", "language", "cut")


# An article without a title is listed by the beginning of its text.
_TITLE = pl.coalesce(
    pl.col("title").replace("", None),
    pl.col("text").str.slice(0, BEGINNING).str.replace_all(r"\s+", " "),
    pl.lit(""),
)


class Query(Part):
    """A query from the page. `facets` maps an attribute to its required value."""

    text: str = Field(default="", max_length=500)
    facets: dict[str, str] = Field(default_factory=dict, max_length=MOST_FACETS)
    sort: Sort = "disagreement"
    offset: int = Field(default=0, ge=0, le=MOST_ROWS)


@dataclass(frozen=True, slots=True, eq=False)
class Explorer:
    """The table of articles, and the queries on it.

    `frame` has one row per article: id, title, text, the known columns of `_FACETS` (as text), `evidence`, `oracle` and
    `student` (overall scores after gates and caps), `disagreement` (absolute difference of the overall scores),
    `dimension` (largest absolute difference of a dimension), and `y_`, `p_`, `low_` and `high_<dimension>`.
    """

    frame: pl.DataFrame
    filter: Filter

    @classmethod
    def of(cls, run: Run) -> Self:
        """Load the articles of a run.

        Raises:
            RunError: the run has not been evaluated.
            LabelError: the run's ledger cannot be read.
        """
        filter_ = run.filter
        predictions = read_parquet(run.need("predictions", "evaluate"))
        rows = read_parquet(run.need("rows", "dataset"))
        with Ledger.reading(run.need("ledger", "label")) as ledger:
            labels = ledger.labels(filter_)
        evidence = labels.group_by("article", maintain_order=True).agg(pl.col("evidence").drop_nulls().first())
        return cls(assemble(predictions, rows, evidence, filter_.dimension_names), filter_)

    def facets(self) -> dict[str, list[str]]:
        """Return each facet with its values."""
        found = {}
        for name in _FACETS:
            values = self.frame[name].drop_nulls().unique().sort().to_list() if name in self.frame.columns else []
            if 1 < len(values) <= MOST_VALUES:
                found[name] = values
        return found

    def ask(self, query: Query) -> dict[str, Any]:
        """Return the number of matching articles, and one page of them."""
        fitting = self.frame.filter(_fits(query, self.frame.columns))
        ordered = fitting.sort(
            query.sort, "id", descending=[query.sort != "title", False], nulls_last=True, maintain_order=True
        )
        shown = ordered.slice(query.offset, PAGE)
        shown = shown.with_columns(title=_TITLE)
        columns = ("id", "title", "oracle", "student", "disagreement", "tier_oracle", "tier_student")
        return {"total": fitting.height, "offset": query.offset, "rows": shown.select(columns).to_dicts()}

    def titles(self, ids: Sequence[str]) -> dict[str, str]:
        """Map ids to the titles by which articles are listed; an unknown id is mapped to itself."""
        found = self.frame.filter(pl.col("id").is_in(list(ids))).select("id", _TITLE.alias("title"))
        return {id_: id_ for id_ in ids} | {id_: title or id_ for id_, title in found.iter_rows()}

    def article(self, id_: str) -> dict[str, Any] | None:
        """Return all fields of one article, or None if the id is unknown."""
        found = self.frame.filter(pl.col("id") == id_).to_dicts()
        if not found:
            return None
        row = found[0]
        facts = {name: row[name] for name in _FACETS if row.get(name) is not None and not name.startswith("tier_")}
        return {
            **{name: row[name] for name in ("id", "title", "text", "evidence", "oracle", "student")},
            **{name: row[name] for name in ("tier_oracle", "tier_student")},
            "facts": facts,
            "dimensions": [
                {
                    "name": name,
                    "description": part.description,
                    **{key: row.get(f"{column}_{name}") for key, column in _SCORES},
                }
                for name, part in self.filter.dimensions.items()
            ],
        }


_SCORES = (("oracle", "y"), ("student", "p"), ("low", "low"), ("high", "high"))


def assemble(
    predictions: pl.DataFrame, rows: pl.DataFrame, evidence: pl.DataFrame, dimensions: tuple[str, ...]
) -> pl.DataFrame:
    """Build the table of an `Explorer`.

    Args:
        predictions: the table that an evaluation writes.
        rows: the dataset's rows: id, title, text and facets.
        evidence: columns article and evidence.
        dimensions: the filter's dimensions.
    """
    order = pl.col("source").replace_strict(_JUDGED, list(range(len(_JUDGED))), default=len(_JUDGED))
    once = predictions.sort(order, maintain_order=True).unique("id", keep="first", maintain_order=True)
    differences = [(pl.col(f"p_{name}") - pl.col(f"y_{name}")).abs() for name in dimensions]
    known = [name for name in ("title", "text", "source", "language", "cut") if name in rows.columns]
    table = (
        once.rename({"source": "judged", "overall_oracle": "oracle", "overall_student": "student"})
        .with_columns(
            disagreement=(pl.col("student") - pl.col("oracle")).abs(), dimension=pl.max_horizontal(*differences)
        )
        .join(rows.select("id", *known), on="id", how="left")
        .join(evidence.rename({"article": "id"}), on="id", how="left")
    )
    if "cut" in known:
        words = pl.when(pl.col("cut")).then(pl.lit("cut")).otherwise(pl.lit("whole"))
        table = table.with_columns(cut=words)
    if "title" not in known:
        table = table.with_columns(title=pl.lit(""))
    # JSON has no NaN, so unknown values are null.
    return table.with_columns(pl.selectors.float().fill_nan(None))


def _fits(query: Query, columns: list[str]) -> pl.Expr:
    # Each word must occur in the title, the text or the id. Words are matched literally, not as patterns.
    searched = pl.concat_str(pl.col("id", "title", "text"), separator="\n", ignore_nulls=True).str.to_lowercase()
    conditions = [searched.str.contains(word, literal=True) for word in query.text.lower().split()]
    conditions += [
        pl.col(name).eq(value) if name in columns and name in _FACETS else pl.lit(False)
        for name, value in query.facets.items()
    ]
    return pl.all_horizontal(pl.lit(True), *conditions)
