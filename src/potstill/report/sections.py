"""What a report says, section by section: each turns records into blocks and works nothing out.

In: facts. Out: a `Document`. A section is one function in `SECTIONS`, in reading order; one whose records are
missing says so and shows "not recorded" where figures would stand.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from potstill.calibration import LEVELS
from potstill.report import charts
from potstill.report.blocks import (
    Block,
    Column,
    Document,
    Figure,
    Findings,
    Inline,
    Kind,
    Panels,
    Paragraph,
    Row,
    Section,
    Shown,
    Table,
    Text,
    Tile,
    Tiles,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from potstill.report.facts import Facts, Record

Path = tuple[str | int, ...]

INTERVAL_LEVEL = 0.9
"""Which of the calibration's interval widths is shown."""

_NO_FLOOR = "unknown"
_DASH = "\N{EM DASH}"


def compose(facts: Facts) -> Document:
    """The whole report of a run."""
    evaluation = facts.evaluation
    return Document(
        title=_words(evaluation, "filter") or "Distillation",
        kicker="potstill \N{MIDDLE DOT} distillation report",
        lead=(
            "Filter ",
            _show(evaluation, "text", "filter"),
            ", version ",
            _show(evaluation, "plain", "filter_version"),
            ": how near a small local model comes to the oracle that taught it, beside what would be true without it.",
        ),
        sections=tuple(section(facts) for section in SECTIONS),
    )


# Sections


def summary(facts: Facts) -> Section:
    """Key figures and verdicts."""
    evaluation, at = facts.evaluation, _headline(facts.evaluation)
    mean, test = (*at, "mean"), ("shipped", "judgement")
    tiles = (
        Tile(
            "Error (MAE)",
            _show(evaluation, "score", *mean, "mae"),
            ("interval ", *_interval(evaluation, "score", *mean, "mae_interval")),
        ),
        Tile("A constant's error", _show(evaluation, "score", *mean, "constant_mae"), ("on the same rows",)),
        Tile(
            "Skill",
            _show(evaluation, "percent", *mean, "skill"),
            ("of the constant's error removed; ", *_interval(evaluation, "percent", *mean, "skill_interval")),
        ),
        Tile(
            "Floor",
            _show(evaluation, "score", "floor", "mean_floor", absent=_NO_FLOOR),
            (
                "two answers of the oracle differ by ",
                _show(evaluation, "score", "floor", "mean_difference", absent=_NO_FLOOR),
            ),
        ),
        Tile(
            "Tier agreement",
            _show(evaluation, "percent", *at, "tiers", "accuracy"),
            ("the commonest tier alone: ", _show(evaluation, "percent", *at, "tiers", "majority")),
        ),
        Tile(
            "One article",
            _latency(evaluation, ("shipped", "latency"), "milliseconds", "milliseconds_p50"),
            (
                "milliseconds, median; ",
                _latency(evaluation, ("shipped", "latency"), "rate", "articles_per_second"),
                " articles/s in bulk",
            ),
        ),
    )
    verdicts = tuple(
        Paragraph(
            (_show(evaluation, "text", "findings", place, "text"),),
            _words(evaluation, "findings", place, "tone"),
        )
        for place in range(evaluation.size("findings"))
    )
    shipped: Text = (
        "The bundle is ",
        _show(evaluation, "text", "shipped", "rung"),
        ". Its figures here are over ",
        _show(evaluation, "count", *at, "rows"),
        " rows (",
        _show(evaluation, "text", *at, "source"),
        "); the bundle itself, as a user gets it, has a mean absolute error of ",
        _show(evaluation, "score", *test, "mean", "mae"),
        " on ",
        _show(evaluation, "count", *test, "rows"),
        " test rows that chose nothing (interval ",
        *_interval(evaluation, "score", *test, "mean", "mae_interval"),
        ").",
    )
    blocks: tuple[Block, ...] = (Tiles(tiles), Paragraph(shipped))
    if verdicts:
        blocks = (*blocks, Findings(verdicts))
    if not evaluation.recorded:
        blocks = (Paragraph(("The evaluation is not recorded.",), "bad"), *blocks)
    return Section("summary", "Summary", blocks)


def ladder(facts: Facts) -> Section:
    """Every rung, beside the constant on the same rows."""
    evaluation = facts.evaluation
    rows = charts.prepare_ladder(evaluation)
    blocks: list[Block] = [
        Paragraph(
            (
                (
                    "Every student of this run, from one that reads nothing to the largest. A rung's error is the mean "
                    "absolute error over all dimensions; the tick is the constant's error on the same rows, the "
                    "line an interval over clusters of near-duplicates."
                ),
            )
        ),
    ]
    if rows:
        blocks.append(
            Figure(
                "ladder",
                "Error by rung",
                "Mean absolute error of each student with its interval, beside the constant's and the floor.",
                rows,
                charts.plot_ladder,
                (evaluation.file,),
                png="overall_metrics.png",
            )
        )
    return Section("ladder", "The ladder", (*blocks, _ladder_table(facts), _speed_table(facts), *_validation(facts)))


def dimensions(facts: Facts) -> Section:
    """The shipped student, dimension by dimension."""
    evaluation, at = facts.evaluation, _headline(facts.evaluation)
    rows = charts.prepare_dimensions(evaluation, at)
    blocks: list[Block] = [_judged_on(evaluation, at)]
    if rows:
        blocks.append(
            Figure(
                "dimensions",
                "Error by dimension",
                "For each dimension the student's mean absolute error, between the floor and the constant's error.",
                rows,
                charts.plot_dimensions,
                (evaluation.file,),
                png="per_dimension_mae.png",
            )
        )
    head = (
        "Weight",
        "MAE",
        "Interval",
        "Constant",
        "Skill",
        "RMSE",
        "Bias",
        "R\N{SUPERSCRIPT TWO}",
        "Spearman",
        "Floor",
    )
    named: list[tuple[str, Path]] = [
        (name, (*at, "dimensions", name)) for name in charts.ordered(evaluation, *at, "dimensions")
    ]
    body = [
        Row(
            (
                (_spaced(name),),
                (_show(evaluation, "plain", "weights", name),),
                *_figures(evaluation, path),
                (_show(evaluation, "score", "floor", "floor", name, absent=_NO_FLOOR),),
            )
        )
        for name, path in named
    ]
    body.append(
        Row(
            (
                ("mean of the dimensions",),
                (_DASH,),
                *_figures(evaluation, (*at, "mean")),
                (_show(evaluation, "score", "floor", "mean_floor", absent=_NO_FLOOR),),
            ),
            strong=True,
        )
    )
    body.append(Row((("weighted overall",), (_DASH,), *_figures(evaluation, (*at, "overall")), (_DASH,)), strong=True))
    table = Table(
        "The shipped student by dimension", (Column("Dimension", numeric=False), *map(Column, head)), tuple(body)
    )
    return Section("dimensions", "By dimension", (*blocks, table))


def agreement(facts: Facts) -> Section:
    """Predicted against oracle, and where on the scale the student leans."""
    evaluation, at = facts.evaluation, _headline(facts.evaluation)
    blocks: list[Block] = []
    panels = _scatter_panels(facts, at)
    if panels:
        blocks += [
            Paragraph(
                (
                    (
                        "Each point is an article that the student had not seen (or a cell of many, if there are too "
                        "many to draw). On the dashed line the student would agree with the oracle."
                    ),
                )
            ),
            panels,
        ]
    else:
        blocks.append(Paragraph((f"Predictions: not recorded ({facts.predictions.file}).",)))
    bands = charts.prepare_bands(evaluation, at)
    if bands:
        blocks += [
            Paragraph(
                (
                    (
                        "Where the student leans: its mean error by what the oracle said. An unsure student pulls "
                        "to the middle, so that high scores come out low; whoever filters for them should look right."
                    ),
                )
            ),
            Figure(
                "bands",
                "Mean error by band of the oracle's score",
                "A table of colours: dimensions down, bands of the oracle's score across, the student's mean error in "
                "each.",
                bands,
                charts.plot_bands,
                (evaluation.file,),
                png="band_bias.png",
            ),
            _band_table(evaluation, at),
        ]
    return Section("agreement", "Predicted against oracle", tuple(blocks))


def tiers(facts: Facts) -> Section:
    """Agreement of tiers: what a reader of the filter's output would notice."""
    evaluation = facts.evaluation
    at = (*_headline(evaluation), "tiers")
    names = evaluation.at(*at, "names").value or []
    cells = [[evaluation.at(*at, "confusion", i, j).value or 0 for j in range(len(names))] for i in range(len(names))]
    rows = tuple(
        Row(
            (
                (_show(evaluation, "text", *at, "names", i),),
                *((_show(evaluation, "count", *at, "confusion", i, j),) for j in range(len(names))),
            ),
            shade=(None, *(cell / max(1, sum(cells[i])) for cell in cells[i])),
        )
        for i in range(len(names))
    )
    confusion = Table(
        "Rows by the oracle's tier (down) and the student's (across)",
        (Column("Oracle", numeric=False), *(Column(str(name)) for name in names)),
        rows,
    )
    found: list[tuple[Text, Path]] = [
        ((_show(evaluation, "text", *at, "by_tier", i, "tiers"),), (*at, "by_tier", i))
        for i in range(evaluation.size(*at, "by_tier"))
    ]
    if evaluation.at(*at, "positives").recorded:
        found.insert(0, (("all positive tiers",), (*at, "positives")))
    few = evaluation.at(*at, "fewest_positives")
    recall = Table(
        "Recall and precision by tier",
        (
            Column("Tier", numeric=False),
            *map(Column, ("Oracle", "Student", "Both", "Recall", "Interval", "Precision", "Interval")),
        ),
        tuple(
            Row(
                (
                    label,
                    *((_show(evaluation, "count", *path, name),) for name in ("oracle", "student", "both")),
                    (_show(evaluation, "percent", *path, "recall", absent=_DASH),),
                    _interval(evaluation, "percent", *path, "recall_interval", absent=_DASH),
                    (_show(evaluation, "percent", *path, "precision", absent=_DASH),),
                    _interval(evaluation, "percent", *path, "precision_interval", absent=_DASH),
                ),
                strong=path[-1] == "positives",
            )
            for label, path in found
        ),
    )
    text: Text = (
        "Oracle and student each go through the filter's gates, caps and tiers. They agree on ",
        _show(evaluation, "percent", *at, "accuracy"),
        " of ",
        _show(evaluation, "count", *at, "rows"),
        " rows (interval ",
        *_interval(evaluation, "percent", *at, "accuracy_interval"),
        "); naming ",
        _show(evaluation, "text", *at, "majority_tier"),
        " every time would agree on ",
        _show(evaluation, "percent", *at, "majority"),
        ". Beyond chance (Cohen's kappa): ",
        _show(evaluation, "score", *at, "kappa"),
        ". With fewer than ",
        Shown(few, "count"),
        " rows of the oracle's, counts are given and no recall.",
    )
    blocks: tuple[Block, ...] = (Paragraph(text),)
    return Section("tiers", "Tiers", (*blocks, confusion, recall) if names else blocks)


def training(facts: Facts) -> Section:
    """Epochs, and the counts of what was trained."""
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
            blocks.append(_epoch_table(rung, history))
    if not blocks:
        blocks.append(Paragraph(("Epochs: not recorded; no student of this run was trained by epochs.",)))
    else:
        blocks.insert(
            0,
            Paragraph(
                (
                    (
                        "Both parts are evaluated with the same weights after each epoch, dropout off; the band marks "
                        "the epoch that was kept, the best by validation."
                    ),
                )
            ),
        )
    return Section("training", "Training", (*blocks, _counts_table(facts), _students_table(facts), *_remarks(facts)))


def data(facts: Facts) -> Section:
    """The rows, their parts, and what the labels look like."""
    evaluation, stage = facts.evaluation, facts.stage("dataset")
    record: Path = ("parameters", "record")
    text: Text = (
        _show(evaluation, "count", "data", "rows"),
        " labelled articles in ",
        _show(evaluation, "count", "data", "clusters"),
        " clusters; near-duplicate pairs: ",
        _show(stage, "count", *record, "near_duplicates"),
        ". Clusters lie whole in one part. Articles of which the window lost some text: ",
        _show(stage, "count", *record, "cut"),
        ". Answers per article: ",
        _show(evaluation, "plain", "data", "samples_per_article"),
        ". Calibration: ",
        _show(stage, "text", *record, "calibration"),
        ".",
    )
    parts = Table(
        "Rows by part",
        (Column("Part", numeric=False), Column("Rows")),
        tuple(
            Row(((part,), (_show(evaluation, "count", "data", "parts", part),)))
            for part in sorted(evaluation.keys("data", "parts"), key=_part_order)
        ),
    )
    head = (
        "Labels",
        "Missing",
        "Mean",
        "Median",
        "Spread",
        "At the minimum",
        "Commonest value",
        "Repeat spread",
        "Repeat difference",
    )
    labels = Table(
        "The oracle's labels",
        (Column("Dimension", numeric=False), *map(Column, head)),
        tuple(
            Row(
                (
                    (_spaced(name),),
                    (_show(evaluation, "count", "labels", name, "labels"),),
                    (_show(evaluation, "count", "labels", name, "missing"),),
                    (_show(evaluation, "score", "labels", name, "mean"),),
                    (_show(evaluation, "plain", "labels", name, "median"),),
                    (_show(evaluation, "score", "labels", name, "deviation"),),
                    (_show(evaluation, "percent", "labels", name, "at_minimum"),),
                    (_show(evaluation, "percent", "labels", name, "commonest_share"),),
                    (_show(evaluation, "score", "labels", name, "repeat_deviation", absent=_NO_FLOOR),),
                    (_show(evaluation, "score", "floor", "difference", name, absent=_NO_FLOOR),),
                )
            )
            for name in charts.ordered(evaluation, "labels")
        ),
    )
    notes = tuple(
        Paragraph(("Note: ", _show(stage, "text", *record, "notes", place), "."))
        for place in range(stage.size(*record, "notes"))
    )
    return Section("data", "Labels and data", (Paragraph(text), *notes, parts, labels))


def calibration(facts: Facts) -> Section:
    """What calibration was kept and why, and how wide and how true the intervals are."""
    record, evaluation = facts.calibration, facts.evaluation
    width = LEVELS.index(INTERVAL_LEVEL)
    named = {record.at("curves", i, "dimension").value: i for i in range(record.size("curves"))}
    rows = tuple(
        Row(
            (
                (_spaced(str(name)),),
                (_show(record, "text", "curves", i, "method"),),
                (_show(record, "score", "curves", i, "before"),),
                (_show(record, "score", "curves", i, "after"),),
                (_show(record, "count", "curves", i, "n"),),
                (_show(record, "score", "curves", i, "widths", width, absent="whole scale"),),
                (_show(evaluation, "percent", "shipped", "coverage", str(name)),),
            )
        )
        for name, i in named.items()
    )
    if not rows:
        return Section("calibration", "Calibration and intervals", (Paragraph((f"Not recorded ({record.file}).",)),))
    text: Text = (
        (
            "A calibration curve is kept only where it lowers the error on rows that did not fit it; otherwise scores "
            "are clipped to the scale and nothing else. Intervals are conformal and meant to hold "
        ),
        _show(evaluation, "percent", "shipped", "interval_level"),
        " of labels; the share of test labels that they did hold stands beside them. Fitted on: ",
        _show(record, "text", "origin"),
        ".",
    )
    head = (
        Column("Dimension", numeric=False),
        Column("Kept", numeric=False),
        Column("Error before"),
        Column("after"),
        Column("Rows"),
        Column("Half width"),
        Column("Held on test"),
    )
    why = Table(
        "Why each curve was kept or dropped",
        (Column("Dimension", numeric=False), Column("Why", numeric=False, wraps=True)),
        tuple(
            Row(((_spaced(str(name)),), (_show(record, "text", "curves", i, "reason"),))) for name, i in named.items()
        ),
        folded=True,
    )
    return Section(
        "calibration",
        "Calibration and intervals",
        (Paragraph(text), Table("Calibration by dimension", head, rows), why),
    )


def making(facts: Facts) -> Section:
    """How the run was made: stages, seeds, versions."""
    stages = Table(
        "Stages of the run",
        (
            Column("Stage", numeric=False),
            Column("Started (UTC)", numeric=False),
            Column("Took"),
            Column("Seeds", numeric=False),
        ),
        tuple(
            Row(
                (
                    (name,),
                    (_show(stage, "date", "started"),),
                    (_show(stage, "seconds", "seconds"),),
                    _listed(stage, "seeds"),
                )
            )
            for name, stage in facts.stages.items()
        ),
    )
    last = facts.stage("evaluate") if "evaluate" in facts.stages else facts.stage("train")
    versions = Table(
        "Versions at the evaluation",
        (Column("Package", numeric=False), Column("Version", numeric=False)),
        tuple(Row(((name,), (_show(last, "text", "versions", name),))) for name in last.keys("versions")),
        folded=True,
    )
    bootstrap: Text = (
        "Intervals are percentiles over ",
        _show(facts.evaluation, "count", "bootstrap", "resamples"),
        " resamples of whole clusters, at level ",
        _show(facts.evaluation, "percent", "bootstrap", "level"),
        ", seed ",
        _show(facts.evaluation, "plain", "bootstrap", "seed"),
        ". The run was begun on ",
        _show(facts.manifest, "date", "created"),
        " for ",
        _show(facts.manifest, "text", "filter"),
        "; the filter's content has the hash ",
        _show(facts.evaluation, "hash", "filter_hash"),
        ".",
    )
    return Section("making", "How it was made", (Paragraph(bootstrap), stages, versions))


SECTIONS: tuple[Callable[[Facts], Section], ...] = (
    summary,
    ladder,
    dimensions,
    agreement,
    tiers,
    training,
    data,
    calibration,
    making,
)
"""The report, in reading order."""


# Tables


def _ladder_table(facts: Facts) -> Table:
    evaluation = facts.evaluation
    chosen = evaluation.at("shipped", "rung").value
    rows = []
    for i in range(evaluation.size("ladder")):
        at = _judgement(evaluation, i)
        name = _show(evaluation, "text", "ladder", i, "name")
        rows.append(
            Row(
                (
                    (name, " \N{MIDDLE DOT} shipped") if name.fact.value == chosen else (name,),
                    (_show(evaluation, "text", *at, "source"), ", ", _show(evaluation, "count", *at, "rows"), " rows"),
                    *_figures(evaluation, (*at, "mean"))[:4],
                    (_show(evaluation, "score", *at, "mean", "spearman"),),
                    (_show(evaluation, "percent", *at, "tiers", "accuracy"),),
                    (_show(evaluation, "score", "ladder", i, "judgements", "test", "mean", "mae"),),
                ),
                strong=name.fact.value == chosen,
            )
        )
    head = (
        "MAE",
        "Interval",
        "Constant",
        "Skill",
        "Spearman",
        "Tiers agree",
        "MAE on test",
    )
    return Table(
        "The ladder",
        (Column("Rung", numeric=False), Column("Judged on", numeric=False), *map(Column, head)),
        tuple(rows),
    )


def _speed_table(facts: Facts) -> Table:
    evaluation = facts.evaluation
    rows = []
    places: list[tuple[Text, Path]] = [
        ((_show(evaluation, "text", "ladder", i, "name"),), ("ladder", i)) for i in range(evaluation.size("ladder"))
    ]
    places.append((("the bundle, whole path",), ("shipped",)))
    for label, path in places:
        missing = evaluation.at(*path, "latency_missing")
        at = (*path, "latency")
        rows.append(
            Row(
                (
                    label,
                    (_latency(evaluation, at, "milliseconds", "milliseconds_p50"),),
                    (_latency(evaluation, at, "rate", "articles_per_second"),),
                    (_show(evaluation, "count", *at, "articles"),),
                    (
                        _show(evaluation, "text", *at, "machine"),
                        ", ",
                        _show(evaluation, "count", *at, "threads"),
                        " threads",
                    )
                    if evaluation.at(*at).recorded
                    else (Shown(missing, "text"),),
                ),
                strong=path == ("shipped",),
            )
        )
    return Table(
        "What one article costs, measured",
        (
            Column("Rung", numeric=False),
            *map(Column, ("ms, median", "Articles/s in bulk", "Timed")),
            Column("Machine", numeric=False, wraps=True),
        ),
        tuple(rows),
    )


def _validation(facts: Facts) -> tuple[Block, ...]:
    evaluation = facts.evaluation
    names = evaluation.keys("choice", "validation_mae")
    if not names:
        return (Paragraph(("The choice of the bundle's rung: not recorded.",)),)
    text: Text = (
        "The rung is chosen by validation. The bundle is ",
        _show(evaluation, "text", "choice", "rung"),
        "; the best of the others, ",
        _show(evaluation, "text", "choice", "runner_up"),
        ", errs by ",
        _show(evaluation, "score", "choice", "margin"),
        " more there (interval ",
        *_interval(evaluation, "score", "choice", "margin_interval"),
        ").",
    )
    table = Table(
        "Validation, which chose",
        (Column("Rung", numeric=False), Column("MAE")),
        tuple(
            Row(((name,), (_show(evaluation, "score", "choice", "validation_mae", name),)))
            for name in sorted(names, key=lambda name: evaluation.at("choice", "validation_mae", name).value)
        ),
    )
    return Paragraph(text), table


def _band_table(evaluation: Record, at: Path) -> Table:
    first = next(iter(evaluation.keys(*at, "bands")), "")
    count = evaluation.size(*at, "bands", first)
    ends = [
        " to ".join(f"{evaluation.at(*at, 'bands', first, i, end).value:g}" for end in ("low", "high"))
        for i in range(count)
    ]
    rows = tuple(
        Row(
            (
                (_spaced(name),),
                *(
                    (
                        _show(evaluation, "signed", *at, "bands", name, i, "bias", absent=_DASH),
                        " (",
                        _show(evaluation, "count", *at, "bands", name, i, "rows"),
                        ")",
                    )
                    for i in range(count)
                ),
            )
        )
        for name in charts.ordered(evaluation, *at, "bands")
    )
    return Table(
        "Mean error by band, and rows in it",
        (Column("Dimension", numeric=False), *(Column(end) for end in ends)),
        rows,
        folded=True,
    )


def _epoch_table(rung: str, history: Record) -> Table:
    head = (
        "Epoch",
        "Train MAE",
        "Validation MAE",
        "Train RMSE",
        "Validation RMSE",
        "Train loss",
        "Validation loss",
        "Took",
    )
    rows = tuple(
        Row(
            (
                (_show(history, "count", i, "epoch"),),
                *(
                    (_show(history, "score", i, part, measure),)
                    for measure in ("mae", "rmse", "loss")
                    for part in ("train", "validation")
                ),
                (_show(history, "seconds", i, "seconds"),),
            )
        )
        for i in range(history.size())
    )
    return Table(f"{rung} by epoch", tuple(map(Column, head)), rows)


def _counts_table(facts: Facts) -> Block:
    counted = {name: record for name, record in _by_ladder(facts) if record.at("counts").recorded}
    if not counted:
        return Paragraph(("Counts of trained parameters: not recorded; no network was trained.",))
    head = (
        "Base",
        "Adapter",
        "Head",
        "Head's frozen copy",
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
        "Parameters, and which of them trained",
        (Column("Rung", numeric=False), *map(Column, head)),
        tuple(
            Row(((name,), *((_show(record, "count", "counts", key),) for key in keys)))
            for name, record in counted.items()
        ),
    )


def _students_table(facts: Facts) -> Table:
    return Table(
        "How each student was made",
        (
            Column("Rung", numeric=False),
            *map(Column, ("Took", "Rows", "Windows it can't read whole", "Epochs", "Kept epoch")),
            Column("Seeds", numeric=False),
            Column("Weights from", numeric=False),
        ),
        tuple(
            Row(
                (
                    (name,),
                    (_show(record, "seconds", "seconds"),),
                    (_show(record, "count", "train_rows"),),
                    (_show(record, "percent", "truncated_share", absent="none"),),
                    (_show(record, "count", "epochs", absent=_DASH),),
                    (_show(record, "count", "best_epoch", absent=_DASH),),
                    _listed(record, "seeds"),
                    _listed(record, "backbones", kind="hash"),
                )
            )
            for name, record in _by_ladder(facts)
        ),
    )


def _remarks(facts: Facts) -> Iterator[Paragraph]:
    for name, record in _by_ladder(facts):
        for place in range(record.size("notes")):
            yield Paragraph((f"Note on {name}: ", _show(record, "text", "notes", place), "."))


def _scatter_panels(facts: Facts, at: Path) -> Panels | None:
    frame, evaluation = facts.predictions.frame, facts.evaluation
    source, scale = evaluation.at(*at, "source").value, evaluation.at("scale").value
    if frame is None or source is None or scale is None:
        return None
    rows = frame.filter(pl.col("source") == source)
    plot = partial(charts.plot_scatter, low=scale[0], high=scale[1])
    items = []
    for name in ("overall", *charts.ordered(evaluation, *at, "dimensions")):
        points = charts.prepare_scatter(rows, name)
        if points:
            items.append(
                Figure(
                    f"scatter-{name}",
                    "weighted overall" if name == "overall" else _spaced(name),
                    f"The student's score of {_spaced(name)} against the oracle's, article by article.",
                    points,
                    plot,
                    (facts.predictions.file,),
                )
            )
    return Panels("Predicted against oracle", tuple(items)) if items else None


# Parts


def _headline(evaluation: Record) -> Path:
    """Where the shipped student's figures stand: its rung's headline, or the bundle's own test."""
    chosen = evaluation.at("shipped", "rung").value
    for place in range(evaluation.size("ladder")):
        if chosen is not None and evaluation.at("ladder", place, "name").value == chosen:
            return _judgement(evaluation, place)
    return "shipped", "judgement"


def _by_ladder(facts: Facts) -> list[tuple[str, Record]]:
    """The students' records from the bottom of the ladder up; those that are not on it last."""
    evaluation = facts.evaluation
    names = [evaluation.at("ladder", i, "name").value for i in range(evaluation.size("ladder"))]
    return sorted(facts.students.items(), key=lambda item: names.index(item[0]) if item[0] in names else len(names))


def _judgement(evaluation: Record, place: int) -> Path:
    return "ladder", place, "judgements", str(evaluation.at("ladder", place, "headline").value)


def _judged_on(evaluation: Record, at: Path) -> Paragraph:
    return Paragraph(
        (
            "On ",
            _show(evaluation, "count", *at, "rows"),
            " rows (",
            _show(evaluation, "text", *at, "source"),
            (
                "), none of which the student learned from. Skill is the share of the constant's error gone; bias "
                "is prediction minus label; the floor is the error of a perfect student against labels this noisy."
            ),
        )
    )


def _figures(evaluation: Record, at: Path) -> tuple[Text, ...]:
    return (
        (_show(evaluation, "score", *at, "mae"),),
        _interval(evaluation, "score", *at, "mae_interval"),
        (_show(evaluation, "score", *at, "constant_mae"),),
        (_show(evaluation, "percent", *at, "skill"),),
        (_show(evaluation, "score", *at, "rmse"),),
        (_show(evaluation, "signed", *at, "bias"),),
        (_show(evaluation, "score", *at, "r2"),),
        (_show(evaluation, "score", *at, "spearman"),),
    )


def _show(record: Record, kind: Kind, *path: str | int, absent: str | None = None) -> Shown:
    fact = record.at(*path)
    # Only a record that is there can say that a thing does not apply; a missing one says nothing.
    return Shown(fact, kind) if absent is None or not record.recorded else Shown(fact, kind, absent)


def _latency(evaluation: Record, at: Path, kind: Kind, name: str) -> Shown:
    return Shown(evaluation.at(*at, name), kind, "not measured" if evaluation.recorded else "not recorded")


def _interval(record: Record, kind: Kind, *path: str | int, absent: str | None = None) -> Text:
    low, high = (_show(record, kind, *path, end, absent=absent) for end in ("low", "high"))
    return (low, " to ", high) if low.fact.recorded else (low,)


def _listed(record: Record, *path: str, kind: Kind = "plain") -> Text:
    parts: list[Inline] = []
    for name in record.keys(*path):
        parts += [", " if parts else "", f"{name} ", _show(record, kind, *path, name)]
    return tuple(part for part in parts if part) or (_DASH,)


def _words(record: Record, *path: str | int) -> str | None:
    value = record.at(*path).value
    return None if value is None else str(value)


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _part_order(part: str) -> int:
    order: Sequence[str] = ("train", "validation", "calibration", "test")
    return order.index(part) if part in order else len(order)
