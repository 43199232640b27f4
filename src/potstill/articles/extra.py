"""The column `extra`: a JSON object of what else a row held.

In: what else a row held, or a frame whose user had a column of that name. Out: JSON on one line, and back.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

import polars as pl

from potstill.articles.types import in_the_way_of_json
from potstill.errors import ArticleError

if TYPE_CHECKING:
    from pathlib import Path


def dumps(value: object) -> str:
    """JSON on one line; only text that UTF-8 cannot hold is escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False)
    return text


def unfolded(extra: str | None) -> dict[str, Any]:
    """The fields that a value of the column stands for."""
    value = json.loads(extra) if extra else {}
    return value if isinstance(value, dict) else {"extra": value}


def own_extra(path: str | Path, frame: pl.DataFrame) -> pl.DataFrame:
    """Tell `extra`, which is ours, from a user's column of that name: ours holds JSON objects alone.

    Raises:
        ArticleError: the user's column holds what JSON cannot, such as bytes.
    """
    if "extra" not in frame.columns:
        return frame
    if frame.schema["extra"] == pl.String:
        values = [_own(value) for value in frame["extra"]]
    elif (dtype := in_the_way_of_json(frame.schema["extra"])) is not None:
        raise ArticleError(f"{path}: column extra: holds {dtype}, which JSON cannot; give it another name")
    else:
        values = frame.select("extra").write_ndjson().split("\n")[: frame.height]
    return frame.with_columns(pl.Series("extra", values, dtype=pl.String))


def _own(text: str | None) -> str:
    """A value of a text column as one of ours: an object is our own, and any other text is a field of that name."""
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
