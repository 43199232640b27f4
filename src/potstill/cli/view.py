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
    run: Annotated[Path, typer.Argument(help="An evaluated run.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 uses any free port.")] = 0,
) -> None:
    """Browse a run's report and articles, with oracle and student scores side by side, on a local web server."""
    from potstill.interrupts import serving
    from potstill.pages.view import open_view
    from potstill.pipeline.run import Run

    with open_view(Run.open(run), port) as server, suppress(KeyboardInterrupt):
        print(server.url, flush=True)
        serving()
        server.serve_forever()
