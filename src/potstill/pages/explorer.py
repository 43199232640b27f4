"""A run's articles as a table to search: what the oracle said of each beside what the student said.

In: a run that has been evaluated. Out: an `Explorer`, which answers questions about it in JSON. Each article
stands there once, with scores by a student that had not seen it.
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
    from potstill.runs import Run

PAGE = 50
"""Rows of an answer."""

MOST_VALUES = 30
"""Values of a fact above which it is no filter: a list of them would be too long to choose from."""

MOST_FACETS = 20
"""Facts that one question may ask for at once."""

MOST_ROWS = 2**31
"""Where the last page of an answer may begin."""

BEGINNING = 90
"""Characters by which an article without a title is listed."""

Sort = Literal["disagreement", "dimension", "oracle", "student", "title"]
"""By the overalls' difference, by the largest difference of a dimension, by either's overall, or by title."""

_JUDGED = ("out-of-fold", "test", "validation")
"""Which scores of an article are shown: the first of these that it has."""

_FACETS = ("tier_oracle", "tier_student", "judged", "split", "source", "language", "cut")


# An article without a title is known by how it begins.
_TITLE = pl.coalesce(
    pl.col("title").replace("", None),
    pl.col("text").str.slice(0, BEGINNING).str.replace_all(r"\s+", " "),
    pl.lit(""),
)


class Query(Part):
    """What the page asks for. `facets` maps a fact to the value that it must have."""

    text: str = Field(default="", max_length=500)
    facets: dict[str, str] = Field(default_factory=dict, max_length=MOST_FACETS)
    sort: Sort = "disagreement"
    offset: int = Field(default=0, ge=0, le=MOST_ROWS)


@dataclass(frozen=True, slots=True, eq=False)
class Explorer:
    """The table, and how it is asked.

    `frame` has a row per article: id, title, text, the columns of `_FACETS` that are known (as text), `evidence`,
    `oracle`, `student` (overalls after gates and caps), `disagreement` and `dimension` (absolute differences, of
    the overalls and the largest of a dimension), and `y_`, `p_`, `low_` and `high_<dimension>`.
    """

    frame: pl.DataFrame
    filter: Filter

    @classmethod
    def of(cls, run: Run) -> Self:
        """Read a run.

        Raises:
            RunError: it has not been evaluated.
            LabelError: its ledger cannot be read.
        """
        filter_ = run.filter
        predictions = read_parquet(run.need("predictions", "evaluate"))
        rows = read_parquet(run.need("rows", "dataset"))
        with Ledger.reading(run.need("ledger", "label")) as ledger:
            labels = ledger.labels(filter_)
        evidence = labels.group_by("article", maintain_order=True).agg(pl.col("evidence").drop_nulls().first())
        return cls(assemble(predictions, rows, evidence, filter_.dimension_names), filter_)

    def facets(self) -> dict[str, list[str]]:
        """Each fact that articles can be chosen by -> its values."""
        found = {}
        for name in _FACETS:
            values = self.frame[name].drop_nulls().unique().sort().to_list() if name in self.frame.columns else []
            if 1 < len(values) <= MOST_VALUES:
                found[name] = values
        return found

    def ask(self, query: Query) -> dict[str, Any]:
        """How many articles fit, and a page of them."""
        fitting = self.frame.filter(_fits(query, self.frame.columns))
        ordered = fitting.sort(
            query.sort, "id", descending=[query.sort != "title", False], nulls_last=True, maintain_order=True
        )
        shown = ordered.slice(query.offset, PAGE)
        shown = shown.with_columns(title=_TITLE)
        columns = ("id", "title", "oracle", "student", "disagreement", "tier_oracle", "tier_student")
        return {"total": fitting.height, "offset": query.offset, "rows": shown.select(columns).to_dicts()}

    def titles(self, ids: Sequence[str]) -> dict[str, str]:
        """Ids -> the titles by which articles are listed; the id itself for an article that is not there."""
        found = self.frame.filter(pl.col("id").is_in(list(ids))).select("id", _TITLE.alias("title"))
        return {id_: id_ for id_ in ids} | {id_: title or id_ for id_, title in found.iter_rows()}

    def article(self, id_: str) -> dict[str, Any] | None:
        """One article whole, or None where there is none of that id."""
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
    """The table of an `Explorer`.

    Args:
        predictions: as an evaluation writes them.
        rows: of the dataset: id, title, text and facts.
        evidence: columns article and evidence.
        dimensions: the filter's.
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
    # JSON has no NaN: what is not known is null.
    return table.with_columns(pl.selectors.float().fill_nan(None))


def _fits(query: Query, columns: list[str]) -> pl.Expr:
    # Each word must stand in the title, the text or the id; it is text, not a pattern.
    searched = pl.concat_str(pl.col("id", "title", "text"), separator="\n", ignore_nulls=True).str.to_lowercase()
    conditions = [searched.str.contains(word, literal=True) for word in query.text.lower().split()]
    conditions += [
        pl.col(name).eq(value) if name in columns and name in _FACETS else pl.lit(False)
        for name, value in query.facets.items()
    ]
    return pl.all_horizontal(pl.lit(True), *conditions)
