"""`potstill distill`: every stage from labels to a report, as far as it is missing or stale."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from potstill.cli.bundle import Anyway
from potstill.cli.next import print_next, scoring

if TYPE_CHECKING:
    from collections.abc import Iterator

    from potstill.pipeline.distill import Distilled


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="distill")(distill)


def distill(
    run: Annotated[Path, typer.Argument(help="A run folder with labels.")],
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0, help="Time budget for training in minutes. Default: that of the last leaderboard, or 15 minutes."
        ),
    ] = None,
    latency: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Maximum milliseconds per article of the student in the bundle. Default: that of the last "
            "leaderboard, or no limit.",
        ),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe",
            help="Name of a built-in recipe or a recipe file; repeat for several. Default: the recipes that were "
            "trained last, or all built-in recipes that train on a CPU.",
        ),
    ] = None,
    anyway: Anyway = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done and the results as JSON.")] = False,
) -> None:
    """Bring a labelled run up to date, from dataset to report: run only the stages that are missing or stale."""
    from potstill.pipeline.distill import distill as bring_up_to_date
    from potstill.pipeline.run import Run
    from potstill.report import write_report

    opened = Run.open(run)
    done = bring_up_to_date(
        opened, report=write_report, minutes=minutes, latency=latency, recipes=recipe, anyway=anyway
    )
    found = results(done)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    print("\n".join(described(found)))
    print_next(found["next"])


def results(done: Distilled) -> dict[str, Any]:
    """Return what was done and the figures that matter; a figure that is not known is None."""
    from potstill.report import LAYOUT

    evaluation = done.evaluation
    choice, shipped = evaluation.choice, evaluation.shipped
    judged = None if shipped is None else shipped.judgement
    positives = None if judged is None else judged.tiers.positives
    return {
        "stages": [asdict(outcome) for outcome in done.outcomes],
        "student": None if shipped is None else shipped.rung,
        "reason": None if choice is None else choice.reason,
        "caution": None if choice is None or choice.skill is None else choice.skill.caution,
        "validation": choice and {"mae": choice.validation_mae.get(choice.rung), "constant_mae": choice.constant_mae},
        "test": judged and {"rows": judged.rows, "mae": judged.mean.mae, "constant_mae": judged.mean.constant_mae},
        "positives": positives and {"tiers": positives.tiers, "labelled": positives.oracle, "found": positives.both},
        "refit": {"bundle": str(done.bundle), **done.refitted.model_dump(mode="json")},
        "report": str(done.report / LAYOUT["html"]),
        "next": scoring(done.bundle),
    }


def described(found: dict[str, Any]) -> Iterator[str]:
    """Yield the lines that the command prints for a person."""
    if not any(stage["ran"] for stage in found["stages"]):
        yield "Everything is up to date; nothing was done."
    yield f"student     {found['student']}"
    if found["caution"] is not None:
        yield f"caution     {found['caution']}"
    for name in ("validation", "test"):
        figures = found[name]
        if figures is not None:
            rows = f", {figures['rows']:,} rows" if "rows" in figures else ""
            yield f"{name:12}MAE {_score(figures['mae'])}, constant {_score(figures['constant_mae'])}{rows}"
    if (positives := found["positives"]) is not None:
        tiers = ", ".join(positives["tiers"])
        yield f"positives   {positives['found']} of {positives['labelled']} found in the test part (tiers: {tiers})"
    refit = found["refit"]
    yield f"bundle      {refit['bundle']}: {refit['why']}"
    yield f"report      {found['report']}"


def _score(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
