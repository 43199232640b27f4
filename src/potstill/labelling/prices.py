"""Prices: what a million tokens of a model cost, from the user's own table or the one that ships.

In: an oracle's spec and where it is reached. Out: a price with where it is from and of which month, or none: a price
that nobody is sure of is worse than none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from potstill.errors import BadInput
from potstill.labelling.budget import Price

_HOMES = {"openai": "openai.com", "anthropic": "anthropic.com", "gemini": "googleapis.com"}


class Entry(BaseModel):
    """One model's line in a table."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    input: float = Field(ge=0, lt=1e6)
    output: float = Field(ge=0, lt=1e6)
    month: str | None = Field(default=None, pattern=r"^\d{4}-\d{2}$")


@dataclass(frozen=True, slots=True)
class Known:
    """A price, and where it is from, in words."""

    price: Price
    source: str


def find_price(spec: str, base_url: str | None = None, table: str | Path | None = None) -> Known | None:
    """The price of a model; None where it is in no table.

    A name with a date behind it (`gpt-5-mini-2025-08-07`) has the price of the name. The table that ships holds
    only for the provider's own address.

    Args:
        spec: the oracle's, as `openai:gpt-5-mini`.
        base_url: where it is reached, unless at the provider's own address.
        table: the user's own, YAML like the one that ships; it wins.

    Raises:
        BadInput: the user's table is missing or broken.
    """
    if table is not None:
        path = Path(table)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"{path}: cannot be read ({error})") from None
        if (entry := _entry(_table(text, str(path)), spec)) is not None:
            return Known(Price(entry.input, entry.output), str(path))
    provider = spec.partition(":")[0]
    host = urlsplit(base_url or "").hostname
    if host is not None and not f".{host}".endswith(f".{_HOMES.get(provider, '')}"):
        return None
    entry = _entry(_table(files("potstill").joinpath("builtin/prices.yaml").read_text("utf-8"), "prices.yaml"), spec)
    if entry is None:
        return None
    return Known(Price(entry.input, entry.output), f"US dollars of {entry.month}, from the table that ships")


def _table(text: str, where: str) -> dict[str, Entry]:
    try:
        found: Any = yaml.safe_load(text)
        return TypeAdapter(dict[str, Entry]).validate_python(found or {})
    except yaml.YAMLError as error:
        raise BadInput(f"{where}: broken YAML ({' '.join(str(error).split())})") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = " ".join(str(part) for part in first["loc"]) or "the table"
        raise BadInput(f"{where}: {place}: {first['msg']}, got {first['input']!r}") from None


def _entry(table: dict[str, Entry], spec: str) -> Entry | None:
    dateless = re.sub(r"-(?:\d{8}|\d{4}-\d{2}-\d{2})$", "", spec)
    return table.get(spec) or table.get(dateless)
