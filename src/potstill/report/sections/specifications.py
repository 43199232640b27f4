"""What the bundle is: its files and their sizes, what it costs to run, what it was made with.

In: facts. Out: a section; a figure that no record holds is "not recorded".
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
        ("Bundle's hash", (show(bundle, "hash", "sha256"),)),
        ("Encoders", (show(bundle, "text", "encoders", 0, "backbone", absent="none"),)),
        ("Largest length in tokens", (show(bundle, "count", "encoders", 0, "max_tokens", absent="none"),)),
        ("Parameters", (show(student, "count", "counts", "total", absent="no network was trained"),)),
        ("Parameters that trained", (show(student, "count", "counts", "trainable", absent="no network was trained"),)),
        (
            "Median of one article",
            (latency(evaluation, at, "milliseconds", "milliseconds_p50"), " ms", *load_remark(evaluation, *at, "load")),
        ),
        (
            "In bulk",
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
        ("Made in", (show(student, "seconds", "seconds"), *load_remark(student, "load"))),
        ("Largest memory while training", (show(student, "bytes", "peak_memory_bytes"),)),
        ("Device memory while training", (show(student, "bytes", "peak_device_memory_bytes", absent="no device"),)),
        ("Started from", listed(student, "backbones", kind="hash")),
    )
    files = Table(
        "Files on disk",
        (Column("File", numeric=False), Column("Size"), Column("SHA-256", numeric=False)),
        tuple(
            Row(((name,), (show(sizes, "bytes", name),), (show(bundle, "hash", "files", name, absent="its own"),)))
            for name in sizes.keys()  # noqa: SIM118 - a record's method
        ),
    )
    return Section("specifications", "Specifications", (_table("The bundle", lines), *_speed(facts), files))


def _speed(facts: Facts) -> tuple[Block, ...]:
    """What `potstill bench` measured of this very bundle, and how `potstill optimize` has it run."""
    bench, plan = facts.bench, facts.plan
    if bench.at("bundle").value != facts.bundle.at("sha256").value:
        return (Paragraph(("Speed and memory in scoring were not measured: potstill bench does that.",)),)
    lines: tuple[tuple[str, Text], ...] = (
        ("Load while measured", under_load(bench, "load")),
        ("One article alone", (show(bench, "milliseconds", "latency", "p50"), " ms, the median")),
        ("Nineteen articles in twenty within", (show(bench, "milliseconds", "latency", "p95"), " ms")),
        ("Ninety-nine in a hundred within", (show(bench, "milliseconds", "latency", "p99"), " ms")),
        ("In bulk", (show(bench, "rate", "articles_per_second"), " articles/s")),
        ("Start of the process to the first score", (show(bench, "seconds", "fresh", "first_score_seconds"),)),
        ("Memory once loaded", (_memory(bench, "memory_loaded_bytes"),)),
        ("Memory at most", (_memory(bench, "memory_peak_bytes"),)),
        ("Disk", (show(bench, "bytes", "disk_bytes"),)),
        ("A million articles", _cost(bench)),
        ("Runs on", _backend(bench)),
        ("Why so", (show(plan, "text", "why"),) if _follows(facts) else ("nothing else was tried",)),
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
            _figure(bench, "speed-length", "Articles a second, by length", "by_length"),
            _figure(bench, "speed-batch", "Articles a second, by how many are given at a time", "by_batch"),
            Figure(
                "speed-stages",
                "Share of the time, by stage",
                "The share of scoring time that each stage takes; the table says the same of the whole.",
                prepare_stages(bench),
                plot_stages,
                (bench.file,),
            ),
        ),
    )
    return _table("Scoring with it", lines), panels


def _figure(bench: Record, name: str, title: str, which: str) -> Figure:
    alt = f"{title}: bars, each with the slowest and the fastest round."
    return Figure(name, title, alt, prepare_rates(bench, which), plot_rates, (bench.file,))


def _memory(bench: Record, name: str) -> Shown:
    return show(bench, "bytes", "fresh", name, absent="this system does not tell")


def _cost(bench: Record) -> Text:
    if bench.at("cost").value is None:
        return ("no price was given",)
    return (
        show(bench, "score", "cost", "per_million"),
        " at ",
        show(bench, "plain", "cost", "price_per_hour"),
        " an hour",
    )


def _backend(bench: Record) -> Text:
    if bench.at("variant").value is None:
        return ("numpy, or torch for an adapter",)
    return show(bench, "text", "variant", "backend"), ", ", show(bench, "text", "variant", "precision")


def _follows(facts: Facts) -> bool:
    """Whether what was measured is what the plan says."""
    own = facts.plan.at("bundle").value == facts.bundle.at("sha256").value
    same = facts.plan.at("variant").value == facts.bench.at("variant").value
    return bool(own and same)


def _table(caption: str, lines: tuple[tuple[str, Text], ...]) -> Table:
    return Table(caption, _VALUES, tuple(Row(((name,), text)) for name, text in lines))
