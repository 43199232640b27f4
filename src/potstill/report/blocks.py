"""The building blocks of a report: paragraphs, tiles, tables and figures made of text and facts.

In: facts. Out: blocks that are rendered as HTML and as Markdown. A number can only appear in a block as a `Shown`,
which keeps the fact that it came from; text is plain strings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from potstill.report.facts import Fact
    from potstill.report.themes import Theme

NOT_RECORDED = "not recorded"

Kind: TypeAlias = Literal[
    "score", "signed", "percent", "count", "plain", "milliseconds", "rate", "seconds", "bytes", "text", "hash", "date"
]
"""How a value is formatted: a score has three decimals, a count has thousands separators, and so on."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A fact and its format. `absent` is the text for a value that is not recorded."""

    fact: Fact
    kind: Kind
    absent: str = NOT_RECORDED

    def __str__(self) -> str:
        return self.absent if self.fact.value is None else write(self.fact.value, self.kind)


Inline: TypeAlias = str | Shown
Text: TypeAlias = tuple[Inline, ...]


def _signed(value: float) -> str:
    return _minus(f"{value:+.2f}")


def _minus(text: str) -> str:
    # A true minus sign is as wide as the plus; a value that rounds to zero has no sign.
    if not any(digit in text for digit in "123456789"):
        return text.lstrip("+-")
    return text.replace("-", "\N{MINUS SIGN}")


def _bytes(value: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f} bytes"


_FORMATS: Mapping[str, Callable[[float], str]] = {
    "score": lambda value: _minus(f"{value:.3f}"),
    "signed": _signed,
    "percent": lambda value: _minus(f"{value:.0%}"),
    "milliseconds": lambda value: f"{value:.1f}" if value < 100 else f"{value:,.0f}",
    "rate": lambda value: f"{value:,.0f}" if value >= 10 else f"{value:.1f}",
    "seconds": lambda value: f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min",
    "bytes": _bytes,
    "count": lambda value: f"{value:,.0f}",
    "plain": lambda value: f"{value:g}",
}


def write(value: Any, kind: Kind) -> str:  # noqa: ANN401 - anything a record can hold
    """Format a recorded value for a reader."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float) or kind in {"text", "hash", "date"}:
        return _text(value, kind)
    return _FORMATS[kind](value)


def _text(value: Any, kind: Kind) -> str:  # noqa: ANN401 - as `write`
    if isinstance(value, list | tuple):
        return ", ".join(_text(item, kind) for item in value)
    if kind == "hash":
        return str(value)[:12]
    if kind == "date":
        return str(value).replace("T", " ")[:16]
    return str(value)


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph; `tone` marks a finding."""

    text: Text
    tone: str | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """Findings, each with its tone."""

    items: tuple[Paragraph, ...]


@dataclass(frozen=True, slots=True)
class Tile:
    """A key figure: its label, the figure, and a note below it."""

    label: str
    value: Shown
    note: Text


@dataclass(frozen=True, slots=True)
class Tiles:
    """A row of key figures."""

    items: tuple[Tile, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A column header; numbers are right-aligned, and only columns with `wraps` may have several lines."""

    label: str
    numeric: bool = True
    wraps: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A row of cells; the first is its header. `shade` is the background of each cell, from 0 to 1."""

    cells: tuple[Text, ...]
    strong: bool = False
    shade: tuple[float | None, ...] | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a caption."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    folded: bool = False
    """Collapsed by default, because it repeats a figure as a table."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot: its data, the function that draws it, and its alternative text."""

    name: str
    title: str
    alt: str
    data: Sequence[Mapping[str, Any]]
    plot: Callable[[Sequence[Mapping[str, Any]], Theme], Any]
    sources: tuple[str, ...]
    png: str | None = None


@dataclass(frozen=True, slots=True)
class Panels:
    """A row of small plots of one kind."""

    title: str
    items: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """A tier with a lower threshold on the overall score, as `>=` or, if `above`, `>`; the last tier has no `least`."""

    tier: str
    least: float | None
    above: bool
    positive: bool


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Sliders for the thresholds of tiers, applied to stored overall scores; only shown in HTML.

    `oracle` and `student` are overall scores after gates and caps, a pair per row, from the record `file`.
    """

    label: str
    note: str
    cuts: tuple[Cut, ...]
    low: float
    high: float
    oracle: Sequence[float]
    student: Sequence[float]
    file: str
    sha256: str | None


Block: TypeAlias = Paragraph | Findings | Tiles | Table | Figure | Panels | WhatIf


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report; `id` is its anchor."""

    id: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A whole report."""

    title: str
    kicker: str
    lead: Text
    sections: tuple[Section, ...]


def shown(document: Document) -> Iterator[tuple[Section, Shown]]:
    """Every fact of a document in reading order, with its section."""
    for section in document.sections:
        for block in section.blocks:
            for text in _texts(block):
                yield from ((section, part) for part in text if isinstance(part, Shown))


def distinct(document: Document) -> Iterator[Shown]:
    """Every fact of a document once, in reading order."""
    seen: set[tuple[str, str]] = set()
    for _, part in shown(document):
        at = (part.fact.file, part.fact.field)
        if at not in seen:
            seen.add(at)
            yield part


def brief(part: Shown) -> str:
    """The shown text, shortened to fit into a list."""
    text = str(part)
    return text if len(text) <= 60 else text[:59] + "\N{HORIZONTAL ELLIPSIS}"


def figures(document: Document) -> Iterator[Figure]:
    """Every plot of a document, in reading order."""
    for section in document.sections:
        for block in section.blocks:
            if isinstance(block, Figure):
                yield block
            elif isinstance(block, Panels):
                yield from block.items


def _texts(block: Block) -> Iterator[Text]:
    match block:
        case Paragraph():
            yield block.text
        case Findings():
            for item in block.items:
                yield item.text
        case Tiles():
            for tile in block.items:
                yield (tile.value, *tile.note)
        case Table():
            for row in block.rows:
                yield from row.cells
        case _:
            return
