"""The command line: thin commands that parse, call one public function and print.

Nothing heavy is imported here, so that an interrupt while the rest is being imported ends as any other does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer


def build() -> typer.Typer:
    """The whole application."""
    from potstill.cli.app import build as built

    return built()


def main() -> None:
    """Run the command line; this process ends with its exit code."""
    from potstill.cli.process import run

    run(build)
