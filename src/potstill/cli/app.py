"""The application: every group of commands, and the options that stand before a command."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.models import CommandInfo

from potstill.cli.logs import open_log
from potstill.cli.process import Carried
from potstill.cli.removed import refuse_removed, refuse_removed_command
from potstill.errors import BadInput
from potstill.terminal import set_quiet, working

MODULES = (
    *(
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
        "refit",
    ),
    *(
        "score",
        "speed",
        "cascade",
        "evaluate",
        "fresh",
        "probe",
        "tiers",
        "compare",
        "targets",
        "report",
        "view",
        "run",
        "demo",
    ),
)
"""Files in this folder, each of which adds one or more commands."""

GROUPS = {
    "Start": ("demo", "new", "check", "filters", "status"),
    "Label": ("label", "import", "bakeoff", "audit", "sample", "review"),
    "Train": ("distill", "dataset", "train", "recipes", "params", "tune", "bundle", "refit"),
    "Judge": (
        *("evaluate", "report", "view", "evaluate-fresh", "probe", "evaluate-predictions", "check-history"),
        *("tiers", "compare", "accept", "decide"),
    ),
    "Ship": ("verify", "sign", "optimize", "bench", "cascade"),
    "Operate": ("score",),
}
"""Every command, by group, in the order of the work."""

WAITING = frozenset({"review", "view"})
"""Commands that wait for a person, about which there is nothing to say every half minute."""


class Command(TyperCommand):
    """A command that names the replacement of an option that it no longer has."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - as below
        """Parse the options.

        Raises:
            BadInput: an option was replaced.
        """
        refuse_removed(self.name or "", args)
        return super().parse_args(ctx, args)


class Group(TyperGroup):
    """All commands; what ends one of them is told by `potstill.cli.process`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - typer's own types have moved
        """Find the command that was named.

        Raises:
            BadInput: the command was replaced.
        """
        refuse_removed_command(args[0])
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer's own types have moved between its versions
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except (EOFError, OSError) as error:
            raise Carried(error) from error


def build() -> typer.Typer:
    """The whole application."""
    app = typer.Typer(
        name="potstill", cls=Group, no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False
    )
    app.callback()(options)
    for module in MODULES:
        import_module(f"potstill.cli.{module}").register(app)
    named = {name_of(command): command for command in app.registered_commands}
    app.registered_commands = []
    for group, names in GROUPS.items():
        for name in names:
            command = named.pop(name)
            command.rich_help_panel, command.cls = group, Command
            app.registered_commands.append(command)
    if named:
        raise ValueError(f"in no group of commands: {', '.join(named)}")
    return app


def name_of(command: CommandInfo) -> str:
    """Return the name by which a registered command is called."""
    return command.name or (command.callback.__name__ if command.callback else "")


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
