"""The plots of a benchmark: throughput by length and by batch size, and the share of time per stage.

In: the record that `potstill bench` writes. Out: rows of plain values, charts of them, and one image of all three.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from potstill.errors import BadInput, require
from potstill.files import replacing
from potstill.report.charts import finished, inline, library, tooltips
from potstill.report.facts import pointer
from potstill.report.themes import PRINT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from potstill.report.charts import Rows
    from potstill.report.facts import Record
    from potstill.report.themes import Theme

PICTURES = (".png", ".svg")
"""Supported suffixes of image files."""


def prepare_rates(bench: Record, which: str) -> list[dict[str, Any]]:
    """A row per length (`by_length`) or batch size (`by_batch`): articles per second, and its range."""
    unit = {"by_length": "words", "by_batch": "batch"}[which]
    return [
        {
            "label": f"{bench.at(which, place, unit).value:,} {'words' if unit == 'words' else 'per batch'}",
            "rate": bench.at(which, place, "articles_per_second").value,
            "low": bench.at(which, place, "low").value,
            "high": bench.at(which, place, "high").value,
            "field": pointer(which, place, "articles_per_second"),
        }
        for place in range(bench.size(which))
    ]


def prepare_stages(bench: Record) -> list[dict[str, Any]]:
    """A row per stage: its share of the time."""
    return [
        {
            "label": bench.at("stages", place, "stage").value,
            "share": bench.at("stages", place, "share").value,
            "microseconds": bench.at("stages", place, "microseconds").value,
            "field": pointer("stages", place, "share"),
        }
        for place in range(bench.size("stages"))
    ]


def plot_rates(rows: Rows, theme: Theme) -> Any:  # noqa: ANN401 - altair comes late
    """Bars with the range over rounds."""
    return finished(_rates(rows, theme), theme, _height(rows))


def plot_stages(rows: Rows, theme: Theme) -> Any:  # noqa: ANN401 - as above
    """Bars of shares."""
    return finished(_stages(rows, theme), theme, _height(rows))


def write_picture(bench: Record, path: Path) -> None:
    """Write all three plots into one image, PNG or SVG by the path's suffix.

    Raises:
        BadInput: another suffix, or the file cannot be written.
        MissingExtra: altair or vl-convert is not installed.
    """
    if path.suffix not in PICTURES:
        raise BadInput(f"{path}: expected a file name that ends in {' or '.join(PICTURES)}")
    convert = require("vl_convert", "report")
    parts = [
        _titled(_rates, prepare_rates(bench, "by_length"), "Articles per second by length"),
        _titled(_rates, prepare_rates(bench, "by_batch"), "Articles per second by batch size"),
        _titled(_stages, prepare_stages(bench), "Share of time by stage"),
    ]
    spec = (
        library()
        .vconcat(*parts, background=PRINT.background)
        .configure(font=PRINT.font, padding=12)
        .configure_view(stroke=None)
        .configure_axis(labelColor=PRINT.ink, titleColor=PRINT.muted, gridColor=PRINT.line, domainColor=PRINT.line)
        .configure_title(color=PRINT.ink, anchor="start", fontSize=13)
        .to_dict()
    )
    with replacing(path) as temporary:
        if path.suffix == ".png":
            temporary.write_bytes(convert.vegalite_to_png(spec, scale=2))
        else:
            temporary.write_text(convert.vegalite_to_svg(spec), encoding="utf-8")


def _titled(draw: Callable[[Rows, Theme], Any], rows: Rows, title: str) -> Any:  # noqa: ANN401 - as above
    return draw(rows, PRINT).properties(title=title, width=PRINT.width, height=_height(rows))


def _rates(rows: Rows, theme: Theme) -> Any:  # noqa: ANN401 - as above
    alt = library()
    base = alt.Chart(inline(rows))
    tooltip = tooltips(alt, "label", rate="rate:Q", low="low:Q", high="high:Q")
    x = alt.X("rate:Q", title="articles per second", axis=alt.Axis(tickCount=6))
    return alt.layer(
        base.mark_bar(color=theme.accent, height={"band": 0.55}, opacity=0.85).encode(y=_y(alt), x=x, tooltip=tooltip),
        base.mark_rule(color=theme.ink, strokeWidth=1.5).encode(y=_y(alt), x="low:Q", x2="high:Q"),
    )


def _stages(rows: Rows, theme: Theme) -> Any:  # noqa: ANN401 - as above
    alt = library()
    base = alt.Chart(inline(rows))
    x = alt.X("share:Q", title="share of time", axis=alt.Axis(format="%", tickCount=6))
    tooltip = tooltips(alt, "label", share="share:Q", microseconds="microseconds:Q")
    return base.mark_bar(color=theme.second, height={"band": 0.55}, opacity=0.85).encode(
        y=_y(alt), x=x, tooltip=tooltip
    )


def _y(alt: Any) -> Any:  # noqa: ANN401 - as above
    return alt.Y("label:N", sort=None, title=None, axis=alt.Axis(domain=False, ticks=False, grid=False, labelPadding=8))


def _height(rows: Rows) -> int:
    return max(60, 30 * len(rows))
