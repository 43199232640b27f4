"""Renders a document as one self-contained HTML file: no network access, no fonts to fetch, plots drawn by its script.

In: a document and its facts. Out: the text of `report.html`. Every figure is a `<data>` element that names its file,
field and hash; an appendix lists them all, for readers who cannot hover. The page's content security policy forbids any
connection.
"""

from __future__ import annotations

import json
from functools import cache
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from potstill.errors import require
from potstill.report.blocks import (
    NOT_RECORDED,
    Block,
    Column,
    Document,
    Figure,
    Findings,
    Panels,
    Paragraph,
    Row,
    Section,
    Shown,
    Table,
    Text,
    Tiles,
    WhatIf,
    brief,
    distinct,
    figures,
)
from potstill.report.charts import specification
from potstill.report.policy import report_policy, source_hash
from potstill.report.themes import PAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

_CREDITS = """/* With Vega, Vega-Lite, Vega-Embed, Vega-Tooltip and Vega-Interpreter, (c) University of Washington
Interactive Data Lab and contributors, BSD-3-Clause, and D3, (c) Mike Bostock, ISC. */"""

_APPENDIX = Section("sources", "Sources of all figures", ())


def render_html(document: Document, sources: dict[str, str | None]) -> str:
    """Render the page. `sources` maps each file that was read to its SHA-256, or None if it is missing.

    Raises:
        MissingExtra: altair or vl-convert is not installed.
    """
    sections = (*document.sections, _APPENDIX)
    body = "\n".join(
        _section(section, _appendix(document, sources) if section is _APPENDIX else _blocks(section))
        for section in sections
    )
    links = "".join(f'<li><a href="#{section.id}">{escape(section.title)}</a></li>' for section in sections)
    script = _script()
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{escape(report_policy(source_hash(script)))}">
<meta name="referrer" content="no-referrer">
<title>{escape(document.title)} · potstill</title>
<style>
{_asset("page.css")}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the report</a>
<header>
<p class="kicker">{escape(document.kicker)}</p>
<h1>{escape(document.title)}</h1>
<p class="lead">{_text(document.lead)}</p>
</header>
<div class="frame">
<nav aria-label="Sections"><ol>{links}</ol></nav>
<main id="main">
{body}
</main>
</div>
<footer><p>Every figure on this page comes from a record of the run. Hover over a figure, or tap it, to see its
source.</p></footer>
<div id="trace" role="status" hidden></div>
<noscript><style>.plot{{display:none}}</style></noscript>
{"".join(_specs(document))}
<script type="module">{script}</script>
</body>
</html>
"""


def _section(section: Section, content: str) -> str:
    return (
        f'<section id="{section.id}" aria-labelledby="{section.id}-title">\n'
        f'<h2 id="{section.id}-title">{escape(section.title)}</h2>\n{content}\n</section>'
    )


def _blocks(section: Section) -> str:
    return "\n".join(_block(block) for block in section.blocks)


def _block(block: Block) -> str:
    match block:
        case Paragraph():
            found = f"<p{_tone(block)}>{_text(block.text)}</p>"
        case Findings():
            found = _findings(block)
        case Tiles():
            found = _tiles(block)
        case Figure():
            found = _figure(block)
        case Panels():
            items = "".join(_figure(item) for item in block.items)
            found = f'<div class="panels" role="group" aria-label="{escape(block.title)}">{items}</div>'
        case WhatIf():
            found = _what_if(block)
        case Table():
            found = _folded(block.caption, _table(block)) if block.folded else _table(block)
    return found


def _what_if(block: WhatIf) -> str:
    """A form that the page's script fills; it is hidden without scripts and on paper."""
    data = {
        "low": block.low,
        "high": block.high,
        "tiers": [
            {"name": cut.tier, "least": cut.least, "above": cut.above, "positive": cut.positive} for cut in block.cuts
        ],
        "oracle": block.oracle,
        "student": block.student,
    }
    content = escape(json.dumps(data, ensure_ascii=False, separators=(",", ":")))
    title = escape(f"{block.file} \N{MIDDLE DOT} sha256 {(block.sha256 or 'missing')[:12]}")
    return (
        f'<form class="whatif" aria-label="{escape(block.label)}" title="{title}" data-rows="{content}" hidden>'
        f"<p>{escape(block.note)}</p></form>"
    )


def _findings(findings: Findings) -> str:
    items = "".join(f"<li{_tone(item)}>{_text(item.text)}</li>" for item in findings.items)
    return f'<ul class="findings">{items}</ul>'


def _tiles(tiles: Tiles) -> str:
    items = "".join(
        f"<div><dt>{escape(tile.label)}</dt><dd>{_text((tile.value,))}<small>{_text(tile.note)}</small></dd></div>"
        for tile in tiles.items
    )
    return f'<dl class="tiles">{items}</dl>'


def _folded(summary: str, content: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def _tone(paragraph: Paragraph) -> str:
    return "" if paragraph.tone is None else f' class="tone {escape(paragraph.tone)}"'


def _figure(figure: Figure) -> str:
    return (
        f'<figure><figcaption>{escape(figure.title)}</figcaption><div class="plot" id="plot-{escape(figure.name)}" '
        f'role="img" aria-label="{escape(figure.alt)}"></div></figure>'
    )


def _table(table: Table) -> str:
    head = "".join(_head(column) for column in table.columns)
    rows = "\n".join(_row(row, table.columns) for row in table.rows)
    label = escape(table.caption)
    return (
        f'<div class="scroll" role="region" aria-label="{label}" tabindex="0"><table><caption>{label}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>"
    )


def _head(column: Column) -> str:
    kind = "" if column.numeric else ' class="words"'
    return f'<th scope="col"{kind}>{escape(column.label)}</th>'


def _row(row: Row, columns: tuple[Column, ...]) -> str:
    cells = []
    for i, (cell, column) in enumerate(zip(row.cells, columns, strict=True)):
        shade = row.shade[i] if row.shade is not None else None
        style = "" if shade is None else f' style="--share:{shade:.3f}" class="shade"'
        kind = "" if column.numeric or style else f' class="words{" wraps" if column.wraps else ""}"'
        tag = 'th scope="row"' if i == 0 else "td"
        cells.append(f"<{tag}{style}{kind}>{_text(cell)}</{tag[:2]}>")
    return f"<tr{' class=strong' if row.strong else ''}>{''.join(cells)}</tr>"


def _text(text: Text) -> str:
    return "".join(_fact(part) if isinstance(part, Shown) else escape(part) for part in text)


def _fact(part: Shown) -> str:
    fact = part.fact
    if not fact.recorded:
        return f'<span class="absent" data-at="{escape(fact.file + fact.field)}">{escape(str(part))}</span>'
    value = json.dumps(fact.value, ensure_ascii=False)
    return (
        f'<data value="{escape(value)}" data-file="{escape(fact.file)}" data-field="{escape(fact.field)}" '
        f'data-sha="{escape(fact.sha256 or "")}" title="{escape(trace(part))}">{escape(str(part))}</data>'
    )


def trace(part: Shown) -> str:
    """The source of a figure on one line: file, field, the beginning of the hash."""
    fact = part.fact
    return f"{fact.file} {fact.field} \N{MIDDLE DOT} sha256 {(fact.sha256 or 'missing')[:12]}"


def _appendix(document: Document, sources: dict[str, str | None]) -> str:
    words = (Column("File", numeric=False), Column("SHA-256", numeric=False))
    records = Table(
        "Records and their hashes",
        words,
        tuple(Row(((file,), (hash_ or NOT_RECORDED,))) for file, hash_ in sources.items()),
    )
    columns = (words[0], Column("Field", numeric=False), Column("Shown as", numeric=False))
    listed = Table(
        "Every figure, with its file and field",
        columns,
        tuple(
            Row(((fact.file,), (fact.field,), (brief(part),))) for part in distinct(document) for fact in (part.fact,)
        ),
    )
    plots = "; ".join(f"{figure.title}: {', '.join(figure.sources)}" for figure in figures(document))
    return (
        "<p>This report was made from the records below. The manifest grows as stages end, so the record of each stage "
        f'is hashed separately, as canonical JSON.</p>\n<div class="trace">{_table(records)}'
        f"{_folded(listed.caption, _table(listed))}</div>\n"
        f'<p class="plots">Sources of the plots: {escape(plots or "none")}.</p>'
    )


def _specs(document: Document) -> Iterator[str]:
    for figure in figures(document):
        spec = specification(figure, PAGE)
        # No text in the plot, such as an article's id, may end the script element.
        content = json.dumps(spec, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
        place = f"plot-{escape(figure.name)}"
        yield f'<script type="application/json" class="spec" data-for="{place}">{content}</script>\n'


def _script() -> str:
    """The script of the page: Vega, Vega-Lite and Vega-Embed, and the code that uses them."""
    return f"\n{_CREDITS}\n{_libraries()}\n{_asset('page.js')}\n{_asset('whatif.js')}"


@cache
def _libraries() -> str:
    bundle: str = require("vl_convert", "report").javascript_bundle()
    # In JavaScript strings, an escaped slash is a slash.
    return bundle.replace("</script", "<\\/script")


def _asset(name: str) -> str:
    return files("potstill.report").joinpath(name).read_text(encoding="utf-8")
