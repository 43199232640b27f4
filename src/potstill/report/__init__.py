"""The report of a run: facts -> sections -> charts -> HTML and Markdown.

In: a run that has been evaluated. Out: `report.html`, `report.md`, `model_card.md` and plots in the run's report
folder.
Only recorded values are shown; nothing is computed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.errors import require
from potstill.files import replacing_folder
from potstill.report.card import CARD, render_card
from potstill.report.facts import Facts, collect
from potstill.report.html import render_html
from potstill.report.markdown import render_markdown, render_pngs
from potstill.report.rules import RULES
from potstill.report.sections import compose

if TYPE_CHECKING:
    from pathlib import Path

    from potstill.pipeline.run import Run

__all__ = ["write_report"]

LAYOUT = {"html": "report.html", "markdown": "report.md", "card": CARD}
"""The files in a report's folder, in addition to the PNG files that `report.md` shows."""


def write_report(run: Run) -> Path:
    """Write a run's report from its records, as the stage `report`, and return the path of `report.html`.

    Raises:
        RunError: the run has not been evaluated, or another process writes to it.
        MissingExtra: the extra `report` is not installed.
    """
    require("altair", "report")
    require("vl_convert", "report")
    run.need("evaluation", "evaluate")
    target = run.path("report")
    with run.recording("report"), replacing_folder(target) as folder:
        facts = collect(run)
        document = compose(facts)
        sources = sources_of(facts)
        (folder / LAYOUT["html"]).write_text(render_html(document, sources), encoding="utf-8", newline="\n")
        (folder / LAYOUT["markdown"]).write_text(render_markdown(document, sources), encoding="utf-8", newline="\n")
        (folder / LAYOUT["card"]).write_text(render_card(facts), encoding="utf-8", newline="\n")
        for name, png in render_pngs(document).items():
            (folder / name).write_bytes(png)
    return target / LAYOUT["html"]


def sources_of(facts: Facts) -> dict[str, str | None]:
    """Every record that was read -> its SHA-256, None if it is missing."""
    records = [
        facts.evaluation,
        facts.fresh,
        facts.probe,
        *facts.students.values(),
        *facts.histories.values(),
        facts.refit,
        facts.calibration,
        facts.pairs,
        facts.manifest,
        facts.filter,
        facts.bundle,
        facts.made,
        facts.sizes,
        facts.bench,
        facts.plan,
        facts.cascade,
        facts.acceptance,
        facts.decisions,
        facts.comparison,
        facts.leaderboard,
        RULES,
        *facts.stages.values(),
    ]
    found = {record.file: record.sha256 for record in records}
    return {facts.predictions.file: facts.predictions.sha256, **found}
