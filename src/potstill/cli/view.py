"""`potstill view`: a run's report and articles, in a browser on this machine."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="view")(view)


def view(
    run: Annotated[Path, typer.Argument(help="A run folder that has been evaluated.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1; 0 takes any that is free.")] = 0,
) -> None:
    """Serve a run's report and its articles, with oracle and student side by side, to this machine's browser."""
    from potstill.interrupts import serving
    from potstill.pages.view import open_view
    from potstill.runs import Run

    with open_view(Run.open(run), port) as server, suppress(KeyboardInterrupt):
        print(server.url, flush=True)
        serving()
        server.serve_forever()
