"""What is said of a row that is not legal.

In: the file, the row's number and what is wrong. Out: an error of one line, whatever the file holds.
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
    """Raise the ArticleError of a line, of a row in Parquet or of an entry of a feed; `number` counts from 1."""
    raise ArticleError(f"{path}: {place_of(path, number)}{what}") from None


def place_of(path: str | Path, number: int) -> str:
    """Where a row stands in its file, as a message begins; nothing where a file is one article."""
    name = str(path).lower()
    if name.endswith((".txt", *PAGES)):
        return ""
    return f"{'row' if name.endswith('.parquet') else 'entry' if name.endswith(FEEDS) else 'line'} {number}: "


def kind_of(value: object) -> str:
    """What a value of JSON or of a column is, in words."""
    return _KINDS.get(type(value), type(value).__name__)


def shown(text: str) -> str:
    """A short, printable form of something from the file, for a message of one line."""
    short = text if len(text) <= 60 else text[:57] + "..."
    return json.dumps(short, ensure_ascii=not short.isprintable())
