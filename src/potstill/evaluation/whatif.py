"""Apply an edited filter to stored scores, without running a model.

Input: predictions and two filters with the same dimensions. Output: the results of both filters: agreement with the
oracle, volumes by tier, and the articles that change tier. Oracle and student are subject to the same rules. Texts are
not searched again, because the caps that apply were stored with the scores.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from pydantic import ValidationError

from potstill import metrics
from potstill.errors import BadInput
from potstill.evaluation.records import Cuts, Threshold
from potstill.filters import Filter
from potstill.findings import FEWEST_POSITIVES
from potstill.metrics import number
from potstill.records import Part
from potstill.types import UNSCORED
from potstill.verdict import cap_columns, decide_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from potstill.evaluation.judging import Predicted
    from potstill.evaluation.predictions import Predictions
    from potstill.types import FloatArray

RECALLS = (0.5, 0.7, 0.8, 0.9, 0.95)
"""Recall levels of the positive tiers for which an evaluation records a threshold."""

_PLACE = re.compile(r"[0-9]{1,9}")

_LONGEST_SHOWN = 80

MOST_MOVED = 50
"""Default number of changed articles to list."""


class Volume(Part):
    """Number of rows in one tier according to the oracle, to the student, and to both."""

    tier: str
    oracle: int
    student: int
    both: int


class Side(Part):
    """Results of one filter on the scores. Recall and precision are of its positive tiers, as in an evaluation."""

    rows: int
    volumes: tuple[Volume, ...]
    accuracy: float | None
    positives: int
    named: int
    found: int
    recall: float | None
    precision: float | None


class Move(Part):
    """Number of the student's articles that change from one tier to another."""

    before: str
    after: str
    rows: int


class Moved(Part):
    """An article that changes tier by the student's scores, and its tier by the oracle's under the edited filter."""

    id: str
    before: str
    after: str
    oracle: str
    overall_before: float | None
    overall_after: float | None


class WhatIf(Part):
    """Results of two filters on the same stored scores. `moved` counts all articles; `articles` lists the first."""

    before: Side
    after: Side
    moved: int
    moves: tuple[Move, ...]
    articles: tuple[Moved, ...]


def what_if(predictions: Predictions, before: Filter, after: Filter, *, most: int = MOST_MOVED) -> WhatIf:
    """Apply two filters to stored scores.

    Args:
        predictions: scores and labels in the order of `before`'s dimensions, with the columns of its caps.
        before: the current filter.
        after: the edited filter, with other weights, gates, tiers, limits or conditions of caps.
        most: how many of the articles that change tier are listed, the largest change of overall score first.

    Returns:
        The results of both filters.

    Raises:
        BadInput: the filters have different dimensions or scales, or a cap needs words that were not stored.
    """
    old = _decide(predictions, before)
    new = _decide(under(predictions, before, after), after)
    both = pl.DataFrame(
        {
            "id": predictions.ids,
            "before": old["tier_student"],
            "after": new["tier_student"],
            "oracle": new["tier_oracle"],
            "overall_before": old["overall_student"],
            "overall_after": new["overall_student"],
        }
    )
    moved = both.filter(pl.col("before") != pl.col("after"))
    moves = (
        moved.group_by("before", "after").len("rows").sort("rows", "before", "after", descending=[True, False, False])
    )
    far = (pl.col("overall_after") - pl.col("overall_before")).abs()
    return WhatIf(
        before=_side(old, before),
        after=_side(new, after),
        moved=moved.height,
        moves=tuple(Move(**row) for row in moves.iter_rows(named=True)),
        articles=tuple(
            Moved(**row) for row in moved.sort(far, descending=True, nulls_last=True).head(most).iter_rows(named=True)
        ),
    )


def threshold(
    predictions: Predictions | Predicted, filter_: Filter, *, recall: float | None = None, volume: int | None = None
) -> Threshold:
    """Return the highest threshold on the student's overall that reaches a recall, or the lowest for a volume.

    Args:
        predictions: scores and labels.
        filter_: the filter; rows with a positive tier by the oracle's labels are the positives.
        recall: target recall, above 0 and up to 1.
        volume: maximum number of rows at or above the threshold. Exactly one of `recall` and `volume` must be given.

    Raises:
        BadInput: not exactly one target is given, or it cannot be reached: there is no positive row, or more rows are
            tied than the volume allows.
    """
    if (recall is None) == (volume is None):
        raise BadInput("ask for a recall or for a volume")
    decided = _decide(predictions, filter_)
    known = decided.filter((pl.col("tier_oracle") != UNSCORED) & (pl.col("tier_student") != UNSCORED))
    wanted = known["tier_oracle"].is_in(filter_.positive_tiers).to_numpy()
    overall = known["overall_student"].to_numpy()
    if recall is not None:
        if not 0 < recall <= 1:
            raise BadInput(f"recall: got {recall:g}, expected above 0 and up to 1")
        if not wanted.any():
            raise BadInput("no row is in a positive tier by the oracle: no recall can be reached")
        needed = int(np.ceil(recall * wanted.sum() - 1e-9))
        cut = float(np.sort(overall[wanted])[::-1][needed - 1])
    else:
        cut = _cut_for(overall, volume or 0)
    named = overall >= cut
    counts = metrics.positives(wanted, named)
    low = metrics.exact_interval(counts.found, counts.actual, 0.9)[0]
    return Threshold(
        overall_at_least=cut,
        rows=counts.predicted,
        positives=counts.actual,
        found=counts.found,
        recall=counts.recall,
        recall_low=number(low) if counts.recall is not None else None,
        precision=counts.precision,
    )


def cuts_of(predicted: Predicted, filter_: Filter) -> Cuts | None:
    """Return thresholds on the student's overall for each of `RECALLS`, or None if there are too few positives."""
    decided = _decide(predicted, filter_)
    known = decided.filter((pl.col("tier_oracle") != UNSCORED) & (pl.col("tier_student") != UNSCORED))
    if known["tier_oracle"].is_in(filter_.positive_tiers).sum() < FEWEST_POSITIVES:
        return None
    return Cuts(
        source=predicted.source,
        rows=known.height,
        by_recall={f"{recall:.0%}": threshold(predicted, filter_, recall=recall) for recall in RECALLS},
    )


def edited(filter_: Filter, settings: Sequence[str]) -> Filter:
    """Return a filter with some settings changed, each given as `path=value`.

    `weights.NAME=0.3` (the other weights keep their proportions), `gates.0.cap=4`, `gates.0.when=overall < 2`,
    `gates.0=off`, the same for `caps`, and `tiers.NAME.when=overall >= 6`.

    Raises:
        BadInput: a setting is not valid. The message names it.
    """
    content = filter_.model_dump(mode="json")
    dropped: dict[str, set[int]] = {"gates": set(), "caps": set()}
    for setting in settings:
        path, equals, value = setting.partition("=")
        if not equals:
            raise BadInput(
                f"--set {_brief(setting)}: expected PATH=VALUE, such as weights.harm=0.3 or tiers.lead.when=overall >= "
                "6"
            )
        _set(content, dropped, path.strip().split("."), value.strip(), f"--set {_brief(setting)}")
    for kind, places in dropped.items():
        content[kind] = [part for place, part in enumerate(content[kind]) if place not in places]
    try:
        return Filter.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        fault = error.errors()[0]
        where = " -> ".join(map(str, fault["loc"]))
        raise BadInput(f"--set {_brief(' '.join(settings))}: {where}: {fault['msg']}") from None


def _set(content: dict[str, Any], dropped: dict[str, set[int]], path: list[str], value: str, where: str) -> None:
    match path:
        case ["weights", name]:
            _weigh(content["dimensions"], name, _as_number(value, where), where)
        case ["gates" | "caps" as kind, place] if value == "off":
            _item(content[kind], place, where)
            dropped[kind].add(int(place))
        case ["gates" | "caps" as kind, place, "cap"]:
            _item(content[kind], place, where)["cap"] = _as_number(value, where)
        case ["gates" | "caps" as kind, place, "when"]:
            _item(content[kind], place, where)["when"] = value
        case ["tiers", *name, "when"] if name:
            # A tier's name may contain a dot.
            wanted = ".".join(name)
            found = next((tier for tier in content["tiers"] if tier["name"] == wanted), None)
            if found is None:
                names = ", ".join(tier["name"] for tier in content["tiers"])
                raise BadInput(f"{where}: no tier {_brief(wanted)}; the filter has {names}")
            found["when"] = value
        case _:
            raise BadInput(
                f"{where}: legal are weights.NAME, gates.N.cap, gates.N.when, gates.N=off, the same for caps, and "
                "tiers.NAME.when"
            )


def _weigh(dimensions: dict[str, Any], name: str, weight: float, where: str) -> None:
    """Set the weight of one dimension; the others share the rest in their previous proportions."""
    if name not in dimensions:
        raise BadInput(f"{where}: no dimension {_brief(name)}; the filter has {', '.join(dimensions)}")
    if not 0 <= weight <= 1:
        raise BadInput(f"{where}: got {weight:g}, expected 0 to 1")
    others = sum(part["weight"] for key, part in dimensions.items() if key != name)
    if others == 0 and weight < 1:
        raise BadInput(f"{where}: no other dimension has a weight to share the rest")
    for key, part in dimensions.items():
        part["weight"] = weight if key == name else part["weight"] * (1 - weight) / others if others else 0.0


def _item(items: list[dict[str, Any]], place: str, where: str) -> dict[str, Any]:
    if _PLACE.fullmatch(place) is None or int(place) >= len(items):
        raise BadInput(f"{where}: no number {_brief(place)}; there are {len(items)}, counted from 0")
    return items[int(place)]


def _as_number(value: str, where: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise BadInput(f"{where}: got {_brief(value)!r}, expected a number") from None


def _brief(text: str) -> str:
    """Shorten a setting for an error message so that there is room for the reason."""
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "\N{HORIZONTAL ELLIPSIS}"


def under(predictions: Predictions, before: Filter, after: Filter) -> Predictions:
    """Convert predictions that were read for one filter to the dimensions and caps of another, in its order.

    Raises:
        BadInput: the filters do not match; see `what_if`.
    """
    if set(before.dimension_names) != set(after.dimension_names):
        raise BadInput(
            f"the edited filter has {', '.join(after.dimension_names)}, the scores {', '.join(before.dimension_names)}"
        )
    if before.scale != after.scale:
        raise BadInput("the edited filter has another scale than the scores")
    order = [before.dimension_names.index(name) for name in after.dimension_names]
    return replace(
        predictions,
        scores=predictions.scores[:, order],
        labels=predictions.labels[:, order],
        cap_hits=_stored_hits(predictions, before, after),
    )


def _stored_hits(predictions: Predictions, before: Filter, after: Filter) -> pl.DataFrame | None:
    """Return the stored columns for the edited filter's caps, matched by the words that the caps look for."""
    stored = predictions.cap_hits
    if stored is None:
        return None
    words = [_words(cap) for cap in before.caps]
    columns = {}
    for name, cap in zip(cap_columns(after), after.caps, strict=True):
        if _words(cap) not in words:
            raise BadInput(
                f"{name} ({cap.reason}): looks for other words than the stored caps did; score the texts again"
            )
        columns[name] = stored.to_series(words.index(_words(cap)))
    # Dropping all columns keeps the number of rows for a filter without caps; selecting none would not.
    return stored.with_columns(**columns).select(list(columns)) if columns else stored.drop(stored.columns)


def _words(cap: Any) -> str:  # noqa: ANN401 - a cap
    return json.dumps(cap.model_dump(mode="json", exclude={"when", "cap", "reason"}), sort_keys=True)


def _decide(predictions: Predictions | Predicted, filter_: Filter) -> pl.DataFrame:
    """Return both verdicts side by side: tier and overall score of oracle and student."""
    # A filter without caps has no cap columns.
    stored = predictions.cap_hits if filter_.caps else None
    sides = {"oracle": predictions.labels, "student": predictions.scores}
    found = {name: decide_rows(values, filter_, stored) for name, values in sides.items()}
    return pl.DataFrame(
        {f"{column}_{name}": decided[column] for name, decided in found.items() for column in ("tier", "overall")}
    )


def _side(decided: pl.DataFrame, filter_: Filter) -> Side:
    known = decided.filter((pl.col("tier_oracle") != UNSCORED) & (pl.col("tier_student") != UNSCORED))
    counts = {
        (oracle, student): rows
        for oracle, student, rows in known.group_by("tier_oracle", "tier_student").len().iter_rows()
    }
    volumes = tuple(
        Volume(
            tier=name,
            oracle=sum(rows for (oracle, _), rows in counts.items() if oracle == name),
            student=sum(rows for (_, student), rows in counts.items() if student == name),
            both=counts.get((name, name), 0),
        )
        for name in filter_.tier_names
    )
    positive = set(filter_.positive_tiers)
    found = metrics.Positives(
        actual=sum(rows for (oracle, _), rows in counts.items() if oracle in positive),
        predicted=sum(rows for (_, student), rows in counts.items() if student in positive),
        found=sum(rows for (oracle, student), rows in counts.items() if oracle in positive and student in positive),
    )
    return Side(
        rows=known.height,
        volumes=volumes,
        accuracy=number(sum(volume.both for volume in volumes) / known.height) if known.height else None,
        positives=found.actual,
        named=found.predicted,
        found=found.found,
        recall=None if found.recall is None else number(found.recall),
        precision=None if found.precision is None else number(found.precision),
    )


def _cut_for(overall: FloatArray, volume: int) -> float:
    """Return the lowest value such that at most `volume` rows have it or more."""
    if volume < 1:
        raise BadInput(f"volume: got {volume}, expected 1 or more")
    values, counts = np.unique(-overall, return_counts=True)
    fits = np.flatnonzero(np.cumsum(counts) <= volume)
    if not fits.size:
        raise BadInput(f"volume: {counts[0]:,} rows share the highest overall, more than {volume:,}")
    return float(-values[fits[-1]])
