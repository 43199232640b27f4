"""`potstill ladder`: train the rungs that fit the time, and say which one to take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from potstill.ladder import Ladder, Step


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="ladder")(ladder)


def ladder(
    run: Annotated[Path, typer.Argument(help="A run folder that holds a dataset.")],
    minutes: Annotated[
        float, typer.Option(min=0, help="For everything; a rung is begun only when its estimate fits what is left.")
    ] = 15.0,
    latency: Annotated[
        float | None, typer.Option(min=0, help="Milliseconds that one article may take; none: whatever it takes.")
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option("--recipe", help="A rung: a preset's name or a recipe file; again for more. None: all that ship."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="Where fine-tuned students train: auto, cpu, cuda or mps.")] = "auto",
    tiny: Annotated[
        bool, typer.Option("--tiny", help="Tiny random backbones, to try the whole path; the scores mean nothing.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw error against milliseconds (.png or .svg).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The ladder as JSON.")] = False,
) -> None:
    """Train the rungs that fit the time, cheapest first, and say which to take; run it again to go on."""
    from potstill.interrupts import on_interrupt
    from potstill.ladder import RUNGS, climb
    from potstill.runs import Run

    opened = Run.open(run)
    on_interrupt("the same command goes on")
    found = climb(opened, recipe or RUNGS, minutes=minutes, milliseconds=latency, seed=seed, device=device, tiny=tiny)
    if plot is not None:
        from potstill.ladder import Ladder
        from potstill.report.climb import write_picture
        from potstill.report.facts import json_record

        write_picture(json_record(opened.folder, opened.path("ladder"), Ladder), plot)
    print(found.model_dump_json(indent=2) if as_json else "\n".join(described(found)))


def described(found: Ladder) -> Iterator[str]:
    """What a ladder says to a person, a line each."""
    from potstill.load import marked, remark

    width = max(len(step.name) for step in found.steps) + 2
    yield f"{'rung':{width}}{'MAE':>8}{'skill':>8}{'ms':>10}{'seconds':>9}"
    for step in found.steps:
        yield f"{step.name:{width}}{_figures(step)}"
    yield from remark(
        load for step in found.steps for load in (step.load, step.latency.load if step.latency is not None else None)
    )
    yield f"constant {found.constant_mae:.3f}; " + (
        "the oracle's own noise is not known: no article was asked about twice"
        if found.floor is None
        else f"the oracle's own noise {found.floor:.3f}"
    )
    budget = "" if found.milliseconds is None else f" within {found.milliseconds:g} ms"
    if found.pick is None:
        yield f"no rung{budget}"
    else:
        picked = next((step.latency for step in found.steps if step.name == found.pick.name), None)
        cost = marked(f"{found.pick.milliseconds:.1f}", None if picked is None else picked.load)
        yield f"take {found.pick.name}{budget}: MAE {found.pick.mae:.3f}, {cost} ms an article"
        if found.pick.as_good:
            yield f"  cheaper, and not surely worse: {', '.join(found.pick.as_good)}"
    if found.next is not None:
        yield from _next(found)
    if found.tiny:
        yield "made on tiny random backbones: the scores mean nothing"


def _figures(step: Step) -> str:
    if step.mae is None or step.seconds is None:
        return f"  {one_line(step.why or '', 100)}"
    from potstill.load import marked

    cost = "" if step.latency is None else marked(f"{step.latency.milliseconds_p50:.1f}", step.latency.load)
    skill = "" if step.skill is None else f"{step.skill:.0%}"
    return f"{step.mae:>8.3f}{skill:>8}{cost:>10}{marked(f'{step.seconds:.1f}', step.load):>9}"


def _next(found: Ladder) -> Iterator[str]:
    after = found.next
    if after is None:
        return
    if after.gain is None:
        yield f"next: {after.name}, about {after.seconds / 60:.1f} min; too few rungs to tell what it would buy"
        return
    yield (
        f"next: {after.name}, about {after.seconds / 60:.1f} min; by the {after.points} rungs so far "
        f"it would take {after.gain:.3f} off, to {after.mae:.3f}"
    )
