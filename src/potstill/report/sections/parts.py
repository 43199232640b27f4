"""Helpers for sections: formatted figures, and the paths of a student's figures in records.

In: records. Out: inline text that keeps the fact behind every figure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.calibration import LEVELS
from potstill.report.blocks import Shown
from potstill.report.facts import Record
from potstill.training.facts import StudentRecord

if TYPE_CHECKING:
    from potstill.report.blocks import Inline, Kind, Text
    from potstill.report.facts import Fact, Facts

Path = tuple[str | int, ...]

NO_FLOOR = "unknown"
DASH = "\N{EM DASH}"

INTERVAL_LEVEL = 0.9
"""The level of the calibration's interval widths that are shown."""


def headline(evaluation: Record) -> Path:
    """The path of the shipped student's figures: the headline of its student, or the bundle's own test."""
    chosen = evaluation.at("shipped", "rung").value
    for place in range(evaluation.size("ladder")):
        if chosen is not None and evaluation.at("ladder", place, "name").value == chosen:
            return judgement(evaluation, place)
    return "shipped", "judgement"


def judgement(evaluation: Record, place: int) -> Path:
    """The path of a student's headline judgement, by its place on the leaderboard."""
    return "ladder", place, "judgements", str(evaluation.at("ladder", place, "headline").value)


def chosen_student(facts: Facts) -> Record:
    """The record of the shipped student, or an empty record."""
    rung = str(facts.evaluation.at("shipped", "rung").value)
    return facts.students.get(rung, Record(f"students/{rung}/record.json", None, None, StudentRecord))


def chosen_history(facts: Facts) -> Record:
    """The epochs of the shipped student, or an empty record."""
    return facts.history(str(facts.evaluation.at("shipped", "rung").value))


def kept_place(student: Record, history: Record) -> int | None:
    """The position of a student's kept epoch in its history."""
    best = student.at("best_epoch").value
    places = (place for place in range(history.size()) if history.at(place, "epoch").value == best)
    return None if best is None else next(places, None)


def refit_words(facts: Facts) -> Text:
    """What the bundle to ship has learned from, and which student the figures are of; empty if it is not known."""
    refit = facts.refit
    if not refit.recorded:
        return ()
    if not refit.at("refitted").value:
        return (show(refit, "text", "why"), ".")
    return (
        "All figures are those of the student before the refit: it has learned from ",
        show(refit, "count", "train_rows"),
        " rows, and the others measured it. The bundle to ship contains the same student, fitted again on all ",
        show(refit, "count", "rows"),
        " labelled rows. It cannot be judged on them.",
    )


def measured_hash(facts: Facts) -> Fact:
    """The hash of the bundle whose figures are stated, from which the bundle to ship was refitted or which it is."""
    return facts.refit.at("measured") if facts.refit.recorded else facts.bundle.at("sha256")


def figures(evaluation: Record, at: Path) -> tuple[Text, ...]:
    """A row of errors: MAE, its interval, the constant's, skill, RMSE, bias, R2, Spearman."""
    return (
        (show(evaluation, "score", *at, "mae"),),
        interval(evaluation, "score", *at, "mae_interval"),
        (show(evaluation, "score", *at, "constant_mae"),),
        (show(evaluation, "percent", *at, "skill"),),
        (show(evaluation, "score", *at, "rmse"),),
        (show(evaluation, "signed", *at, "bias"),),
        (show(evaluation, "score", *at, "r2"),),
        (show(evaluation, "score", *at, "spearman"),),
    )


def half_width(record: Record, curve: int) -> tuple[str | int, ...]:
    """Return where a calibration records half the width of its 90% intervals; older ones have one width for all."""
    typical: tuple[str | int, ...] = ("curves", curve, "half_width")
    return typical if record.at(*typical).recorded else ("curves", curve, "widths", LEVELS.index(INTERVAL_LEVEL))


def show(record: Record, kind: Kind, *path: str | int, absent: str | None = None) -> Shown:
    """A formatted field of a record; `absent` is shown if the record exists but has no value."""
    fact = record.at(*path)
    # Only an existing record can show that a value does not apply; a missing record shows nothing.
    return Shown(fact, kind) if absent is None or not record.recorded else Shown(fact, kind, absent)


def latency(evaluation: Record, at: Path, kind: Kind, name: str) -> Shown:
    """A measured time, or "not measured" if the evaluation did not measure it."""
    return Shown(evaluation.at(*at, name), kind, "not measured" if evaluation.recorded else "not recorded")


def under_load(record: Record, *path: str | int) -> Text:
    """How busy the machine was while the times of a record were measured; `path` leads to its load.

    Older records do not have it. A time that was measured on a busy machine is never shown without a remark.
    """
    if not record.at(*path, "cores").recorded:
        return ("not recorded",)
    average = show(record, "rate", *path, "average", absent="unknown")
    figures: Text = (average, " on ", show(record, "count", *path, "cores"), " cores")
    return ("measured under load: ", *figures) if record.at(*path, "heavy").value else figures


def load_remark(record: Record, *path: str | int) -> Text:
    """A remark after a time that was measured under load; empty for other times."""
    return ("; ", *under_load(record, *path)) if record.at(*path, "heavy").value else ()


def busy(record: Record, *path: str | int) -> Text:
    """A short form of `load_remark` for tables."""
    return (" (measured under load)",) if record.at(*path, "heavy").value else ()


def interval(record: Record, kind: Kind, *path: str | int, absent: str | None = None) -> Text:
    """The bounds of an interval."""
    low, high = (show(record, kind, *path, end, absent=absent) for end in ("low", "high"))
    return (low, " to ", high) if low.fact.recorded else (low,)


def listed(record: Record, *path: str, kind: Kind = "plain") -> Text:
    """An object's keys and values as a list."""
    parts: list[Inline] = []
    for name in record.keys(*path):
        parts += [", " if parts else "", f"{name} ", show(record, kind, *path, name)]
    return tuple(part for part in parts if part) or (DASH,)


def words(record: Record, *path: str | int) -> str | None:
    """A value that is used as a word, or None."""
    value = record.at(*path).value
    return None if value is None else str(value)


def spaced(name: str) -> str:
    """A dimension's name with spaces."""
    return name.replace("_", " ")
