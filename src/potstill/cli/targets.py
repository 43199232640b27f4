"""`potstill accept` and `potstill decide`: may this ship, and what was decided."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.cli.next import print_next

if TYPE_CHECKING:
    from potstill.evaluation.targets import Outcome
    from potstill.pipeline.accept import Acceptance


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(name="accept")(accept)
    app.command(name="decide")(decide)


def accept(
    run: Annotated[Path, typer.Argument(help="An evaluated run.")],
    targets: Annotated[
        Path | None, typer.Option(help="File of targets. Default: targets.yaml in the run's filter folder.")
    ] = None,
    incumbent: Annotated[Path | None, typer.Option(help="A bundle to compare with on the same labels.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Check a run's figures against targets; exit with code 1 if one is missed."""
    from potstill.cli.places import bundle_of
    from potstill.errors import TargetMissed
    from potstill.pipeline.accept import accept_run
    from potstill.pipeline.run import Run

    found = accept_run(Run.open(run), targets, None if incumbent is None else bundle_of(incumbent, measured=True))
    print(found.model_dump_json(indent=2) if as_json else "\n".join(described(found)))
    if not as_json:
        print_next(f"potstill decide {shlex.quote(str(run))} --accept --why REASON")
    missed = [outcome.figure for outcome in found.outcomes if not outcome.met]
    if missed:
        raise TargetMissed(f"{len(missed)} of {len(found.outcomes)} targets missed: {', '.join(missed)}")


def decide(
    run: Annotated[Path, typer.Argument(help="An evaluated run.")],
    why: Annotated[str, typer.Option(help="The reason for the decision, in one sentence.")],
    accepted: Annotated[bool, typer.Option("--accept/--reject", help="The decision.")],
) -> None:
    """Record a decision and its reason in the run's log."""
    from potstill.pipeline.accept import decide as write_down
    from potstill.pipeline.run import Run

    opened = Run.open(run)
    decision = write_down(opened, why, accepted=accepted)
    print(f"{decision.when}  {'accepted' if decision.accepted else 'rejected'}: {decision.why}")
    print_next(opened)


def described(found: Acceptance) -> list[str]:
    """The table for a person, a line per target."""
    rows = [("", "figure", "wanted", "limit", "value", "constant"), *map(_row, found.outcomes)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if any(one.weak for one in found.outcomes):
        lines.append("weak: a skill below 20% would meet this target")
    if found.incumbent is not None:
        other, ends = found.incumbent, found.incumbent.interval
        lines.append(
            f"MAE minus the incumbent's: {other.difference:+.3f} ({ends.low:+.3f} to {ends.high:+.3f}); "
            f"p = {other.p:.3f}"
        )
    return lines


def _row(one: Outcome) -> tuple[str, ...]:
    return (
        "met" if one.met else "MISSED",
        one.figure,
        one.wanted + (" (weak)" if one.weak else ""),
        f"{one.limit:.4g}",
        "not recorded" if one.value is None else f"{one.value:.4g}",
        "-" if one.constant is None else f"{one.constant:.4g}",
    )
