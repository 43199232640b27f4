"""The plots of an audit: for each, `prepare_x` makes its data from the record and `plot_x` draws them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from potstill.report.charts import finished, inline, library, names_axis, tooltips
from potstill.report.facts import pointer
from potstill.report.sections.parts import spaced

if TYPE_CHECKING:
    from potstill.report.charts import Rows
    from potstill.report.facts import Record
    from potstill.report.themes import Theme

_STEPS = 40
"""The number of points of the fitted curve, evenly spaced on its logarithmic axis."""


def prepare_histograms(audit: Record) -> list[dict[str, Any]]:
    """A row per dimension and band of the scale, with the share of labels in the band."""
    low, high = audit.at("scale", 0).value, audit.at("scale", 1).value
    rows = []
    for place in range(audit.size("scores", "dimensions")):
        at = ("scores", "dimensions", place)
        counts = audit.at(*at, "histogram").value or []
        total = sum(counts)
        for band, count in enumerate(counts):
            step = (high - low) / len(counts)
            rows.append(
                {
                    "dimension": spaced(str(audit.at(*at, "dimension").value)),
                    "band": f"{low + band * step:g}\N{EN DASH}{low + (band + 1) * step:g}",
                    "place": band,
                    "share": count / total if total else 0.0,
                    "rows": count,
                    "field": pointer(*at, "histogram", band),
                }
            )
    return rows


def plot_histograms(rows: Rows, theme: Theme) -> Any:  # noqa: ANN401 - altair comes late
    """A row of cells per dimension: the more labels in a band, the darker its cell."""
    alt = library()
    x = alt.X(
        "band:O",
        sort=alt.EncodingSortField("place"),
        title="label",
        axis=alt.Axis(orient="top", labelAngle=0, domain=False, ticks=False, grid=False),
    )
    y = alt.Y("dimension:N", sort=None, title=None, axis=names_axis(alt))
    base = alt.Chart(inline(rows))
    return finished(
        alt.layer(
            base.mark_rect(cornerRadius=3, color=theme.line, opacity=0.35).encode(x=x, y=y),
            base.mark_rect(cornerRadius=3, color=theme.accent).encode(
                x=x,
                y=y,
                opacity=alt.Opacity("share:Q", legend=None, scale=alt.Scale(type="sqrt", domain=[0, 1], range=[0, 1])),
                tooltip=tooltips(alt, "dimension", "band", rows="rows:Q", share="share:Q"),
            ),
        ),
        theme,
        height=26 * len({row["dimension"] for row in rows}) + 6,
    )


def prepare_correlations(audit: Record) -> list[dict[str, Any]]:
    """A row per pair of dimensions, in both orders."""
    names = [spaced(name) for name in audit.at("redundancy", "dimensions").value or []]
    return [
        {
            "first": first,
            "second": second,
            "r": audit.at("redundancy", "correlations", i, j).value,
            "label": f"{audit.at('redundancy', 'correlations', i, j).value:.2f}".replace("-", "\N{MINUS SIGN}"),
            "field": pointer("redundancy", "correlations", i, j),
        }
        for i, first in enumerate(names)
        for j, second in enumerate(names)
    ]


def plot_correlations(rows: Rows, theme: Theme) -> Any:  # noqa: ANN401 - as above
    """A matrix of cells, coloured by correlation."""
    alt = library()
    base = alt.Chart(inline(rows))
    x = alt.X(
        "second:N",
        sort=None,
        title=None,
        axis=alt.Axis(orient="top", labelAngle=-40, labelLimit=118, domain=False, ticks=False, grid=False),
    )
    y = alt.Y("first:N", sort=None, title=None, axis=names_axis(alt))
    colour = alt.Color(
        "r:Q",
        legend=None,
        scale=alt.Scale(type="threshold", domain=[-0.8, -0.5, -0.2, 0.2, 0.5, 0.8], range=list(theme.lean)),
    )
    return finished(
        alt.layer(
            base.mark_rect(cornerRadius=3, stroke=theme.paper, strokeWidth=2).encode(
                x=x, y=y, color=colour, tooltip=tooltips(alt, "first", "second", r="r:Q")
            ),
            base.mark_text(fontSize=11).encode(
                x=x,
                y=y,
                text="label:N",
                color=alt.condition("abs(datum.r) > 0.8", alt.value(theme.paper), alt.value(theme.ink)),
            ),
        ),
        theme,
        height=30 * max(1, len({row["first"] for row in rows})) + 6,
    )


def prepare_curve(audit: Record) -> list[dict[str, Any]]:
    """The measured points, and the fitted curve from the smallest of them to the last predicted one."""
    rows: list[dict[str, Any]] = []
    for place in range(audit.size("curve", "points")):
        at = ("curve", "points", place)
        errors = audit.at(*at, "errors").value or []
        rows.append(
            {
                "what": "measured",
                "rows": audit.at(*at, "rows").value,
                "mae": audit.at(*at, "mae").value,
                "low": min(errors, default=None),
                "high": max(errors, default=None),
                "field": pointer(*at, "mae"),
            }
        )
    if not rows:
        return []
    asymptote, factor, exponent = (audit.at("curve", name).value for name in ("asymptote", "factor", "exponent"))
    first, last = rows[0]["rows"], max(audit.at("curve", name, "rows").value for name in ("more", "twice"))
    for step in range(_STEPS + 1):
        n = first * (last / first) ** (step / _STEPS)
        rows.append(
            {
                "what": "fitted",
                "rows": round(n, 1),
                "mae": asymptote + factor * n**-exponent,
                "low": None,
                "high": None,
                "field": pointer("curve", "asymptote"),
            }
        )
    rows += [
        {
            "what": "expected",
            "rows": audit.at("curve", name, "rows").value,
            "mae": audit.at("curve", name, "mae").value,
            "low": audit.at("curve", name, "interval", "low").value,
            "high": audit.at("curve", name, "interval", "high").value,
            "field": pointer("curve", name, "mae"),
        }
        for name in ("now", "more", "twice")
    ]
    return rows


def plot_curve(rows: Rows, theme: Theme) -> Any:  # noqa: ANN401 - as above
    """Error by number of labels, on a logarithmic axis of labels."""
    alt = library()
    x = alt.X(
        "rows:Q",
        title="labelled rows",
        scale=alt.Scale(type="log", nice=False),
        axis=alt.Axis(tickCount=6, format=",d"),
    )
    y = alt.Y("mae:Q", title="mean absolute error", scale=alt.Scale(zero=False, nice=True))
    parts = {what: [row for row in rows if row["what"] == what] for what in ("measured", "fitted", "expected")}
    points = alt.Chart(inline(parts["measured"]))
    later = alt.Chart(inline(parts["expected"]))
    tips = {"mae": "mae:Q", "low": "low:Q", "high": "high:Q"}
    return finished(
        alt.layer(
            alt.Chart(inline(parts["fitted"])).mark_line(color=theme.muted, strokeDash=[4, 3]).encode(x=x, y=y),
            points.mark_rule(color=theme.accent, strokeWidth=2).encode(x=x, y="low:Q", y2="high:Q"),
            points.mark_point(filled=True, color=theme.accent, size=70, opacity=1).encode(
                x=x, y=y, tooltip=tooltips(alt, "what", rows="rows:Q", **tips)
            ),
            later.mark_rule(color=theme.second, strokeWidth=2, opacity=0.7).encode(x=x, y="low:Q", y2="high:Q"),
            later.mark_point(filled=True, color=theme.second, shape="diamond", size=70, opacity=1).encode(
                x=x, y=y, tooltip=tooltips(alt, "what", rows="rows:Q", **tips)
            ),
        ),
        theme,
        height=260,
    )
