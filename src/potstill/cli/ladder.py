"""`potstill ladder`: train the rungs that fit the time, and say which one to take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from potstill.pipeline.leaderboard import Ladder, Step


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="ladder")(ladder)


def ladder(
    run: Annotated[Path, typer.Argument(help="A run folder with a dataset.")],
    minutes: Annotated[
        float,
        typer.Option(
            min=0, help="Time budget in minutes. A model is trained only if its estimated time fits in what is left."
        ),
    ] = 15.0,
    latency: Annotated[
        float | None,
        typer.Option(min=0, help="Maximum milliseconds per article of the recommended model. Default: no limit."),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe",
            help="Name of a built-in recipe or a recipe file; repeat for several. Default: a selection of built-in "
            "recipes that train on a CPU.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    device: Annotated[str, typer.Option(help="Device for fine-tuned students: auto, cpu, cuda or mps.")] = "auto",
    tiny: Annotated[
        bool,
        typer.Option("--tiny", help="Use tiny random backbones for a quick trial run. The scores are meaningless."),
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Write a plot of error against latency to this file (.png or .svg).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the leaderboard as JSON.")] = False,
) -> None:
    """Train models within a time budget, cheapest first, and recommend one; run it again to resume."""
    from potstill.interrupts import on_interrupt
    from potstill.pipeline.leaderboard import RUNGS, climb
    from potstill.pipeline.run import Run

    opened = Run.open(run)
    on_interrupt("run the same command to resume")
    found = climb(opened, recipe or RUNGS, minutes=minutes, milliseconds=latency, seed=seed, device=device, tiny=tiny)
    if plot is not None:
        from potstill.pipeline.leaderboard import Ladder
        from potstill.report.climb import write_picture
        from potstill.report.facts import json_record

        write_picture(json_record(opened.folder, opened.path("ladder"), Ladder), plot)
    print(found.model_dump_json(indent=2) if as_json else "\n".join(described(found)))


def described(found: Ladder) -> Iterator[str]:
    """What a ladder says to a person, a line each."""
    from potstill.machine import marked, remark

    width = max(len(step.name) for step in found.steps) + 2
    yield f"{'model':{width}}{'MAE':>8}{'skill':>8}{'ms':>10}{'seconds':>9}"
    for step in found.steps:
        yield f"{step.name:{width}}{_figures(step)}"
    yield from remark(
        load for step in found.steps for load in (step.load, step.latency.load if step.latency is not None else None)
    )
    yield f"constant baseline {found.constant_mae:.3f}; " + (
        "noise floor unknown: no article has two answers of the oracle"
        if found.floor is None
        else f"noise floor {found.floor:.3f}"
    )
    budget = "" if found.milliseconds is None else f" within {found.milliseconds:g} ms"
    if found.pick is None:
        yield f"no model{budget}"
    else:
        picked = next((step.latency for step in found.steps if step.name == found.pick.name), None)
        cost = marked(f"{found.pick.milliseconds:.1f}", None if picked is None else picked.load)
        yield f"recommended{budget}: {found.pick.name}, MAE {found.pick.mae:.3f}, {cost} ms per article"
        if found.pick.as_good:
            yield f"  cheaper and not significantly worse: {', '.join(found.pick.as_good)}"
    if found.next is not None:
        yield from _next(found)
    if found.tiny:
        yield "trained on tiny random backbones: the scores are meaningless"


def _figures(step: Step) -> str:
    if step.mae is None or step.seconds is None:
        return f"  {one_line(step.why or '', 100)}"
    from potstill.machine import marked

    cost = "" if step.latency is None else marked(f"{step.latency.milliseconds_p50:.1f}", step.latency.load)
    skill = "" if step.skill is None else f"{step.skill:.0%}"
    return f"{step.mae:>8.3f}{skill:>8}{cost:>10}{marked(f'{step.seconds:.1f}', step.load):>9}"


def _next(found: Ladder) -> Iterator[str]:
    after = found.next
    if after is None:
        return
    if after.gain is None:
        yield f"next: {after.name}, about {after.seconds / 60:.1f} min; too few models to predict its gain"
        return
    yield (
        f"next: {after.name}, about {after.seconds / 60:.1f} min; the {after.points} models so far predict "
        f"an MAE of {after.mae:.3f}, {after.gain:.3f} lower"
    )
