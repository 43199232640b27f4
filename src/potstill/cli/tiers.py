"""`potstill tiers`: how positive tiers are decided, and what another filter would make of stored scores."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.cli.bundle import Decide
from potstill.cli.next import print_next, scoring

if TYPE_CHECKING:
    from potstill.bundle import Bundle
    from potstill.evaluation.records import Threshold
    from potstill.evaluation.whatif import Side, WhatIf


WHAT_IF = "What if (on stored scores, without running a model)"
"""Group of options in the help."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="tiers")(tiers)


def tiers(
    path: Annotated[
        Path,
        typer.Argument(
            help="A bundle or a run. For other settings of the filter: an evaluated run, or a file of predictions."
        ),
    ],
    decide: Decide = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Change a setting of the filter, such as weights.harm=0.3 or tiers.lead.when='overall >= 6'; "
            "repeat for several.",
            rich_help_panel=WHAT_IF,
        ),
    ] = None,
    filter_name: Annotated[
        str | None,
        typer.Option(
            "--filter",
            metavar="FILTER",
            help="Filter of a file of predictions: a folder or the name of a built-in filter. A run has its own.",
            rich_help_panel=WHAT_IF,
        ),
    ] = None,
    edited: Annotated[
        str | None,
        typer.Option(
            metavar="FILTER", help="Edited filter, to compare with the original one.", rich_help_panel=WHAT_IF
        ),
    ] = None,
    recall: Annotated[
        float | None,
        typer.Option(
            help="Find the threshold on the overall score that gives this recall of positive tiers.",
            rich_help_panel=WHAT_IF,
        ),
    ] = None,
    volume: Annotated[
        int | None,
        typer.Option(
            help="Find the threshold on the overall score that selects at most this many rows.", rich_help_panel=WHAT_IF
        ),
    ] = None,
    number: Annotated[
        int,
        typer.Option(
            "--number", "-n", min=0, help="Number of articles with a changed tier to list.", rich_help_panel=WHAT_IF
        ),
    ] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Show how positive tiers are decided and what other cuts would do; or recompute tiers with other settings."""
    from potstill.errors import BadInput
    from potstill.evaluation.whatif import edited as with_settings
    from potstill.evaluation.whatif import threshold, under, what_if
    from potstill.filters import load_filter
    from potstill.pipeline.predictions import read_predictions, run_filter

    what_if_asked = any(value is not None for value in (settings, filter_name, edited, recall, volume))
    if decide and what_if_asked:
        raise BadInput(
            "--decide chooses a cut on probabilities; leave it out, or --set, --filter, --edited, --recall and --volume"
        )
    if path.is_dir() and not what_if_asked:
        _show_cuts(path, decide or [], as_json=as_json)
        return
    if path.is_dir() and filter_name is not None:
        raise BadInput("--filter goes with a file of predictions; a run has its own filter; give another as --edited")
    before = run_filter(path) if filter_name is None else load_filter(filter_name)
    after = with_settings(before if edited is None else load_filter(edited), settings or [])
    predictions = read_predictions(path, before)
    if recall is not None or volume is not None:
        cut = threshold(under(predictions, before, after), after, recall=recall, volume=volume)
        print(cut.model_dump_json(indent=2) if as_json else described_cut(cut))
        return
    found = what_if(predictions, before, after, most=number)
    print(found.model_dump_json(indent=2) if as_json else "\n".join(described(found)))


def _show_cuts(path: Path, decide: list[str], *, as_json: bool) -> None:
    """Print how each positive tier of a bundle is decided, or would be at other operating points."""
    from potstill.bundle import load_bundle
    from potstill.calibration.choices import choices_of, why_by_score
    from potstill.cli.cuts import described as described_choices
    from potstill.cli.places import bundle_of
    from potstill.errors import BadInput
    from potstill.operating_points import parse_decide

    bundle = load_bundle(bundle_of(path), check="hashes")
    points = parse_decide(decide, bundle.filter.positive_tiers)
    decisions, reason = bundle.calibration.decisions, why_by_score(bundle.calibration, bundle.filter)
    if decide and reason is not None:
        raise BadInput(f"{bundle.folder}: tiers are decided by score: {reason}; rebuild it with: potstill bundle RUN")
    choices = () if decisions is None else choices_of(decisions.chosen(points))
    if as_json:
        tiers = [each.model_dump(mode="json") for each in choices]
        print(json.dumps({"bundle": str(bundle.folder), "tiers": tiers, "reason": reason}))
        return
    if reason is not None:
        print(f"tiers are decided by score: {reason}")
    for number, each in enumerate(choices):
        print("\n".join(described_choices(each)))
        if number:
            print(f"  The probability, recall and precision are those of {each.tier} or a better tier.")
    print_next(_following(bundle, decide))


def _following(bundle: Bundle, decide: list[str]) -> str:
    """Return the command that makes a bundle decide as shown, or by probability if it does not; else, that scores."""
    from potstill.pipeline.run import LAYOUT

    decisions, run = bundle.calibration.decisions, bundle.folder.parent
    known = (run / LAYOUT["manifest"]).exists()
    rebuild = f"potstill bundle {shlex.quote(str(run)) if known else 'RUN'}"
    if decide:
        command = rebuild if known else scoring(bundle.folder)
        return command + "".join(f" --decide {shlex.quote(text)}" for text in decide)
    if decisions is None and bundle.filter.positive_tiers:
        return rebuild
    if decisions is not None and all(cut.point.by_score for cut in decisions.cuts):
        return f"{rebuild} --decide volume=match"
    return scoring(bundle.folder)


def described(found: WhatIf) -> list[str]:
    """Volumes and agreement before and after, what moves, and the first articles that do."""
    rows = [("", "before", "after"), *_sides(found.before, found.after)]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [f"{a.ljust(widths[0])}  {b.rjust(widths[1])}  {c.rjust(widths[2])}".rstrip() for a, b, c in rows]
    lines += ["", f"{found.moved:,} of {found.before.rows:,} articles change tier"]
    lines += [f"  {move.rows:,}  {move.before} -> {move.after}" for move in found.moves]
    return lines + [
        f"  {one.id}  {one.before} -> {one.after} (oracle: {one.oracle}; overall {_number(one.overall_before)} -> "
        f"{_number(one.overall_after)})"
        for one in found.articles
    ]


def described_cut(cut: Threshold) -> str:
    """The threshold in a sentence."""
    if cut.recall is None or cut.recall_low is None:
        count = "" if cut.found is None else f"{cut.found:,} of "
        found = f"finds {count}the {cut.positives:,} positives, too few to estimate recall"
    else:
        found = (
            f"finds {cut.recall:.3f} of {cut.positives:,} positives (at least {cut.recall_low:.3f} with 95% confidence)"
        )
    precision = "" if cut.precision is None else f", precision {cut.precision:.3f}"
    return f"overall >= {cut.overall_at_least:.4f} selects {cut.rows:,} rows, {found}{precision}"


def _sides(before: Side, after: Side) -> list[tuple[str, str, str]]:
    rows = [
        ("tier accuracy", _number(before.accuracy), _number(after.accuracy)),
        ("recall of positives", _number(before.recall), _number(after.recall)),
        ("precision of positives", _number(before.precision), _number(after.precision)),
        ("oracle positives", f"{before.positives:,}", f"{after.positives:,}"),
    ]
    old = {volume.tier: volume for volume in before.volumes}
    new = {volume.tier: volume for volume in after.volumes}
    for tier in dict.fromkeys([*old, *new]):
        counts = [f"{side[tier].student:,}" if tier in side else "-" for side in (old, new)]
        rows.append((f"predicted {tier}", counts[0], counts[1]))
    return rows


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
