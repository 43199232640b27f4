"""Look up what a million tokens of a model cost, in the user's own table or the package genai-prices.

Input: an oracle's specification and its address. Output: a price with its source and date, or None, because no price is
better than an uncertain one. The data are part of the package; nothing is downloaded.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import Field, TypeAdapter, ValidationError

from potstill.errors import BadInput
from potstill.files import read_text
from potstill.filters.reading import line_of, read_yaml
from potstill.labelling.budget import Price
from potstill.oracle.environment import address
from potstill.records import Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from genai_prices.types import MatchLogic, ModelInfo, ModelPrice, Provider

_PROVIDERS = {
    "openai": "openai",
    "anthropic": "anthropic",
    "gemini": "google",
    "decisions": "openai-decisions",
    "systemone": "typesafe",
}

_INPUT_ONLY = frozenset({"openai-decisions", "typesafe"})
"""Providers that do not charge for output, so that their prices have none."""

# Suffixes of a model name: a date, a version number, and words for the newest version.
_SUFFIX = re.compile(r"(?:[-@:](?:latest|preview|exp|\d{8}|\d{4}-\d\d-\d\d|\d\d-\d\d(?:\d\d)?|\d{3,4}))+$")

# Price components that never apply to a question and an answer in text.
_OTHER_PARTS = re.compile("audio|image|video|document|searches|cache_write")
_ADDRESSES = {
    "openai": "OPENAI_BASE_URL",
    "anthropic": "ANTHROPIC_BASE_URL",
    "gemini": "GOOGLE_GEMINI_BASE_URL",
    "decisions": "OPENAI_BASE_URL",
    "systemone": "TYPESAFE_BASE_URL",
}

_PARTS = frozenset({"input_mtok", "output_mtok", "cache_read_mtok"})


class Entry(Part):
    """One model's entry in the user's table."""

    input: float = Field(ge=0, lt=1e6)
    output: float = Field(ge=0, lt=1e6)
    cached: float | None = Field(default=None, ge=0, lt=1e6)
    month: str | None = Field(default=None, pattern=r"^\d{4}-\d{2}$")


@dataclass(frozen=True, slots=True)
class Known:
    """A price, and its source in words."""

    price: Price
    source: str


def find_price(spec: str, base_url: str | None = None, table: str | Path | None = None) -> Known | None:
    """Return the price of a model; None if it is unknown.

    A name with a date suffix (`gpt-5-mini-2025-08-07`) has the price of the name. At an address other than the
    provider's own, a price is known only if the address belongs to a provider in the data.

    Args:
        spec: the oracle's specification, such as `openai:gpt-5-mini`.
        base_url: its address, unless that is the provider's own.
        table: the user's table, YAML with lines such as `openai:gpt-5-mini: {input: 0.25, output: 2}`; it takes
            precedence.

    Raises:
        BadInput: the user's table is missing or invalid.
    """
    if table is not None and (entry := _from_table(Path(table), spec)) is not None:
        month = f", of {entry.month}" if entry.month else ""
        return Known(Price(entry.input, entry.output, entry.cached), f"{table}{month}")
    kind, _, model = spec.partition(":")
    if kind not in _PROVIDERS or not model or find_spec("genai_prices") is None:
        return None
    own = _PROVIDERS[kind]
    free_output = own in _INPUT_ONLY
    # A decision API has prices of its own at an address that it may share with other APIs.
    among = _providers() if not free_output else tuple(one for one in _providers() if one.id == own)
    provider = _provider(own) if base_url is None else _provider_at(base_url, among)
    found = None if provider is None else _model(provider, model.removeprefix("models/").lower())
    price = None if found is None else _price(found, free_output=free_output)
    return None if price is None else Known(price, f"US dollars, from {data_source()}")


def price_at(spec: str, base_url: str | None = None, table: str | Path | None = None) -> Known | None:
    """Return the price of a model at the address where it is asked: the given one, or that of the environment.

    Raises:
        BadInput: the user's table is missing or invalid.
        OracleError: the address cannot be asked.
    """
    variable = _ADDRESSES.get(spec.partition(":")[0])
    return find_price(spec, None if variable is None else address(base_url, variable), table)


def data_source() -> str:
    """Return the package with the prices, and the date of the newest price in it."""
    return f"genai-prices {version('genai-prices')}, data of {_date_of_the_data()}"


def _from_table(path: Path, spec: str) -> Entry | None:
    """Return a model's entry in the user's table."""
    content, root = read_yaml(read_text(path), str(path))
    try:
        table = TypeAdapter(dict[str, Entry]).validate_json(json.dumps(content or {}))
    except ValidationError as error:
        first = error.errors()[0]
        place = " -> ".join(str(part) for part in first["loc"]) or "the table"
        line = line_of(root, first["loc"])
        raise BadInput(f"{path}: line {line}: {place}: {first['msg']}, got {first['input']!r}") from None
    return table.get(spec) or table.get(_SUFFIX.sub("", spec))


@cache
def _providers() -> tuple[Provider, ...]:
    """Return the data in the package; `genai_prices.data_snapshot` could return updates, which are not used."""
    from genai_prices.data import providers

    return tuple(providers)


@cache
def _date_of_the_data() -> str:
    """Return the newest date, up to today, from which a price in the data is valid."""
    today = datetime.now(UTC).date()
    starts = [
        getattr(one.constraint, "start_date", None)
        for provider in _providers()
        for model in provider.models
        for one in [*(model.prices if isinstance(model.prices, list) else []), *(model.price_variants or ())]
    ]
    return str(max((start for start in starts if start is not None and start <= today), default="an unknown date"))


def _provider(name: str) -> Provider | None:
    return next((one for one in _providers() if one.id == name), None)


def _provider_at(address: str, among: Iterable[Provider]) -> Provider | None:
    """Return the first of these providers with this address; the whole host must match, not only a part of it."""
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        return None
    if parts.scheme != "https" or not host or parts.username is not None:
        return None
    place = f"https://{host}"
    for provider in among:
        found = re.match(provider.api_pattern.replace(".*", "[^/]*"), f"{place}{parts.path}")
        rest = place[found.end() :] if found is not None else None
        # A few patterns end before the top-level domain.
        if found is not None and (not rest or (found[0].endswith(".") and re.fullmatch("[a-z]{2,3}", rest))):
            return provider
    return None


def _model(provider: Provider, name: str) -> ModelInfo | None:
    """Return the model of this name, which must be spelled out; the data's own rules (`starts with`) are broad."""
    found = provider.find_model(name, all_providers=list(_providers()))
    if found is None:
        return None
    spelled = {found.id.lower(), *_literals(found.match)}
    named = {name, _SUFFIX.sub("", name)}
    exact = any(re.search(pattern, name) for pattern in _patterns(found.match) if pattern.endswith("$"))
    return found if exact or not named.isdisjoint(spelled) else None


def _literals(match: MatchLogic) -> Iterator[str]:
    """Yield the names that a rule spells out, in lower case."""
    for clause in _clauses(match):
        for kind in ("equals", "starts_with", "contains"):
            if (text := getattr(clause, kind, None)) is not None:
                yield str(text).lower()


def _patterns(match: MatchLogic) -> Iterator[str]:
    """Yield the rule's regular expressions for a whole name."""
    for clause in _clauses(match):
        pattern = str(getattr(clause, "regex", ""))
        if pattern.startswith("^") and not pattern.startswith("^(?!"):
            yield pattern


def _clauses(match: MatchLogic) -> Iterator[Any]:
    inner: Any = getattr(match, "or_", None) or getattr(match, "and_", None)
    if inner is None:
        yield match
        return
    for clause in inner:
        yield from _clauses(clause)


def _price(model: ModelInfo, *, free_output: bool) -> Price | None:
    """Return a model's current price, the highest if it varies by the hour; None for other kinds of prices."""
    single, jobs = (_highest(model, context, free_output=free_output) for context in ({}, {"processing": "batch"}))
    if single is None or jobs is None:
        return None
    # Without prices for batch jobs, the full price is assumed, so that a cost limit holds.
    return Price(single.input, single.output, single.cached, jobs, single.long)


def _highest(model: ModelInfo, context: dict[str, str], *, free_output: bool) -> Price | None:
    midnight = datetime.combine(datetime.now(UTC).date(), time(), UTC)
    hours = [midnight + timedelta(minutes=30 * step) for step in range(48)] if isinstance(model.prices, list) else []
    found = [_read(model.get_prices(hour, context), free_output=free_output) for hour in hours or [midnight]]
    prices = [price for price in found if price is not None]
    if len(prices) < len(found):
        return None
    return max(prices, key=lambda price: (price.input + price.output, price.cached or 0.0))


def _read(prices: ModelPrice, *, free_output: bool) -> Price | None:
    """Convert a price of the data to a `Price`; `free_output` accepts one that has no price of output."""
    parts = {name: value for name, value in vars(prices).items() if value is not None and not _OTHER_PARTS.search(name)}
    if not {"input_mtok"} | (set() if free_output else {"output_mtok"}) <= parts.keys() or not parts.keys() <= _PARTS:
        return None
    starts = sorted({tier.start for value in parts.values() for tier in getattr(value, "tiers", ())})

    def at(tokens: int, long: tuple[tuple[int, Price], ...] = ()) -> Price:
        rates = {name: _rate(value, tokens) for name, value in parts.items()}
        return Price(rates["input_mtok"], rates.get("output_mtok", 0.0), rates.get("cache_read_mtok"), None, long)

    return at(0, tuple((start, at(start + 1)) for start in starts))


def _rate(value: Any, tokens: int) -> float:  # noqa: ANN401 - a Decimal, or prices by the length of the question
    rate = getattr(value, "base", value)
    for tier in getattr(value, "tiers", ()):
        rate = tier.price if tokens > tier.start else rate
    return float(rate)
