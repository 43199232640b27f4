"""The reference of all commands, generated from the commands themselves.

`python -m potstill.cli.reference > docs/commands.md`; a test fails when the file is out of date.
"""

from __future__ import annotations

import click
import typer

from potstill.cli import build


def reference() -> str:
    """The Markdown of `docs/commands.md`."""
    group = typer.main.get_command(build())
    assert isinstance(group, click.Group)  # noqa: S101 - narrows the type; an app with many commands is a group
    parts = ["# Commands", "Generated from the commands themselves; `make docs` renews it."]
    parts += [_command(name, command) for name, command in group.commands.items()]
    return "\n\n".join(parts) + "\n"


def summary() -> dict[str, str]:
    """Each command and the first sentence of its help."""
    group = typer.main.get_command(build())
    assert isinstance(group, click.Group)  # noqa: S101 - as above
    return {name: command.get_short_help_str(200) for name, command in group.commands.items()}


def _command(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=f"potstill {name}")
    usage = " ".join(command.collect_usage_pieces(context))
    rows = [_row(parameter, context) for parameter in command.params if parameter.name != "help"]
    table = ["| parameter | meaning | default |", "|---|---|---|", *rows] if rows else []
    return "\n".join([f"## {name}", "", f"`potstill {name} {usage}`", "", (command.help or "").strip(), "", *table])


def _row(parameter: click.Parameter, context: click.Context) -> str:
    name = ", ".join(parameter.opts) if isinstance(parameter, click.Option) else parameter.human_readable_name
    record = getattr(parameter, "help", None) or ""
    default = parameter.get_default(context, call=False)
    shown = "" if default in (None, False, ()) or callable(default) else f"`{default}`"
    return f"| `{name}` | {' '.join(record.split())} | {shown or ('required' if parameter.required else '')} |"


if __name__ == "__main__":
    print(reference(), end="")
