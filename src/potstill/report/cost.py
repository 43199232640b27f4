"""The plot of a leaderboard: each model's error by its time per article, and the noise floor.

In: the record that `potstill train --auto` writes. Out: rows of plain values, a chart of them, and an image file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from potstill.errors import BadInput, require
from potstill.files import replacing
from potstill.report.charts import finished, inline, library, tooltips
from potstill.report.facts import pointer
from potstill.report.speed import PICTURES
from potstill.report.themes import PRINT

if TYPE_CHECKING:
    from pathlib import Path

    from potstill.report.charts import Rows
    from potstill.report.facts import Record
    from potstill.report.themes import Theme


def prepare_cost(leaderboard: Record) -> list[dict[str, Any]]:
    """A row per model that was trained and timed: its error with its interval, and milliseconds."""
    rows = []
    for place in range(leaderboard.size("steps")):
        mae, at = leaderboard.at("steps", place, "mae"), ("steps", place, "latency", "milliseconds_p50")
        if mae.value is None or leaderboard.at(*at).value is None:
            continue
        name = leaderboard.at("steps", place, "name").value
        rows.append(
            {
                "model": name,
                "mae": mae.value,
                "low": leaderboard.at("steps", place, "interval", "low").value,
                "high": leaderboard.at("steps", place, "interval", "high").value,
                # The axis is logarithmic, and the time of a constant is almost zero.
                "milliseconds": max(leaderboard.at(*at).value, 0.001),
                "floor": leaderboard.at("floor").value,
                "budget": leaderboard.at("milliseconds").value,
                "picked": name == leaderboard.at("pick", "name").value,
                "field": pointer("steps", place, "mae"),
            }
        )
    return rows


def plot_cost(rows: Rows, theme: Theme) -> Any:  # noqa: ANN401 - altair comes late
    """Error by milliseconds, with the noise floor and the budget as dashed lines if they are known."""
    alt = library()
    base = alt.Chart(inline(rows))
    x = alt.X("milliseconds:Q", title="milliseconds per article", scale=alt.Scale(type="log", nice=True))
    y = alt.Y("mae:Q", title="mean absolute error", scale=alt.Scale(zero=True))
    colour = alt.condition("datum.picked", alt.value(theme.accent), alt.value(theme.muted))
    tooltip = tooltips(alt, "model", mae="mae:Q", low="low:Q", high="high:Q", milliseconds="milliseconds:Q")
    layers = [
        base.mark_rule(opacity=0.6).encode(x=x, y="low:Q", y2="high:Q", color=colour),
        base.mark_point(filled=True, size=80, opacity=1).encode(x=x, y=y, color=colour, tooltip=tooltip),
        base.mark_text(align="left", dx=7, fontSize=11, color=theme.ink).encode(x=x, y=y, text="model:N"),
    ]
    only = alt.Chart(inline(rows[:1]))
    if rows and rows[0]["floor"] is not None:
        layers.append(only.mark_rule(color=theme.second, strokeDash=[4, 3]).encode(y="floor:Q"))
    if rows and rows[0]["budget"] is not None:
        layers.append(only.mark_rule(color=theme.second, strokeDash=[1, 3]).encode(x="budget:Q"))
    return finished(alt.layer(*layers), theme, height=320)


def write_picture(leaderboard: Record, path: Path) -> None:
    """Write the chart as PNG or SVG, by the path's suffix.

    Raises:
        BadInput: another suffix, no model to draw, or the file cannot be written.
        MissingExtra: altair or vl-convert is not installed.
    """
    if path.suffix not in PICTURES:
        raise BadInput(f"{path}: expected a file name that ends in {' or '.join(PICTURES)}")
    rows = prepare_cost(leaderboard)
    if not rows:
        raise BadInput(f"{path}: no model was trained, so there is nothing to draw")
    convert = require("vl_convert", "report")
    spec = plot_cost(rows, PRINT).to_dict()
    with replacing(path) as temporary:
        if path.suffix == ".png":
            temporary.write_bytes(convert.vegalite_to_png(spec, scale=2))
        else:
            temporary.write_text(convert.vegalite_to_svg(spec), encoding="utf-8")
