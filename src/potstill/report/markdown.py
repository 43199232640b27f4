"""Renders a document as Markdown with PNG files, for repositories that do not run scripts.

In: a document. Out: the text of `report.md` and the plots by file name. Text and figures are the same as in the HTML
page; an appendix gives the file and field of each figure.
"""

from __future__ import annotations

from potstill.errors import require
from potstill.report.blocks import (
    Block,
    Column,
    Document,
    Figure,
    Findings,
    Panels,
    Paragraph,
    Table,
    Text,
    Tiles,
    WhatIf,
    brief,
    distinct,
    figures,
)
from potstill.report.charts import specification
from potstill.report.themes import PRINT

_TONES = {"good": "Good", "caution": "Caution", "bad": "Problem", "neutral": "Note", "todo": "To do"}


def render_markdown(document: Document, sources: dict[str, str | None]) -> str:
    """Render the text. `sources` maps each file that was read to its SHA-256, or None if it is missing."""
    parts = [render_body(document)]
    parts.append("## Sources of all figures")
    parts.append(
        _grid(("File", "SHA-256"), [(f"`{file}`", f"`{hash_ or 'not recorded'}`") for file, hash_ in sources.items()])
    )
    parts.append("<details><summary>Every figure, with its file and field</summary>")
    parts.append(
        _grid(
            ("File", "Field", "Shown as"),
            [(f"`{part.fact.file}`", f"`{part.fact.field}`", _escape(brief(part))) for part in distinct(document)],
        )
    )
    parts.append("</details>")
    return "\n\n".join(parts) + "\n"


def render_body(document: Document, *, plots: bool = True) -> str:
    """Render the title, the lead and the sections; without `plots`, no PNG file is referenced."""
    parts = [f"# {_escape(document.title)}", _text(document.lead)]
    for section in document.sections:
        parts.append(f"## {section.title}")
        kept = [block for block in section.blocks if plots or not isinstance(block, Figure | Panels)]
        parts += [text for block in kept if (text := _block(block))]
    return "\n\n".join(parts)


def render_pngs(document: Document) -> dict[str, bytes]:
    """Render every plot that has a file name, by that name.

    Raises:
        MissingExtra: altair or vl-convert is not installed.
    """
    convert = require("vl_convert", "report")
    return {
        figure.png: convert.vegalite_to_png(specification(figure, PRINT), scale=2)
        for figure in figures(document)
        if figure.png is not None
    }


def _block(block: Block) -> str:
    match block:
        case Paragraph():
            return _text(block.text)
        case Findings():
            return "\n".join(f"- **{_TONES.get(item.tone or '', 'Note')}:** {_text(item.text)}" for item in block.items)
        case Tiles():
            return _grid(
                ("", "", ""),
                [(_escape(tile.label), f"**{_text((tile.value,))}**", _text(tile.note)) for tile in block.items],
            )
        case Figure():
            return "" if block.png is None else f"![{_escape(block.alt)}]({block.png})"
        case Panels() | WhatIf():
            return ""
        case Table():
            rows = [
                tuple(f"**{text}**" if row.strong else text for text in map(_text, row.cells)) for row in block.rows
            ]
            return f"**{_escape(block.caption)}**\n\n{_grid(_heads(block.columns), rows, block.columns)}"


def _heads(columns: tuple[Column, ...]) -> tuple[str, ...]:
    return tuple(_escape(column.label) for column in columns)


def _grid(head: tuple[str, ...], rows: list[tuple[str, ...]], columns: tuple[Column, ...] | None = None) -> str:
    rule = ["---:" if columns is not None and columns[i].numeric else "---" for i in range(len(head))]
    lines = [head, tuple(rule), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(text: Text) -> str:
    return "".join(_escape(str(part)) for part in text)


def _escape(text: str) -> str:
    """Escape text for Markdown, including tables."""
    for sign in "\\`*_|<[]":
        text = text.replace(sign, "\\" + sign)
    return text.replace("\n", " ")
