"""`potstill optimize` and `potstill bench`: the fastest way to run a bundle here, and how fast it is."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.cli.next import print_next, scoring

if TYPE_CHECKING:
    from collections.abc import Iterator

    from potstill.backends.plan import Tried
    from potstill.speed.benching import Bench


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(optimize)
    app.command()(bench)


def optimize(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder, or a run folder with a bundle.")],
    articles: Annotated[
        Path | None,
        typer.Option(
            help="File of articles to test and time with. Default: labelled rows of the bundle's run that were not "
            "used to train or choose its student."
        ),
    ] = None,
    number: Annotated[
        int, typer.Option("--number", "-n", min=1, help="Number of articles to test each variant with.")
    ] = 400,
    changed: Annotated[
        float, typer.Option(min=0, max=1, help="Maximum share of articles that may change tier, with 95% confidence.")
    ] = 0.02,
    rounds: Annotated[int, typer.Option(min=1, help="Timing rounds per variant.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Find the fastest way to run a bundle on this machine within limits on changed scores; `score` then uses it."""
    from potstill.cli.places import bundle_of
    from potstill.pipeline.material import labelled_rows
    from potstill.speed import Limits, optimise_bundle

    bundle = bundle_of(bundle)
    limits = Limits(articles=number, rounds=rounds, changed=changed)
    done = optimise_bundle(bundle, articles or labelled_rows(bundle, number), limits=limits)
    if as_json:
        print(done.plan.model_dump_json())
        return
    print(f"tested on {done.plan.proven_on}")
    for tried in done.plan.tried:
        print(f"  {_line(tried)}")
    print(done.plan.why)
    print(done.path)
    print_next(f"potstill bench {shlex.quote(str(bundle))}")


def bench(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder, or a run folder with a bundle.")],
    articles: Annotated[
        Path | None,
        typer.Option(
            help="File of articles to measure with. Default: rows of the bundle's run, or else its golden texts."
        ),
    ] = None,
    price_per_hour: Annotated[
        float | None,
        typer.Option(
            min=0, help="Price of this machine per hour, in US dollars, to compute the cost per million articles."
        ),
    ] = None,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Number of articles to measure with.")] = 256,
    rounds: Annotated[int, typer.Option(min=1, help="Number of throughput measurements.")] = 3,
    plot: Annotated[Path | None, typer.Option(help="Write a plot to this file (.png or .svg).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the measurement as JSON.")] = False,
) -> None:
    """Measure latency, throughput, stages, memory and cost of a bundle on this machine; reports show the result."""
    from potstill.backends.plan import refuse_unwritable
    from potstill.cli.places import bundle_of
    from potstill.pipeline.material import labelled_rows
    from potstill.speed.benching import bench_bundle, write_bench

    bundle = bundle_of(bundle)
    refuse_unwritable(bundle)
    found = bench_bundle(
        bundle, articles or labelled_rows(bundle, number), price_per_hour=price_per_hour, limit=number, rounds=rounds
    )
    path = write_bench(bundle, found)
    if plot is not None:
        from potstill.report.facts import json_record
        from potstill.report.speed import write_picture
        from potstill.speed.benching import Bench

        write_picture(json_record(path.parent, path, Bench), plot)
    if as_json:
        print(found.model_dump_json())
        return
    for line in _figures(found):
        print(line)
    print(path)
    print_next(scoring(bundle))


def _figures(found: Bench) -> Iterator[str]:
    """What a measurement says, a line each."""
    runs = "" if found.variant is None else f", {found.variant.title}"
    yield f"{found.student} on {found.machine.title}{runs}"
    yield f"  measured on      {found.measured_on}, {found.mean_words:.0f} words on average"
    one = found.latency
    yield f"  one article      {one.p50:.1f} ms; 95% within {one.p95:.1f}, 99% within {one.p99:.1f}, of {one.articles}"
    low, high = min(found.rounds), max(found.rounds)
    yield f"  in bulk          {found.articles_per_second:,.1f} articles/s ({low:,.1f} to {high:,.1f})"
    yield "  by length        " + ", ".join(f"{r.words} words {r.articles_per_second:,.1f}/s" for r in found.by_length)
    yield "  by batch size    " + ", ".join(f"{r.batch}: {r.articles_per_second:,.1f}/s" for r in found.by_batch)
    yield "  by stage         " + ", ".join(f"{s.stage} {s.share:.1%}" for s in found.stages)
    fresh = found.fresh
    if fresh.memory_loaded_bytes is not None and fresh.memory_peak_bytes is not None:
        loaded, peak, disk = (x / 1e6 for x in (fresh.memory_loaded_bytes, fresh.memory_peak_bytes, found.disk_bytes))
        yield f"  memory           {loaded:,.0f} MB after loading, {peak:,.0f} MB peak; {disk:,.1f} MB on disk"
    yield f"  first score      {fresh.first_score_seconds:.2f} s after the start of the process"
    if found.load is not None and found.load.heavy:
        yield f"  all figures were {found.load.words}: measure again on an idle machine"
    if found.cost is not None:
        yield f"  per million      ${found.cost.per_million:,.2f} at ${found.cost.price_per_hour:g} per hour"


def _line(tried: Tried) -> str:
    variant, change, speed = tried.variant, tried.change, tried.speed
    words = [f"{variant.title:<20}", f"{variant.token_budget:>6,} tokens", f"{variant.threads or 'all':>4} threads"]
    words += [f"{variant.streams} at once"] if variant.streams > 1 else []
    if speed is None:
        return ", ".join([*words[:1], f"{tried.verdict}: {tried.why}"])
    words += [f"{speed.articles_per_second:8.1f}/s", f"{speed.milliseconds:7.1f} ms alone"]
    if change is not None and not variant.exact:
        words += [
            f"scores move by at most {change.largest:.3f}",
            f"{change.changed} of {change.articles:,} tiers change",
        ]
    return ", ".join([*words, *([tried.verdict] if tried.verdict == "chosen" else [])])
