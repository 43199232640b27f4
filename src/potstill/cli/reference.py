"""The reference of all commands, generated from the commands themselves.

`make docs` writes it to `docs/commands.md`; a test fails when that file is out of date.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, get_type_hints

from typer.models import ArgumentInfo, OptionInfo

from potstill.cli import build
from potstill.cli.app import GROUPS, name_of, options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def commands() -> dict[str, Callable[..., Any]]:
    """Every command by its name, in the order of the groups."""
    found = build().registered_commands
    return {name_of(info): info.callback for info in found if info.callback is not None}


def summary() -> dict[str, str]:
    """Each command and what it does in one line."""
    return {name: _help(command).split("\n\n")[0].replace("\n", " ") for name, command in commands().items()}


def reference() -> str:
    """The Markdown of `docs/commands.md`."""
    parts = ["# Commands", "Generated from the command definitions by `make docs`. Do not edit."]
    parts += ["Options that are given before the command, as in `potstill -v train run`:", "\n".join(_table(options))]
    parts += ["`potstill --install-completion` lets your shell complete commands and options by the tab key."]
    found = commands()
    for group, names in GROUPS.items():
        parts += [f"## {group}", *(_section(name, found[name]) for name in names)]
    return "\n\n".join(parts) + "\n"


def _section(name: str, command: Callable[..., Any]) -> str:
    table = _table(command)
    return "\n".join([f"### {name}", "", _help(command), *([""] if table else []), *table])


def _table(command: Callable[..., Any]) -> list[str]:
    rows = list(_rows(command))
    return ["| parameter | meaning | default |", "|---|---|---|", *rows] if rows else []


def _help(command: Callable[..., Any]) -> str:
    return inspect.getdoc(command) or ""


def _rows(command: Callable[..., Any]) -> Iterator[str]:
    hints = get_type_hints(command, include_extras=True)
    for parameter in inspect.signature(command).parameters.values():
        notes = getattr(hints.get(parameter.name), "__metadata__", ())
        info = next((note for note in notes if isinstance(note, ArgumentInfo | OptionInfo)), None)
        if info is None:
            # Typer's own context.
            continue
        meaning = " ".join((info.help or "").split()).replace("|", "\\|")
        yield f"| `{_spelling(parameter.name, info)}` | {meaning} | {_default(parameter.default)} |"


def _spelling(name: str, info: ArgumentInfo | OptionInfo) -> str:
    if not isinstance(info, OptionInfo):
        return info.metavar or name.upper()
    # In an annotation typer keeps the first spelling where a default would stand.
    spellings = [part for part in (info.default, *(info.param_decls or ())) if isinstance(part, str)]
    return ", ".join(spellings) or f"--{name.replace('_', '-')}"


def _default(value: object) -> str:
    if value is inspect.Parameter.empty:
        return "required"
    return "" if value is None or value is False else f"`{value}`"


if __name__ == "__main__":
    print(reference(), end="")
