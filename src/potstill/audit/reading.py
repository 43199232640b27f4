"""Read labels for an audit from files of any origin.

Input: a file of labels and one of articles. Output: articles, and answers by oracle. A row of a file
of labels has an `id` and one of: `scores` (dimension -> number), `samples` (a list of such scores, or of objects with
`scores`), `oracles` (name -> either); or, if a field's name is given, that field with scores or scores by pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import polars as pl

from potstill.articles import read_all, read_objects
from potstill.audit.labelled import Answer
from potstill.dataset.assembling import with_facts
from potstill.errors import ArticleError, FilterError, LabelError
from potstill.files import refuse_stream
from potstill.filters import Dimension, Filter
from potstill.filters.model import Scale
from potstill.verdict import Tier

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


Oracles = dict[str, dict[str, Answer]]
"""Answers by oracle and article."""

ONE = "the oracle"
"""Name of the oracle if a file does not name one."""


def of_files(
    labels: Path,
    articles: Path | None = None,
    filter_: Filter | None = None,
    *,
    field: str | None = None,
    scale: tuple[float, float] = (0.0, 10.0),
) -> tuple[Filter, pl.DataFrame, Oracles]:
    """Read labels and articles from files, and return them with the filter to use.

    Args:
        labels: JSON lines with an `id` and scores; see the module's description.
        articles: file of the texts. Default: the file of labels itself if its rows have a `content`, else no texts.
        filter_: the filter with dimensions, scale, weights and tiers. By default, the dimensions are those of the file
            with equal weights, and there are no tiers.
        field: field of each row with the labels, if it is none of `scores`, `samples` and `oracles`.
        scale: minimum and maximum of the scale, if no filter is given.

    Returns:
        The filter, the articles, and the answers by oracle and article.

    Raises:
        LabelError: a row is broken, has an unknown dimension or a score off the scale. The message names the line.
        ArticleError: a file is missing or broken.
        BadInput: the labels are read from a pipe.
    """
    refuse_stream(labels)
    rows = list(_rows(labels, field))
    names = list(filter_.dimension_names) if filter_ is not None else _dimensions(rows)
    if not names:
        raise LabelError(f"{labels}: holds no labels")
    judged_by = filter_ or stand_in(labels.name.split(".")[0], names, scale)
    low, high = judged_by.scale.min, judged_by.scale.max
    found: Oracles = {}
    for number, id_, answers in rows:
        for oracle, (samples, evidence) in answers.items():
            scores = np.array(
                [_scores(labels, number, oracle, sample, names, low, high) for sample in samples], dtype=np.float64
            )
            if id_ in found.setdefault(oracle, {}):
                raise LabelError(f"{labels}: line {number}: id {id_!r} comes twice")
            found[oracle][id_] = Answer(scores, evidence)
    return judged_by, _articles(labels, articles, [id_ for _, id_, _ in rows]), found


def stand_in(name: str, dimensions: Sequence[str], scale: tuple[float, float]) -> Filter:
    """Create a filter for labels without one: equal weights, and a single tier for all articles.

    Raises:
        LabelError: a dimension's name or the scale is not valid in a filter.
    """
    share = 1.0 / len(dimensions)
    safe = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower()).strip("-") or "labels"
    try:
        return Filter(
            name="-".join(part for part in safe.split("-") if part),
            version=1,
            scale=Scale(min=float(scale[0]), max=float(scale[1])),
            dimensions={each: Dimension(weight=share, description=each) for each in dimensions},
            tiers=(Tier(name="all"),),
            rubric="Labels without a filter.",
        )
    except FilterError as error:
        raise LabelError(f"these labels need a filter (--filter): {error}") from None


def _articles(labels: Path, articles: Path | None, ids: list[str]) -> pl.DataFrame:
    """Return the articles of the labels, without text if there is none."""
    if articles is not None:
        return with_facts(read_all(articles))
    try:
        return with_facts(read_all(labels))
    except ArticleError as error:
        if "content" not in str(error):
            raise
    empty = pl.lit("")
    bare = pl.DataFrame({"id": list(dict.fromkeys(ids))}, schema={"id": pl.String})
    return with_facts(bare.with_columns(title=empty, content=empty))


_Samples = tuple[list[Any], str]


def _rows(path: Path, field: str | None) -> Iterator[tuple[int, str, dict[str, _Samples]]]:
    """Yield each row's line and id, and by oracle the samples and the evidence."""
    for number, row in read_objects(path):
        id_ = row.get("id")
        if isinstance(id_, bool) or not isinstance(id_, str | int) or id_ == "":
            _fail(path, number, "field id: expected text")
        yield number, str(id_), _answers(path, number, row, field)


def _answers(path: Path, number: int, row: dict[str, Any], field: str | None) -> dict[str, _Samples]:
    evidence = row.get("evidence") or row.get("reasoning") or ""
    if field is not None:
        if not isinstance(row.get(field), dict) or not row[field]:
            _fail(path, number, f"field {field}: expected scores")
        beside = row.get(f"{field}_evidence", "")
        if isinstance(beside, dict):
            beside = next(iter(beside.values()), "")
        passes = [row[field][name] for name in sorted(row[field])]
        return {ONE: (passes if all(isinstance(one, dict) for one in passes) else [row[field]], str(beside))}
    if isinstance(row.get("oracles"), dict):
        return {str(name): (_samples(value), str(evidence)) for name, value in row["oracles"].items()}
    if "samples" in row or "scores" in row:
        return {ONE: (_samples(row.get("samples", row.get("scores"))), str(evidence))}
    return _fail(path, number, "expected the field scores, samples or oracles; for another, add #FIELD to the file")


def _samples(value: object) -> list[Any]:
    """Return a value as a list of scores by dimension."""
    found = value if isinstance(value, list) else [value]
    return [one["scores"] if isinstance(one, dict) and isinstance(one.get("scores"), dict) else one for one in found]


def _dimensions(rows: Sequence[tuple[int, str, Mapping[str, _Samples]]]) -> list[str]:
    """Return all dimensions that are scored in any row, in order of first appearance."""
    found: dict[str, None] = {}
    for _, _, answers in rows:
        for samples, _ in answers.values():
            for sample in samples:
                found.update(dict.fromkeys(sample if isinstance(sample, dict) else ()))
    return list(found)


def _scores(
    path: Path, number: int, oracle: str, sample: object, names: list[str], low: float, high: float
) -> list[float]:
    where = "" if oracle == ONE else f"{oracle}: "
    if not isinstance(sample, dict):
        _fail(path, number, f"{where}expected scores by dimension, got {type(sample).__name__}")
    unknown = [name for name in sample if name not in names]
    if unknown:
        _fail(path, number, f"{where}unknown dimension {unknown[0]!r}; the dimensions are {', '.join(names)}")
    scores = []
    for name in names:
        value = sample.get(name)
        if value is None:
            scores.append(float("nan"))
        elif isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            _fail(path, number, f"{where}{name}: got {value!r}, legal are numbers from {low:g} to {high:g}")
        else:
            scores.append(float(value))
    return scores


def _fail(path: Path, number: int, what: str) -> NoReturn:
    raise LabelError(f"{path}: line {number}: {what}")
