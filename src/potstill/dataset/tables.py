"""Read texts and scores that people already have from a table.

Input: a table with a column of text and scores per dimension, as columns or as a nested mapping. Output: articles and
labels in the form that `assemble` joins. Scores outside the scale, repeated ids and texts that are missing are refused
with the number of the row; a missing score is masked.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from potstill.dataset.rows import FACTS
from potstill.errors import ArticleError, LabelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from potstill.filters import Filter

TEXT_COLUMNS = ("content", "text", "body", "full_text")
"""Columns that are tried for the text, in this order, if none is named."""

IMPORTED = "imported"
"""Name of the oracle of labels whose table does not name one."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column of a table holds what; None looks for the usual name.

    `scores` is a mapping of dimension -> column, or the name of one column with a mapping in each row. By default,
    scores are in columns named like the dimensions or `y_<dimension>`, or in one column `scores`.
    """

    text: str | None = None
    title: str | None = None
    id: str | None = None
    scores: Mapping[str, str] | str | None = None
    oracle: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Articles (id, title, content and further facts) and labels (article, oracle, samples, `y_<name>`, `s_<name>`).

    `answers` has one row per row of the table: article, oracle, and `y_<name>`.
    """

    articles: pl.DataFrame
    labels: pl.DataFrame
    answers: pl.DataFrame


def read_table(frame: pl.DataFrame, filter_: Filter, columns: Columns | None = None, where: str = "") -> Table:
    """Read articles and labels from a frame.

    Rows with the same id are repeated answers about one article, or answers by different oracles; their texts must be
    equal. Without a column of ids, every row is an article of its own.

    Args:
        frame: the table.
        filter_: the filter with the dimensions and the scale.
        columns: which column holds what.
        where: name of the table in errors, such as a file's name.

    Raises:
        ArticleError: there is no column of text, or a text is missing; the message names the row.
        LabelError: a dimension has no column, or a score is no number or outside the scale; the message names the row.
    """
    columns = columns or Columns()
    prefix = f"{where}: " if where else ""
    if frame.is_empty():
        raise LabelError(f"{prefix}the table has no rows")
    articles = _articles(frame, columns, prefix)
    scores = _scores(frame, filter_, columns, prefix)
    oracle = _named(frame, columns.oracle, ("oracle",), prefix, LabelError)
    answers = pl.DataFrame({"article": articles["id"], **scores})
    named = pl.lit(IMPORTED) if oracle is None else frame[oracle].cast(pl.String)
    answers = answers.with_columns(named.alias("oracle"))
    if oracle is not None and (row := _first(answers["oracle"].is_null())) is not None:
        raise LabelError(f"{prefix}row {row + 1}: {oracle}: no name of an oracle")
    dimensions = filter_.dimension_names
    labels = answers.group_by("article", "oracle", maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("samples"),
        *(pl.col(f"y_{name}").mean() for name in dimensions),
        *(pl.col(f"y_{name}").std(ddof=0).alias(f"s_{name}") for name in dimensions),
    )
    return Table(_distinct(articles, prefix), labels, answers)


def score_columns(frame: pl.DataFrame, columns: Columns | None = None) -> list[str]:
    """Return the columns that look like scores: numbers, and neither the text, title, id nor oracle."""
    columns = columns or Columns()
    other = {columns.text, columns.title, columns.id, columns.oracle, "id", "index", "row", *FACTS}
    return [name for name, kind in frame.schema.items() if kind.is_numeric() and name not in other]


def read_articles(frame: pl.DataFrame, columns: Columns | None = None, where: str = "") -> pl.DataFrame:
    """Read articles without labels from a frame: id, title, content and further facts.

    Raises:
        ArticleError: as `read_table`.
    """
    prefix = f"{where}: " if where else ""
    return _distinct(_articles(frame, columns or Columns(), prefix), prefix)


def _articles(frame: pl.DataFrame, columns: Columns, prefix: str) -> pl.DataFrame:
    text = _named(frame, columns.text, TEXT_COLUMNS, prefix, ArticleError)
    if text is None:
        raise ArticleError(
            f"{prefix}no column of text: tried {', '.join(TEXT_COLUMNS)}; name it with text=. The columns are "
            f"{', '.join(frame.columns)}"
        )
    title = _named(frame, columns.title, ("title",), prefix, ArticleError)
    id_ = _named(frame, columns.id, ("id",), prefix, ArticleError)
    for name in (text, title):
        if name is not None and frame.schema[name] not in {pl.String, pl.Null}:
            raise ArticleError(f"{prefix}{name}: expected text, got {frame.schema[name]}")
    numbers = pl.int_range(1, frame.height + 1, eager=True).cast(pl.String)
    found = pl.DataFrame(
        {
            "id": numbers if id_ is None else frame[id_].cast(pl.String),
            "title": "" if title is None else frame[title].fill_null(""),
            "content": frame[text].cast(pl.String),
            **{name: frame[name] for name in FACTS if name in frame.columns and name not in {text, title, id_}},
        }
    )
    for name, wrong in (("id", found["id"].is_null()), (text, found["content"].fill_null("").str.strip_chars() == "")):
        if (row := _first(wrong)) is not None:
            raise ArticleError(f"{prefix}row {row + 1}: {id_ if name == 'id' else name}: is empty")
    return found


def _distinct(articles: pl.DataFrame, prefix: str) -> pl.DataFrame:
    """Return each article once; refuse an id with two texts."""
    first = articles.unique("id", keep="first", maintain_order=True)
    if first.height == articles.height:
        return articles
    texts = dict(first.select("id", "content").iter_rows())
    for row, (id_, content) in enumerate(articles.select("id", "content").iter_rows(), start=1):
        if texts[id_] != content:
            raise ArticleError(f"{prefix}row {row}: id {id_!r} has another text than in an earlier row")
    return first


def _scores(frame: pl.DataFrame, filter_: Filter, columns: Columns, prefix: str) -> dict[str, pl.Series]:
    """Return the scores of each dimension as `y_<name>`, null where there is none."""
    found = {}
    for name in filter_.dimension_names:
        label, values = _dimension(frame, name, columns, prefix)
        found[f"y_{name}"] = _checked(values, label, filter_, prefix)
    if all(series.is_null().all() for series in found.values()):
        raise LabelError(f"{prefix}none of the {frame.height:,} rows has a score")
    return found


def _dimension(frame: pl.DataFrame, name: str, columns: Columns, prefix: str) -> tuple[str, pl.Series]:
    """Return the column that holds a dimension's scores, and its name for errors."""
    given = columns.scores
    if given is not None and not isinstance(given, str):
        column = given.get(name)
        if column is None or column not in frame.columns:
            raise LabelError(
                f"{prefix}{name}: the scores are in the column {column!r}, which the table lacks; its columns are "
                f"{', '.join(frame.columns)}"
            )
        return column, frame[column]
    for column in (name, f"y_{name}") if given is None else ():
        if column in frame.columns:
            return column, frame[column]
    nested = given or "scores"
    if nested not in frame.columns:
        raise LabelError(
            f"{prefix}no scores of {name}: expected a column {name} or y_{name}, or a column {nested} with a mapping; "
            f"the columns are {', '.join(frame.columns)}"
        )
    rows = [_mapping(value, nested, row, prefix) for row, value in enumerate(frame[nested].to_list(), start=1)]
    return f"{nested}.{name}", pl.Series([row.get(name) for row in rows], strict=False)


def _mapping(value: object, column: str, row: int, prefix: str) -> dict[str, Any]:
    """Return one row's nested scores."""
    if value is None:
        return {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, dict):
        raise LabelError(f"{prefix}row {row}: {column}: expected scores by dimension")
    return value


def _checked(values: pl.Series, label: str, filter_: Filter, prefix: str) -> pl.Series:
    """Return scores as numbers, null where missing or NaN; refuse text and scores outside the scale."""
    low, high = filter_.scale.min, filter_.scale.max
    expected = f"expected a number from {low:g} to {high:g}"
    numbers = []
    for row, value in enumerate(values.to_list(), start=1):
        number = _number(value)
        if number is None:
            raise LabelError(f"{prefix}row {row}: {label}: got {value!r}, {expected}")
        # A comparison with NaN is False, so a missing score passes.
        if number < low or number > high:
            raise LabelError(f"{prefix}row {row}: {label}: got {number:g}, {expected}")
        numbers.append(None if math.isnan(number) else number)
    return pl.Series(numbers, dtype=pl.Float64)


def _number(value: object) -> float | None:
    """Return a score as a number, NaN if it is missing, None if it is no number."""
    if value is None or value == "":
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _named(
    frame: pl.DataFrame, wanted: str | None, usual: Sequence[str], prefix: str, fault: type[LabelError | ArticleError]
) -> str | None:
    """Return the named column, or the first usual one that the table has, or None."""
    if wanted is None:
        return next((name for name in usual if name in frame.columns), None)
    if wanted not in frame.columns:
        raise fault(f"{prefix}no column {wanted!r}; the columns are {', '.join(frame.columns)}")
    return wanted


def _first(wrong: pl.Series) -> int | None:
    return int(wrong.arg_true()[0]) if wrong.any() else None
