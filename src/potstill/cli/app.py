"""The application: every group of commands, and the options that stand before a command."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from potstill.cli.logs import open_log
from potstill.cli.process import Carried
from potstill.errors import BadInput
from potstill.terminal import set_quiet, working

GROUPS = (
    "filters",
    "label",
    "imports",
    "bakeoff",
    "dataset",
    "train",
    "distill",
    "tune",
    "audit",
    "sample",
    "review",
    "bundle",
    "score",
    "speed",
    "cascade",
    "evaluate",
    "tiers",
    "compare",
    "targets",
    "report",
    "view",
    "run",
    "demo",
)
"""A file each in this folder, in the order in which articles pass through them."""

WAITING = frozenset({"review", "view"})
"""Commands that wait for a person, about which there is nothing to say every half minute."""


class Group(TyperGroup):
    """All commands; what ends one of them is told by `potstill.cli.process`."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer's own types have moved between its versions
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except (EOFError, OSError) as error:
            raise Carried(error) from error


def build() -> typer.Typer:
    """The whole application."""
    app = typer.Typer(
        name="potstill", cls=Group, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
    )
    app.callback()(options)
    for group in GROUPS:
        import_module(f"potstill.cli.{group}").register(app)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"potstill {installed_version('potstill')}")
        raise typer.Exit


def options(
    context: typer.Context,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress and no notes.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log each step to stderr, with times.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    log_file: Annotated[
        Path | None,
        typer.Option(
            "--log-file",
            metavar="FILE",
            help="Append the log to this file. It contains no article text and no API keys.",
        ),
    ] = None,
) -> None:
    """Distil an LLM's judgement into a small local model, prove it, and score text with it."""
    del version
    if quiet and verbose:
        raise BadInput("--quiet and --verbose exclude each other")
    set_quiet(quiet)
    command = context.invoked_subcommand or ""
    context.with_resource(open_log(command, verbose=verbose, file=log_file))
    if command not in WAITING:
        context.with_resource(working(command))
