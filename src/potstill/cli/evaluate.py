"""`potstill evaluate`: the ladder of a run and its bundle, judged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from potstill.evaluation.records import Evaluation, Figures, Interval, Rung


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="evaluate")(evaluate)


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder whose bundle is made.")],
    folds: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Refit the cheap students without each fold, so that every label judges them; 0 for none. "
            "Left out: 10 for up to 1,500 rows, none above.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of folds and bootstrap.")] = 0,
    resamples: Annotated[int, typer.Option(min=10, help="Of the bootstrap over clusters.")] = 1000,
    timed: Annotated[bool, typer.Option("--time/--no-time", help="Measure what an article costs.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole record as JSON.")] = False,
) -> None:
    """Judge a run's students and bundle against the oracle, beside a constant and the oracle's own repeat error."""
    from potstill.evaluation import evaluate_run
    from potstill.runs import Run

    evaluation = evaluate_run(Run.open(run), k=folds, seed=seed, resamples=resamples, timed=timed)
    if as_json:
        print(evaluation.model_dump_json(indent=2))
    else:
        print("\n".join(described(evaluation)))


def described(evaluation: Evaluation) -> list[str]:
    """The lines that the command prints for a person: the ladder, then the verdicts."""
    head = ("rung", "judged on", "MAE", "interval", "constant", "skill", "Spearman", "ms", "articles/s")
    shipped = evaluation.shipped.rung if evaluation.shipped is not None else None
    rows = [head, *(_rung(rung, shipped=rung.name == shipped) for rung in evaluation.ladder)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [_line(row, widths) for row in rows]
    if evaluation.floor is not None:
        lines.append(
            f"floor {evaluation.floor.mean_floor:.3f} (repeat difference {evaluation.floor.mean_difference:.3f})"
        )
    return [*lines, "", *(f"- {finding.text}" for finding in evaluation.findings)]


def _rung(rung: Rung, *, shipped: bool) -> tuple[str, ...]:
    name = f"{rung.name} *" if shipped else rung.name
    if rung.headline is None:
        return name, "not judged", *[""] * 7
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
        "-" if cost is None else f"{cost.milliseconds_p50:.1f}",
        "-" if cost is None else f"{cost.articles_per_second:,.0f}",
    )


def _line(row: Iterable[str], widths: list[int]) -> str:
    cells = [
        cell.ljust(width) if i < 2 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _ends(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.low:.3f}-{interval.high:.3f}"
