"""`potstill cascade`: a cheap student before a run's bundle."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.next import print_next, scoring


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(cascade)


def cascade(
    run: Annotated[Path, typer.Argument(help="A run folder with a bundle.")],
    recall: Annotated[
        float, typer.Option(help="Minimum share of positive articles that must reach the bundle's student.")
    ] = 0.95,
    first: Annotated[
        str | None,
        typer.Option(
            help="Recipe name of the student that answers first. Default: tfidf-ridge, or another TF-IDF student."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Let a cheap student answer clear negatives alone, keeping a minimum recall of positives at 95% confidence."""
    from potstill.pipeline.cascade import build_cascade
    from potstill.pipeline.run import Run

    opened = Run.open(run)
    found = build_cascade(opened, recall, first=first)
    if as_json:
        print(found.model_dump_json())
        return
    print(
        f"{found.first} before {found.student}; thresholds from {found.articles:,} articles, of which "
        f"{found.positives:,} are {' or '.join(found.positive_tiers)} "
        f"({found.positive_clusters:,} without near-duplicates)"
    )
    print(f"signal of early answers: {found.signal}, because {found.signal_reason}")
    print(f"{'minimum recall':>18} {'answered early':>16} {'at 5% positives':>16} {'articles/s':>12}")
    for one in found.frontier:
        chosen = "  <- chosen" if one.threshold == found.chosen.threshold else ""
        rate = f"{one.articles_per_second:,.0f}"
        print(f"{one.recall:>18.1%} {one.early:>16.1%} {one.early_at_5_percent:>16.1%} {rate:>12}{chosen}")
    held = found.test
    print(
        f"test part: {held.passed} of {held.positives} positives reach the bundle; "
        f"{held.early} of {held.articles} answered early"
    )
    print_next(f"{scoring(opened.shipped())} --cascade {shlex.quote(str(opened.path('cascade')))}")
