"""Join articles with labels, cluster near-duplicates and split the result.

Input: articles and the oracle's labels. Output: a `Dataset`, its record and the pairs of near-duplicates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from potstill.dataset.duplicates import clusters_of, near_duplicates
from potstill.dataset.examples import targeted_rows
from potstill.dataset.matching import parts_like, stories
from potstill.dataset.reach import LabelReach
from potstill.dataset.rows import FACTS, GIVEN_SPLIT, Dataset, DatasetRecord, scores_of
from potstill.dataset.splitting import (
    DEFAULT_FRACTIONS,
    PARTS,
    SMALLEST_CALIBRATION,
    SMALLEST_DATASET,
    Fractions,
    split,
    with_groups,
)
from potstill.errors import DatasetError, LabelError
from potstill.labelling.ledger import HUMAN
from potstill.times import TimeError, read_time, seconds_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from potstill.filters import Filter
    from potstill.types import BoolArray, FloatArray, IntArray

Whole = Literal["source", "time"]
"""What else is not divided between splits: sources, or time (train on the past, test on later articles)."""


def assemble(
    articles: pl.DataFrame,
    labels: pl.DataFrame,
    filter_: Filter,
    *,
    seed: int = 0,
    fractions: Fractions = DEFAULT_FRACTIONS,
    whole: Whole | None = None,
    oracle: str | None = None,
    like: Dataset | None = None,
) -> tuple[Dataset, DatasetRecord, list[tuple[int, int, float]]]:
    """Join articles and labels, cluster them and split them; the core of `build_dataset`.

    Articles that were chosen by a predicted score are used for training only, see `targeted_rows`. If the articles have
    a split that the user gave, it is taken as it is; near-duplicates in different splits are counted in a note.

    Args:
        articles: columns id, title, content, and any others (`extra` may contain some as JSON).
        labels: columns article, oracle, samples and, per dimension, `y_<name>` and `s_<name>`; null = missing. A column
            `d_<name>`, the distribution of an oracle that is asked by levels, is optional.
        filter_: the filter with the dimensions, scale, weights and window to use.
        seed: random seed of the split.
        fractions: shares of the splits.
        whole: keep each source in one split, or split by time.
        oracle: the oracle whose labels to use, if there are several; a reviewer's labels replace them, see `corrected`.
        like: the dataset of another run; shared articles get the same split as there.

    Returns:
        The dataset, its record, and the near-duplicate pairs as (row, row, jaccard).

    Raises:
        DatasetError: there is no labelled article, there are too few rows, several oracles and no choice of one, or
            every dimension is constant, so that there is nothing to learn; `whole` and `like` are both given, or one
            of them with articles that are split already; or only some articles are.
        LabelError: a label is not finite or outside the scale; the message names the article and the dimension.
    """
    names = filter_.dimension_names
    labels, chosen, corrections = corrected(labels, oracle, names)
    frame = with_facts(articles).join(labels, left_on="id", right_on="article", how="inner", maintain_order="left")
    if frame.is_empty():
        raise DatasetError("no labelled article; label some first with: potstill label")
    if frame["id"].is_duplicated().any():
        raise DatasetError(f"article {frame.filter(pl.col('id').is_duplicated())['id'][0]} occurs twice")
    scores = scores_of(frame, names)
    check_labels(scores, frame["id"].to_list(), names, filter_.scale.min, filter_.scale.max)
    known = np.isfinite(scores).any(axis=1)
    notes = _constant_dimensions(scores, names)
    if corrections:
        notes.append(f"{corrections} labels of the oracle are replaced by a reviewer's")
    if not known.all():
        notes.append(f"{int((~known).sum())} articles whose labels are all masked are left out")
        frame, scores = frame.filter(pl.Series(known)), scores[known]

    titles, contents = frame["title"].fill_null("").to_list(), frame["content"].fill_null("").to_list()
    texts = [filter_.text.of(title, content) for title, content in zip(titles, contents, strict=True)]
    cut = [filter_.text.cuts(title, content) for title, content in zip(titles, contents, strict=True)]
    pairs = near_duplicates(texts)
    clusters = clusters_of(len(texts), pairs)
    given = _given_split(frame, whole, like)
    groups, times, remarks = _kept_whole(frame, whole)
    notes += remarks
    targeted = targeted_rows(frame) if given is None else np.zeros(len(frame), dtype=np.bool_)
    random = ~targeted
    _check_random(targeted)
    blocks = clusters if groups is None else with_groups(clusters, groups)
    if given is not None:
        parts = given
    elif like is None:
        parts = split(
            scores[random],
            clusters[random],
            seed=seed,
            fractions=fractions,
            groups=None if groups is None else groups.filter(pl.Series(random)),
            times=None if times is None else times[random],
            weights=filter_.weights,
        )
    else:
        of_random = [text for text, kept in zip(texts, random.tolist(), strict=True) if kept]
        parts, taken = parts_like(
            of_random, scores[random], like, seed=seed, fractions=fractions, weights=filter_.weights
        )
        notes.append(f"{taken} of {len(of_random)} rows have the same split as their story in the other run")
    notes += _dominating(blocks, whole) if given is None else _across_parts(pairs, given)
    own_part = bool((parts == "calibration").any())
    if given is None and fractions.calibration and not own_part:
        notes.append(
            f"a calibration split would have fewer than {SMALLEST_CALIBRATION} rows, so calibration is cross-fitted"
        )
    frame = frame.with_columns(
        pl.Series("text", texts, dtype=pl.String),
        pl.Series("cut", cut, dtype=pl.Boolean),
        pl.Series("cluster", clusters),
        _with_targeted(parts, targeted),
    )
    if targeted.any():
        usable = random | _trainable(frame, targeted, blocks, times, like)
        notes += _about_targeted(int(targeted.sum()), int((~usable).sum()))
        frame, scores, pairs = frame.filter(pl.Series(usable)), scores[usable], _pairs_of(pairs, usable)
    facts = [name for name in FACTS if frame[name].is_not_null().any()]
    labelled = [f"{kind}_{name}" for name in names for kind in "ysd" if f"{kind}_{name}" in frame.columns]
    dataset = Dataset(
        frame.select(
            "id",
            pl.col("title").fill_null(""),
            *("text", "cut", "cluster", "split"),
            *facts,
            *labelled,
            "samples",
        ),
        names,
    )
    record = DatasetRecord(
        rows=frame.height,
        clusters=frame["cluster"].n_unique(),
        near_duplicates=len(pairs),
        parts={part: count for part in PARTS if (count := int((frame["split"] == part).sum()))},
        fractions=_shares(fractions, given, own_part=own_part),
        calibration="part" if own_part else "cross-fitted",
        whole="given" if given is not None else whole or "clusters",
        cut=int(frame["cut"].sum()),
        masked={name: int(count) for name, count in zip(names, (~np.isfinite(scores)).sum(axis=0), strict=True)},
        unlabelled=articles.height - len(texts),
        oracle=chosen,
        seed=seed,
        notes=notes,
        reach=LabelReach.of(
            scores[(frame["split"] == "train").to_numpy()], names, filter_.scale.min, filter_.scale.max
        ),
    )
    return dataset, record, pairs


def _given_split(frame: pl.DataFrame, whole: Whole | None, like: Dataset | None) -> pl.Series | None:
    """Return the split that the user gave to each row; None if there is none.

    Raises:
        DatasetError: another way of splitting is asked for too, two ways are asked for, or the split cannot be used.
    """
    if whole is not None and like is not None:
        raise DatasetError(f"--like copies another run's splits, so it cannot be combined with --keep-whole {whole}")
    given = frame[GIVEN_SPLIT].alias("split")
    if given.is_null().all():
        return None
    if whole is not None or like is not None:
        option = "--like" if whole is None else f"--keep-whole {whole}"
        raise DatasetError(f"the articles were imported with their split (--split-column), so {option} has no effect")
    if (without := given.null_count()) > 0:
        id_ = frame.filter(given.is_null())["id"][0]
        raise DatasetError(
            f"{without} of {len(given)} labelled articles have no split, such as {id_}; the others were imported with "
            "--split-column: import all of them with it"
        )
    for part in ("train", "validation", "test"):
        if part not in given:
            raise DatasetError(f"no labelled article is in the split {part!r} of the column that was given")
    return given


def _shares(fractions: Fractions, given: pl.Series | None, *, own_part: bool) -> dict[str, float]:
    """Return the shares of the splits: those that were asked for, or those of the split that the user gave."""
    if given is None:
        return (fractions if own_part else fractions.without_calibration()).model_dump()
    return {part: int((given == part).sum()) / len(given) for part in PARTS}


def _across_parts(pairs: Sequence[tuple[int, int, float]], parts: pl.Series) -> list[str]:
    """Return a warning if near-duplicates are in different splits."""
    split_of = parts.to_list()
    across = sum(split_of[i] != split_of[j] for i, j, _ in pairs)
    if not across:
        return []
    warning = (
        f"{across} of {len(pairs)} pairs of near-duplicates are in different splits of the column that was given; they "
        "are not moved, so errors can look smaller than they are"
    )
    return [warning]


def _check_random(targeted: BoolArray) -> None:
    """Check that enough rows were sampled at random, if there are others."""
    count = int((~targeted).sum())
    if targeted.any() and count < SMALLEST_DATASET:
        raise DatasetError(
            f"{count} of {len(targeted)} labelled articles were sampled at random, and at least {SMALLEST_DATASET} are "
            "needed: articles chosen by a predicted score cannot evaluate a student; label more with: potstill sample "
            "RUN --how random"
        )


def _with_targeted(parts: pl.Series, targeted: BoolArray) -> pl.Series:
    """Return the split of every row from the splits of the rows that were not targeted; the others are for training."""
    every = np.full(len(targeted), "train", dtype=object)
    every[~targeted] = parts.to_list()
    return pl.Series("split", every.tolist(), dtype=pl.String)


def _trainable(
    frame: pl.DataFrame, targeted: BoolArray, blocks: IntArray, times: FloatArray | None, like: Dataset | None
) -> BoolArray:
    """Return which targeted rows may be used for training without a leak into another split, shape (rows,).

    A row may not be if a near-duplicate or, if sources are kept whole, an article of its source is in another split; if
    the split is by time, if it is as new as the articles of another split; or if another run holds it in another split.
    """
    held = (frame["split"] != "train").to_numpy()
    usable = targeted & ~np.isin(blocks, blocks[held])
    if times is not None:
        usable &= times < times[held].min()
    if like is not None:
        kept_apart = like.frame.filter(pl.col("split") != "train")["text"].to_list()
        own, theirs = stories([frame["text"].to_list(), kept_apart])
        usable &= ~np.isin(own, theirs)
    return usable


def _about_targeted(count: int, left_out: int) -> list[str]:
    """Return what the reader should know of rows that were chosen by a predicted score."""
    notes = [f"{count - left_out} rows were chosen by a predicted score and are used for training only"]
    if left_out:
        notes.append(
            f"{left_out} more are left out, because articles like them, of their source or as new are in another split"
        )
    return notes


def _pairs_of(pairs: Sequence[tuple[int, int, float]], kept: BoolArray) -> list[tuple[int, int, float]]:
    """Return the pairs of kept rows, with their new numbers."""
    place = (np.cumsum(kept) - 1).tolist()
    return [(place[i], place[j], alike) for i, j, alike in pairs if kept[i] and kept[j]]


def check_labels(scores: FloatArray, ids: Sequence[str], dimensions: Sequence[str], low: float, high: float) -> None:
    """Reject labels that are infinite or outside the scale; NaN is a masked label and is accepted.

    Raises:
        LabelError: names the first such article, its dimension, the value found and the valid range.
    """
    # Comparisons with NaN are False, so masked labels pass.
    rows, columns = np.nonzero((scores < low) | (scores > high))
    if rows.size:
        row, column = int(rows[0]), int(columns[0])
        raise LabelError(
            f"article {ids[row]}: {dimensions[column]}: {scores[row, column]:g} is outside the scale "
            f"{low:g} to {high:g}"
        )


def corrected(labels: pl.DataFrame, oracle: str | None, names: Sequence[str]) -> tuple[pl.DataFrame, str, int]:
    """Return one oracle's labels, replaced by reviewers' labels for each reviewed article and dimension.

    If several reviewers judged an article, their mean is used. If none of them scored a dimension, the oracle's label
    is kept. A reviewer's label counts as one answer without spread, so that it does not enter the statistics of the
    oracle's own repeats. Articles judged only by reviewers are labelled too. If a reviewer is chosen as the oracle, the
    result contains that person's labels only.

    Returns:
        The labels, the oracle's name, and the number of labels from reviewers.

    Raises:
        DatasetError: as in `of_one_oracle`.
    """
    by_person = pl.col("oracle").cast(pl.String).str.starts_with(HUMAN)
    machines, people = labels.filter(~by_person), labels.filter(by_person)
    if machines.is_empty() or people.is_empty() or (oracle or "").startswith(HUMAN):
        return *of_one_oracle(labels, oracle), 0
    kept, chosen = of_one_oracle(machines, oracle)
    judged = people.group_by("article", maintain_order=True).agg(pl.col(f"y_{name}").mean() for name in names)
    both = kept.join(judged, on="article", how="full", coalesce=True, suffix="_person", maintain_order="left_right")
    person = {name: pl.col(f"y_{name}_person") for name in names}
    reviewed = pl.any_horizontal(column.is_not_null() for column in person.values())
    both = both.with_columns(
        pl.lit(chosen).alias("oracle"),
        pl.when(reviewed).then(pl.lit(1, dtype=kept.schema["samples"])).otherwise(pl.col("samples")).alias("samples"),
        *(pl.when(reviewed).then(0.0).otherwise(pl.col(f"s_{name}")).alias(f"s_{name}") for name in names),
        *(pl.coalesce(column, f"y_{name}").alias(f"y_{name}") for name, column in person.items()),
        *(pl.when(~reviewed).then(column).alias(column) for column in kept.columns if column.startswith("d_")),
    )
    return both.select(kept.columns), chosen, judged.height


def of_one_oracle(labels: pl.DataFrame, oracle: str | None) -> tuple[pl.DataFrame, str]:
    """Return the labels of one oracle, and its name; if no oracle is chosen, there must be only one.

    Raises:
        DatasetError: there are no labels, none of that oracle, or several oracles and no choice of one.
    """
    counts = dict(labels["oracle"].value_counts(sort=True).iter_rows())
    listed = ", ".join(f"{name} ({count})" for name, count in counts.items())
    if not counts:
        raise DatasetError("the ledger contains no labels; create some with: potstill label")
    if oracle is None:
        if len(counts) > 1:
            raise DatasetError(f"labels of {len(counts)} oracles: {listed}; choose one")
        oracle = next(iter(counts))
    if oracle not in counts:
        raise DatasetError(f"no labels of oracle {oracle!r}; available: {listed}")
    return labels.filter(pl.col("oracle") == oracle), oracle


def with_facts(articles: pl.DataFrame) -> pl.DataFrame:
    """Return id, title, content, the facts and a given split as strings, from columns or from `extra`."""
    return articles.select("id", "title", "content", *(_fact(articles, name) for name in (*FACTS, GIVEN_SPLIT)))


def _fact(articles: pl.DataFrame, name: str) -> pl.Expr:
    """Return the column of a fact; a file that articles were added to may have it in a column and in `extra`."""
    found: list[pl.Expr] = []
    if name in articles.columns:
        dtype = articles.schema[name]
        as_json = dtype.is_nested() or isinstance(dtype, pl.Duration)
        found.append(_in_json(name) if as_json else pl.col(name).cast(pl.String))
    if "extra" in articles.columns:
        # A field may have any type in one line and be a string in the next.
        found.append(pl.col("extra").str.json_path_match(f"$.{name}"))
    return pl.coalesce(*found, pl.lit(None, dtype=pl.String)).alias(name)


def _in_json(name: str) -> pl.Expr:
    """Convert a column that is not text to its form in JSON Lines."""
    return pl.struct(name).struct.json_encode().str.json_path_match(f"$.{name}").alias(name)


def _constant_dimensions(scores: FloatArray, names: Sequence[str]) -> list[str]:
    """Return warnings about constant dimensions; reject labels in which nothing varies at all."""
    notes = []
    for column, name in enumerate(names):
        known = scores[np.isfinite(scores[:, column]), column]
        if not known.size:
            notes.append(f"{name}: there are no labels, so nothing can be learned")
        elif (known == known[0]).all():
            notes.append(f"{name}: every label is {known[0]:g}, so nothing can be learned")
    if len(notes) == len(names):
        raise DatasetError("no dimension's labels vary, so there is nothing to learn: " + "; ".join(notes))
    return notes


def _kept_whole(frame: pl.DataFrame, whole: Whole | None) -> tuple[pl.Series | None, FloatArray | None, list[str]]:
    """Return each row's source, or its time in seconds since 1970, if these constrain the split; and warnings."""
    if whole == "source":
        if frame["source"].is_null().all():
            raise DatasetError("no article has a field 'source', so sources cannot be kept whole")
        return frame["source"], None, []
    if whole == "time":
        dated = frame.select("id", "published").rows()
        without = sum(_moment(id_, text).tzinfo is None for id_, text in dated)
        note = f"{without} of {len(dated)} times have no time zone and are taken as UTC"
        return None, np.array([_seconds(id_, text) for id_, text in dated]), [note] if without else []
    return None, None, []


def _seconds(id_: str, text: str | None) -> float:
    """Return an article's publication time in seconds since 1970; a time without a zone is taken as UTC."""
    return seconds_of(_moment(id_, text))


def _moment(id_: str, text: str | None) -> datetime:
    """Return when an article was published.

    Raises:
        DatasetError: the time is missing or ambiguous.
    """
    if text is None or not text.strip():
        raise DatasetError(f"article {id_}: no field 'published' to split by time")
    try:
        return read_time(text)
    except TimeError as error:
        shown = text if len(text) <= 60 else text[:57] + "..."
        raise DatasetError(f"article {id_}: published: {shown!r} {error}") from None


def _dominating(blocks: IntArray, whole: Whole | None) -> list[str]:
    largest = int(np.bincount(blocks).max())
    if 2 * largest <= len(blocks):
        return []
    what = "sources linked by shared stories" if whole == "source" else "near-duplicates"
    return [f"one group of {what} contains {largest} of {len(blocks)} rows, all in one split"]
