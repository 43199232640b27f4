"""Adds columns to a frame of articles without losing a column of the input; `one_filter` names those of a verdict.

Input: articles, and columns to add. Output: the articles with these columns; an input column of the same name gets
another name. Fields that a JSON line has beyond the known columns are in the column `extra`, and get other names too.
"""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING

import polars as pl

from potstill.articles.extra import dumps, unfolded

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


def with_columns(articles: pl.DataFrame, added: Sequence[pl.Series]) -> pl.DataFrame:
    """Return the articles with columns added; input columns of the same name are renamed to `input_<name>`.

    If one of these names is taken, as in a file that is scored for the third time, all renamed columns get the same
    numeric suffix: the first from 2 on that makes all of them unique. No column is lost, and the columns of an earlier
    verdict keep a common suffix.
    """
    names = [series.name for series in added]
    taken = {*articles.columns, *names}
    renamed = articles.rename(_free_names([name for name in names if name in articles.columns], taken))
    if "extra" in renamed.columns:
        columns = {*renamed.columns, *names} - {"extra"}
        renamed = renamed.with_columns(
            pl.Series("extra", [_without_conflicts(text, columns) for text in renamed["extra"]], dtype=pl.String)
        )
    return renamed.with_columns(added)


def _free_names(conflicting: Sequence[str], taken: Collection[str]) -> dict[str, str]:
    """Return new names for columns that have to be renamed, avoiding the names in `taken`.

    A new name is `input_<name>`, with a numeric suffix if one of them is taken. A column that was renamed before keeps
    its name and gets another suffix.
    """
    before = [name for name in conflicting if name.startswith("input_")]
    first = [name for name in conflicting if name not in before]
    tries = ({name: f"input_{name}{_suffix(number)}" for name in first} for number in count(1))
    names = next(found for found in tries if not any(name in taken for name in found.values()))
    for name in before:
        used = {*taken, *names.values()}
        names[name] = next(found for number in count(2) if (found := f"{name}{_suffix(number)}") not in used)
    return names


def _suffix(number: int) -> str:
    return "" if number == 1 else f"_{number}"


def _without_conflicts(extra: str | None, columns: Collection[str]) -> str | None:
    """Rename the fields of `extra`, a JSON object, that have the name of a column, in the same way as columns."""
    # Nearly no line has such a field, and this search is a hundred times cheaper than parsing.
    if extra is None or not any(json.dumps(name, ensure_ascii=False) in extra for name in columns):
        return extra
    fields = unfolded(extra)
    names = _free_names([key for key in fields if key in columns], {*fields, *columns})
    return dumps({names.get(key, key): value for key, value in fields.items()}) if names else extra
