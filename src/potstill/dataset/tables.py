"""Read texts and scores that people already have from a table.

Input: a table with a column of text and scores per dimension, as columns or as a nested mapping. Output: articles and
labels in the form that `assemble` joins. Scores outside the scale, repeated ids and texts that are missing are refused
with the number of the row; a missing score is masked.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl

from potstill.articles import MAX_ID_CHARACTERS, MAX_TEXT_CHARACTERS, article_id
from potstill.articles.faults import place_of
from potstill.articles.rows import TEXT_COLUMNS
from potstill.dataset.rows import FACTS, GIVEN_SPLIT
from potstill.dataset.splitting import PARTS
from potstill.errors import ArticleError, LabelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from potstill.filters import Filter

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
"""Texts for a missing score, in lowercase, that spreadsheets and statistics programs write."""

IMPORTED = "imported"
"""Name of the oracle of labels whose table does not name one."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column of a table holds what; None looks for the usual name.

    `scores` is a mapping of dimension -> column, or the name of one column with a mapping in each row. By default,
    scores are in columns whose `dimension_name` is the dimension, or in one column `scores`.
    """

    text: str | None = None
    title: str | None = None
    id: str | None = None
    scores: Mapping[str, str] | str | None = None
    oracle: str | None = None
    split: str | None = None
    """The split of each row; there is no usual name."""


@dataclass(frozen=True)
class Origin:
    """Where the rows of a frame are from: a table in memory or, with `numbers`, numbered rows of the file `name`."""

    name: str = ""
    numbers: Sequence[int] | None = None

    @cached_property
    def prefix(self) -> str:
        """The beginning of a message about the table."""
        return f"{self.name}: " if self.name else ""

    @cached_property
    def text_option(self) -> str:
        """How a user names the column of text."""
        return "text=" if self.numbers is None else "--text"

    def at(self, row: int) -> str:
        """Return the beginning of a message about a row; `row` counts from 0 in the frame."""
        if self.numbers is None:
            return f"{self.prefix}row {row + 1}: "
        return f"{self.prefix}{place_of(self.name, self.numbers[row])}"


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
        where: name of the table in errors.

    Raises:
        ArticleError: there is no column of text, or a text is missing; the message names the row.
        LabelError: a dimension has no column, or a score is no number or outside the scale; the message names the row.
    """
    columns, origin = columns or Columns(), Origin(where)
    if frame.is_empty():
        raise LabelError(f"{origin.prefix}the table has no rows")
    articles = article_rows(frame, columns, origin)
    answers = answer_rows(frame, articles["id"], filter_, columns, origin)
    dimensions = filter_.dimension_names
    if answers.select(pl.all_horizontal(pl.col(f"y_{name}").is_null().all() for name in dimensions)).item():
        raise no_scores(frame.height, origin)
    labels = answers.group_by("article", "oracle", maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("samples"),
        *(pl.col(f"y_{name}").mean() for name in dimensions),
        *(pl.col(f"y_{name}").std(ddof=0).alias(f"s_{name}") for name in dimensions),
    )
    return Table(_distinct(articles, origin), labels, answers)


def no_scores(rows: int, origin: Origin) -> LabelError:
    """Return the error for a table without a single score."""
    return LabelError(f"{origin.prefix}none of the {rows:,} rows has a score")


def read_articles(frame: pl.DataFrame, columns: Columns | None = None, where: str = "") -> pl.DataFrame:
    """Read articles without labels from a frame: id, title, content and further facts.

    Raises:
        ArticleError: as `read_table`.
    """
    origin = Origin(where)
    return _distinct(article_rows(frame, columns or Columns(), origin), origin)


def text_column(frame: pl.DataFrame, columns: Columns, origin: Origin) -> str:
    """Return the column of text.

    Raises:
        ArticleError: there is none.
    """
    text = _named(frame, columns.text, TEXT_COLUMNS, origin, ArticleError)
    if text is None:
        raise ArticleError(
            f"{origin.prefix}no column of text: tried {', '.join(TEXT_COLUMNS)}; name it with {origin.text_option}. "
            f"The columns are {', '.join(frame.columns)}"
        )
    return text


def article_rows(frame: pl.DataFrame, columns: Columns, origin: Origin) -> pl.DataFrame:
    """Return the article of each row: id, title, content and further facts.

    Without a column of ids, the id is the number of the row in a table, and a hash of the text in a file.

    Raises:
        ArticleError: there is no column of text, or a text or an id is missing or invalid; the message names the row.
    """
    text = text_column(frame, columns, origin)
    title = _named(frame, columns.title, ("title",), origin, ArticleError)
    id_ = _named(frame, columns.id, ("id",), origin, ArticleError)
    for name in (text, title):
        if name is not None and frame.schema[name] not in {pl.String, pl.Null}:
            raise ArticleError(f"{origin.prefix}{name}: expected text, got {frame.schema[name]}")
    titles = pl.repeat("", frame.height, eager=True) if title is None else frame[title].cast(pl.String).fill_null("")
    contents = frame[text].cast(pl.String)
    for name, values, most in ((text, contents, MAX_TEXT_CHARACTERS), (title or "", titles, MAX_TEXT_CHARACTERS)):
        _check_texts(values, name, most, origin)
    _refuse_empty(contents, text, origin)
    given = [] if columns.split is None else [_given_split(frame, columns.split, origin)]
    ids = _numbered(titles, contents, origin) if id_ is None else frame[id_].cast(pl.String)
    _refuse_empty(ids, id_ or "id", origin)
    _check_texts(ids, id_ or "id", MAX_ID_CHARACTERS, origin)
    facts = [frame[name] for name in FACTS if name in frame.columns and name not in {text, title, id_}]
    return pl.DataFrame([ids.alias("id"), titles.alias("title"), contents.alias("content"), *facts, *given])


def _given_split(frame: pl.DataFrame, column: str, origin: Origin) -> pl.Series:
    """Return the split of each row, as the user gives it.

    Raises:
        ArticleError: there is no such column, or a row has no split or an unknown one.
    """
    if column not in frame.columns:
        raise ArticleError(f"{origin.prefix}no column {column!r}; the columns are {', '.join(frame.columns)}")
    values = frame[column].cast(pl.String, strict=False)
    if (row := _first(~values.is_in(PARTS).fill_null(value=False))) is not None:
        got = "nothing" if values[row] is None else repr(values[row])
        raise ArticleError(f"{origin.at(row)}{column}: got {got}, expected {', '.join(PARTS[:-1])} or {PARTS[-1]}")
    return values.alias(GIVEN_SPLIT)


def answer_rows(
    frame: pl.DataFrame,
    ids: pl.Series,
    filter_: Filter,
    columns: Columns,
    origin: Origin,
    *,
    oracle: str = IMPORTED,
) -> pl.DataFrame:
    """Return the answer of each row: article, oracle, and `y_<dimension>`, null where there is no score.

    Args:
        frame: the table.
        ids: the id of each row's article.
        filter_: the filter with the dimensions and the scale.
        columns: which column holds what.
        origin: where the rows are from.
        oracle: the oracle of rows without a column that names it.

    Raises:
        LabelError: a dimension has no column, a score is no number or outside the scale, or an oracle has no name.
    """
    column = _named(frame, columns.oracle, ("oracle",), origin, LabelError)
    oracles = pl.repeat(oracle, frame.height, eager=True) if column is None else frame[column].cast(pl.String)
    if (row := _first(oracles.fill_null("").str.strip_chars() == "")) is not None:
        raise LabelError(f"{origin.at(row)}{column}: no name of an oracle")
    scores = {
        f"y_{name}": _checked(values, label, filter_, origin)
        for name, (label, values) in _scores(frame, filter_, columns, origin).items()
    }
    return pl.DataFrame({"article": ids, "oracle": oracles, **scores})


def dimension_name(column: str) -> str:
    """Return the name of the dimension whose scores are in a column: `y_` is removed, and `Word choice` has a `_`."""
    return re.sub(r"\W+", "_", column.removeprefix("y_"), flags=re.ASCII).strip("_")


def numbers_in(values: pl.Series) -> pl.Series | None:
    """Return a column as finite numbers, null where missing or NaN; None if it holds anything else."""
    if values.dtype == pl.String:
        values = pl.select(
            pl.when(~values.str.strip_chars().str.to_lowercase().is_in(MISSING)).then(values)
        ).to_series()
    elif not (values.dtype.is_numeric() or values.dtype == pl.Null):
        return None
    numbers = values.cast(pl.Float64, strict=False)
    if numbers.null_count() > values.null_count() or numbers.is_infinite().any():
        return None
    return numbers.fill_nan(None)


def nested_scores(values: Sequence[Any], column: str, origin: Origin) -> list[dict[str, Any]]:
    """Return the scores by dimension of each row of a column that holds mappings, or JSON; empty where null.

    Raises:
        LabelError: a value is no mapping; the message names the row.
    """
    return [_mapping(value, column, row, origin) for row, value in enumerate(values)]


def _numbered(titles: pl.Series, contents: pl.Series, origin: Origin) -> pl.Series:
    if origin.numbers is None:
        return pl.int_range(1, len(contents) + 1, eager=True).cast(pl.String)
    return pl.Series([article_id(*both) for both in zip(titles, contents, strict=True)], dtype=pl.String)


def _check_texts(values: pl.Series, name: str, most: int, origin: Origin) -> None:
    if (row := _first(values.str.len_chars() > most)) is not None:
        raise ArticleError(f"{origin.at(row)}{name}: {len(values[row]):,} characters; at most {most:,} are allowed")
    if (row := _first(values.str.contains("\0", literal=True))) is not None:
        raise ArticleError(f"{origin.at(row)}{name}: contains a NUL character")


def _refuse_empty(values: pl.Series, name: str, origin: Origin) -> None:
    if (row := _first(values.fill_null("").str.strip_chars() == "")) is not None:
        raise ArticleError(f"{origin.at(row)}{name}: is empty")


def _distinct(articles: pl.DataFrame, origin: Origin) -> pl.DataFrame:
    """Return each article once; refuse an id with two texts."""
    first = articles.unique("id", keep="first", maintain_order=True)
    if first.height == articles.height:
        return articles
    texts = dict(first.select("id", "content").iter_rows())
    for row, (id_, content) in enumerate(articles.select("id", "content").iter_rows()):
        if texts[id_] != content:
            raise other_text(row, id_, origin)
    return first


def other_text(row: int, id_: str, origin: Origin) -> ArticleError:
    """Return the error for an id that has two texts."""
    return ArticleError(f"{origin.at(row)}id {id_!r} has another text than in an earlier row")


def _scores(
    frame: pl.DataFrame, filter_: Filter, columns: Columns, origin: Origin
) -> dict[str, tuple[str, pl.Series | list[Any]]]:
    """Return each dimension's scores, unchecked, with the name of their column for errors."""
    names = filter_.dimension_names
    given = columns.scores
    if given is not None and not isinstance(given, str):
        unknown = next((name for name in given if name not in names), None)
        if unknown is not None:
            raise LabelError(f"{origin.prefix}scores of {unknown}: the filter's dimensions are {', '.join(names)}")
        return {name: _mapped(frame, name, given.get(name), origin) for name in names}
    wide = {
        name: column for column in reversed(frame.columns if given is None else ()) for name in [dimension_name(column)]
    }
    wide |= {name: name for name in names if given is None and name in frame.columns}
    nested = given or "scores"
    missing = next((name for name in names if name not in wide), None)
    rows: list[dict[str, Any]] = []
    if missing is not None:
        if nested not in frame.columns:
            raise LabelError(
                f"{origin.prefix}no scores of {missing}: expected a column {missing} or y_{missing}, or a column "
                f"{nested} with a mapping; the columns are {', '.join(frame.columns)}"
            )
        rows = nested_scores(frame[nested].to_list(), nested, origin)
    return {
        name: (wide[name], frame[wide[name]]) if name in wide else (f"{nested}.{name}", [row.get(name) for row in rows])
        for name in names
    }


def _mapped(frame: pl.DataFrame, name: str, column: str | None, origin: Origin) -> tuple[str, pl.Series]:
    if column is None or column not in frame.columns:
        raise LabelError(
            f"{origin.prefix}{name}: the scores are in the column {column!r}, which the table lacks; its columns are "
            f"{', '.join(frame.columns)}"
        )
    return column, frame[column]


def _mapping(value: object, column: str, row: int, origin: Origin) -> dict[str, Any]:
    """Return one row's nested scores."""
    if value is None:
        return {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, dict):
        raise LabelError(f"{origin.at(row)}{column}: expected scores by dimension")
    return value


def _checked(values: pl.Series | list[Any], label: str, filter_: Filter, origin: Origin) -> pl.Series:
    """Return scores as numbers, null where missing or NaN; refuse text and scores outside the scale."""
    low, high = filter_.scale.min, filter_.scale.max
    if isinstance(values, pl.Series):
        # A whole column at once is much faster; only a column in which something is wrong is read score by score.
        whole = numbers_in(values)
        if whole is not None and whole.is_between(low, high).all():
            return whole.alias("")
        values = values.to_list()
    expected = f"expected a number from {low:g} to {high:g}"
    numbers = []
    for row, value in enumerate(values):
        number = _number(value)
        if number is None:
            raise LabelError(f"{origin.at(row)}{label}: got {value!r}, {expected}")
        # A comparison with NaN is False, so a missing score passes.
        if number < low or number > high:
            raise LabelError(f"{origin.at(row)}{label}: got {number:g}, {expected}")
        numbers.append(None if math.isnan(number) else number)
    return pl.Series(numbers, dtype=pl.Float64)


def _number(value: object) -> float | None:
    """Return a score as a number, NaN if it is missing, None if it is no number."""
    if value is None or (isinstance(value, str) and value.strip().lower() in MISSING):
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _named(
    frame: pl.DataFrame,
    wanted: str | None,
    usual: Sequence[str],
    origin: Origin,
    fault: type[LabelError | ArticleError],
) -> str | None:
    """Return the named column, or the first usual one that the table has, or None."""
    if wanted is None:
        return next((name for name in usual if name in frame.columns), None)
    if wanted not in frame.columns:
        raise fault(f"{origin.prefix}no column {wanted!r}; the columns are {', '.join(frame.columns)}")
    return wanted


def _first(wrong: pl.Series) -> int | None:
    return int(wrong.arg_true()[0]) if wrong.any() else None
