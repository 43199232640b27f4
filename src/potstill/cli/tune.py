"""`potstill tune`: search for a recipe."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.cli.next import print_next

if TYPE_CHECKING:
    from collections.abc import Iterator

    from potstill.pipeline.tune import Study


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="tune")(tune)


def tune(
    run: Annotated[Path, typer.Argument(help="A run folder with a dataset.")],
    space: Annotated[
        Path, typer.Argument(help="A YAML file with a recipe to start from and the parameters to search.")
    ],
    minutes: Annotated[
        float, typer.Option(min=0, help="Time budget of this call in minutes. The next call resumes the search.")
    ] = 15.0,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum number of trials, including those of earlier calls. Default: no limit."),
    ] = None,
    folds: Annotated[
        int,
        typer.Option(
            min=0,
            help="Number of cross-validation folds on the training rows, used instead of the validation part; at "
            "least 2. 0: use validation. Not for fine-tuned students.",
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Random seed for proposals and training.")] = 0,
    device: Annotated[str, typer.Option(help="Device for fine-tuned students: auto, cpu, cuda or mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the study as JSON.")] = False,
) -> None:
    """Search for better recipe parameters within a time budget, on the validation part only."""
    from potstill.interrupts import on_interrupt
    from potstill.pipeline.run import Run
    from potstill.pipeline.tune import TUNING_LAYOUT, load_space
    from potstill.pipeline.tune import tune as search

    opened = Run.open(run)
    on_interrupt("run the same command to resume")
    study = search(
        opened,
        load_space(space),
        minutes=minutes,
        trials=trials,
        folds=folds,
        seed=seed,
        device=device,
    )
    best = opened.path("tuning") / study.name / TUNING_LAYOUT["best"]
    if as_json:
        print(study.model_dump_json(indent=2))
        return
    print("\n".join(described(study)))
    if study.found is not None:
        print_next(f"potstill train {shlex.quote(str(run))} --recipe {shlex.quote(str(best))}")


def described(study: Study) -> Iterator[str]:
    """What a study says to a person, a line each."""
    failed = sum(trial.mae is None for trial in study.trials)
    yield f"{len(study.trials)} trials on {study.judged_on}" + (f", {failed} of them failed" * bool(failed))
    if study.begun is not None:
        yield f"  {study.space.start}, unchanged   MAE {study.begun.mae:.4f}"
    if study.found is None:
        yield "  all trials failed"
        return
    values = ", ".join(f"{name} {value}" for name, value in study.found.values.items())
    yield f"  best: trial {study.found.number}   MAE {study.found.mae:.4f}  {values}"
    if study.tiny:
        yield "trained on tiny random backbones: the scores are meaningless"
