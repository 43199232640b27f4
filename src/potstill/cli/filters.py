"""Commands for filters: start one, check one, list the built-in ones."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add `new`, `check` and `filters`."""
    app.command()(new)
    app.command()(check)
    app.command("filters")(list_filters)


def new(
    name: Annotated[str, typer.Argument(help="Name of the filter: lowercase letters and digits, joined by - . or _.")],
    folder: Annotated[Path, typer.Option("--in", help="Parent folder of the new filter folder.")] = Path(),
) -> None:
    """Create a filter folder with a filter.yaml and a rubric.md to edit."""
    from potstill.filters import RUBRIC_NAME, YAML_NAME, scaffold

    place = scaffold(name, folder)
    print(f"{place / YAML_NAME}\n{place / RUBRIC_NAME}")
    print(f"Edit both, then run: potstill check {_command_path(place)}")


def check(
    filter_: Annotated[
        str, typer.Argument(metavar="FILTER", help="A filter folder, or the name of a built-in filter.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Validate a filter and explain what it does. Invalid settings are errors; doubtful ones are warnings."""
    from potstill.filters import explain, lint, load_filter

    checked = load_filter(filter_)
    findings = lint(checked)
    if as_json:
        record = {
            "name": checked.name,
            "version": checked.version,
            "dimensions": {name: part.weight for name, part in checked.dimensions.items()},
            "tiers": list(checked.tier_names),
            "positive_tiers": list(checked.positive_tiers),
            "oracle_hash": checked.oracle_hash,
            "content_hash": checked.content_hash,
            "findings": [asdict(finding) for finding in findings],
        }
        print(json.dumps(record, ensure_ascii=False, indent=2))
        return
    print(explain(checked))
    print()
    for finding in findings:
        print(f"warning: {finding.path}: {finding.message}")
    print(f"Filter is valid. {_warnings(len(findings))}.")


def list_filters(
    as_json: Annotated[bool, typer.Option("--json", help="Print the filters as a JSON list.")] = False,
) -> None:
    """List the built-in filters."""
    from potstill.filters import builtin_filters, load_filter

    found = [load_filter(name) for name in builtin_filters()]
    if as_json:
        records = [
            {
                "name": one.name,
                "version": one.version,
                "description": one.description,
                "dimensions": list(one.dimension_names),
                "positive_tiers": list(one.positive_tiers),
            }
            for one in found
        ]
        print(json.dumps(records, ensure_ascii=False, indent=2))
        return
    width = max(len(one.name) for one in found)
    for one in found:
        print(f"{one.name:<{width}}  v{one.version}  {one.description}")


def _warnings(count: int) -> str:
    return "No warnings" if not count else "1 warning" if count == 1 else f"{count} warnings"


def _command_path(place: Path) -> str:
    # A bare name could be taken for a built-in filter.
    return str(place) if place.is_absolute() or len(place.parts) > 1 else f"./{place}"
