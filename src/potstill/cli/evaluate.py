"""`potstill evaluate`, `evaluate-predictions` and `check-history`: a run, predictions or a history, judged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.cli.next import print_next

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from potstill.evaluation.records import (
        Evaluation,
        Figures,
        FileEvaluation,
        HistoryEvaluation,
        Judgement,
        Rung,
    )
    from potstill.records import Interval


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(name="evaluate")(evaluate)
    app.command(name="evaluate-predictions")(evaluate_predictions)
    app.command(name="check-history")(check_history)


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder with a bundle.")],
    folds: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Number of cross-validation folds over all labelled rows, for cheap students; 0 for none. "
            "Default: 10 for up to 1,500 rows, none above.",
        ),
    ] = None,
    timed: Annotated[bool, typer.Option("--time/--no-time", help="Measure latency and throughput.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the full record as JSON.")] = False,
) -> None:
    """Evaluate a run's students and bundle on its labels, compared with baselines."""
    from potstill.pipeline.evaluate import evaluate_run
    from potstill.pipeline.run import Run

    opened = Run.open(run)
    evaluation = evaluate_run(opened, k=folds, timed=timed)
    if as_json:
        print(evaluation.model_dump_json(indent=2))
        return
    print("\n".join(described(evaluation)))
    if opened.shipped() != opened.path("bundle"):
        print(f"- These figures are of {opened.path('bundle')}, before its student was refitted on all labelled rows.")
    print_next(opened)


def evaluate_predictions(
    file: Annotated[Path, typer.Argument(help="File of predictions and labels (.json, .jsonl or .parquet).")],
    filter_: Annotated[
        str,
        typer.Option(
            "--filter",
            metavar="FILTER",
            help="Filter of the predictions, with weights, gates and tiers: a folder or the name of a built-in filter.",
        ),
    ],
    training: Annotated[
        Path | None,
        typer.Option(
            "--training-labels",
            metavar="PATH",
            help="A run, or a file with the labels of the training rows (y_DIMENSION), for the constant baseline. "
            "Default: the run that wrote FILE, or else the labels in FILE.",
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            metavar="BUNDLE",
            help="The bundle or run that made the predictions. Rows that a refitted student has learned from are then "
            "refused.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the full record as JSON.")] = False,
) -> None:
    """Evaluate a file of predictions and labels from any source, compared with baselines."""
    from potstill.cli.places import bundle_of
    from potstill.evaluation.records import Bootstrap
    from potstill.filters import load_filter
    from potstill.pipeline.predictions import evaluate_file

    bootstrap = Bootstrap(resamples=1000, level=0.95, seed=0)
    made_by = None if bundle is None else bundle_of(bundle)
    found = evaluate_file(file, load_filter(filter_), bootstrap, training=training, bundle=made_by)
    print(found.model_dump_json(indent=2) if as_json else "\n".join(described_file(found)))


def check_history(
    history: Annotated[Path, typer.Argument(help="Training history: a JSON file or a student's folder.")],
    metadata: Annotated[Path | None, typer.Option(metavar="FILE", help="JSON file with more facts.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the full record as JSON.")] = False,
) -> None:
    """Check the training history of any trainer for problems, such as a model that no longer learns."""
    from potstill.evaluation.flags import evaluate_history

    found = evaluate_history(history, metadata)
    print(found.model_dump_json(indent=2) if as_json else "\n".join(described_history(found)))


def described_history(found: HistoryEvaluation) -> list[str]:
    """The printed lines: the plateau, then every flag, or that there is none."""
    training = found.training
    lines = [f"{training.epochs} epochs, epoch {training.best_epoch or '?'} kept; gap {_number(training.gap)}"]
    if training.plateau is not None:
        slope, ends = training.plateau.slope, training.plateau.interval
        lines.append(
            f"validation MAE changed by {slope:+.4f} per epoch over the last {training.plateau.epochs} "
            f"({ends.low:+.4f} to {ends.high:+.4f})"
        )
    if found.unread:
        lines.append(f"fields ignored: {', '.join(found.unread)}")
    said = [f"- {flag.rule}: {flag.text}" for flag in training.flags]
    return [*lines, "", *(said or ["no problems found in the recorded values"])]


def described_file(found: FileEvaluation) -> list[str]:
    """The lines for a person: positive tiers, a table of dimensions, then the verdicts."""
    return [
        *positive_tiers([("predictions", found.judgement)]),
        *table(found.judgement),
        (
            "constant: the medians of the judged labels, the best possible constant; --training-labels gives that of "
            "training rows"
            if found.training is None
            else f"constant: the medians of {found.training_rows:,} training rows of {found.training}"
        ),
        "",
        *(f"- {finding.text}" for finding in found.findings),
    ]


def positive_tiers(judged: Sequence[tuple[str, Judgement]]) -> list[str]:
    """A line per model and positive tier: what it finds, with which precision, and what decides; none without tiers.

    Args:
        judged: name and judgement of each model.
    """
    head = (
        "positive tiers",
        "evaluated on",
        "found",
        "named",
        "recall",
        "precision",
        "F1",
        "AP (random)",
        "in first n",
        "in first 2n",
        "decided",
    )
    rows = [
        (
            f"{name}: {found.title}",
            f"{one.source}, {found.rows:,} rows",
            f"{found.both:,} of {found.oracle:,}",
            f"{found.named:,}",
            _with_ends(found.recall, found.recall_interval),
            _with_ends(found.precision, found.precision_interval),
            _number(found.f1),
            f"{_number(found.average_precision)} ({_number(found.by_chance)})",
            f"{found.equal_volume.found:.3g}",
            f"{found.twice_volume.found:.3g}",
            found.how,
        )
        for name, one in judged
        for found in one.positive_tiers
    ]
    if not rows:
        return []
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    note = "n: as many articles as the oracle puts there; AP (random): average precision, and that of a random order"
    return [*(_line(row, widths, left=(0, 1, len(head) - 1)) for row in (head, *rows)), note, ""]


def table(judged: Judgement) -> list[str]:
    """A line per dimension, for their mean and for the overall, and one for the ranking."""
    head = ("dimension", "rows", "MAE", "interval", "constant", "skill", "RMSE", "bias", "Spearman", "Kendall")
    rows = [head]
    columns = {**judged.dimensions, "mean": judged.mean, "weighted overall": judged.overall}
    for name, figures in columns.items():
        rows.append(
            (
                name,
                f"{figures.rows:,}",
                _number(figures.mae),
                _ends(figures.mae_interval),
                _number(figures.constant_mae),
                "-" if figures.skill is None else f"{figures.skill:.0%}",
                _number(figures.rmse),
                _number(figures.bias),
                _number(figures.spearman),
                _number(figures.kendall),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [_line(row, widths) for row in rows]
    if judged.ranking is not None:
        ranking = judged.ranking
        lines.append(
            f"average precision {_number(ranking.average_precision)} (random order {_number(ranking.by_chance)}); "
            + ", ".join(f"recall@{at.k} {_number(at.recall)}, NDCG@{at.k} {_number(at.ndcg)}" for at in ranking.at)
        )
    return lines


def described(evaluation: Evaluation) -> list[str]:
    """The lines that the command prints for a person: positive tiers, the leaderboard, then the verdicts."""
    from potstill.machine import remark

    judged = [(rung.name, rung.judgements[rung.headline]) for rung in evaluation.ladder if rung.headline is not None]
    if evaluation.shipped is not None:
        judged.insert(0, ("bundle *", evaluation.shipped.judgement))
    head = ("model", "evaluated on", "MAE", "interval", "constant", "skill", "Spearman", "ms", "articles/s")
    shipped = evaluation.shipped.rung if evaluation.shipped is not None else None
    rows = [head, *(_rung(rung, shipped=rung.name == shipped) for rung in evaluation.ladder)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [*positive_tiers(judged), *(_line(row, widths) for row in rows)]
    lines += remark(rung.latency.load for rung in evaluation.ladder if rung.latency is not None)
    if evaluation.floor is not None:
        lines.append(
            f"noise floor {evaluation.floor.mean_floor:.3f} (repeat difference {evaluation.floor.mean_difference:.3f})"
        )
    return [*lines, "", *(f"- {finding.text}" for finding in evaluation.findings)]


def _rung(rung: Rung, *, shipped: bool) -> tuple[str, ...]:
    from potstill.machine import marked

    name = f"{rung.name} *" if shipped else rung.name
    if rung.headline is None:
        return name, "not evaluated", *[""] * 7
    judged = rung.judgements[rung.headline]
    figures: Figures = judged.mean
    cost = rung.latency
    return (
        name,
        f"{judged.source}, {judged.rows} rows",
        _number(figures.mae),
        _ends(figures.mae_interval),
        _number(figures.constant_mae),
        "-" if figures.skill is None else f"{figures.skill:.0%}",
        _number(figures.spearman),
        "-" if cost is None else marked(f"{cost.milliseconds_p50:.1f}", cost.load),
        "-" if cost is None else marked(f"{cost.articles_per_second:,.0f}", cost.load),
    )


def _line(row: Iterable[str], widths: list[int], left: Sequence[int] = (0, 1)) -> str:
    cells = [
        cell.ljust(width) if i in left else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _with_ends(value: float | None, interval: Interval | None) -> str:
    return "-" if value is None or interval is None else f"{value:.3f} ({_ends(interval)})"


def _ends(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.low:.3f}-{interval.high:.3f}"
