"""Training: epochs, parameter counts, and how each student was trained.

In: facts. Out: a section; a figure that is not in a record is shown as "not recorded".
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from potstill.report import charts
from potstill.report.blocks import Block, Column, Figure, Findings, Paragraph, Row, Section, Shown, Table
from potstill.report.rules import RULES, epoch_status
from potstill.report.sections.parts import DASH, busy, interval, kept_place, listed, show, words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from potstill.report.facts import Facts, Record


def training(facts: Facts) -> Section:
    """Epochs, parameter counts, and how each student was trained."""
    blocks: list[Block] = []
    for rung, history in facts.histories.items():
        record = facts.students.get(rung)
        best = None if record is None else record.at("best_epoch").value
        for measure, title, png in (
            ("mae", "mean absolute error", "learning_curves.png"),
            ("loss", "loss", "loss_curves.png"),
        ):
            rows = charts.prepare_epochs(history, measure)
            if rows:
                blocks.append(
                    Figure(
                        f"{measure}-{rung}",
                        f"{rung}: {title} by epoch",
                        f"{title.capitalize()} on the training and the validation part after each epoch.",
                        rows,
                        partial(charts.plot_epochs, title=title, best=best),
                        (history.file,),
                        png=png if len(facts.histories) == 1 else f"{rung}-{png}",
                    )
                )
        if history.size():
            blocks.append(_epoch_table(rung, history, None if record is None else kept_place(record, history)))
            blocks.append(_status_rule())
    if not blocks:
        blocks.append(Paragraph(("Epochs: not recorded; no student of this run was trained in epochs.",)))
    else:
        blocks.insert(
            0,
            Paragraph(
                (
                    (
                        "Both parts are evaluated with the same weights after each epoch, without dropout. The "
                        "vertical band marks the kept epoch, which has the lowest validation error."
                    ),
                )
            ),
        )
    return Section(
        "training",
        "Training",
        (*blocks, *_shown_by(facts.evaluation), _counts_table(facts), _students_table(facts), *_remarks(facts)),
    )


def _shown_by(evaluation: Record) -> Iterator[Block]:
    """What each training history shows: whether validation error still falls, and problems."""
    rungs = [i for i in range(evaluation.size("ladder")) if evaluation.at("ladder", i, "training", "plateau").recorded]
    if rungs:
        yield Table(
            "Slope of the validation error over the last epochs",
            (Column("Model", numeric=False), *map(Column, ("Epochs", "Slope per epoch", "Interval"))),
            tuple(
                Row(
                    (
                        (show(evaluation, "text", "ladder", i, "name"),),
                        (show(evaluation, "count", *at, "epochs"),),
                        (show(evaluation, "score", *at, "slope"),),
                        interval(evaluation, "score", *at, "interval"),
                    )
                )
                for i in rungs
                for at in (("ladder", i, "training", "plateau"),)
            ),
        )
    flags = tuple(
        Paragraph(
            (show(evaluation, "text", "ladder", i, "name"), ": ", show(evaluation, "text", *at, place, "text")),
            words(evaluation, *at, place, "tone"),
        )
        for i in range(evaluation.size("ladder"))
        for at in (("ladder", i, "training", "flags"),)
        for place in range(evaluation.size(*at))
    )
    if flags:
        yield Findings(flags)


def _status_rule() -> Paragraph:
    return Paragraph(
        (
            "Status by validation error: improving: a new best by at least ",
            Shown(RULES.at("epoch", "improving"), "percent"),
            (
                " of the best so far; slightly better: a new best by less; plateau: no new best, but within that "
                "share; worse: by more than that share. The epoch marked best is the one that was kept."
            ),
        )
    )


def _epoch_table(rung: str, history: Record, kept: int | None) -> Table:
    errors = [history.at(i, "validation", "mae").value for i in range(history.size())]
    head = (
        "Train MAE",
        "Validation MAE",
        "Train RMSE",
        "Validation RMSE",
        "Train loss",
        "Validation loss",
        "Duration",
    )
    rows = tuple(
        Row(
            (
                (show(history, "count", i, "epoch"),),
                (epoch_status(errors, i, kept) or "not recorded",),
                *(
                    (show(history, "score", i, part, measure),)
                    for measure in ("mae", "rmse", "loss")
                    for part in ("train", "validation")
                ),
                (show(history, "seconds", i, "seconds"),),
            ),
            strong=i == kept,
        )
        for i in range(history.size())
    )
    columns = (Column("Epoch"), Column("Status", numeric=False), *map(Column, head))
    return Table(f"{rung} by epoch", columns, rows)


def _counts_table(facts: Facts) -> Block:
    counted = {name: record for name, record in _by_ladder(facts) if record.at("counts").recorded}
    if not counted:
        return Paragraph(("Counts of trained parameters: not recorded; no network was trained.",))
    head = (
        "Base",
        "Adapter",
        "Head",
        "Frozen copy of head",
        "Base trained",
        "Adapter trained",
        "Head trained",
        "Trainable",
        "Total",
    )
    keys = (
        "base",
        "adapter",
        "head",
        "head_copy",
        "trainable_base",
        "trainable_adapter",
        "trainable_head",
        "trainable",
        "total",
    )
    return Table(
        "Parameter counts",
        (Column("Model", numeric=False), *map(Column, head)),
        tuple(
            Row(((name,), *((show(record, "count", "counts", key),) for key in keys)))
            for name, record in counted.items()
        ),
    )


def _students_table(facts: Facts) -> Table:
    return Table(
        "Training of each student",
        (
            Column("Model", numeric=False),
            *map(Column, ("Duration", "Rows", "Truncated texts", "Epochs", "Kept epoch")),
            Column("Seeds", numeric=False),
            Column("Pretrained weights", numeric=False),
        ),
        tuple(
            Row(
                (
                    (name,),
                    (show(record, "seconds", "seconds"), *busy(record, "load")),
                    (show(record, "count", "train_rows"),),
                    (show(record, "percent", "truncated_share", absent="none"),),
                    (show(record, "count", "epochs", absent=DASH),),
                    (show(record, "count", "best_epoch", absent=DASH),),
                    listed(record, "seeds"),
                    listed(record, "backbones", kind="hash"),
                )
            )
            for name, record in _by_ladder(facts)
        ),
    )


def _remarks(facts: Facts) -> Iterator[Paragraph]:
    for name, record in _by_ladder(facts):
        for place in range(record.size("notes")):
            yield Paragraph((f"Note on {name}: ", show(record, "text", "notes", place), "."))


def _by_ladder(facts: Facts) -> list[tuple[str, Record]]:
    """The students' records in the order of the leaderboard; those that are not on it last."""
    evaluation = facts.evaluation
    names = [evaluation.at("ladder", i, "name").value for i in range(evaluation.size("ladder"))]
    return sorted(facts.students.items(), key=lambda item: names.index(item[0]) if item[0] in names else len(names))
