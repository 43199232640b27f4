"""The plots of a report: for each, `prepare_x` makes its data from records and `plot_x` draws them.

In: facts. Out: rows of plain values, each with the field that it comes from, and Vega-Altair charts of them.
This way, the numbers of a plot can be tested without rendering. Every chart is a single view of one or more layers, so
that it fills the width of its container on a page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import polars as pl

from potstill.errors import require
from potstill.report.facts import pointer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from potstill.report.blocks import Figure
    from potstill.report.facts import Record
    from potstill.report.themes import Theme

Rows: TypeAlias = "Sequence[Mapping[str, Any]]"

MOST_POINTS = 600
"""With more points than this, a scatter plot counts rows in cells, to stay readable and small."""

CELLS = 20
"""The number of cells along the axis of predictions; labels have as many values as the oracle uses."""

_LEANS = (-0.15, -0.075, -0.025, 0.025, 0.075, 0.15)
"""Mean errors, as shares of the scale, at which the colours for bias change."""


# The leaderboard


def prepare_ladder(evaluation: Record, source: str | None = None) -> list[dict[str, Any]]:
    """A row per model: its error, interval, and the constant's error on the same rows.

    `source` selects one set of rows for all models; by default, each model has the figures of its headline judgement.
    """
    floor = evaluation.at("floor", "mean_floor").value
    chosen = evaluation.at("shipped", "rung").value
    rows = []
    for place in range(evaluation.size("ladder")):
        where = source or evaluation.at("ladder", place, "headline").value
        path = ("ladder", place, "judgements", str(where), "mean")
        mae = evaluation.at(*path, "mae").value
        if where is None or mae is None:
            continue
        name = evaluation.at("ladder", place, "name").value
        rows.append(
            {
                "model": name,
                "mae": mae,
                "low": evaluation.at(*path, "mae_interval", "low").value,
                "high": evaluation.at(*path, "mae_interval", "high").value,
                "constant": evaluation.at(*path, "constant_mae").value,
                "floor": floor,
                "source": where,
                "rows": evaluation.at(*path[:-1], "rows").value,
                "shipped": name == chosen,
                "field": pointer(*path, "mae"),
            }
        )
    return rows


def plot_ladder(rows: Rows, theme: Theme) -> Any:  # noqa: ANN401 - altair comes late
    """Error per model with its interval; the constant on the same rows as a tick, the noise floor as a dashed line."""
    alt = library()
    base = alt.Chart(inline(rows))
    # Room for the figure above the last point.
    furthest = max(max(row[end] or 0.0 for end in ("mae", "high", "constant")) for row in rows)
    y = alt.Y("model:N", sort=None, title=None, axis=names_axis(alt))
    x = alt.X(
        "mae:Q",
        title="mean absolute error",
        scale=alt.Scale(domain=[0, 1.12 * furthest], nice=False),
        axis=alt.Axis(tickCount=6),
    )
    tooltip = tooltips(alt, "model", "source", "rows", mae="mae:Q", low="low:Q", high="high:Q", constant="constant:Q")
    colour = alt.condition("datum.shipped", alt.value(theme.accent), alt.value(theme.muted))
    layers = [
        base.mark_tick(color=theme.muted, thickness=2, size=18, opacity=0.55).encode(y=y, x="constant:Q"),
        base.mark_rule(strokeWidth=2, strokeCap="round").encode(y=y, x="low:Q", x2="high:Q", color=colour),
        base.mark_point(filled=True, size=90, opacity=1).encode(y=y, x=x, color=colour, tooltip=tooltip),
        base.mark_text(align="center", dy=-12, fontSize=11, fontWeight=600, color=theme.ink).encode(
            y=y, x="mae:Q", text=alt.Text("mae:Q", format=".3f")
        ),
    ]
    if rows and rows[0]["floor"] is not None:
        only = alt.Chart(inline(rows[:1]))
        layers.insert(0, only.mark_rule(color=theme.second, strokeDash=[4, 3], strokeWidth=1.5).encode(x="floor:Q"))
        layers.append(
            only.mark_text(align="left", dx=4, baseline="top", fontSize=11, color=theme.second).encode(
                x="floor:Q", y=alt.value(2), text=alt.value("noise floor")
            )
        )
    return finished(alt.layer(*layers), theme, height=max(80, 46 * len(rows)))


# Dimensions


def prepare_dimensions(evaluation: Record, path: tuple[str | int, ...]) -> list[dict[str, Any]]:
    """A row per dimension of the judgement at `path`, and one for the weighted overall."""
    rows = []
    for name in (*ordered(evaluation, *path, "dimensions"), "overall"):
        at = (*path, "overall") if name == "overall" else (*path, "dimensions", name)
        mae = evaluation.at(*at, "mae").value
        if mae is None:
            continue
        rows.append(
            {
                "dimension": _spaced(name),
                "mae": mae,
                "low": evaluation.at(*at, "mae_interval", "low").value,
                "high": evaluation.at(*at, "mae_interval", "high").value,
                "constant": evaluation.at(*at, "constant_mae").value,
                "floor": None if name == "overall" else evaluation.at("floor", "floor", name).value,
                "field": pointer(*at, "mae"),
            }
        )
    return rows


def plot_dimensions(rows: Rows, theme: Theme) -> Any:  # noqa: ANN401 - as above
    """The student's error by dimension, with the noise floor and the constant's error."""
    alt = library()
    base = alt.Chart(inline(rows))
    y = alt.Y("dimension:N", sort=None, title=None, axis=names_axis(alt))
    legend = alt.Legend(title=None, orient="top", symbolOpacity=1, direction="horizontal")
    names, colours = ["student", "constant", "noise floor"], [theme.accent, theme.muted, theme.second]
    key = {
        "color": alt.Color("who:N", scale=alt.Scale(domain=names, range=colours), legend=legend),
        "shape": alt.Shape(
            "who:N", scale=alt.Scale(domain=names, range=["circle", "square", "diamond"]), legend=legend
        ),
    }
    long = [
        {"dimension": row["dimension"], "who": who, "error": row[field], "field": row["field"]}
        for row in rows
        for who, field in (("student", "mae"), ("constant", "constant"), ("noise floor", "floor"))
        if row[field] is not None
    ]
    x = alt.X("error:Q", title="mean absolute error", scale=alt.Scale(zero=True, nice=True), axis=alt.Axis(tickCount=6))
    return finished(
        alt.layer(
            base.mark_rule(color=theme.line, strokeWidth=5).encode(y=y, x="mae:Q", x2="constant:Q"),
            base.mark_rule(color=theme.accent, strokeWidth=2, strokeCap="round").encode(y=y, x="low:Q", x2="high:Q"),
            alt.Chart(inline(long))
            .mark_point(filled=True, size=70, opacity=1)
            .encode(y=y, x=x, tooltip=tooltips(alt, "dimension", "who", error="error:Q"), **key),
        ),
        theme,
        height=30 * len(rows) + 10,
    )


# Student and oracle scores


def prepare_scatter(predictions: pl.DataFrame, name: str) -> list[dict[str, Any]]:
    """Labels and predictions of one dimension (or `overall`), row by row, or counted in cells if there are many.

    `predictions` are rows of one source of `predictions.parquet`.
    """
    y, p = (f"{kind}_{name}" for kind in ("y", "p"))
    known = predictions.filter(pl.col(y).is_finite() & pl.col(p).is_finite())
    if known.height <= MOST_POINTS:
        return [
            {"id": id_, "oracle": round(a, 3), "student": round(b, 3), "rows": 1}
            for id_, a, b in known.select("id", y, p).iter_rows()
        ]
    both = known.select(oracle=pl.col(y).round(3), student=pl.col(p))
    low, high = (float(np.min(both.to_numpy())), float(np.max(both.to_numpy())))
    step = (high - low) / CELLS or 1.0
    cell = ((pl.col("student") - low) / step).floor().clip(0, CELLS - 1)
    if both["oracle"].n_unique() > 2 * CELLS:
        place = ((pl.col("oracle") - low) / step).floor().clip(0, CELLS - 1)
        both = both.with_columns(oracle=(low + (place + 0.5) * step).round(3))
    return (
        both.with_columns(student=(low + (cell + 0.5) * step).round(3))
        .group_by("oracle", "student")
        .agg(rows=pl.len())
        .sort("oracle", "student")
        .to_dicts()
    )


def plot_scatter(rows: Rows, theme: Theme, low: float, high: float) -> Any:  # noqa: ANN401 - as above
    """A scatter plot over the scale, with the diagonal on which a perfect student would lie."""
    alt = library()
    scale = alt.Scale(domain=[low, high], nice=False)
    axis = {"values": [low, (low + high) / 2, high], "tickCount": 3}
    x = alt.X("oracle:Q", title="oracle", scale=scale, axis=alt.Axis(**axis))
    y = alt.Y("student:Q", title="student", scale=scale, axis=alt.Axis(**axis))
    ends = [{"oracle": low, "student": low}, {"oracle": high, "student": high}]
    counted = any(row["rows"] > 1 for row in rows)
    points = alt.Chart(inline(rows))
    if counted:
        points = points.mark_circle(color=theme.accent, opacity=0.6, clip=True).encode(
            x=x,
            y=y,
            size=alt.Size("rows:Q", legend=None, scale=alt.Scale(range=[2, 90])),
            tooltip=tooltips(alt, rows="rows:Q", oracle="oracle:Q", student="student:Q"),
        )
    else:
        points = points.mark_circle(color=theme.accent, opacity=0.4, size=22, clip=True).encode(
            x=x, y=y, tooltip=tooltips(alt, "id", oracle="oracle:Q", student="student:Q")
        )
    line = alt.Chart(inline(ends)).mark_line(color=theme.muted, strokeDash=[3, 3], strokeWidth=1)
    return finished(alt.layer(line.encode(x=x, y=y), points), theme, height=150)


# Bias by band


def prepare_bands(evaluation: Record, path: tuple[str | int, ...]) -> list[dict[str, Any]]:
    """A row per dimension and band of the judgement at `path`; bands without rows are left out."""
    low, high = evaluation.at("scale", 0).value, evaluation.at("scale", 1).value
    rows = []
    for name in ordered(evaluation, *path, "bands"):
        for place in range(evaluation.size(*path, "bands", name)):
            at = (*path, "bands", name, place)
            bias = evaluation.at(*at, "bias").value
            if bias is None:
                continue
            first, last = evaluation.at(*at, "low").value, evaluation.at(*at, "high").value
            rows.append(
                {
                    "dimension": _spaced(name),
                    "band": f"{first:g}\N{EN DASH}{last:g}",
                    "place": place,
                    "bias": bias,
                    "label": "0.0" if abs(bias) < 0.05 else f"{bias:+.1f}".replace("-", "\N{MINUS SIGN}"),
                    "share": bias / (high - low),
                    "rows": evaluation.at(*at, "rows").value,
                    "field": pointer(*at, "bias"),
                }
            )
    return rows


def plot_bands(rows: Rows, theme: Theme) -> Any:  # noqa: ANN401 - as above
    """A cell per dimension and band of the labels, coloured by the student's mean error."""
    alt = library()
    base = alt.Chart(inline(rows))
    x = alt.X(
        "band:O",
        sort=alt.EncodingSortField("place"),
        title="oracle's score",
        axis=alt.Axis(orient="top", labelAngle=0, domain=False, ticks=False, grid=False),
    )
    y = alt.Y("dimension:N", sort=None, title=None, axis=names_axis(alt))
    colour = alt.Color(
        "share:Q", legend=None, scale=alt.Scale(type="threshold", domain=list(_LEANS), range=list(theme.lean))
    )
    far = f"abs(datum.share) > {_LEANS[-1]}"
    return finished(
        alt.layer(
            base.mark_rect(cornerRadius=3, stroke=theme.paper, strokeWidth=2).encode(
                x=x, y=y, color=colour, tooltip=tooltips(alt, "dimension", "band", bias="bias:Q", rows="rows:Q")
            ),
            base.mark_text(fontSize=11).encode(
                x=x,
                y=y,
                text="label:N",
                color=alt.condition(far, alt.value(theme.paper), alt.value(theme.ink)),
            ),
        ),
        theme,
        height=28 * len({row["dimension"] for row in rows}) + 6,
    )


# Precision and recall of a positive tier


def prepare_curve(calibration: Record, place: int) -> list[dict[str, Any]]:
    """A row per cut of a positive tier: recall, precision and articles per 1,000; none without positives."""
    at = ("decisions", "curves", place)
    rows, positives = calibration.at(*at, "rows").value, calibration.at(*at, "positives").value
    chosen = calibration.at("decisions", "cuts", place, "probability").value
    if not rows or not positives:
        return []
    found = []
    for step in range(calibration.size(*at, "cuts")):
        named, both = (calibration.at(*at, name, step).value for name in ("named", "found"))
        cut = calibration.at(*at, "cuts", step).value
        recall, precision = both / positives, both / named if named else None
        shown = "undefined" if precision is None else f"{precision:.0%}"
        found.append(
            {
                "step": step,
                "cut": cut,
                "recall": recall,
                "precision": precision,
                "volume": 1000 * named / rows,
                "chosen": cut == chosen,
                "label": f"cut {cut:.2f}: names {named:,} ({1000 * named / rows:,.0f} per 1,000)\n"
                f"finds {both:,} of {positives:,}, recall {recall:.0%}, precision {shown}",
                "field": pointer(*at, "cuts", step),
            }
        )
    return found


def plot_curve(rows: Rows, theme: Theme) -> Any:  # noqa: ANN401 - as above
    """Precision by recall; the cut under the slider is marked, which starts at the chosen cut."""
    alt = library()
    start = next((row["step"] for row in rows if row["chosen"]), 0)
    slider = alt.param(
        name="step",
        value=start,
        bind=alt.binding_range(min=0, max=max(1, len(rows) - 1), step=1, name="cut, from strict to loose "),
    )
    share = alt.Scale(domain=[0, 1], nice=False)
    x = alt.X("recall:Q", title="recall", scale=share, axis=alt.Axis(format="%", tickCount=5))
    y = alt.Y("precision:Q", title="precision", scale=share, axis=alt.Axis(format="%", tickCount=5))
    base = alt.Chart(inline(rows))
    marked = base.transform_filter("datum.step == step")
    volume = tooltips(alt, cut="cut:Q", recall="recall:Q", precision="precision:Q")
    return finished(
        alt.layer(
            base.mark_line(color=theme.accent, strokeWidth=2).encode(x=x, y=y, order="step:Q"),
            base.mark_point(filled=True, size=18, opacity=0.6, color=theme.accent).encode(
                x=x, y=y, tooltip=[*volume, alt.Tooltip("volume:Q", title="per 1,000", format=".0f")]
            ),
            base.transform_filter("datum.chosen")
            .mark_point(shape="diamond", size=120, color=theme.second, strokeWidth=2)
            .encode(x=x, y=y),
            marked.mark_point(filled=True, size=90, opacity=1, color=theme.ink).encode(x=x, y=y),
            # Two lines fit a telephone.
            marked.mark_text(align="left", baseline="top", fontSize=11, color=theme.ink, lineBreak="\n").encode(
                x=alt.value(4), y=alt.value(-28), text="label:N"
            ),
        ).add_params(slider),
        theme,
        height=190,
    )


# Epochs


def prepare_epochs(history: Record, measure: str) -> list[dict[str, Any]]:
    """A row per epoch and part: the measure (`mae`, `rmse` or `loss`) of the same weights on both parts."""
    rows = []
    epochs = history.content if isinstance(history.content, list) else []
    for place in range(len(epochs)):
        for part in ("train", "validation"):
            value = history.at(place, part, measure).value
            if value is not None:
                rows.append(
                    {
                        "epoch": history.at(place, "epoch").value,
                        "part": part,
                        "value": value,
                        "best": False,
                        "field": pointer(place, part, measure),
                    }
                )
    return rows


def plot_epochs(rows: Rows, theme: Theme, title: str, best: int | None = None) -> Any:  # noqa: ANN401 - as above
    """Both parts by epoch; the kept epoch is marked by a line."""
    alt = library()
    names = ["train", "validation"]
    epochs = sorted({row["epoch"] for row in rows})
    legend = alt.Legend(title=None, orient="top", direction="horizontal", symbolType="circle", symbolStrokeWidth=0)
    colour = alt.Color("part:N", scale=alt.Scale(domain=names, range=[theme.muted, theme.accent]), legend=legend)
    x = alt.X(
        "epoch:Q",
        title="epoch",
        axis=alt.Axis(values=epochs, format="d", grid=False),
        scale=alt.Scale(domain=[epochs[0] - 0.2, epochs[-1] + 0.2], nice=False),
    )
    y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False, nice=True))
    base = alt.Chart(inline(rows)).encode(x=x, y=y, color=colour)
    layers = [
        *(
            base.transform_filter(f"datum.part == '{name}'").mark_line(strokeWidth=2, strokeDash=dash)
            for name, dash in zip(names, ([4, 3], [1, 0]), strict=True)
        ),
        base.mark_point(filled=True, size=55, opacity=1).encode(
            tooltip=tooltips(alt, "epoch", "part", value="value:Q")
        ),
    ]
    if best is not None:
        kept = alt.Chart(inline([{"epoch": best}]))
        layers.insert(0, kept.mark_rule(color=theme.line, strokeWidth=8).encode(x=x))
    return finished(alt.layer(*layers), theme, height=200)


# Parts


def ordered(evaluation: Record, *path: str | int) -> list[str]:
    """The keys at a path in the filter's order, `overall` last; a record on disk has sorted keys."""
    order = evaluation.at("dimensions").value or []
    place = {name: i for i, name in enumerate(order)}
    return sorted(evaluation.keys(*path), key=lambda name: place.get(name, len(place)))


def library() -> Any:  # noqa: ANN401 - a module that comes late
    """Altair.

    Raises:
        MissingExtra: it is not installed.
    """
    return require("altair", "report")


def specification(figure: Figure, theme: Theme) -> dict[str, Any]:
    """A figure's plot as Vega-Lite.

    Altair's validation of every row of data against Vega-Lite's schema is turned off, because it takes most of a
    report's time; the tests of the plots do it.

    Raises:
        MissingExtra: altair is not installed.
    """
    require("altair", "report")
    from altair.utils.schemapi import debug_mode

    with debug_mode(False):
        spec: dict[str, Any] = figure.plot(figure.data, theme).to_dict(validate=False)
    return spec


def inline(rows: Rows) -> Any:  # noqa: ANN401 - as above
    """Rows as data inside the plot."""
    return library().InlineData(values=[dict(row) for row in rows])


def names_axis(alt: Any) -> Any:  # noqa: ANN401 - as above
    """An axis of names without line and ticks, at most a third of a phone screen wide."""
    return alt.Axis(domain=False, ticks=False, labelLimit=118, labelPadding=8, labelFontSize=12, grid=False)


def tooltips(alt: Any, *texts: str, **numbers: str) -> list[Any]:  # noqa: ANN401 - as above
    """Tooltips for text fields, and for numbers by title."""
    found = [alt.Tooltip(f"{text}:N") for text in texts]
    return found + [
        alt.Tooltip(field, title=title, format=",d" if title == "rows" else ".3f") for title, field in numbers.items()
    ]


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def finished(chart: Any, theme: Theme, height: int) -> Any:  # noqa: ANN401 - as above
    """Set size and style, which are the same for every chart."""
    alt = library()
    style = alt.Config(
        font=theme.font,
        padding=4,
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(
            labelColor=theme.muted,
            titleColor=theme.muted,
            gridColor=theme.line,
            domainColor=theme.line,
            tickColor=theme.line,
            labelFontSize=11,
            titleFontSize=11,
            titleFontWeight="normal",
        ),
        axisY=alt.AxisConfig(labelColor=theme.ink),
        legend=alt.LegendConfig(labelColor=theme.ink, labelFontSize=12, symbolSize=80),
    )
    # All at once: each call of a chart copies its data.
    return chart.properties(width=theme.width, height=height, background=theme.background, config=style)
