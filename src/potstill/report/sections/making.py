"""How the run was made: stages, seeds, versions.

In: facts. Out: a section; a figure that is not in a record is shown as "not recorded".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report.blocks import Column, Paragraph, Row, Section, Table, Text
from potstill.report.sections.parts import busy, listed, show

if TYPE_CHECKING:
    from potstill.report.facts import Facts


def making(facts: Facts) -> Section:
    """How the run was made: stages, seeds, versions."""
    stages = Table(
        "Stages of the run",
        (
            Column("Stage", numeric=False),
            Column("Started (UTC)", numeric=False),
            Column("Duration"),
            Column("Seeds", numeric=False),
        ),
        tuple(
            Row(
                (
                    (name,),
                    (show(stage, "date", "started"),),
                    (show(stage, "seconds", "seconds"), *busy(stage, "load")),
                    listed(stage, "seeds"),
                )
            )
            for name, stage in facts.stages.items()
        ),
    )
    last = facts.stage("evaluate") if "evaluate" in facts.stages else facts.stage("train")
    versions = Table(
        "Package versions at the evaluation",
        (Column("Package", numeric=False), Column("Version", numeric=False)),
        tuple(Row(((name,), (show(last, "text", "versions", name),))) for name in last.keys("versions")),
        folded=True,
    )
    bootstrap: Text = (
        "Intervals are percentiles over ",
        show(facts.evaluation, "count", "bootstrap", "resamples"),
        " resamples of whole clusters, at level ",
        show(facts.evaluation, "percent", "bootstrap", "level"),
        ", seed ",
        show(facts.evaluation, "plain", "bootstrap", "seed"),
        ". The run was started on ",
        show(facts.manifest, "date", "created"),
        " for ",
        show(facts.manifest, "text", "filter"),
        "; hash of the filter's content: ",
        show(facts.evaluation, "hash", "filter_hash"),
        ".",
    )
    return Section("making", "Run history", (Paragraph(bootstrap), stages, versions))
