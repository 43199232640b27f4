"""Flags: problems that a training history and its metadata show, each with its evidence.

In: a `TrainingHistory`. Out: findings, and the plateau. A rule applies only if the facts it needs are recorded. A run
without problems raises no flags.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from potstill.evaluation.history import read_history
from potstill.evaluation.records import HistoryEvaluation, Plateau, Training
from potstill.files import sha256
from potstill.findings import MOVING_MODEL_RATIO, STALLED_PROGRESS, TABLE_TOLERANCE, WIDEST_ENCODER, Finding, is_weak
from potstill.metrics import number
from potstill.records import Interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from potstill.evaluation.history import Epoch, TrainingHistory

LAST = 5
"""The number of last epochs over which the slope of a plateau is fitted, or all epochs if there are fewer."""

_FREE = {"gap": "its train and validation errors are the same", "plateau": "its error never changes"}
"""Figures that are trivial for a constant."""

_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's t: the 97.5% point, for 1 to 10 degrees of freedom."""


def evaluate_history(path: Path, metadata: Path | None = None) -> HistoryEvaluation:
    """Read a history and find what is wrong with it.

    Raises:
        BadInput: see `read_history`.
    """
    history = read_history(path, metadata)
    return HistoryEvaluation(file=str(path), sha256=sha256(path), training=training_of(history), unread=history.unread)


def training_of(history: TrainingHistory) -> Training:
    """The figures and flags of a history, as an evaluation records them."""
    shipped = history.shipped
    return Training(
        epochs=len(history.epochs),
        best_epoch=None if shipped is None else shipped.epoch,
        gap=gap_of(history),
        plateau=history_plateau(history),
        flags=flags(history),
    )


def flags(history: TrainingHistory) -> tuple[Finding, ...]:
    """All problems that the recorded facts show."""
    return (
        *_only_the_head(history),
        *_resume(history),
        *_moving(history),
        *_table(history),
        *_targets(history),
        *_percentages(history),
        *_warmup(history),
    )


def plateau_of(errors: Sequence[float], last: int = LAST) -> Plateau | None:
    """The slope of the last validation errors per epoch, with its 95% interval; None for fewer than three.

    Least squares, and Student's t with n - 2 degrees of freedom for n errors.
    """
    values = np.asarray(errors[-min(last, len(_T) + 2) :], dtype=np.float64)
    count = len(values)
    if count < 3:
        return None
    x = np.arange(count) - (count - 1) / 2
    slope = float(x @ values / (x @ x))
    rest = values - values.mean() - slope * x
    half = _T[count - 3] * math.sqrt(float(rest @ rest) / (count - 2) / float(x @ x))
    return Plateau(
        epochs=count, slope=round(slope, 6), interval=Interval(low=round(slope - half, 6), high=round(slope + half, 6))
    )


def _only_the_head(history: TrainingHistory) -> Iterator[Finding]:
    trainable, dimensions = history.trainable, history.dimensions
    if trainable is None or (history.method or "").lower() in {"head", "frozen", "encoder-head"}:
        return
    if history.head is not None:
        # Two heads are one and its frozen copy, counted as training.
        only = trainable in {history.head, 2 * history.head}
        how = f"the head has {history.head:,}"
    elif dimensions:
        width, rest = divmod(trainable, dimensions)
        only = rest == 0 and width <= WIDEST_ENCODER
        how = f"{dimensions} dimensions x {width:,}, the size of a head"
    else:
        return
    if only:
        share = "" if not history.total else f" of {history.total:,}"
        yield Finding(
            rule="only-the-head-trains",
            tone="bad",
            text=f"Only {trainable:,}{share} parameters are trainable: {how}. No other part of the model can learn.",
            evidence={"trainable": trainable, "total": history.total, "dimensions": dimensions},
        )


def _resume(history: TrainingHistory) -> Iterator[Finding]:
    errors = {epoch.epoch: epoch.validation_mae for epoch in history.epochs if epoch.validation_mae is not None}
    for after in history.resumed_after:
        later = [epoch for epoch in errors if epoch > after]
        if after not in errors or after - 1 not in errors or not later:
            continue
        before = errors[after - 1] - errors[after]
        since = (errors[after] - errors[later[-1]]) / (later[-1] - after)
        if before > 0 and since < STALLED_PROGRESS * before:
            yield Finding(
                rule="plateau-begins-at-a-resume",
                tone="bad",
                text=(
                    f"Validation MAE fell by {before:.4f} in epoch {after}, but by {since:.4f} per epoch after "
                    f"training was resumed there. Check which state the resume did not restore."
                ),
                evidence={"resumed_after": after, "before": round(before, 6), "since": round(since, 6)},
            )


def _moving(history: TrainingHistory) -> Iterator[Finding]:
    if history.train_metrics == "evaluated":
        return
    known = [e for e in history.epochs if e.train_mae is not None and e.validation_mae is not None]
    first = (known[0].train_mae or 0.0, known[0].validation_mae or 0.0) if known else (0.0, 0.0)
    last = (known[-1].train_mae or 0.0, known[-1].validation_mae or 0.0) if known else (0.0, 0.0)
    crossed = len(known) > 1 and first[0] > MOVING_MODEL_RATIO * first[1] and last[0] < last[1]
    if history.train_metrics == "averaged" or crossed:
        why = (
            f"in epoch {known[0].epoch}, train MAE is {first[0]:.4f} and validation MAE {first[1]:.4f}, but train MAE "
            f"ends lower"
            if crossed
            else "according to the record"
        )
        yield Finding(
            rule="train-metrics-of-a-moving-model",
            tone="caution",
            text=(
                f"Train metrics were averaged while the model was being updated ({why}). They do not describe any one "
                f"model, so their difference to the validation metrics is not the generalization gap."
            ),
            evidence={"train_mae": first[0], "validation_mae": first[1]} if known else {},
        )


def _table(history: TrainingHistory) -> Iterator[Finding]:
    shipped = history.shipped
    if not history.table or shipped is None:
        return
    mean = sum(history.table.values()) / len(history.table)
    others = [
        epoch.epoch
        for epoch in history.epochs
        if epoch.validation_mae is not None and abs(epoch.validation_mae - mean) <= TABLE_TOLERANCE
    ]
    of = history.table_epoch
    if of is None and others and shipped.epoch not in others:
        of = others[-1]
    if of is not None and of != shipped.epoch:
        ours = "" if shipped.validation_mae is None else f", with an MAE of {shipped.validation_mae:.4f}"
        yield Finding(
            rule="table-of-another-epoch",
            tone="bad",
            text=(
                f"The table of errors by dimension (mean {mean:.4f}) is from epoch {of}, but the shipped model is from "
                f"epoch {shipped.epoch}{ours}."
            ),
            evidence={"table_epoch": of, "shipped_epoch": shipped.epoch, "table_mean": round(mean, 6)},
        )


def _targets(history: TrainingHistory) -> Iterator[Finding]:
    for figure, bound in history.targets.items():
        free = next((why for name, why in _FREE.items() if name in figure.lower()), None)
        if free is not None and bound >= 0:
            yield Finding(
                rule="a-constant-meets-the-target",
                tone="bad",
                text=f'A constant meets the target "{figure} < {bound:g}": {free}.',
                evidence={"target": bound, "figure": figure, "constant": 0.0},
            )
            continue
        base = history.constant_mae
        if "mae" not in figure.lower() or not base:
            continue
        under = 1 - bound / base
        if base < bound:
            yield Finding(
                rule="a-constant-meets-the-target",
                tone="bad",
                text=f'A constant meets the target "{figure} < {bound:g}": its MAE is {base:.3f}.',
                evidence={"target": bound, "figure": figure, "constant": base},
            )
        elif is_weak(under):
            yield Finding(
                rule="weak-target",
                tone="caution",
                text=(
                    f'The target "{figure} < {bound:g}" is weak: it is only {under:.0%} below the constant\'s MAE of '
                    f"{base:.3f}."
                ),
                evidence={"target": bound, "figure": figure, "constant": base, "skill": round(under, 6)},
            )


_PERCENT = re.compile(r"(\d+(?:\.(\d+))?)\s*%")
_FIRST = re.compile(r"first\s+(\d+)\s+epochs", re.IGNORECASE)
_RANGE = re.compile(r"epochs?\s+(\d+)\s*(?:-|\u2013|to)\s*(\d+)", re.IGNORECASE)
_GAP = re.compile(r"gap\D*?(\d+\.(\d+))(?!\s*%|\d)", re.IGNORECASE)


def _percentages(history: TrainingHistory) -> Iterator[Finding]:
    for claim in history.claims:
        printed = _PERCENT.search(claim)
        if printed is None:
            continue
        could = _gap_readings(history, claim) if "gap" in claim.lower() else _fall_readings(history, claim)
        value, decimals = float(printed[1]), len(printed[2] or "")
        # The table is rounded too: to four decimals that is a hundredth of a percent.
        slack = 0.5 * 10**-decimals + 0.01
        if could and not any(abs(one - value) <= slack for one in could.values()):
            nearest = min(could, key=lambda name: abs(could[name] - value))
            yield Finding(
                rule="percentage-does-not-follow",
                tone="bad",
                text=(
                    f'"{claim}": {printed[0]} does not follow from the table; the closest value is '
                    f"{could[nearest]:.1f}% ({nearest})."
                ),
                evidence={"claimed": value, "nearest": round(could[nearest], 6), "reading": nearest},
            )


def _fall_readings(history: TrainingHistory, claim: str) -> dict[str, float]:
    """By how many percent each measure fell over the epochs that the claim names, for every reading of the claim."""
    numbers = {epoch.epoch: epoch for epoch in history.epochs}
    first, span = _FIRST.search(claim), _RANGE.search(claim)
    if first is not None:
        ends = [(1, int(first[1]))]
    elif span is not None:
        # From the end of the epoch named first, or from its beginning.
        ends = [(int(span[1]), int(span[2])), (int(span[1]) - 1, int(span[2]))]
    else:
        return {}
    measures = ("mae",) if "mae" in claim.lower() else ("loss",) if "loss" in claim.lower() else ("mae", "loss", "rmse")
    found = {}
    for start, end in ends:
        for part in ("train", "validation"):
            for measure in measures:
                before, after = (
                    getattr(numbers[at], f"{part}_{measure}") if at in numbers else None for at in (start, end)
                )
                if before and after is not None:
                    found[f"{part} {measure}, epochs {start} to {end}"] = 100 * (before - after) / before
    return found


def _gap_readings(history: TrainingHistory, claim: str) -> dict[str, float]:
    """The gap as a percentage of either error, at the shipped and the last epoch, if it rounds to the claimed gap."""
    absolute = _GAP.search(claim)
    found = {}
    for epoch in _ends(history):
        train, validation = epoch.train_mae, epoch.validation_mae
        if not train or not validation:
            continue
        gap = validation - train
        if absolute is not None and abs(gap - float(absolute[1])) > 0.5 * 10 ** -len(absolute[2]) + 1e-9:
            continue
        found[f"of validation MAE, epoch {epoch.epoch}"] = 100 * gap / validation
        found[f"of train MAE, epoch {epoch.epoch}"] = 100 * gap / train
    return found


def _ends(history: TrainingHistory) -> list[Epoch]:
    last, shipped = history.epochs[-1], history.shipped
    return [last] if shipped is None or shipped is last else [shipped, last]


def _warmup(history: TrainingHistory) -> Iterator[Finding]:
    if history.warmup_steps is not None and history.steps is not None and history.warmup_steps >= history.steps > 1:
        yield Finding(
            rule="warm-up-longer-than-the-run",
            tone="bad",
            text=(
                f"The warm-up of {history.warmup_steps:,} steps is not shorter than the training run of "
                f"{history.steps:,} steps, so the learning rate never reached its peak."
            ),
            evidence={"warmup_steps": history.warmup_steps, "steps": history.steps},
        )


def history_plateau(history: TrainingHistory) -> Plateau | None:
    """The plateau of a history's validation MAE."""
    known = [epoch.validation_mae for epoch in history.epochs if epoch.validation_mae is not None]
    return plateau_of(known)


def gap_of(history: TrainingHistory) -> float | None:
    """Validation MAE minus train MAE of the shipped epoch."""
    shipped = history.shipped
    if shipped is None or shipped.validation_mae is None or shipped.train_mae is None:
        return None
    return number(shipped.validation_mae - shipped.train_mae)
