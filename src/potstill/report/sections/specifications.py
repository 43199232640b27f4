"""Specifications of the bundle: its files and their sizes, scoring speed and memory, and how it was trained.

In: facts. Out: a section; a figure that is not in a record is shown as "not recorded".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report.blocks import Column, Figure, Panels, Paragraph, Row, Section, Table, Text
from potstill.report.sections.parts import chosen_student, latency, listed, load_remark, show, under_load
from potstill.report.speed import plot_rates, plot_stages, prepare_rates, prepare_stages

if TYPE_CHECKING:
    from potstill.report.blocks import Block, Shown
    from potstill.report.facts import Facts, Record

_VALUES = (Column("Property", numeric=False), Column("Value", numeric=False, wraps=True))


def specifications(facts: Facts) -> Section:
    """Files, sizes, speed, memory."""
    bundle, sizes, evaluation, student = facts.bundle, facts.sizes, facts.evaluation, chosen_student(facts)
    at = ("shipped", "latency")
    if not bundle.recorded:
        return Section("specifications", "Specifications", (Paragraph((f"Not recorded ({bundle.file}).",)),))
    lines: tuple[tuple[str, Text], ...] = (
        ("Kind", (show(bundle, "text", "kind"), ", ", show(bundle, "text", "student"))),
        ("Bundle hash", (show(bundle, "hash", "sha256"),)),
        ("Encoders", (show(bundle, "text", "encoders", 0, "backbone", absent="none"),)),
        ("Maximum length in tokens", (show(bundle, "count", "encoders", 0, "max_tokens", absent="none"),)),
        ("Parameters", (show(student, "count", "counts", "total", absent="no network was trained"),)),
        ("Trained parameters", (show(student, "count", "counts", "trainable", absent="no network was trained"),)),
        (
            "One article, median time",
            (latency(evaluation, at, "milliseconds", "milliseconds_p50"), " ms", *load_remark(evaluation, *at, "load")),
        ),
        (
            "Throughput in batches",
            (
                latency(evaluation, at, "rate", "articles_per_second"),
                " articles/s",
                *load_remark(evaluation, *at, "load"),
            ),
        ),
        ("Load while measured", under_load(evaluation, *at, "load")),
        (
            "Measured on",
            (show(evaluation, "text", *at, "machine"), ", ", show(evaluation, "count", *at, "threads"), " threads"),
        ),
        ("Training time", (show(student, "seconds", "seconds"), *load_remark(student, "load"))),
        ("Peak memory in training", (show(student, "bytes", "peak_memory_bytes"),)),
        ("Peak device memory in training", (show(student, "bytes", "peak_device_memory_bytes", absent="no device"),)),
        ("Pretrained weights", listed(student, "backbones", kind="hash")),
    )
    files = Table(
        "Files on disk",
        (Column("File", numeric=False), Column("Size"), Column("SHA-256", numeric=False)),
        tuple(
            Row(((name,), (show(sizes, "bytes", name),), (show(bundle, "hash", "files", name, absent="not listed"),)))
            for name in sizes.keys()  # noqa: SIM118 - a record's method
        ),
    )
    return Section("specifications", "Specifications", (_table("Bundle", lines), *_speed(facts), files))


def _speed(facts: Facts) -> tuple[Block, ...]:
    """What `potstill bench` measured for this bundle, and how `potstill optimize` runs it."""
    bench, plan = facts.bench, facts.plan
    if bench.at("bundle").value != facts.bundle.at("sha256").value:
        return (Paragraph(("Scoring speed and memory were not measured; run potstill bench to measure them.",)),)
    lines: tuple[tuple[str, Text], ...] = (
        ("Load while measured", under_load(bench, "load")),
        ("One article, median", (show(bench, "milliseconds", "latency", "p50"), " ms")),
        ("One article, 95th percentile", (show(bench, "milliseconds", "latency", "p95"), " ms")),
        ("One article, 99th percentile", (show(bench, "milliseconds", "latency", "p99"), " ms")),
        ("Throughput in batches", (show(bench, "rate", "articles_per_second"), " articles/s")),
        ("Process start to first score", (show(bench, "seconds", "fresh", "first_score_seconds"),)),
        ("Memory after loading", (_memory(bench, "memory_loaded_bytes"),)),
        ("Peak memory", (_memory(bench, "memory_peak_bytes"),)),
        ("Disk size", (show(bench, "bytes", "disk_bytes"),)),
        ("Cost of a million articles", _cost(bench)),
        ("Backend", _backend(bench)),
        ("Reason", (show(plan, "text", "why"),) if _follows(facts) else ("no other backend was tried",)),
        (
            "Machine",
            (show(bench, "text", "machine", "processor"), ", ", show(bench, "count", "machine", "cores"), " cores"),
        ),
        (
            "Articles",
            (show(bench, "text", "measured_on"), ", ", show(bench, "count", "mean_words"), " words on average"),
        ),
    )
    panels = Panels(
        "Speed",
        (
            _figure(bench, "speed-length", "Articles per second by length", "by_length"),
            _figure(bench, "speed-batch", "Articles per second by batch size", "by_batch"),
            Figure(
                "speed-stages",
                "Share of time by stage",
                "Bars with the share of scoring time of each stage.",
                prepare_stages(bench),
                plot_stages,
                (bench.file,),
            ),
        ),
    )
    return _table("Scoring speed and memory", lines), panels


def _figure(bench: Record, name: str, title: str, which: str) -> Figure:
    alt = f"{title}: bars with the slowest and fastest rounds."
    return Figure(name, title, alt, prepare_rates(bench, which), plot_rates, (bench.file,))


def _memory(bench: Record, name: str) -> Shown:
    return show(bench, "bytes", "fresh", name, absent="not available on this system")


def _cost(bench: Record) -> Text:
    if bench.at("cost").value is None:
        return ("no price given",)
    return (
        show(bench, "score", "cost", "per_million"),
        " at ",
        show(bench, "plain", "cost", "price_per_hour"),
        " per hour",
    )


def _backend(bench: Record) -> Text:
    if bench.at("variant").value is None:
        return ("numpy, or torch for an adapter",)
    return show(bench, "text", "variant", "backend"), ", ", show(bench, "text", "variant", "precision")


def _follows(facts: Facts) -> bool:
    """Whether the measured variant is that of the plan."""
    own = facts.plan.at("bundle").value == facts.bundle.at("sha256").value
    same = facts.plan.at("variant").value == facts.bench.at("variant").value
    return bool(own and same)


def _table(caption: str, lines: tuple[tuple[str, Text], ...]) -> Table:
    return Table(caption, _VALUES, tuple(Row(((name,), text)) for name, text in lines))
