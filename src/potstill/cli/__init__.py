"""The command line: thin commands that parse, call one public function and print."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Annotated

import typer

from potstill.errors import LONGEST_MESSAGE, PotstillError, one_line
from potstill.terminal import console, set_quiet

GROUPS = (
    "filters",
    "label",
    "bakeoff",
    "dataset",
    "train",
    "ladder",
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
"""A file each in this folder, in the order of the river."""


def build() -> typer.Typer:
    """The whole application."""
    app = typer.Typer(name="potstill", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(_options)
    for group in GROUPS:
        import_module(f"potstill.cli.{group}").register(app)
    return app


def _options(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes.")] = False,
) -> None:
    """Distil an LLM's judgement into a small local model, prove it, and score text with it."""
    set_quiet(quiet)


def main() -> None:
    """Run the command line; potstill's own errors become one line and their exit code."""
    try:
        build()()
    except PotstillError as error:
        console.quiet = False
        said = one_line(str(error), LONGEST_MESSAGE - len("error: "))
        console.print(f"error: {said}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has stopped, as `head` does; what Python still holds goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
