"""`potstill status`: which stages of a run are done, stale or missing, and the next command."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.cli.next import next_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from potstill.pipeline.run import StageStatus


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="status")(status)


def status(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the stages as JSON.")] = False,
) -> None:
    """Show which stages of a run are done, stale or missing, and the next command."""
    from potstill.pipeline.bundle import shipped_choice
    from potstill.pipeline.dataset import unreached_by
    from potstill.pipeline.run import Run

    opened = Run.open(run)
    stages = opened.status()
    done = all(stage.state == "done" or stage.optional for stage in stages)
    shipped = opened.shipped() if opened.path("bundle").exists() else None
    refitted = shipped is not None and shipped != opened.path("bundle")
    choice = shipped_choice(opened)
    caution = None if choice is None or choice.skill is None else choice.skill.caution
    unreached = unreached_by(opened)
    if as_json:
        print(json.dumps({"filter": opened.manifest.filter, "stages": [asdict(stage) for stage in stages],
                          "bundle": shipped and str(shipped), "refitted": refitted,
                          "caution": caution, "unreached": unreached,
                          "next": None if done else next_command(opened)}, indent=2))  # fmt: skip
        return
    print(f"{run}: run of filter {opened.manifest.filter}")
    print("\n".join(described(stages)))
    if shipped is not None:
        print(f"bundle to ship: {shipped}{', refitted on all labelled rows' if refitted else ''}")
    for text in unreached:
        print(f"labels: {text}")
    if caution is not None:
        print(f"bundle: {caution}")
    if done:
        print("all stages are done")
    elif stages[0].state == "done":
        print(f"run all that is missing or stale: potstill distill {shlex.quote(str(run))}")
    print(f"next: {next_command(opened)}")


def described(stages: Sequence[StageStatus]) -> list[str]:
    """A line per stage: its name, its state, and why."""
    width = max(len(stage.stage) for stage in stages)
    return [f"  {stage.stage.ljust(width)}  {_state(stage).ljust(8)}  {_why(stage)}" for stage in stages]


def _state(stage: StageStatus) -> str:
    return "optional" if stage.optional and stage.state == "missing" else stage.state


def _why(stage: StageStatus) -> str:
    return f"{stage.why}; to run it: {stage.command}" if stage.optional and stage.state != "done" else stage.why
