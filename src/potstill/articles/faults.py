"""Report an invalid row.

Input: the file, the number of the row and the fault. Output: a one-line error, for any content of the file.
"""

from __future__ import annotations

import json
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, NoReturn

from potstill.articles.endings import FEEDS, PAGES
from potstill.errors import ArticleError

if TYPE_CHECKING:
    from pathlib import Path


_KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true or false",
    type(None): "null",
    int: "a number",
    float: "a number",
    Decimal: "a number",
    bytes: "bytes (Binary)",
    date: "a date",
    datetime: "a date and time",
    time: "a time of day",
    timedelta: "a duration",
}


def fail(path: str | Path, number: int, what: str) -> NoReturn:
    """Raise the ArticleError of a line, of a Parquet row or of a feed entry; `number` counts from 1."""
    raise ArticleError(f"{path}: {place_of(path, number)}{what}") from None


def place_of(path: str | Path, number: int) -> str:
    """Return the position of a row, as messages start with it; empty if the file is a single article."""
    name = str(path).lower()
    if name.endswith((".txt", *PAGES)):
        return ""
    return f"{'row' if name.endswith('.parquet') else 'entry' if name.endswith(FEEDS) else 'line'} {number}: "


def kind_of(value: object) -> str:
    """Describe the type of a JSON or column value in words."""
    return _KINDS.get(type(value), type(value).__name__)


def shown(text: str) -> str:
    """Return a short, printable form of a value from the file, for a one-line message."""
    short = text if len(text) <= 60 else text[:57] + "..."
    return json.dumps(short, ensure_ascii=not short.isprintable())
