"""`potstill review`: a person accepts or corrects an oracle's labels, on a local page."""

from __future__ import annotations

import json
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.cli.next import print_next

if TYPE_CHECKING:
    from potstill.audit.records import Pair
    from potstill.pipeline.review import Review


class Order(StrEnum):
    """Which articles come first."""

    random = "random"
    suspect = "suspect"
    disagreement = "disagreement"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="review")(review)


def review(
    run: Annotated[Path, typer.Argument(help="A run folder with labels.")],
    reviewer: Annotated[str, typer.Option(help="Your name, which is stored with each of your labels.")],
    order: Annotated[
        Order,
        typer.Option(
            help="random; suspect: first the labels that differ most from a cheap student's predictions; "
            "disagreement: first the articles on which oracles, or repeated answers, differ most. Only random "
            "gives an agreement that holds for all labels."
        ),
    ] = Order.random,
    labels_of: Annotated[
        str | None,
        typer.Option(metavar="ORACLE", help="Oracle whose labels to review, if the run has labels from several."),
    ] = None,
    blind: Annotated[
        bool,
        typer.Option(
            "--blind", help="Show the oracle's scores only after you have scored, so that they do not influence you."
        ),
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Local port; 0 uses any free port.")] = 0,
    summary: Annotated[bool, typer.Option("--summary", help="Print the agreement so far and exit.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the agreement as JSON.")] = False,
) -> None:
    """Accept or correct an oracle's labels by keyboard in the browser; yours replace the oracle's in the dataset."""
    from potstill.interrupts import serving
    from potstill.pages.loopback import Loopback, require_server
    from potstill.pages.review import Desk
    from potstill.pipeline.review import Review
    from potstill.pipeline.run import Run
    from potstill.terminal import note

    if not summary:
        require_server()
    run_ = Run.open(run)
    with Review.of(run_, reviewer, order=order.value, oracle=labels_of, read_only=summary) as opened:
        if not summary:
            # An interrupt is how a review ends, from the moment that its address is known.
            with Loopback(Desk(opened, blind=blind), port) as server, suppress(KeyboardInterrupt):
                note(
                    f"{len(opened.items):,} articles to review, {len(opened.judged()):,} reviewed; press Ctrl-C to stop"
                )
                note(server.url)
                # What has been judged is printed then, which may take longer than an interrupt otherwise allows.
                serving()
                server.serve_forever()
            note("")
        _print(opened, as_json=as_json)
    if not as_json:
        print_next(run_)


def _print(review: Review, *, as_json: bool) -> None:
    pairs = review.agreement()
    if as_json:
        facts = {"judged": len(review.judged()), "corrected": review.corrections(), "reviewer": review.reviewer}
        print(json.dumps({**facts, "agreement": [pair.model_dump(mode="json") for pair in pairs]}, indent=2))
        return
    print(f"{len(review.judged()):,} of {len(review.items):,} articles reviewed, {review.corrections():,} corrected")
    for pair in pairs:
        print(_described(pair, review.reviewer))


def _described(pair: Pair, reviewer: str) -> str:
    widest = max(pair.dimensions, key=lambda one: one.difference or 0.0)
    words = f"{reviewer} and {pair.second}: mean difference {_number(pair.mean_difference)}"
    if pair.mean_difference_interval is not None:
        words += f" ({pair.mean_difference_interval.low:.3f}-{pair.mean_difference_interval.high:.3f})"
    words += f" over {pair.rows:,} articles, bias {_number(pair.mean_bias, '+')}"
    words += f"; largest difference in {widest.dimension}, {_number(widest.difference)}"
    return words if pair.tiers is None or pair.tiers.same is None else f"{words}; same tier {pair.tiers.same:.0%}"


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.3f}"
