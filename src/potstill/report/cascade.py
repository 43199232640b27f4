"""The plot of a cascade's frontier.

In: the record that `potstill cascade` writes. Out: rows of plain values, and a chart of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from potstill.report.charts import finished, inline, library
from potstill.report.facts import pointer

if TYPE_CHECKING:
    from potstill.report.charts import Rows
    from potstill.report.facts import Record
    from potstill.report.themes import Theme


def prepare_frontier(cascade: Record) -> list[dict[str, Any]]:
    """A row per threshold: its guaranteed recall, and the share of articles answered early."""
    return [
        {
            "recall": cascade.at("frontier", place, "recall").value,
            "value": cascade.at("frontier", place, "early").value,
            "rate": cascade.at("frontier", place, "articles_per_second").value,
            "chosen": cascade.at("frontier", place, "threshold").value == cascade.at("chosen", "threshold").value,
            "field": pointer("frontier", place, "early"),
        }
        for place in range(cascade.size("frontier"))
    ]


def plot_frontier(rows: Rows, theme: Theme) -> Any:  # noqa: ANN401 - altair comes late
    """The share answered early by recall; the chosen threshold is a filled point."""
    alt = library()
    base = alt.Chart(inline(rows))
    x = alt.X(
        "recall:Q",
        title="minimum recall of positive articles",
        scale=alt.Scale(zero=False),
        axis=alt.Axis(format="%", tickCount=6, grid=False),
    )
    y = alt.Y(
        "value:Q", title="share answered early", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", tickCount=5)
    )
    tooltip = [
        alt.Tooltip("recall:Q", title="minimum recall", format=".1%"),
        alt.Tooltip("value:Q", title="share answered early", format=".1%"),
        alt.Tooltip("rate:Q", title="articles per second", format=",.0f"),
    ]
    fill = alt.condition("datum.chosen", alt.value(theme.accent), alt.value(theme.paper))
    line = base.mark_line(color=theme.accent, strokeWidth=2).encode(x=x, y=y)
    points = base.mark_point(size=90, opacity=1, stroke=theme.accent).encode(x=x, y=y, fill=fill, tooltip=tooltip)
    return finished(alt.layer(line, points), theme, height=240)
