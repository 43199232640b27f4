"""`potstill optimize`: the fastest way to run a bundle on this machine that changes nothing that matters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from potstill.backends.plan import Tried


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(optimize)


def optimize(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    articles: Annotated[
        Path | None,
        typer.Option(help="Articles to prove and time on; else labelled rows of the bundle's run that chose nothing."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Articles that each variant is proven on.")] = 400,
    changed: Annotated[
        float, typer.Option(min=0, max=1, help="Largest share of articles that may change tier, with 95% confidence.")
    ] = 0.02,
    rounds: Annotated[int, typer.Option(min=1, help="How often each variant is timed.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the rows drawn and the order of timing.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="The plan as JSON.")] = False,
) -> None:
    """Find the fastest way to score with a bundle on this machine that keeps its scores; `score` then uses it."""
    from potstill.speed import Limits, optimise_bundle

    limits = Limits(articles=limit, rounds=rounds, changed=changed)
    done = optimise_bundle(bundle, articles, limits=limits, seed=seed)
    if as_json:
        print(done.plan.model_dump_json())
        return
    print(f"proven on {done.plan.proven_on}")
    for tried in done.plan.tried:
        print(f"  {_line(tried)}")
    print(done.plan.why)
    print(done.path)


def _line(tried: Tried) -> str:
    variant, change, speed = tried.variant, tried.change, tried.speed
    words = [f"{variant.title:<20}", f"{variant.token_budget:>6,} tokens", f"{variant.threads or 'all':>4} threads"]
    if speed is None:
        return ", ".join([*words[:1], f"{tried.verdict}: {tried.why}"])
    words += [f"{speed.articles_per_second:8.1f}/s", f"{speed.milliseconds:7.1f} ms alone"]
    if change is not None and not variant.exact:
        words += [
            f"scores move by at most {change.largest:.3f}",
            f"{change.changed} of {change.articles:,} tiers change",
        ]
    return ", ".join([*words, *([tried.verdict] if tried.verdict == "chosen" else [])])
