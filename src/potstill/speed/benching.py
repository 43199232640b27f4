"""Measure a bundle on this machine: latency, throughput, time by stage, memory and cost.

Input: a bundle, and articles. Output: a `Bench` record, saved next to the bundle, from which reports read their
figures. Every figure is measured through the public `Scorer`, with the bundle's plan if it has one.
"""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from potstill.backends.machine import Machine, this_machine
from potstill.backends.plan import PORTABLE, Variant, bench_path, library_versions
from potstill.bundle.golden import windows
from potstill.errors import BadInput
from potstill.machine import Load, Watch
from potstill.records import Part, Record
from potstill.scorer import Scorer
from potstill.speed.material import Material, from_file
from potstill.speed.new_process import Fresh, measure_fresh
from potstill.speed.stages import stage_seconds
from potstill.speed.timing import percentile
from potstill.terminal import steps
from potstill.types import Article

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from potstill.bundle import Bundle
    from potstill.speed.timing import Clock

WORDS = (50, 100, 200, 400)
"""Text lengths at which throughput is measured, in words."""

BATCHES = (1, 4, 16, 64)
"""Numbers of articles per call of the scorer at which throughput is measured."""

BATCH_WORDS = 200
"""Text length for the comparison of batch sizes, in words."""

FEWEST = 20
"""Minimum number of articles for the latency, however long they take."""


class Latency(Part):
    """Latency of a single article in milliseconds."""

    p50: float
    p95: float
    p99: float
    articles: int


class Rate(Part):
    """Articles per second at a text length and batch size: the median of rounds, and the slowest and fastest round."""

    words: int
    """Words in each text, before the window truncates it."""
    batch: int
    articles_per_second: float
    low: float
    high: float


class Stage(Part):
    """A stage of scoring and its duration."""

    stage: str
    microseconds: float
    """Microseconds per article."""
    share: float


class Cost(Part):
    """Cost of a million articles like the measured ones, on a fully used machine at this price."""

    price_per_hour: float
    per_million: float


class Bench(Record):
    """Contents of `bench.json`."""

    made_by = "potstill bench BUNDLE"

    schema_version: int = 1
    bundle: str
    student: str
    created: str
    machine: Machine
    versions: dict[str, str]
    variant: Variant | None
    """How the network runs; None for a student without a network that ONNX Runtime runs."""
    measured_on: str
    mean_words: float
    latency: Latency
    articles_per_second: float
    """Throughput for articles in bulk, at their original lengths: the median of `rounds`."""
    rounds: tuple[float, ...]
    by_length: tuple[Rate, ...]
    by_batch: tuple[Rate, ...]
    stages: tuple[Stage, ...]
    disk_bytes: int
    fresh: Fresh
    cost: Cost | None
    load: Load | None = None
    """Load of the machine during the measurement; None if it was not recorded."""


def bench_bundle(
    folder: str | Path,
    articles: str | Path | Material | None = None,
    *,
    price_per_hour: float | None = None,
    limit: int = 256,
    rounds: int = 3,
    patience: float = 20.0,
    clock: Clock = time.perf_counter,
) -> Bench:
    """Measure a bundle on this machine.

    Args:
        folder: the bundle.
        articles: a file of articles, or rows of a run. By default, the bundle's golden texts.
        price_per_hour: price of a machine like this one, in any currency.
        limit: maximum number of articles.
        rounds: number of rounds for throughput.
        patience: seconds after which no further article is timed for the latency.
        clock: function that returns the current time in seconds.

    Returns:
        The measurement, which is not saved yet.

    Raises:
        BadInput: there is no article with a text, or the price is negative.
        BundleError: the bundle fails its self-test.
        ArticleError: the file is missing or broken.
    """
    if price_per_hour is not None and not price_per_hour >= 0:
        raise BadInput(f"price per hour: got {price_per_hour:g}, expected 0 or more")
    folder = Path(folder)
    scorer = Scorer.load(folder)
    bundle = scorer.bundle
    material = _material(bundle, articles, limit)
    texts = material.frame["text"].to_list()
    with tempfile.TemporaryDirectory(prefix="potstill-bench-") as name, steps("measuring", 5) as advance:
        scratch = Path(name)
        source = scratch / "articles.jsonl"
        watch = Watch()
        source.write_text("".join(_line(row, text) for row, text in enumerate(texts)), encoding="utf-8", newline="\n")
        alone = _alone(scorer, texts, patience, clock)
        advance(1)
        bulk = _rates(scorer, [_frame(texts)], rounds, clock)
        advance(1)
        by_length = tuple(_rate(scorer, texts, words, 16, rounds, clock) for words in WORDS)
        by_batch = tuple(_rate(scorer, texts, BATCH_WORDS, batch, rounds, clock) for batch in BATCHES)
        advance(1)
        seconds = stage_seconds(scorer, source, scratch / "results.jsonl", clock=clock)
        advance(1)
        fresh = measure_fresh(folder, source)
        load = watch.load()
        advance(1)
    rate = float(np.median(bulk))
    return Bench(
        bundle=bundle.hash,
        student=bundle.manifest.recipe,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=this_machine(),
        versions=library_versions(),
        variant=_variant(bundle),
        measured_on=material.origin,
        mean_words=round(float(np.mean([len(text.split()) for text in texts])), 1),
        latency=alone,
        articles_per_second=round(rate, 2),
        rounds=tuple(round(value, 2) for value in bulk),
        by_length=by_length,
        by_batch=by_batch,
        stages=_stages(seconds, len(texts)),
        disk_bytes=sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
        fresh=fresh,
        cost=None if price_per_hour is None else _cost(price_per_hour, rate),
        load=load,
    )


def write_bench(folder: Path, bench: Bench) -> Path:
    """Save a measurement next to its bundle, and return its path.

    Raises:
        BadInput: the folder cannot be written.
    """
    path = bench_path(folder)
    bench.save(path)
    return path


def _material(bundle: Bundle, articles: str | Path | Material | None, limit: int) -> Material:
    if articles is not None and not isinstance(articles, Material):
        material = from_file(articles, bundle.filter, limit)
        if not len(material):
            raise BadInput(f"{articles}: contains no article with a text")
        return material
    if articles is not None and len(articles):
        return articles
    frame = windows([Article(row.id, row.title, row.content) for row in bundle.golden], bundle.filter)
    frame = frame.filter(pl.col("text") != "")
    labels = np.full((frame.height, len(bundle.filter.dimension_names)), np.nan)
    return Material(frame, labels, f"{frame.height} golden texts of the bundle, which are not typical articles")


def _variant(bundle: Bundle) -> Variant | None:
    if not bundle.manifest.encoders or bundle.manifest.kind == "adapter":
        return None
    return PORTABLE if bundle.plan is None else bundle.plan.variant


def _line(row: int, text: str) -> str:
    return json.dumps({"id": f"a{row}", "title": "", "content": text}) + "\n"


def _frame(texts: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame({"id": [f"a{row}" for row in range(len(texts))], "title": [""] * len(texts), "content": texts})


def _alone(scorer: Scorer, texts: Sequence[str], patience: float, clock: Clock) -> Latency:
    """Time articles one by one, each once, until the time is up."""
    scorer.score(texts[0])
    seconds: list[float] = []
    for text in texts:
        if len(seconds) >= FEWEST and sum(seconds) > patience:
            break
        start = clock()
        scorer.score(text)
        seconds.append(clock() - start)
    p50, p95, p99 = (round(1000 * percentile(seconds, share), 3) for share in (0.5, 0.95, 0.99))
    return Latency(p50=p50, p95=p95, p99=p99, articles=len(seconds))


def _rates(scorer: Scorer, frames: Sequence[pl.DataFrame], rounds: int, clock: Clock) -> list[float]:
    """Return the articles per second of each round, after a warm-up round."""
    found = []
    rows = sum(frame.height for frame in frames)
    for _ in range(rounds + 1):
        start = clock()
        for frame in frames:
            scorer.score_batch(frame)
        found.append(rows / max(clock() - start, 1e-9))
    return found[1:]


def _rate(scorer: Scorer, texts: Sequence[str], words: int, batch: int, rounds: int, clock: Clock) -> Rate:
    """Measure throughput for texts of one length in batches of `batch`."""
    stream = itertools.cycle(word for text in texts for word in text.split())
    made = [_take(stream, words) for _ in range(batch)]
    found = _rates(scorer, [_frame(made)], rounds, clock)
    median, low, high = (round(float(value), 2) for value in (np.median(found), min(found), max(found)))
    return Rate(words=words, batch=batch, articles_per_second=median, low=low, high=high)


def _take(words: Iterator[str], count: int) -> str:
    return " ".join(itertools.islice(words, count))


def _stages(seconds: dict[str, float], articles: int) -> tuple[Stage, ...]:
    whole = sum(seconds.values()) or 1.0
    return tuple(
        Stage(stage=name, microseconds=round(1e6 * value / articles, 2), share=round(value / whole, 5))
        for name, value in seconds.items()
    )


def _cost(price_per_hour: float, rate: float) -> Cost:
    return Cost(price_per_hour=price_per_hour, per_million=round(price_per_hour * 1e6 / (3600 * rate), 4))
