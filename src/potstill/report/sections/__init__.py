"""The sections of a report, a file per subject: each turns records into blocks and computes nothing.

In: facts. Out: a `Document`. A section is one function in `SECTIONS`, in reading order; a section whose records are
missing says so and shows "not recorded" in place of figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report.blocks import Document, Section
from potstill.report.sections.agreement import agreement
from potstill.report.sections.calibration import calibration
from potstill.report.sections.cascade import cascade
from potstill.report.sections.comparison import comparison
from potstill.report.sections.conclusions import readiness, strengths, suitability
from potstill.report.sections.configuration import configuration, judged
from potstill.report.sections.cost import cost
from potstill.report.sections.data import data
from potstill.report.sections.decisions import decisions
from potstill.report.sections.dimensions import dimensions
from potstill.report.sections.fresh import fresh
from potstill.report.sections.ladder import ladder
from potstill.report.sections.making import making
from potstill.report.sections.odds import odds
from potstill.report.sections.operating_points import operating_points
from potstill.report.sections.parts import show, words
from potstill.report.sections.probe import probe
from potstill.report.sections.recommendations import recommendations
from potstill.report.sections.slices import slices
from potstill.report.sections.specifications import specifications
from potstill.report.sections.summary import summary
from potstill.report.sections.tiers import tiers
from potstill.report.sections.training import training
from potstill.report.sections.whatif import what_if

if TYPE_CHECKING:
    from collections.abc import Callable

    from potstill.report.facts import Facts

SECTIONS: tuple[Callable[[Facts], Section], ...] = (
    summary,
    operating_points,
    strengths,
    readiness,
    suitability,
    recommendations,
    ladder,
    cost,
    comparison,
    dimensions,
    agreement,
    tiers,
    odds,
    what_if,
    slices,
    fresh,
    probe,
    training,
    judged,
    configuration,
    data,
    calibration,
    specifications,
    cascade,
    decisions,
    making,
)
"""The report, in reading order."""


def compose(facts: Facts) -> Document:
    """The whole report of a run."""
    evaluation = facts.evaluation
    return Document(
        title=words(evaluation, "filter") or "Distillation",
        kicker="potstill \N{MIDDLE DOT} distillation report",
        lead=(
            "Filter ",
            show(evaluation, "text", "filter"),
            ", version ",
            show(evaluation, "plain", "filter_version"),
            ": how closely a small local model reproduces the scores of its oracle, compared with baselines.",
        ),
        sections=tuple(section(facts) for section in SECTIONS),
    )
