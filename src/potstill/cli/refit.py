"""`potstill refit`: the bundle's student fitted again on every labelled row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.next import print_next


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(refit)


def refit(
    run: Annotated[Path, typer.Argument(help="A run folder with a bundle.")],
    device: Annotated[
        str, typer.Option(help="Device to train a network on: auto, cpu, cuda, cuda:0, or mps.")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Fit the bundle's student again on every labelled row, and write the bundle to ship.

    The figures of the run stay those of the student before the refit. The new bundle records the rows that it has
    learned from, and is never judged on them. A student whose network is trained is trained again, which takes as long
    as before.
    """
    from potstill.pipeline.refit import refit_run
    from potstill.pipeline.run import Run

    opened = Run.open(run)
    found = refit_run(opened, device=device)
    place = opened.shipped()
    if as_json:
        print(json.dumps({"bundle": str(place), **found.model_dump(mode="json")}, indent=2))
        return
    print(f"{place}  {found.shipped[:16]}")
    print(found.why)
    print_next(opened)
