"""How positive tiers are decided, as lines of text.

In: cuts and choices of the calibration. Out: lines for a terminal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from potstill.calibration import TierCut
    from potstill.calibration.choices import CutPoint, TierChoices
    from potstill.calibration.decisions import Kind


WAYS: tuple[Kind, ...] = ("residuals", "head", "blend")
"""Ways to compute a tier's probability, in the order in which they are shown."""


def in_one_line(cut: TierCut) -> str:
    """Return how one tier is decided, in one line."""
    if cut.probability is None:
        return f"{cut.tier}: {cut.note or 'decided by score, as asked for'}"
    return f"{cut.tier}: named from probability {cut.probability:.3f} on, for {cut.goal}; {_counts(cut)}"


def described(choices: TierChoices) -> Iterator[str]:
    """Yield the lines about one tier: its probability, its precision-recall curve, its cut and the next recall."""
    cut, signal = choices.cut, choices.signal
    yield in_one_line(cut)
    yield f"  probability from the {signal.kind}: {signal.reason}"
    for kind in WAYS:
        if (quality := signal.quality.get(kind)) is not None:
            yield f"    {kind:<10} log-loss {quality.log_loss:.4f}, average precision {quality.average_precision:.3f}"
    if choices.points:
        yield f"  {'cut':>7} {'per 1,000':>10} {'recall':>7} {'precision':>10}"
        yield from map(_row, choices.points)
    if cut.probability is not None:
        yield f"  {_bounds(cut)}"
        yield f"  promised: {cut.promise} with 95% confidence" if cut.promise else "  nothing is promised"
        if cut.note:
            yield f"  {cut.note}"
    if (more := choices.next_recall) is not None:
        yield (
            f"  recall {more.recall:.2f} instead of {more.instead_of:.2f} names {more.more_per_thousand:,.0f} more "
            f"articles per 1,000, precision {more.precision:.2f}"
        )


def _row(point: CutPoint) -> str:
    mark = "  <- chosen" if point.chosen else ""
    return f"  {point.cut:7.3f} {point.per_thousand:10,.0f} {point.recall:7.2f} {point.precision:10.2f}{mark}"


def _counts(cut: TierCut) -> str:
    return f"{cut.named:,} of {cut.rows:,} held-out articles named, {cut.found:,} of {cut.positives:,} found"


def _bounds(cut: TierCut) -> str:
    bounds = {"recall": cut.recall_at_least, "precision": cut.precision_at_least}
    shown = ", ".join(f"{what} at least {value:.2f}" for what, value in bounds.items() if value is not None)
    return f"{shown} (each with 95% confidence)"
