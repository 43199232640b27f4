"""Text and tables with figures, written as templates.

In: a record and a template such as `{count repeats/rows} articles, off by {score.. repeats/interval}`. Out: text that
keeps the fact behind every figure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from potstill.report.blocks import Column, Row, Table
from potstill.report.sections.parts import DASH, interval, show, spaced

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from potstill.report.blocks import Inline, Kind, Text
    from potstill.report.facts import Record
    from potstill.report.sections.parts import Path

_FIGURE = re.compile(r"\{(?P<kind>\w+)(?P<ends>\.\.)? (?P<path>[^}|]+)(?:\|(?P<absent>[^}]*))?\}")

_WORDS = frozenset({"text", "name"})


def filled(record: Record, template: str, at: Path = (), absent: str | None = None) -> Text:
    """Fill a template with figures.

    Args:
        record: the record with the figures.
        template: `{KIND PATH}` is a field, formatted by its kind (`name` formats the name of a dimension), and
            `{KIND.. PATH}` both ends of an interval; the text after a `|` is shown if the value is missing. A step
            `@worst` of a path is the value of the field `worst`.
        at: the path in the record to which paths are relative.
        absent: the text for a missing value, if the field does not give one.
    """
    return tuple(_parts(record, template, at, absent))


def table(
    record: Record,
    caption: str,
    columns: Sequence[tuple[str, str]],
    places: Sequence[Path],
    *,
    wraps: Sequence[str] = (),
    folded: bool = False,
) -> Table:
    """A table with a row per place; a column is a header and a template. Text columns are not numeric."""
    heads = tuple(Column(head, numeric=_numeric(template), wraps=head in wraps) for head, template in columns)
    rows = tuple(Row(tuple(filled(record, template, at, DASH) for _, template in columns)) for at in places)
    return Table(caption, heads, rows, folded)


def places(record: Record, *path: str | int) -> list[Path]:
    """The paths of a list's items."""
    return [(*path, place) for place in range(record.size(*path))]


def _parts(record: Record, template: str, at: Path, absent: str | None) -> Iterator[Inline]:
    end = 0
    for found in _FIGURE.finditer(template):
        if found.start() > end:
            yield template[end : found.start()]
        end = found.end()
        path = (*at, *(_step(record, at, step) for step in found["path"].split("/")))
        instead = absent if found["absent"] is None else found["absent"]
        if found["kind"] == "name":
            yield spaced(str(record.at(*path).value))
        elif found["ends"]:
            yield from interval(record, cast("Kind", found["kind"]), *path, absent=instead)
        else:
            yield show(record, cast("Kind", found["kind"]), *path, absent=instead)
    if end < len(template):
        yield template[end:]


def _step(record: Record, at: Path, step: str) -> str:
    return str(record.at(*at, step[1:]).value) if step.startswith("@") else step


def _numeric(template: str) -> bool:
    first = _FIGURE.search(template)
    return first is not None and first["kind"] not in _WORDS
