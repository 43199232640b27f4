"""Measure how much time each step of scoring takes on the same articles, one step after the other.

Input: a scorer and articles in a file. Output: seconds by stage, in pipeline order. In normal scoring some stages run
concurrently; here they run sequentially so that each can be timed on its own.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from potstill.articles import open_writer, read_articles
from potstill.backends.graph import GraphEncoder
from potstill.bundle.deciding import decide_raw
from potstill.prefilter import fold_all
from potstill.students import outputs_of
from potstill.students.neural import NeuralStudent, parts_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from potstill.scorer import Scorer
    from potstill.speed.timing import Clock
    from potstill.students import Encoder, Outputs

STAGES = ("read", "window", "prefilter", "tokenise", "network", "head", "student", "decide", "write")
"""Stages in order. A student without a network has `student` instead of the three stages before it."""


class Watch:
    """A stopwatch that accumulates seconds by stage."""

    def __init__(self, clock: Clock) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the duration of the block to a stage."""
        start = self._clock()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + self._clock() - start


def stage_seconds(
    scorer: Scorer, articles: Path, scratch: Path, *, clock: Clock = time.perf_counter
) -> dict[str, float]:
    """Return the seconds that each stage takes for all articles of a file, by its name in `STAGES`.

    Args:
        scorer: an open scorer.
        articles: a file in which every article has a text.
        scratch: a file to write results to, as JSON lines.
        clock: function that returns the current time in seconds.
    """
    filter_, student = scorer.bundle.filter, scorer.bundle.student
    watch = Watch(clock)
    with watch.stage("read"):
        frame = pl.concat(read_articles(articles))
    with watch.stage("window"):
        texts = [filter_.text.of(title, content) for title, content in frame.select("title", "content").iter_rows()]
        windows = frame.with_columns(text=pl.Series(texts, dtype=pl.String))
    with watch.stage("prefilter"):
        folded = fold_all(texts)
        filter_.prefilter.reasons(folded)
    if isinstance(student, NeuralStudent) and _graphs(student.encoder):
        given = _neural(student, texts, watch)
    else:
        with watch.stage("student"):
            given = outputs_of(student, windows)
    with watch.stage("decide"):
        decide_raw(given, folded, filter_, scorer.bundle.calibration, scorer.only.level)
    results = scorer.nested_batch(frame.head(1)).drop("content")
    rows = pl.concat([results] * frame.height)
    with watch.stage("write"), open_writer(scratch) as writer:
        writer.write(rows)
    return {name: watch.seconds[name] for name in STAGES if name in watch.seconds}


def _graphs(encoder: Encoder) -> Sequence[GraphEncoder]:
    parts = parts_of(encoder)
    found = [part for part in parts if isinstance(part, GraphEncoder)]
    return found if len(found) == len(parts) else []


def _neural(student: NeuralStudent, texts: list[str], watch: Watch) -> Outputs:
    features: list[NDArray[np.float32]] = []
    for encoder in _graphs(student.encoder):
        with watch.stage("tokenise"):
            tokens = encoder.tokens(texts)
        with watch.stage("network"):
            features.append(encoder.features(tokens))
    with watch.stage("head"):
        return student.outputs_of_features(np.concatenate(features, axis=1))
