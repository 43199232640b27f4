"""From labels to parts that cannot leak: train, validation, calibration, test.

In: articles and the oracle's labels. Out: one row per labelled article with its window, its cluster of
near-duplicates and its part. Clusters (and sources, or time, if asked) stay whole, because a copy of a test
article in the training part would be remembered and not judged; within that, parts are filled score bin by
score bin, so that each holds low and high articles in like shares. The same seed gives the same parts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import polars as pl
import regex
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from potstill.errors import DatasetError, LabelError, require
from potstill.files import replacing, write_json
from potstill.prefilter import fold
from potstill.terminal import track

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike

    from potstill.filters import Filter
    from potstill.records import FloatArray, IntArray
    from potstill.runs import Run

PARTS = ("train", "validation", "calibration", "test")
"""The parts of a dataset, in the order of their use."""

_CALIBRATION = PARTS.index("calibration")

SMALLEST_CALIBRATION = 100
"""Rows that a calibration part must have; with fewer, calibration is cross-fitted on other rows instead."""

SMALLEST_DATASET = 10
"""Rows below which three parts say nothing."""

Whole = Literal["source", "time"]
"""What else stays whole beside clusters: sources, or time (train on the past, test on what came after)."""


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Rows with labels, in one order: what a student learns from or is judged on.

    `frame` has the columns `id` and `text` (the window), and `source`, `language` and others where the
    articles had them. `scores` has shape (rows, dimensions), float64 on the filter's scale, NaN where a label
    is masked. `clusters` has shape (rows,): near-duplicates share a number.

    Raises:
        DatasetError: the parts differ in length, or `text` is missing.
    """

    ids: tuple[str, ...]
    frame: pl.DataFrame
    scores: FloatArray
    clusters: IntArray
    dimensions: tuple[str, ...]

    def __post_init__(self) -> None:
        if "text" not in self.frame.columns:
            raise DatasetError("examples need a column text")
        if self.scores.shape != (len(self.ids), len(self.dimensions)):
            raise DatasetError(
                f"scores have shape {self.scores.shape}, expected ({len(self.ids)}, {len(self.dimensions)})"
            )
        if not len(self.ids) == self.frame.height == self.clusters.shape[0]:
            raise DatasetError(
                f"{len(self.ids)} ids, {self.frame.height} rows and {self.clusters.shape[0]} clusters do not match"
            )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def texts(self) -> list[str]:
        """The windows, in order."""
        return self.frame["text"].to_list()

    def take(self, which: ArrayLike) -> Examples:
        """Some of the rows: a boolean mask of shape (rows,), or positions in the order wanted."""
        chosen = np.asarray(which)
        index = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen.astype(np.int64)
        return Examples(
            ids=tuple(self.ids[i] for i in index.tolist()),
            frame=self.frame[index.tolist()],
            scores=self.scores[index],
            clusters=self.clusters[index],
            dimensions=self.dimensions,
        )


# Near-duplicates

SIMILAR = 0.5
"""Jaccard index of three-word shingles above which two articles are near-duplicates."""

MISSED = 1e-8
"""Chance that a pair right at the threshold is never looked at; pairs above it are safer still."""

_MOST_HASHES = 256
_SHINGLE = 3
# Scripts written without spaces: no word ends can be seen, so each place starts a token of three characters.
# Three such tokens span five characters, about the three words that a shingle is elsewhere.
_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}\u30fc]"
_WORD = regex.compile(rf"(?V1)(?P<run>{_UNSPACED}+)|[\w--{_UNSPACED}]+")


def near_duplicates(texts: Sequence[str], threshold: float = SIMILAR) -> list[tuple[int, int, float]]:
    """Pairs of texts whose sets of three-word shingles have a Jaccard index above `threshold`.

    Texts are compared as terms are (`prefilter.fold`), word by word; in scripts without spaces characters take the
    place of words. Candidates come from MinHash with locality-sensitive hashing (Broder 1997; Leskovec,
    Rajaraman & Ullman, ch. 3), in so many bands that a pair at the threshold is overlooked with a probability
    below `MISSED`; each candidate is then counted exactly, so no false pair is reported, and a fixed seed
    makes the result the same each time. A text of fewer than three words is one shingle; an empty one has
    none and is like nothing, not even another empty one.

    Returns:
        (i, j, jaccard) with i < j, in order. Of texts with the very same shingles, each is paired with the
        first alone, and the first stands for them in all other pairs: a thousand copies give 999 pairs and
        not half a million, and the clusters are the same.

    Raises:
        ValueError: the threshold is not above 0 and below 1.
        MissingExtra: datasketch is not installed.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"threshold {threshold} is not between 0 and 1")
    sets = _shingles(texts)
    first: dict[bytes, int] = {}
    pairs: list[tuple[int, int, float]] = []
    for i, shingles in enumerate(sets):
        if shingles.size:
            same = first.setdefault(shingles.tobytes(), i)
            if same != i:
                pairs.append((same, i, 1.0))
    for i, j in _candidates(sets, list(first.values()), threshold):
        # Jaccard is at most the smaller size over the larger one.
        small, large = sorted((sets[i].size, sets[j].size))
        if small > threshold * large:
            shared = np.intersect1d(sets[i], sets[j], assume_unique=True).size
            jaccard = shared / (small + large - shared)
            if jaccard > threshold:
                pairs.append((i, j, jaccard))
    return sorted(pairs)


def clusters_of(n: int, pairs: Iterable[tuple[int, int, float]]) -> IntArray:
    """Numbers from 0, shape (n,): rows joined by a chain of pairs share one; in order of first appearance."""
    return _joined(n, ((i, j) for i, j, _ in pairs))


def bands(threshold: float) -> tuple[int, int]:
    """Bands and rows per band of the hashing: the most rows that keep the chance of a miss below `MISSED`.

    A pair of Jaccard index J shares a band of r rows with probability J**r, so b bands miss it with
    (1 - J**r)**b. More rows mean fewer false candidates, and more hashes.
    """

    def wanted(rows: int) -> int:
        return math.ceil(math.log(MISSED) / math.log1p(-(threshold**rows)))

    rows = max((r for r in range(2, 17) if r * wanted(r) <= _MOST_HASHES), default=2)
    return wanted(rows), rows


def _tokens(text: str) -> list[str]:
    folded = fold(text)
    tokens: list[str] = []
    for match in _WORD.finditer(folded):
        word = match.group()
        if match.group("run") is not None and len(word) > _SHINGLE:
            tokens.extend(word[i : i + _SHINGLE] for i in range(len(word) - _SHINGLE + 1))
        else:
            tokens.append(word)
    # A text of signs alone is still a text: it is compared whole.
    signs = " ".join(folded.split())
    return tokens or [signs] * bool(signs)


def _shingles(texts: Sequence[str]) -> list[IntArray]:
    """Per text the sorted numbers of its distinct shingles; equal numbers are equal shingles, exactly."""
    numbers: dict[str, int] = {}
    words: list[IntArray] = []
    for text in texts:
        tokens = [numbers.setdefault(token, len(numbers) + 1) for token in _tokens(text)]
        # 0 is no word: it fills up a text of fewer than three.
        tokens += [0] * (_SHINGLE - len(tokens)) * bool(tokens)
        words.append(np.array(tokens, dtype=np.int64))
    counts = np.array([max(0, tokens.size - _SHINGLE + 1) for tokens in words])
    if not counts.sum():
        return [np.empty(0, dtype=np.int64) for _ in texts]
    width = len(numbers) + 1
    codes = np.concatenate([tokens[: tokens.size - 2] for tokens in words if tokens.size])
    for offset in (1, 2):
        following = np.concatenate([tokens[offset : tokens.size - 2 + offset] for tokens in words if tokens.size])
        # Numbering the pairs anew after each step keeps the product within 64 bits, so nothing can collide.
        codes = np.unique(codes * width + following, return_inverse=True)[1]
    return [np.unique(part) for part in np.split(codes, np.cumsum(counts)[:-1])]


def _candidates(sets: Sequence[IntArray], which: Sequence[int], threshold: float) -> Iterator[tuple[int, int]]:
    """Pairs (earlier, later) of `which` that share a band of MinHashes."""
    datasketch = require("datasketch", "train")
    count, rows = bands(threshold)
    empty = datasketch.MinHash(num_perm=count * rows, seed=1, hashfunc=int)
    index = datasketch.MinHashLSH(num_perm=count * rows, params=(count, rows))
    for i in track(which, "looking for near-duplicates", len(which)):
        minhash = empty.copy()
        minhash.update_batch(_scrambled(sets[i]))
        for j in index.query(minhash):
            yield j, i
        index.insert(i, minhash, check_duplication=False)


def _scrambled(numbers: IntArray) -> list[int]:
    """32-bit hashes of small numbers (the finaliser of splitmix64, Steele et al. 2014)."""
    x = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    hashes: list[int] = ((x ^ (x >> np.uint64(31))) >> np.uint64(32)).tolist()
    return hashes


def _joined(n: int, links: Iterable[tuple[int, int]]) -> IntArray:
    """Connected components of n nodes, numbered in order of first appearance (union-find)."""
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j in links:
        a, b = root(i), root(j)
        parent[max(a, b)] = min(a, b)
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(root(i), len(numbers)) for i in range(n)], dtype=np.int64)


# Parts


class Fractions(BaseModel):
    """Shares of the parts; they sum to 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: float = Field(gt=0, lt=1)
    validation: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)
    calibration: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        total = self.train + self.validation + self.test + self.calibration
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            raise ValueError(f"they sum to {total:g}, expected 1")
        return self

    @classmethod
    def parse(cls, text: str) -> Self:
        """`train/validation/test` or `train/validation/calibration/test`, as shares or per cent: `70/10/10/10`.

        Raises:
            DatasetError: it is neither, or the shares do not sum to 1 (or 100).
        """
        pieces = text.split("/")
        try:
            numbers = [float(piece) for piece in pieces]
        except ValueError:
            numbers = []
        if len(numbers) not in {3, 4}:
            raise DatasetError(f"fractions {text!r}: expected three or four numbers such as 80/10/10 or 70/10/10/10")
        if sum(numbers) > 2:
            numbers = [number / 100 for number in numbers]
        names = ("train", "validation", "test") if len(numbers) == 3 else PARTS
        try:
            return cls(**dict(zip(names, numbers, strict=True)))
        except ValidationError as error:
            first = error.errors()[0]
            where = f"{first['loc'][0]}: " if first["loc"] else ""
            raise DatasetError(f"fractions {text!r}: {where}{first['msg']}") from None

    def without_calibration(self) -> Fractions:
        """The same, with the calibration part's share given to training."""
        return Fractions(train=self.train + self.calibration, validation=self.validation, test=self.test)

    def for_rows(self, rows: int) -> Fractions:
        """The same, without a calibration part that would be too small."""
        if self.calibration and round(self.calibration * rows) < SMALLEST_CALIBRATION:
            return self.without_calibration()
        return self


DEFAULT_FRACTIONS = Fractions(train=0.7, validation=0.1, calibration=0.1, test=0.1)
"""70/10/10/10, which becomes 80/10/10 below 1,000 rows."""


def split(
    scores: FloatArray,
    clusters: IntArray,
    *,
    seed: int,
    fractions: Fractions = DEFAULT_FRACTIONS,
    groups: Sequence[str | None] | pl.Series | None = None,
    times: FloatArray | None = None,
    weights: FloatArray | None = None,
) -> pl.Series:
    """Each row's part: 'train', 'validation', 'calibration' or 'test'.

    Clusters stay whole. Rows are ordered by their weighted mean score, cut into up to ten bins, and each bin is
    dealt out by the fractions, so that rare high scores reach every part. A calibration part of fewer than
    `SMALLEST_CALIBRATION` rows is not made; its share trains, and calibration is cross-fitted later.

    Args:
        scores: labels, shape (rows, dimensions), NaN where masked.
        clusters: shape (rows,).
        seed: of the dealing; the same seed gives the same parts.
        fractions: shares of the parts.
        groups: a name per row, such as its source, or None; rows of one name stay together, and with the
            clusters of all of them.
        times: seconds per row, shape (rows,), finite. The earliest rows train, the latest test; a cluster
            counts as its latest row, so that nothing newer than the test part's start is trained on. The
            seed then changes nothing.
        weights: of the dimensions, shape (dimensions,); equal where not given.

    Raises:
        DatasetError: there are too few rows, clusters or groups to fill every part, both `groups` and `times`
            are given, or a time is missing.
    """
    rows = len(clusters)
    if rows < SMALLEST_DATASET:
        raise DatasetError(f"{rows} labelled rows are too few to split; at least {SMALLEST_DATASET} are needed")
    if groups is not None and times is not None:
        raise DatasetError("a split keeps sources or time whole, not both")
    blocks = clusters if groups is None else _with_groups(clusters, groups)

    def dealt(shares: Fractions) -> tuple[IntArray, FloatArray]:
        wanted = np.array([getattr(shares, part) for part in PARTS])
        if times is not None:
            return _by_time(blocks, times, wanted), wanted
        return _deal(blocks, _level(scores, weights), wanted, np.random.default_rng(seed)), wanted

    shares = fractions.for_rows(rows)
    part, wanted = dealt(shares)
    # Large blocks can leave calibration below what it must have, whatever its share.
    if shares.calibration and int((part == _CALIBRATION).sum()) < SMALLEST_CALIBRATION:
        part, wanted = dealt(shares.without_calibration())
    for name, share, count in zip(PARTS, wanted, np.bincount(part, minlength=len(PARTS)), strict=True):
        if share and not count:
            what = "times" if times is not None else "clusters" if groups is None else "sources"
            raise DatasetError(f"{rows} rows in too few distinct {what} to fill the part {name!r}")
    return pl.Series("split", [PARTS[i] for i in part.tolist()], dtype=pl.String)


def folds(clusters: IntArray, scores: FloatArray, k: int, seed: int, weights: FloatArray | None = None) -> IntArray:
    """A fold from 0 to k - 1 per row, shape (rows,): clusters whole, each fold with like scores.

    Raises:
        DatasetError: there are fewer clusters than folds, or k is below 2.
    """
    found = len(np.unique(clusters))
    if k < 2 or found < k:
        raise DatasetError(f"{found} clusters cannot make {k} folds; 2 to {max(found, 2)} are possible")
    return _deal(clusters, _level(scores, weights), np.full(k, 1.0 / k), np.random.default_rng(seed))


def _level(scores: FloatArray, weights: FloatArray | None) -> FloatArray:
    """The weighted mean of each row's known scores, shape (rows,); NaN for a row with none."""
    share = np.ones(scores.shape[1]) if weights is None or not np.any(weights) else np.asarray(weights)
    known = np.isfinite(scores)
    # A row whose weighted dimensions are all masked is placed by the others.
    share = np.where((known * share).sum(axis=1, keepdims=True) > 0, share, 1.0)
    total = (known * share).sum(axis=1)
    summed = (np.where(known, scores, 0.0) * share).sum(axis=1)
    level: FloatArray = np.divide(summed, total, out=np.full(len(scores), np.nan), where=total > 0)
    return level


def _with_groups(clusters: IntArray, groups: Sequence[str | None] | pl.Series) -> IntArray:
    """Clusters and named groups joined: rows tied by either share a number; rows without a name stand alone."""
    first: dict[tuple[str, Any], int] = {}
    links: list[tuple[int, int]] = []
    for row, (cluster, group) in enumerate(zip(clusters.tolist(), groups, strict=True)):
        links.append((first.setdefault(("cluster", cluster), row), row))
        if group is not None:
            links.append((first.setdefault(("group", group), row), row))
    return _joined(len(clusters), links)


def _deal(blocks: IntArray, level: FloatArray, shares: FloatArray, rng: np.random.Generator) -> IntArray:
    """A part per row: whole blocks, each to the part that lacks most of its share so far."""
    names, index = np.unique(blocks, return_inverse=True)
    sizes = np.bincount(index)
    known = np.isfinite(level)
    summed = np.bincount(index, weights=np.where(known, level, 0.0))
    counted = np.bincount(index, weights=known.astype(np.float64))
    overall = level[known].mean() if known.any() else 0.0
    height = np.divide(summed, counted, out=np.full(len(names), overall), where=counted > 0)

    part = np.zeros(len(names), dtype=np.int64)
    filled = np.zeros(len(shares))
    # Blocks that weigh much of the smallest part go first, the largest before the others: dealt late, one of
    # them could overfill a part that was full already.
    large = 2 * sizes > max(2.0, float(shares[shares > 0].min()) * len(blocks))
    order = rng.permutation(len(names))
    for block in sorted(order[large[order]].tolist(), key=lambda b: -sizes[b]):
        part[block] = _neediest(shares * len(blocks) - filled, shares)
        filled[part[block]] += sizes[block]

    left = np.maximum(shares * len(blocks) - filled, 0.0)
    small = order[~large[order]]
    small = small[np.argsort(height[small], kind="stable")]
    if small.size:
        rest = left / left.sum() if left.sum() else shares
        dealt, given = 0, np.zeros(len(shares))
        for stratum in np.array_split(small, min(10, small.size)):
            for block in rng.permutation(stratum).tolist():
                dealt += int(sizes[block])
                part[block] = _neediest(rest * dealt - given, shares)
                given[part[block]] += sizes[block]
    _fill_empty(part, sizes, shares)
    return part[index]


def _neediest(lack: FloatArray, shares: FloatArray) -> int:
    return int(np.argmax(np.where(shares > 0, lack, -np.inf)))


def _fill_empty(part: IntArray, sizes: IntArray, shares: FloatArray) -> None:
    """Give an empty part the smallest block of the part that has most blocks, where that one can spare it."""
    for empty in np.flatnonzero((shares > 0) & (np.bincount(part, minlength=len(shares)) == 0)):
        counts = np.bincount(part, minlength=len(shares))
        donor = np.flatnonzero(part == np.argmax(counts))
        if donor.size > 1:
            part[donor[np.argmin(sizes[donor])]] = empty


def _by_time(blocks: IntArray, times: FloatArray, shares: FloatArray) -> IntArray:
    """A part per row, earliest first; rows of one moment stay together."""
    if not np.isfinite(times).all():
        raise DatasetError(f"row {int(np.flatnonzero(~np.isfinite(times))[0])}: no time to split by")
    index = np.unique(blocks, return_inverse=True)[1]
    latest = np.full(int(index.max()) + 1, -np.inf)
    np.maximum.at(latest, index, times)
    moment = np.unique(latest[index], return_inverse=True)[1]
    ends = np.cumsum(np.bincount(moment))
    middle = np.concatenate([[0], ends[:-1]]) / 2 + ends / 2
    used = np.flatnonzero(shares > 0)
    edges = np.cumsum(shares[used])[:-1] * len(blocks)
    return used[np.searchsorted(edges, middle, side="right")][moment]


# The dataset of a run


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Labelled rows and their parts.

    `frame` has one row per labelled article: id, title, text (the window), cut (the window lost some of the
    article), cluster, split, the article's source, language and published where any has them, then per
    dimension `y_<name>` (label, null where masked) and `s_<name>` (spread over the samples), and samples.
    """

    frame: pl.DataFrame
    dimensions: tuple[str, ...]

    @classmethod
    def load(cls, path: str | Path, dimensions: Sequence[str]) -> Self:
        """Read the rows that `build_dataset` wrote.

        Raises:
            DatasetError: there is no such file, it is no Parquet file, or a column is missing.
        """
        try:
            frame = pl.read_parquet(path)
        except FileNotFoundError:
            raise DatasetError(f"{path}: no such file") from None
        except pl.exceptions.ComputeError as error:
            raise DatasetError(f"{path}: not a Parquet file ({str(error).splitlines()[0]})") from None
        needed = ["id", "text", "cluster", "split", *(f"y_{name}" for name in dimensions)]
        missing = [column for column in needed if column not in frame.columns]
        if missing:
            raise DatasetError(f"{path}: no column {missing[0]!r}; build it again with: potstill dataset")
        return cls(frame, tuple(dimensions))

    def save(self, path: Path) -> None:
        """Write the rows as Parquet, whole or not at all."""
        with replacing(path) as temporary:
            self.frame.write_parquet(temporary)

    def all(self) -> Examples:
        """Every row, in the order of the articles."""
        return _examples(self.frame, self.dimensions)

    def part(self, name: str) -> Examples:
        """The rows of one part, which may be none.

        Raises:
            DatasetError: there is no part of that name.
        """
        if name not in PARTS:
            raise DatasetError(f"no part {name!r}; parts: {', '.join(PARTS)}")
        return _examples(self.frame.filter(pl.col("split") == name), self.dimensions)

    @property
    def has_calibration_part(self) -> bool:
        """Whether calibration has rows of its own; else it is cross-fitted."""
        return bool((self.frame["split"] == "calibration").any())


class DatasetRecord(BaseModel):
    """What a dataset is made of, for the manifest and the report."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: int
    clusters: int
    near_duplicates: int
    """Pairs found."""
    parts: dict[str, int]
    """Rows of each part that has any."""
    fractions: dict[str, float]
    """The shares aimed at."""
    calibration: Literal["part", "cross-fitted"]
    whole: Literal["clusters", "source", "time"]
    cut: int
    """Rows of which the window lost some text."""
    masked: dict[str, int]
    """Rows without a label, by dimension."""
    unlabelled: int
    """Articles without any label, left out."""
    oracle: str
    seed: int
    notes: list[str]
    """What a reader should know: constant dimensions, a dominating cluster, rows left out."""


def build_dataset(
    run: Run,
    *,
    seed: int = 0,
    fractions: Fractions = DEFAULT_FRACTIONS,
    whole: Whole | None = None,
    oracle: str | None = None,
) -> DatasetRecord:
    """Make the dataset of a run from its articles and its ledger; recorded as the stage `dataset`.

    Args:
        run: an open run with labels.
        seed: of the split.
        fractions: shares of the parts.
        whole: keep sources whole too, or split by time.
        oracle: whose labels, where the ledger holds several oracles'.

    Raises:
        RunError: nothing is labelled yet, or another process writes to the run.
        DatasetError: the labels cannot make a dataset.
        LabelError: a label is not on the filter's scale.
    """
    from potstill.labelling import Ledger

    filter_ = run.filter
    ledger = run.need("ledger", "label")
    articles = pl.read_parquet(run.need("articles", "label"))
    parameters: dict[str, Any] = {"fractions": fractions.model_dump(), "whole": whole, "oracle": oracle}
    with run.recording("dataset", parameters=parameters, seeds={"split": seed}):
        with Ledger(ledger) as opened:
            labels = opened.labels(filter_)
        dataset, record, pairs = assemble(
            articles, labels, filter_, seed=seed, fractions=fractions, whole=whole, oracle=oracle
        )
        dataset.save(run.path("rows"))
        ids = dataset.frame["id"].to_list()
        write_json(
            run.path("pairs"),
            {
                "schema_version": 1,
                "threshold": SIMILAR,
                "pairs": [[ids[i], ids[j], round(jaccard, 6)] for i, j, jaccard in pairs],
            },
        )
        parameters["record"] = record.model_dump(mode="json")
    return record


def assemble(
    articles: pl.DataFrame,
    labels: pl.DataFrame,
    filter_: Filter,
    *,
    seed: int = 0,
    fractions: Fractions = DEFAULT_FRACTIONS,
    whole: Whole | None = None,
    oracle: str | None = None,
) -> tuple[Dataset, DatasetRecord, list[tuple[int, int, float]]]:
    """Articles and labels joined, clustered and split; the core of `build_dataset`.

    Args:
        articles: columns id, title, content, and any others (`extra` may hold some as JSON).
        labels: columns article, oracle, samples and per dimension `y_<name>` and `s_<name>`, null = missing.
        filter_: whose dimensions, scale, weights and window count.
        seed: of the split.
        fractions: shares of the parts.
        whole: keep sources whole too, or split by time.
        oracle: whose labels, where there are several oracles'.

    Returns:
        The dataset, its record, and the near-duplicate pairs as (row, row, jaccard).

    Raises:
        DatasetError: no labelled article, too few rows, several oracles and none chosen, or nothing to learn
            because every dimension is constant.
        LabelError: a label is not finite or not on the scale; the message names the article and the dimension.
    """
    names = filter_.dimension_names
    labels, chosen = _of_one_oracle(labels, oracle)
    frame = _with_facts(articles).join(labels, left_on="id", right_on="article", how="inner", maintain_order="left")
    if frame.is_empty():
        raise DatasetError("no labelled article; label some first with: potstill label")
    if frame["id"].is_duplicated().any():
        raise DatasetError(f"article {frame.filter(pl.col('id').is_duplicated())['id'][0]} comes twice")
    scores = _scores(frame, names)
    check_labels(scores, frame["id"].to_list(), names, filter_.scale.min, filter_.scale.max)
    known = np.isfinite(scores).any(axis=1)
    notes = _constant_dimensions(scores, names)
    if not known.all():
        notes.append(f"{int((~known).sum())} articles whose labels are all masked are left out")
        frame, scores = frame.filter(pl.Series(known)), scores[known]

    titles, contents = frame["title"].fill_null("").to_list(), frame["content"].fill_null("").to_list()
    texts = [filter_.text.of(title, content) for title, content in zip(titles, contents, strict=True)]
    cut = [filter_.text.cuts(title, content) for title, content in zip(titles, contents, strict=True)]
    pairs = near_duplicates(texts)
    clusters = clusters_of(len(texts), pairs)
    groups, times = _kept_whole(frame, whole)
    parts = split(scores, clusters, seed=seed, fractions=fractions, groups=groups, times=times, weights=filter_.weights)
    notes += _dominating(clusters if groups is None else _with_groups(clusters, groups), whole)
    own_part = bool((parts == "calibration").any())
    if fractions.calibration and not own_part:
        notes.append(f"a calibration part would have under {SMALLEST_CALIBRATION} rows, so calibration is cross-fitted")
    facts = [name for name in _FACTS if frame[name].is_not_null().any()]
    labelled = [f"{kind}_{name}" for name in names for kind in ("y", "s")]
    dataset = Dataset(
        frame.select(
            "id",
            pl.col("title").fill_null(""),
            pl.Series("text", texts, dtype=pl.String),
            pl.Series("cut", cut, dtype=pl.Boolean),
            pl.Series("cluster", clusters),
            parts,
            *facts,
            *labelled,
            "samples",
        ),
        names,
    )
    record = DatasetRecord(
        rows=len(texts),
        clusters=int(clusters.max()) + 1,
        near_duplicates=len(pairs),
        parts={part: count for part in PARTS if (count := int((parts == part).sum()))},
        fractions=(fractions if own_part else fractions.without_calibration()).model_dump(),
        calibration="part" if own_part else "cross-fitted",
        whole=whole or "clusters",
        cut=sum(cut),
        masked={name: int(count) for name, count in zip(names, (~np.isfinite(scores)).sum(axis=0), strict=True)},
        unlabelled=articles.height - len(texts),
        oracle=chosen,
        seed=seed,
        notes=notes,
    )
    return dataset, record, pairs


def check_labels(scores: FloatArray, ids: Sequence[str], dimensions: Sequence[str], low: float, high: float) -> None:
    """Refuse labels that are infinite or off the scale; NaN is a masked label and passes.

    Raises:
        LabelError: names the first such article, its dimension, what came and what is legal.
    """
    # Comparisons with NaN are false, so masked labels pass.
    rows, columns = np.nonzero((scores < low) | (scores > high))
    if rows.size:
        row, column = int(rows[0]), int(columns[0])
        raise LabelError(
            f"article {ids[row]}: {dimensions[column]}: {scores[row, column]:g} is not on the scale {low:g} to {high:g}"
        )


_FACTS = ("source", "language", "published")


def _examples(frame: pl.DataFrame, dimensions: tuple[str, ...]) -> Examples:
    kept = [name for name in ("id", "title", "text", *_FACTS) if name in frame.columns]
    return Examples(
        ids=tuple(frame["id"].to_list()),
        frame=frame.select(kept),
        scores=_scores(frame, dimensions),
        clusters=frame["cluster"].to_numpy().astype(np.int64),
        dimensions=dimensions,
    )


def _scores(frame: pl.DataFrame, dimensions: Sequence[str]) -> FloatArray:
    columns = [frame[f"y_{name}"].cast(pl.Float64).fill_null(float("nan")).to_numpy() for name in dimensions]
    return np.column_stack(columns).astype(np.float64)


def _of_one_oracle(labels: pl.DataFrame, oracle: str | None) -> tuple[pl.DataFrame, str]:
    counts = dict(labels["oracle"].value_counts(sort=True).iter_rows())
    listed = ", ".join(f"{name} ({count})" for name, count in counts.items())
    if not counts:
        raise DatasetError("the ledger holds no label; get some with: potstill label")
    if oracle is None:
        if len(counts) > 1:
            raise DatasetError(f"labels of {len(counts)} oracles: {listed}; choose one")
        oracle = next(iter(counts))
    if oracle not in counts:
        raise DatasetError(f"no labels of oracle {oracle!r}; there are: {listed}")
    return labels.filter(pl.col("oracle") == oracle), oracle


def _with_facts(articles: pl.DataFrame) -> pl.DataFrame:
    """id, title, content, and source, language and published as strings, from columns or from `extra`."""
    columns: list[pl.Expr] = []
    for name in _FACTS:
        if name in articles.columns:
            columns.append(pl.col(name).cast(pl.String))
        elif "extra" in articles.columns:
            # A field may be anything in one line and a string in the next.
            columns.append(pl.col("extra").str.json_path_match(f"$.{name}").alias(name))
        else:
            columns.append(pl.lit(None, dtype=pl.String).alias(name))
    return articles.select("id", "title", "content", *columns)


def _constant_dimensions(scores: FloatArray, names: Sequence[str]) -> list[str]:
    """Remarks on dimensions with one value; refuses labels in which nothing varies at all."""
    notes = []
    for column, name in enumerate(names):
        known = scores[np.isfinite(scores[:, column]), column]
        if not known.size:
            notes.append(f"{name}: no label at all; nothing can be learnt of it")
        elif (known == known[0]).all():
            notes.append(f"{name}: every label is {known[0]:g}; nothing can be learnt of it")
    if len(notes) == len(names):
        raise DatasetError("no dimension's labels vary, so there is nothing to learn: " + "; ".join(notes))
    return notes


def _kept_whole(frame: pl.DataFrame, whole: Whole | None) -> tuple[pl.Series | None, FloatArray | None]:
    if whole == "source":
        if frame["source"].is_null().all():
            raise DatasetError("no article has a field 'source', so sources cannot be kept whole")
        return frame["source"], None
    if whole == "time":
        ids, published = frame["id"].to_list(), frame["published"].to_list()
        return None, np.array([_seconds(id_, text) for id_, text in zip(ids, published, strict=True)])
    return None, None


def _seconds(id_: str, text: str | None) -> float:
    """Seconds since 1970 of an ISO 8601 or RFC 2822 time; one without a zone is taken as UTC."""
    if text is None:
        raise DatasetError(f"article {id_}: no field 'published' to split by time")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            raise DatasetError(
                f"article {id_}: published: {text!r} is no time; expected ISO 8601 such as 2024-05-01T10:00:00Z"
            ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _dominating(blocks: IntArray, whole: Whole | None) -> list[str]:
    largest = int(np.bincount(blocks).max())
    if 2 * largest <= len(blocks):
        return []
    what = "sources tied by shared stories" if whole == "source" else "near-duplicates"
    return [f"one block of {what} holds {largest} of {len(blocks)} rows and lies in one part"]
