"""`potstill train`, `params` and `recipes`: students are fitted, counted and listed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.cli.next import print_next
from potstill.errors import BadInput, RecipeError

if TYPE_CHECKING:
    from potstill.students.recipes import Recipe
    from potstill.training import StudentRecord


LEVELS = 11
"""Number of distinct label values, the integers from 0 to 10, that a head which learns a distribution predicts."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(name="train")(train)
    app.command(name="params")(params)
    app.command(name="recipes")(recipes)


def train(
    run: Annotated[Path, typer.Argument(help="A run folder with a dataset.")],
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe",
            help="Name of a built-in recipe (see potstill recipes) or a recipe file; repeat for several. Default: "
            "constant, tfidf-ridge, tfidf-median and minilm-median (seconds to a minute each), and e5-median if 10% of "
            "the texts or more are not in English; with --auto, all built-in recipes that train on a CPU.",
        ),
    ] = None,
    auto: Annotated[
        bool,
        typer.Option(
            "--auto",
            help="Train within a time budget, cheapest first, and recommend one student; run it again to resume.",
        ),
    ] = False,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="With --auto: time budget in minutes. A student is trained only if its estimated time fits in what is "
            "left. Default: 15.",
        ),
    ] = None,
    latency: Annotated[
        float | None,
        typer.Option(
            min=0, help="With --auto: maximum milliseconds per article of the recommended student. Default: no limit."
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="With --auto: write a plot of error against latency to this file (.png or .svg)."),
    ] = None,
    others: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            metavar="RUN",
            help="Another filter's run to train with; repeat for several. Recipes that fine-tune a network train "
            "one shared encoder with a head per filter.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Skip finished students and resume the interrupted one.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    device: Annotated[str, typer.Option(help="Device for fine-tuned students: auto, cpu, cuda or mps.")] = "auto",
    folds: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Number of cross-validation folds for out-of-fold predictions, used for calibration; 0 for none. "
            "Applies to students that are not fine-tuned. Default: 5, or 0 if the dataset has a calibration part.",
        ),
    ] = None,
    tiny: Annotated[
        bool,
        typer.Option("--tiny", help="Use tiny random backbones for a quick trial run. The scores are meaningless."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the students' records, or with --auto the leaderboard, as JSON.")
    ] = False,
) -> None:
    """Train students on a run's training part."""
    from potstill.interrupts import on_interrupt
    from potstill.pipeline.run import Run
    from potstill.pipeline.train import train_runs

    if auto:
        refused = [name for name, given in (("--with", others), ("--folds", folds is not None)) if given]
        if refused:
            raise BadInput(f"{refused[0]} cannot be combined with --auto")
        _train_candidates(run, recipe, minutes, latency, seed, device, plot, tiny=tiny, as_json=as_json)
        return
    unused = (("--minutes", minutes), ("--latency", latency), ("--plot", plot))
    if needless := next((name for name, given in unused if given is not None), None):
        raise BadInput(f"{needless} needs --auto, which trains within a time budget and recommends a student")
    on_interrupt(f"run the same command{'' if resume else ' with --resume'} to resume")
    opened = [Run.open(folder) for folder in (run, *(others or ()))]
    each = train_runs(
        opened,
        recipe or None,
        resume=resume,
        seed=seed,
        device=device,
        tiny=tiny,
        crossfit=folds,
    )
    if as_json:
        import json

        made = [[record.model_dump(mode="json") for record in records] for records in each]
        named = {str(one.folder): own for one, own in zip(opened, made, strict=True)}
        print(json.dumps(named if others else made[0], indent=2))
        return
    for one, records in zip(opened, each, strict=True):
        if others:
            print(f"{one.folder}: {one.manifest.filter}")
        print("\n".join(described(records)))
    print_next(opened[0])


def _train_candidates(
    run: Path,
    recipes: list[str] | None,
    minutes: float | None,
    latency: float | None,
    seed: int,
    device: str,
    plot: Path | None,
    *,
    tiny: bool,
    as_json: bool,
) -> None:
    """Make the run's leaderboard and print it."""
    from potstill.cli import leaderboard
    from potstill.interrupts import on_interrupt
    from potstill.pipeline.leaderboard import MINUTES, Leaderboard, train_candidates
    from potstill.pipeline.run import Run

    opened = Run.open(run)
    on_interrupt("finished students are kept; run the same command to resume")
    found = train_candidates(
        opened,
        recipes,
        minutes=MINUTES if minutes is None else minutes,
        milliseconds=latency,
        seed=seed,
        device=device,
        tiny=tiny,
    )
    if plot is not None:
        from potstill.report.cost import write_picture
        from potstill.report.facts import json_record

        write_picture(json_record(opened.folder, opened.path("ladder"), Leaderboard), plot)
    if as_json:
        print(found.model_dump_json(indent=2))
        return
    print("\n".join(leaderboard.described(found)))
    print_next(opened)


def params(
    recipe: Annotated[
        str, typer.Argument(help="Name of a built-in recipe, or a recipe file, of a fine-tuned student.")
    ],
    dimensions: Annotated[int, typer.Option(min=1, help="Number of dimensions that the head scores.")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Count a recipe's total and trainable parameters by component, without loading weights."""
    from potstill.errors import require
    from potstill.students.recipes import DistilledRecipe, FineTunedRecipe, load_recipe

    named = load_recipe(recipe)
    loaded = named.recipe if isinstance(named, DistilledRecipe) else named
    if not isinstance(loaded, FineTunedRecipe):
        raise RecipeError(
            f"{recipe}: a {loaded.student} student trains no network, so there are no parameters to count"
        )
    require("peft", "train")
    from potstill.training.counts import params as count

    counts = count(loaded, dimensions, LEVELS)
    if as_json:
        print(counts.model_dump_json(indent=2))
        return
    copy = counts.head_copy
    rows = [
        ("base", counts.base, counts.trainable_base),
        ("adapter", counts.adapter, counts.trainable_adapter),
        *([("pooling", counts.pooling, counts.trainable_pooling)] if counts.pooling else []),
        ("head", counts.head, counts.trainable_head),
        *([("head's frozen copy", copy, 0)] if copy else []),
        ("total", counts.total, counts.trainable),
    ]
    print(f"{'':20}{'parameters':>16}{'trainable':>16}")
    for name, total, training in rows:
        print(f"{name:20}{total:>16,}{training:>16,}")


def recipes(
    as_json: Annotated[bool, typer.Option("--json", help="Print the full recipes as JSON.")] = False,
) -> None:
    """List the built-in recipes."""
    from potstill.students.recipes import load_recipe, presets

    loaded: list[Recipe] = [load_recipe(name) for name in presets()]
    if as_json:
        import json

        print(json.dumps([one.model_dump(mode="json") for one in loaded], indent=2))
        return
    width = max(len(one.name) for one in loaded) + 2
    for one in loaded:
        print(f"{one.name:{width}}{one.student:16}{one.description}")


def described(records: list[StudentRecord]) -> list[str]:
    """The lines that `train` prints for a person."""
    from potstill.machine import marked, remark

    width = max(len("student"), *(len(str(record.recipe["name"])) for record in records)) + 2
    lines = [f"{'student':{width}}{'validation MAE':>15}{'seconds':>10}"]
    for record in records:
        name = str(record.recipe["name"])
        seconds = marked(f"{record.seconds:.1f}", record.load)
        lines.append(f"{name:{width}}{record.validation.mae:>15.3f}{seconds:>10}")
        lines += [f"  {remark}" for remark in record.notes]
        if record.tiny:
            lines.append("  trained on a tiny random backbone: its scores are meaningless")
    return lines + remark(record.load for record in records)
