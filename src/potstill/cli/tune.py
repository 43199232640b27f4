"""`potstill tune`: search for a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from potstill.tuning import Study


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="tune")(tune)


def tune(
    run: Annotated[Path, typer.Argument(help="A run folder that holds a dataset.")],
    space: Annotated[Path, typer.Argument(help="A YAML file: a recipe to start from and what to search.")],
    minutes: Annotated[float, typer.Option(min=0, help="For this call; the search goes on where it was left.")] = 15.0,
    trials: Annotated[int | None, typer.Option(min=1, help="The most trials, those of earlier calls too.")] = None,
    folds: Annotated[
        int, typer.Option(min=0, help="Judge on training rows fold by fold, not on validation; for quick students.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the proposals and the trainings.")] = 0,
    device: Annotated[str, typer.Option(help="Where fine-tuned students train: auto, cpu, cuda or mps.")] = "auto",
    tiny: Annotated[
        bool, typer.Option("--tiny", help="Tiny random backbones, to try the whole path; the scores mean nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The study as JSON.")] = False,
) -> None:
    """Search a declared space for a better recipe, on validation alone, until the time is spent."""
    from potstill.interrupts import on_interrupt
    from potstill.runs import Run
    from potstill.tuning import TUNING_LAYOUT, load_space
    from potstill.tuning import tune as search

    opened = Run.open(run)
    on_interrupt("the same command goes on")
    study = search(
        opened,
        load_space(space),
        minutes=minutes,
        trials=trials,
        folds=folds,
        seed=seed,
        device=device,
        tiny=tiny,
    )
    best = opened.path("tuning") / study.name / TUNING_LAYOUT["best"]
    print(study.model_dump_json(indent=2) if as_json else "\n".join(described(study, run, best)))


def described(study: Study, run: Path, best: Path) -> Iterator[str]:
    """What a study says to a person, a line each."""
    failed = sum(trial.mae is None for trial in study.trials)
    yield f"{len(study.trials)} trials on {study.judged_on}" + (
        f", {failed} of them could not be fitted" * bool(failed)
    )
    if study.begun is not None:
        yield f"  {study.space.start} as it is   MAE {study.begun.mae:.4f}"
    if study.found is None:
        yield "  none could be fitted"
        return
    values = ", ".join(f"{name} {value}" for name, value in study.found.values.items())
    yield f"  trial {study.found.number}, the best   MAE {study.found.mae:.4f}  {values}"
    yield f"train it: potstill train {run} --recipe {best}"
    if study.tiny:
        yield "made on tiny random backbones: the scores mean nothing"
