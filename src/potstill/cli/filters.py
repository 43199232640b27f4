"""Commands for filters: start one, check one, list the built-in ones."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.cli.next import print_next

if TYPE_CHECKING:
    from collections.abc import Sequence

    from potstill.dataset.proposing import Proposal
    from potstill.filters import Probes


def register(app: typer.Typer) -> None:
    """Add `new`, `check` and `filters`."""
    app.command()(new)
    app.command()(check)
    app.command("filters")(list_filters)


def new(
    name: Annotated[str, typer.Argument(help="Name of the filter: lowercase letters and digits, joined by - . or _.")],
    folder: Annotated[Path, typer.Option("--in", help="Parent folder of the new filter folder.")] = Path(),
    file: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Make the filter from the columns of scores of this CSV, JSON Lines or Parquet file.",
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="With --from: column of the texts. Default: content, text, body, full_text."
        ),
    ] = None,
    dimensions: Annotated[
        str | None,
        typer.Option(help="With --from: columns of scores, joined by commas. Default: every column of numbers."),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            metavar="LOW/HIGH", help="With --from: lowest and highest score, such as 1/5. Default: from the data."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Create a filter folder with a filter.yaml and a rubric.md to edit, from a template or from a file of scores."""
    from potstill.errors import BadInput
    from potstill.filters import RUBRIC_NAME, YAML_NAME, new_place, save_filter, scaffold

    proposal = None
    if file is None:
        if text is not None or dimensions is not None or scale is not None:
            raise BadInput("--text, --dimensions and --scale need --from")
        place = scaffold(name, folder)
        following = f"potstill check {_command_path(place)}"
    else:
        from potstill.dataset.proposing import propose_filter

        place = new_place(name, folder)
        chosen = None if dimensions is None else [part.strip() for part in dimensions.split(",") if part.strip()]
        proposal = propose_filter(
            name, file, text=text, dimensions=chosen, scale=None if scale is None else _scale(scale)
        )
        save_filter(proposal.filter, place)
        column = "" if text is None else f" --text {shlex.quote(text)}"
        following = f"potstill import RUN {shlex.quote(file)}{column} --filter {_command_path(place)}"
    paths = [str(place / YAML_NAME), str(place / RUBRIC_NAME)]
    if as_json:
        found = {} if proposal is None else proposal.as_dict()
        print(json.dumps(found | {"files": paths, "next": following}, indent=2, ensure_ascii=False))
        return
    print("\n".join(paths if proposal is None else [*_described(proposal, file), *paths]))
    if proposal is None:
        print("Edit both files before you label with them.")
    print_next(following)


def _scale(text: str) -> tuple[float, float]:
    """Return the lowest and the highest score of `--scale`."""
    from potstill.errors import BadInput

    try:
        low, high = (float(part) for part in text.split("/"))
    except ValueError:
        low = high = 0.0
    if not low < high:
        raise BadInput(f"--scale: got {text!r}, expected the lowest and the highest score, such as 1/5")
    return low, high


def _described(proposal: Proposal, file: str | None) -> list[str]:
    """Return what was found in a file of scores, for a person."""
    filter_ = proposal.filter
    low, high = filter_.scale.min, filter_.scale.max
    lines = [
        f"{file}: {proposal.rows:,} rows, texts in the column {proposal.text}",
        f"scale {low:g} to {high:g}, {proposal.step}; reads the first {filter_.text.max_chars:,} characters of a text",
        f"{len(proposal.scores)} dimensions of equal weight:" if len(proposal.scores) > 1 else "1 dimension:",
    ]
    width = max(map(len, proposal.scores))
    lines += [
        f"  {name:<{width}}  {one.low:g} to {one.high:g}, {one.known:,} scores" for name, one in proposal.scores.items()
    ]
    lines += [f"left out: {name}, because {reason}" for name, reason in proposal.left_out.items()]
    if any(one.high - one.low < (high - low) / 10 for one in proposal.scores.values()):
        lines.append("note: some of these columns have a much smaller range than others; --dimensions chooses columns")
    return lines


def check(
    filter_: Annotated[
        str, typer.Argument(metavar="FILTER", help="A filter folder, or the name of a built-in filter.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Validate a filter and explain what it does. Invalid settings are errors; doubtful ones are warnings."""
    from potstill.filters import explain, lint, load_filter, own_probes

    checked = load_filter(filter_)
    findings = lint(checked)
    probes = own_probes(checked, filter_)
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
            "probes": None if probes is None else probes.counts(),
        }
        print(json.dumps(record, ensure_ascii=False, indent=2))
        return
    print(explain(checked))
    print()
    if probes is not None:
        print(_tests(probes, checked.dimension_names))
    for finding in findings:
        print(f"warning: {finding.path}: {finding.message}")
    print(f"Filter is valid. {_warnings(len(findings))}.")
    print_next(f"potstill label RUN --filter {shlex.quote(filter_)} --articles FILE --oracle ORACLE --plan")


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


def _tests(probes: Probes, dimensions: Sequence[str]) -> str:
    """Return how many behaviour tests there are, and which dimensions have no ramp."""
    without = [name for name in dimensions if name not in probes.ramps]
    missing = f"; without a ramp: {', '.join(without)}" if without else ""
    return f"Behaviour tests: {probes.described()}{missing}."


def _warnings(count: int) -> str:
    return "No warnings" if not count else "1 warning" if count == 1 else f"{count} warnings"


def _command_path(place: Path) -> str:
    # A bare name could be taken for a built-in filter.
    return str(place) if place.is_absolute() or len(place.parts) > 1 else f"./{place}"
