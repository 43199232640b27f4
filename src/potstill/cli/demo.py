"""`potstill demo`: every stage on 350 real news stories."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from potstill.demo import Demo, Distilled
    from potstill.evaluation import Evaluation


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="demo")(demo)


def demo(
    folder: Annotated[Path, typer.Argument(help="Folder for the demo's runs, one subfolder per filter.")] = Path(
        "demo-run"
    ),
    filter_names: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", help="front-page, uplifting or investment-risk; repeat for several. Default: all three."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed for the split and for training.")] = 0,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="Also fine-tune a network, which takes minutes. It does not score better on these labels."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the evaluations and the verdicts as JSON.")] = False,
) -> None:
    """Run every stage for three filters on 350 real news stories with recorded labels; score new texts in one pass."""
    from potstill.demo import FILTERS, run_demo

    done = run_demo(folder, filter_names or tuple(FILTERS), seed=seed, full=full)
    if as_json:
        import json
        from dataclasses import asdict

        verdicts = [{name: asdict(one) for name, one in each.items()} for each in done.verdicts]
        evaluations = {one.evaluation.filter: one.evaluation.model_dump(mode="json") for one in done.filters}
        print(json.dumps({"evaluations": evaluations, "verdicts": verdicts, "networks": done.networks}, indent=2))
        return
    from rich.console import Console

    console = Console()
    for one in done.filters:
        console.print(ladder_table(one))
        for finding in one.evaluation.findings:
            console.print(f"- {finding.text}", markup=False, highlight=False)
    console.print(verdict_table(done))
    for line in (line for one in done.filters for line in found_lines(one.evaluation)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for one in done.filters:
        console.print(f"report: {one.report}", markup=False, highlight=False, soft_wrap=True)


def found_lines(evaluation: Evaluation) -> list[str]:
    """What the bundle finds of its first positive tier at its operating point; none if no cut decides the tier."""
    shipped = evaluation.shipped
    if shipped is None:
        return []
    return [
        f"{evaluation.filter}: at {one.cut.goal} (cut {one.cut.probability:.2f}), {shipped.rung} finds {one.both} of "
        f"{one.oracle} articles in {one.tier} and names {one.named}: precision {_percent(one.precision)} "
        f"({one.rows} articles, each decided by a model that had not seen it)"
        for one in shipped.unseen[:1]
    ]


def ladder_table(done: Distilled) -> Table:
    """The leaderboard: error, skill, tiers, and latency."""
    from rich import box
    from rich.table import Table

    from potstill.machine import marked, remark

    evaluation = done.evaluation
    shipped = evaluation.choice.rung if evaluation.choice else None
    table = Table(
        title=f"{evaluation.filter} v{evaluation.filter_version}: leaderboard", box=box.SIMPLE, pad_edge=False
    )
    for name in ("student", "evaluated on", "MAE", "95%", "skill", "tiers", "ms"):
        table.add_column(name, justify="left" if name in {"student", "evaluated on"} else "right", no_wrap=True)
    for rung in evaluation.ladder:
        judged = rung.judgements.get(rung.headline) if rung.headline else None
        mean = judged.mean if judged else None
        interval = mean.mae_interval if mean else None
        table.add_row(
            f"{rung.name} *" if rung.name == shipped else rung.name,
            f"{judged.rows} {judged.source}" if judged else "-",
            _shown(mean.mae if mean else None),
            f"{interval.low:.2f}-{interval.high:.2f}" if interval else "-",
            _percent(mean.skill if mean else None),
            _percent(judged.tiers.accuracy if judged else None),
            marked(_shown(rung.latency.milliseconds_p50, digits=1), rung.latency.load) if rung.latency else "-",
        )
    floor = evaluation.floor
    noise = (
        f"noise floor of the labels {floor.mean_floor:.3f} (repeat difference {floor.mean_difference:.3f})"
        if floor
        else "noise floor unknown: the oracle answered once"
    )
    table.caption = (
        "* the bundle; skill: error reduction compared with the constant; tiers: agreement with the oracle; "
        f"ms: latency of one article; {noise}"
        + "".join(f"; {line}" for line in remark(rung.latency.load for rung in evaluation.ladder if rung.latency))
    )
    return table


def verdict_table(done: Demo) -> Table:
    """The three new texts and what each filter says of them."""
    from rich import box
    from rich.table import Table

    from potstill.demo import NEW_TEXTS

    read = "no network" if not done.networks else "one network" if done.networks == 1 else f"{done.networks} networks"
    table = Table(title=f"three unlabelled texts, scored in one pass with {read}", box=box.SIMPLE)
    for name in ("text", "filter", "tier", "overall", "strongest dimension"):
        table.add_column(name, justify="right" if name == "overall" else "left")
    for text, verdicts in zip(NEW_TEXTS, done.verdicts, strict=True):
        for place, (name, verdict) in enumerate(verdicts.items()):
            strongest = max(verdict.scores, key=lambda dimension: verdict.scores[dimension], default=None)
            said = "-"
            if strongest is not None:
                low, high = verdict.intervals[strongest]
                said = f"{strongest} {verdict.scores[strongest]:.1f} ({low:.1f} to {high:.1f})"
            title = text.title if place == 0 else ""
            last = place == len(verdicts) - 1
            table.add_row(title, name, verdict.tier, _shown(verdict.overall, digits=2), said, end_section=last)
    return table


def _shown(value: float | None, *, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
