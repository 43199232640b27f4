"""`potstill report`: a run's records, made readable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.next import print_next


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="report")(report)


def report(run: Annotated[Path, typer.Argument(help="An evaluated run.")]) -> None:
    """Write report.html (a single file that works offline) and report.md from a run's records."""
    from potstill.pipeline.run import Run
    from potstill.report import write_report

    opened = Run.open(run)
    print(write_report(opened))
    print_next(opened)
