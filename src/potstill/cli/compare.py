"""`potstill compare`: runs and predictions side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from potstill.pipeline.compare import Comparing, Pair
    from potstill.records import Interval


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="compare")(compare)


def compare(
    things: Annotated[
        list[str],
        typer.Argument(
            help="Evaluated runs, bundles, FILE@FILTER (a file of predictions and its filter) or a JSON file of "
            "figures. Join several seeds of one recipe with commas."
        ),
    ],
    sort: Annotated[str, typer.Option(help="Sort by skill, mae or spearman.")] = "skill",
    keep: Annotated[
        bool,
        typer.Option(
            "--keep", help="Save the comparison in the first entry, which must be a run. Its report then shows it."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Compare models by skill, and test differences for significance if they were evaluated on the same rows."""
    from potstill.pipeline.compare import compare_paths, keep_comparison
    from potstill.pipeline.run import Run
    from potstill.terminal import steps

    run = Run.open(things[0]) if keep else None
    with steps("comparing", None):
        found = compare_paths(things, by=sort)
    if run is not None:
        found = keep_comparison(found, run)
    print(found.model_dump_json(indent=2) if as_json else "\n".join(described(found)))


def described(found: Comparing) -> list[str]:
    """The table, the pairs, and what to keep in mind."""
    head = (
        "",
        "filter",
        "rows",
        "which",
        "seeds",
        "skill",
        "MAE",
        "constant",
        "Spearman",
        "tiers",
        "majority",
        "recall",
    )
    rows = [
        head,
        *(
            (
                one.name,
                f"{one.filter} v{one.filter_version}",
                "-" if one.rows is None else f"{one.rows:,}",
                one.source,
                str(one.seeds),
                "-" if one.skill is None else f"{one.skill:.1%}",
                *map(
                    _number,
                    (one.mae, one.constant_mae, one.spearman, one.tier_accuracy, one.tier_majority, one.recall),
                ),
            )
            for one in found.entries
        ),
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines = [*_entry_tiers(found), *(line for pair in found.pairs for line in _pair_tiers(pair)), *lines]
    for pair in found.pairs:
        verdict = "not significant" if pair.noise else "significant"
        lines.append(
            f"{pair.first} minus {pair.second}: {pair.difference:+.4f} ({pair.interval.low:+.4f} to "
            f"{pair.interval.high:+.4f}) on {pair.rows:,} rows, p = {pair.p:.4f}: {verdict}"
        )
    return [*lines, *(f"- {note}" for note in found.notes)]


def _entry_tiers(found: Comparing) -> list[str]:
    """A line per entry and positive tier: what is found, and average precision."""
    return [
        f"{one.name}: {tier.tier} (or better): {tier.both:.3g} of {tier.oracle:,} found in "
        f"{'the first ' if tier.at_volume else ''}{tier.named:.3g}{'' if tier.at_volume else ' named'}, "
        f"recall {_number(tier.recall)}, precision {_number(tier.precision)}, "
        f"average precision {_number(tier.average_precision)}"
        for one in found.entries
        for tier in one.positive_tiers
    ]


def _pair_tiers(pair: Pair) -> list[str]:
    """A line per positive tier: the differences of recall and average precision."""
    return [
        f"{pair.first} minus {pair.second}: {tier.tier} (or better): recall"
        f"{' at equal volume' if tier.at_volume else ''} {_difference(tier.recall, tier.recall_interval)}, average "
        f"precision {_difference(tier.average_precision, tier.average_precision_interval)}"
        for tier in pair.positive_tiers
    ]


def _difference(value: float, interval: Interval) -> str:
    return f"{value:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
