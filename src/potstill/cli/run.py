"""`potstill status`: which stages of a run are done, stale or missing, and the next command."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
    from potstill.pipeline.run import Run

    opened = Run.open(run)
    stages = opened.status()
    following = next((stage.command for stage in stages if stage.state != "done" and not stage.optional), None)
    if as_json:
        print(json.dumps({"filter": opened.manifest.filter, "stages": [asdict(stage) for stage in stages],
                          "next": following}, indent=2))  # fmt: skip
        return
    print(f"{run}: run of filter {opened.manifest.filter}")
    print("\n".join(described(stages)))
    score = f"potstill score {shlex.quote(str(run / 'bundle'))} FILE -o RESULTS"
    print(f"next: {following}" if following is not None else f"all stages are done; score with: {score}")


def described(stages: Sequence[StageStatus]) -> list[str]:
    """A line per stage: its name, its state, and why."""
    width = max(len(stage.stage) for stage in stages)
    return [f"  {stage.stage.ljust(width)}  {stage.state.ljust(7)}  {_why(stage)}" for stage in stages]


def _why(stage: StageStatus) -> str:
    return f"{stage.why}; optional: {stage.command}" if stage.optional and stage.state != "done" else stage.why
