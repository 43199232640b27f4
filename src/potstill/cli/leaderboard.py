"""How a leaderboard is printed: a line per candidate, the recommendation, and the candidate that comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from potstill.pipeline.leaderboard import Entry, Leaderboard


def described(found: Leaderboard) -> Iterator[str]:
    """The lines that show a leaderboard to a person."""
    from potstill.machine import marked, remark

    width = max(len(step.name) for step in found.steps) + 2
    yield f"{'model':{width}}{'MAE':>8}{'skill':>8}{'ms':>10}{'seconds':>9}"
    for step in found.steps:
        yield f"{step.name:{width}}{_figures(step)}"
    yield from remark(
        load for step in found.steps for load in (step.load, step.latency.load if step.latency is not None else None)
    )
    yield f"constant baseline {found.constant_mae:.3f}; " + (
        "noise floor unknown: no article has two answers of the oracle"
        if found.floor is None
        else f"noise floor {found.floor:.3f}"
    )
    budget = "" if found.milliseconds is None else f" within {found.milliseconds:g} ms"
    if found.pick is None:
        yield f"no model{budget}"
    else:
        picked = next((step.latency for step in found.steps if step.name == found.pick.name), None)
        cost = marked(f"{found.pick.milliseconds:.1f}", None if picked is None else picked.load)
        yield f"recommended{budget}: {found.pick.name}, MAE {found.pick.mae:.3f}, {cost} ms per article"
        if found.pick.as_good:
            yield f"  cheaper and not significantly worse: {', '.join(found.pick.as_good)}"
    if late := [step.name for step in found.steps if step.state == "no time"]:
        yield f"left out, because {found.minutes:g} min are too few: {', '.join(late)}; more --minutes train them"
    if found.next is not None:
        yield from _next(found)
    if found.tiny:
        yield "trained on tiny random backbones: the scores are meaningless"


def _figures(step: Entry) -> str:
    if step.mae is None or step.seconds is None:
        return f"  {one_line(step.why or '', 100)}"
    from potstill.machine import marked

    cost = "" if step.latency is None else marked(f"{step.latency.milliseconds_p50:.1f}", step.latency.load)
    skill = "" if step.skill is None else f"{step.skill:.0%}"
    return f"{step.mae:>8.3f}{skill:>8}{cost:>10}{marked(f'{step.seconds:.1f}', step.load):>9}"


def _next(found: Leaderboard) -> Iterator[str]:
    after = found.next
    if after is None:
        return
    if after.gain is None:
        yield f"next candidate: {after.name}, about {after.seconds / 60:.1f} min; too few models to predict its gain"
        return
    yield (
        f"next candidate: {after.name}, about {after.seconds / 60:.1f} min; the {after.points} models so far predict "
        f"an MAE of {after.mae:.3f}, {after.gain:.3f} lower"
    )
