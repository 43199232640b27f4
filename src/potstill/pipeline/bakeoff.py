"""Compare several oracles on one sample of articles, to help choose one (a bake-off).

Input: a sample, and oracles with their prices. Output: a `Bakeoff`: each oracle's cost per article, mean scores,
failure rate and tiers, and the differences of every two oracles. The folder is a run, so nothing is paid for twice, and
the chosen oracle's labels can be used directly.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from pydantic import Field

from potstill.articles import open_writer, read_all, read_articles
from potstill.audit.agreement import side_by_side
from potstill.audit.records import Pair  # noqa: TC001 - pydantic reads it
from potstill.errors import BadInput, LabelError, OracleError
from potstill.labelling import Ledger, Limits, Price
from potstill.labelling.budget import TRILLION
from potstill.metrics import number, with_overall
from potstill.pipeline.label import label_run
from potstill.pipeline.run import LAYOUT, Run
from potstill.records import Part, Record
from potstill.terminal import note
from potstill.verdict import cap_hits, decide_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from potstill.filters import Filter
    from potstill.oracle import Oracle
    from potstill.types import FloatArray


@dataclass(frozen=True, slots=True)
class Contender:
    """An oracle and its price per million tokens, if known."""

    oracle: Oracle
    price: Price | None = None

    @property
    def name(self) -> str:
        """The oracle's name as it is stored with labels."""
        return f"{self.oracle.name}:{self.oracle.model}"


class Entrant(Part):
    """Results of one oracle.

    `labels` counts articles with a label. Cost is in the price's currency per article with a label, including failed
    calls; None without a price. `means` are mean scores by dimension and `overall`, before gates and caps. `tiers`
    counts articles by tier.
    """

    oracle: str
    labels: int
    calls: int
    failures: dict[str, int]
    tokens_in: int
    tokens_out: int
    cost: float | None
    cost_per_article: float | None
    seconds_per_call: float | None
    means: dict[str, float | None]
    tiers: dict[str, int]


class Bakeoff(Record):
    """Several oracles on the same articles; `stopped` gives the reason for each one that did not get all articles."""

    schema_version: int = 1
    filter: str
    articles: int
    entrants: tuple[Entrant, ...]
    pairs: tuple[Pair, ...]
    stopped: dict[str, str] = Field(default_factory=dict)


def bake_off(
    folder: str | Path,
    filter_: Filter | None,
    articles: str | Path | None,
    contenders: Sequence[Contender],
    *,
    sample: int | None = None,
    seed: int = 0,
    samples: int = 1,
    limits: Limits | None = None,
) -> Bakeoff:
    """Have each oracle score the same articles, and compare the results.

    Args:
        folder: a run folder for the bake-off; an existing one is resumed.
        filter_: the filter; None for the run's own.
        articles: a file from which the sample is drawn; None for the articles in the folder.
        contenders: two or more oracles.
        sample: number of articles to draw; None for all.
        seed: random seed for sampling, which depends on ids only.
        samples: answers per article and oracle.
        limits: limits; `max_cost` and `max_calls` apply to all oracles together.

    Returns:
        The comparison.

    Raises:
        BadInput: there are fewer than two oracles or a duplicate, or the limits are not valid for `label_run`.
        LabelError: no two oracles have labelled the same article.
    """
    names = [contender.name for contender in contenders]
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise BadInput(f"a bake-off needs two or more different oracles, got {', '.join(names) or 'none'}")
    place = Path(folder)
    stopped: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        source = None if articles is None else Path(scratch) / "sample.parquet"
        if source is not None and articles is not None:
            with open_writer(source) as writer:
                writer.write(drawn(articles, sample, seed))
        for contender in contenders:
            try:
                summary = label_run(
                    place, filter_, source, contender.oracle, samples=samples, limits=limits, price=contender.price
                )
            except (OracleError, LabelError) as error:
                # An oracle that gives no label at all must not prevent the others from being queried.
                if not (place / LAYOUT["articles"]).exists():
                    raise
                stopped[contender.name] = str(error)
                note(f"{contender.name}: {error}")
            else:
                if summary.stopped is not None:
                    stopped[contender.name] = summary.stopped
            source = None
    return compare_run(place, contenders, stopped)


def compare_run(
    folder: str | Path, contenders: Sequence[Contender], stopped: Mapping[str, str] = MappingProxyType({})
) -> Bakeoff:
    """Compare the labels that a folder's ledger has of these oracles, without querying any oracle.

    Args:
        folder: a run.
        contenders: two or more oracles.
        stopped: by oracle name, the reason why it did not get all articles; stored in the record.

    Returns:
        The comparison.

    Raises:
        LabelError: no two of them have labelled the same article.
    """
    run = Run.open(Path(folder))
    filter_ = run.filter
    frame = pl.concat([part.select("id", "title", "content") for part in read_articles(run.path("articles"))])
    # A filter without caps has no columns of hits, and so no rows to select from.
    hits = (
        None
        if not filter_.caps
        else cap_hits([filter_.text.of(title, content) for _, title, content in frame.iter_rows()], filter_)
    )
    with Ledger(run.path("ledger")) as ledger:
        labels = ledger.labels(filter_)
        spent = {row["oracle"]: row for row in ledger.by_oracle().iter_rows(named=True)}
        failures = ledger.failures()
    scores = {contender.name: _aligned(labels, frame["id"], contender.name, filter_) for contender in contenders}
    pairs = side_by_side(scores, filter_, cap_hits=hits)
    if not pairs:
        reasons = "".join(f"; {name}: {why}" for name, why in stopped.items())
        raise LabelError(f"{run.path('ledger')}: no two of the oracles have labelled the same article{reasons}")
    return Bakeoff(
        filter=filter_.name,
        articles=frame.height,
        entrants=tuple(
            _entrant(one, scores[one.name], filter_, hits, spent.get(one.name, {}), failures) for one in contenders
        ),
        pairs=tuple(pairs),
        stopped=dict(stopped),
    )


def drawn(articles: str | Path, sample: int | None, seed: int) -> pl.DataFrame:
    """Return a sample of a file's articles, the first ones by hash of their ids; None returns all of them.

    Raises:
        BadInput: the sample size is not positive.
        ArticleError: the file cannot be read.
    """
    frame = read_all(articles)
    if sample is None:
        return frame
    if sample < 1:
        raise BadInput(f"--number: got {sample}, expected 1 or more")
    order = [hashlib.sha256(f"bakeoff {seed}\0{id_}".encode()).hexdigest() for id_ in frame["id"]]
    chosen: pl.DataFrame = frame[sorted(np.argsort(order, kind="stable")[:sample].tolist())]
    return chosen


def _aligned(labels: pl.DataFrame, ids: pl.Series, oracle: str, filter_: Filter) -> FloatArray:
    """Return one oracle's scores, shape (articles, dimensions); NaN where there is none."""
    theirs = labels.filter(pl.col("oracle") == oracle)
    joined = pl.DataFrame({"article": ids}).join(theirs, on="article", how="left", maintain_order="left")
    columns = [joined[f"y_{name}"].cast(pl.Float64).fill_null(float("nan")) for name in filter_.dimension_names]
    return np.column_stack([column.to_numpy() for column in columns])


def _entrant(
    contender: Contender,
    scores: FloatArray,
    filter_: Filter,
    hits: pl.DataFrame | None,
    spent: dict[str, int | float],
    failures: pl.DataFrame,
) -> Entrant:
    known = np.isfinite(scores).any(axis=1)
    count = int(known.sum())
    priced = contender.price is not None or contender.oracle.free
    cost = float(spent.get("cost", 0)) / TRILLION if priced else None
    answers = int(spent.get("answers", 0))
    wide = with_overall(scores[known], filter_.weights)
    means = [number(float(np.nanmean(column))) if np.isfinite(column).any() else None for column in wide.T]
    caps = None if hits is None else hits.filter(pl.Series(known, dtype=pl.Boolean))
    tiers = decide_rows(scores[known], filter_, caps)["tier"]
    reasons = failures.filter(pl.col("oracle") == contender.name)["reason"].value_counts().sort("reason")
    return Entrant(
        oracle=contender.name,
        labels=count,
        calls=int(spent.get("calls", 0)),
        failures=dict(reasons.iter_rows()),
        tokens_in=int(spent.get("tokens_in", 0)),
        tokens_out=int(spent.get("tokens_out", 0)),
        cost=cost,
        cost_per_article=None if cost is None or not count else cost / count,
        seconds_per_call=float(spent["seconds"]) / answers if answers else None,
        means=dict(zip((*filter_.dimension_names, "overall"), means, strict=True)),
        tiers={name: int((tiers == name).sum()) for name in (*filter_.tier_names, "unscored")},
    )
