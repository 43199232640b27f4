"""The column `extra`: a JSON object of what else a row held.

In: what else a row held, or a frame whose user had a column of that name. Out: JSON on one line, and back.
"""

from __future__ import annotations

import json
from typing import Any

import polars as pl


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


def own_extra(frame: pl.DataFrame) -> pl.DataFrame:
    """Tell `extra`, which is ours, from a user's column of that name: ours holds JSON objects alone."""
    if "extra" not in frame.columns:
        return frame
    values = [
        value if isinstance(value, str) and _is_object(value) else dumps({"extra": value}) for value in frame["extra"]
    ]
    return frame.with_columns(pl.Series("extra", values, dtype=pl.String))


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
