"""What the bundle is: its files and their sizes, what it costs to run, what it was made with.

In: facts. Out: a section; a figure that no record holds is "not recorded".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report.blocks import Column, Paragraph, Row, Section, Table, Text
from potstill.report.sections.parts import chosen_student, latency, listed, show

if TYPE_CHECKING:
    from potstill.report.facts import Facts


def specifications(facts: Facts) -> Section:
    """Files, sizes, speed, memory."""
    bundle, sizes, evaluation, student = facts.bundle, facts.sizes, facts.evaluation, chosen_student(facts)
    at = ("shipped", "latency")
    if not bundle.recorded:
        return Section("specifications", "Specifications", (Paragraph((f"Not recorded ({bundle.file}).",)),))
    lines: tuple[tuple[str, Text], ...] = (
        ("Kind", (show(bundle, "text", "kind"), ", ", show(bundle, "text", "student"))),
        ("Bundle's hash", (show(bundle, "hash", "sha256"),)),
        ("Encoders", (show(bundle, "text", "encoders", 0, "backbone", absent="none"),)),
        ("Largest length in tokens", (show(bundle, "count", "encoders", 0, "max_tokens", absent="none"),)),
        ("Parameters", (show(student, "count", "counts", "total", absent="no network was trained"),)),
        ("Parameters that trained", (show(student, "count", "counts", "trainable", absent="no network was trained"),)),
        ("Median of one article", (latency(evaluation, at, "milliseconds", "milliseconds_p50"), " ms")),
        ("In bulk", (latency(evaluation, at, "rate", "articles_per_second"), " articles/s")),
        (
            "Measured on",
            (show(evaluation, "text", *at, "machine"), ", ", show(evaluation, "count", *at, "threads"), " threads"),
        ),
        ("Made in", (show(student, "seconds", "seconds"),)),
        ("Largest memory while training", (show(student, "bytes", "peak_memory_bytes"),)),
        ("Device memory while training", (show(student, "bytes", "peak_device_memory_bytes", absent="no device"),)),
        ("Started from", listed(student, "backbones", kind="hash")),
    )
    facts_table = Table(
        "The bundle",
        (Column("Property", numeric=False), Column("Value", numeric=False, wraps=True)),
        tuple(Row(((name,), text)) for name, text in lines),
    )
    files = Table(
        "Files on disk",
        (Column("File", numeric=False), Column("Size"), Column("SHA-256", numeric=False)),
        tuple(
            Row(((name,), (show(sizes, "bytes", name),), (show(bundle, "hash", "files", name, absent="its own"),)))
            for name in sizes.keys()  # noqa: SIM118 - a record's method
        ),
    )
    return Section("specifications", "Specifications", (facts_table, files))
