"""Read and write the column `extra`, a JSON object with the other fields of a row.

Input: the other fields of a row, or a data frame with a user's column of that name. Output: JSON on one line, and the
fields read back.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

import polars as pl

from potstill.articles.types import not_in_json
from potstill.errors import ArticleError

if TYPE_CHECKING:
    from pathlib import Path


def dumps(value: object) -> str:
    """Return JSON on one line; only characters that UTF-8 cannot encode are escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False)
    return text


def unfolded(extra: str | None) -> dict[str, Any]:
    """Return the fields in a value of the column."""
    value = json.loads(extra) if extra else {}
    return value if isinstance(value, dict) else {"extra": value}


def own_extra(path: str | Path, frame: pl.DataFrame) -> pl.DataFrame:
    """Distinguish potstill's column `extra`, which contains only JSON objects, from a user's column of that name.

    Raises:
        ArticleError: the user's column contains values that JSON cannot represent, such as bytes.
    """
    if "extra" not in frame.columns:
        return frame
    if frame.schema["extra"] == pl.String:
        values = [_own(value) for value in frame["extra"]]
    elif (dtype := not_in_json(frame.schema["extra"])) is not None:
        raise ArticleError(
            f"{path}: column extra: has the type {dtype}, which JSON cannot represent; rename the column"
        )
    else:
        values = frame.select("extra").write_ndjson().split("\n")[: frame.height]
    return frame.with_columns(pl.Series("extra", values, dtype=pl.String))


def _own(text: str | None) -> str:
    """Convert a value of a text column to a JSON object; text that is not an object becomes a field `extra`."""
    if text is not None:
        try:
            value = json.loads(text, parse_constant=_no_constant)
            if isinstance(value, dict):
                return dumps(value)
        except (ValueError, RecursionError):
            pass
    return dumps({"extra": text})


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
