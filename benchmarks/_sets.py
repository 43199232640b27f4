"""The sets of labelled texts that benchmarks of students share, each with how it is divided and judged.

In: the benchmark data, and the stories that ship with gensim. Out: a `LabelledSet`. Nobody's texts are copied; what is
kept under `runs/` are numbers of clusters.
"""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from potstill.dataset import Examples, clusters_of, near_duplicates
from potstill.files import digest, read_json, sha256, write_json
from potstill.filters import load_filter, parse_filter
from potstill.text import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from numpy.typing import NDArray

    from potstill.filters import Filter
    from potstill.types import FloatArray

    Rows: TypeAlias = list[dict[str, Any]]

HERE = Path(__file__).parent
WORK = HERE.parent / "runs" / "students"
DATA = Path(os.environ.get("POTSTILL_DATA", HERE.parents[1] / "shared" / "data"))

_TIERS = """
name: sustainability
version: 1
description: What a reported thing is worth for a sustainable world.
dimensions:
{dimensions}
tiers:
  - {{name: high, when: overall >= 5, positive: true}}
  - {{name: mid, when: overall >= 3}}
  - {{name: low}}
"""


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Labelled texts, and what is asked of a student of them.

    `rows` are divided into three `parts`, or into ten `folds` where they are few. `slices` give every row a group,
    shape (rows,), such as its language. `oracles` are the single answers whose mean the scores are, shape
    (answers, rows, dimensions), NaN where there is none.
    """

    name: str
    what: str
    examples: Examples
    division: Literal["parts", "folds"]
    scale: tuple[float, float]
    labels: str
    """SHA-256 of the file of labels."""
    target: dict[str, float] = field(default_factory=dict)
    """Measure -> what it should come to."""
    reported: dict[str, Any] = field(default_factory=dict)
    """What others measured on parts of their own."""
    filter: Filter | None = None
    """Gives tiers, for the recall of the positive ones."""
    slices: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    oracles: FloatArray | None = None


class NoDataError(Exception):
    """A set's files are not on this machine."""


def labelled_set(name: str) -> LabelledSet:
    """A set by its name in `SETS`.

    Raises:
        NoDataError: its files are not here.
    """
    return SETS[name]()


def _read(file: str) -> tuple[Rows, str]:
    path = DATA / file
    if not path.is_file():
        raise NoDataError(f"no benchmark data at {path}; set POTSTILL_DATA")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines], sha256(path)


def _examples(
    ids: list[str], texts: list[str], scores: FloatArray, names: tuple[str, ...], **more: list[str]
) -> Examples:
    frame = pl.DataFrame({"id": ids, "text": texts, **more})
    return Examples(tuple(ids), frame, scores, _clusters(texts), names)


def _clusters(texts: list[str]) -> NDArray[np.int64]:
    """Clusters of near-duplicates, kept between runs since they take minutes on thousands of texts."""
    path = WORK / "clusters" / f"{digest(texts)[:16]}.json"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, clusters_of(len(texts), near_duplicates(texts)).tolist())
    return np.array(read_json(path), dtype=np.int64)


def _scored(rows: Rows, window: Window, **more: list[str]) -> Examples:
    names = tuple(rows[0]["scores"])
    texts = [window.of(row["title"] or "", row["content"] or "") for row in rows]
    scores = np.array([[row["scores"].get(name, np.nan) for name in names] for row in rows], dtype=np.float64)
    return _examples([row["id"] for row in rows], texts, scores, names, **more)


def _sustainability(*, news: bool) -> LabelledSet:
    rows, labels = _read("sustainability-gemini.jsonl.gz")
    rows = [row for row in rows if row["kind"] == "news" or not news]
    examples = _scored(
        rows, Window(), source=[row["source"] for row in rows], language=[row["language"] for row in rows]
    )
    dimensions = "\n".join(f"  {name}: {{weight: 0.125, description: {name}}}" for name in examples.dimensions)
    common = {
        "examples": examples,
        "division": "parts",
        "scale": (0.0, 10.0),
        "labels": labels,
        "filter": parse_filter(_TIERS.format(dimensions=dimensions), "Score each dimension.", "sustainability"),
    }
    language = np.array([row["language"] for row in rows])
    if news:
        return LabelledSet(
            name="sustainability-news",
            what="English and Dutch news, 8 dimensions, integers 0-10 by one oracle",
            target={"mae": 0.74},
            reported={"constant": 1.507, "tfidf-ridge": 1.067, "minilm-ridge": 1.160, "e5-ridge": 0.966,
                      "e5 with support vectors": 0.873, "e5 fine-tuned": 0.847},
            slices={"language": np.where(language == "nl", "nl", "en")},
            **common,  # type: ignore[arg-type]
        )  # fmt: skip
    return LabelledSet(
        name="sustainability-all",
        what="news and science items, 8 dimensions, integers 0-10 by one oracle",
        target={"mae": 0.56},
        reported={"constant": 1.422, "tfidf-ridge": 0.725},
        slices={"kind": np.array([row["kind"] for row in rows])},
        **common,  # type: ignore[arg-type]
    )


def _ellipse() -> LabelledSet:
    rows, labels = _read("ellipse.jsonl.gz")
    return LabelledSet(
        name="ellipse",
        what="essays by learners of English, 6 traits by human raters, 1-5 by halves; whole essays are read",
        examples=_scored(rows, Window(max_chars=10_000)),
        division="parts",
        scale=(1.0, 5.0),
        labels=labels,
        target={"mcrmse": 0.465},
        reported={"column means, MCRMSE": 0.636, "tfidf-ridge, MCRMSE": 0.514, "tfidf-ridge, MAE": 0.410,
                  "deberta-v3-base in cross-validation, MCRMSE": [0.454, 0.460]},
    )  # fmt: skip


def _emobank() -> LabelledSet:
    rows, labels = _read("emobank.jsonl.gz")
    return LabelledSet(
        name="emobank",
        what="sentences, 3 dimensions, the mean of about five readers, 1-5",
        examples=_scored(rows, Window()),
        division="parts",
        scale=(1.0, 5.0),
        labels=labels,
        target={"pearson valence": 0.80, "pearson arousal": 0.54, "pearson dominance": 0.48},
        reported={"tfidf-ridge, r": [0.56, 0.36, 0.28], "minilm fine-tuned, r": [0.75, 0.52, 0.44],
                  "RoBERTa-large (arXiv 1911.02499), r": [0.84, 0.57, 0.54]},
    )  # fmt: skip


def _uplifting() -> LabelledSet:
    rows, labels = _read("uplifting-multi-oracle.jsonl.gz")
    rows = [row for row in rows if len(row["oracles"]) == 2]
    filter_ = load_filter("uplifting")
    names = filter_.dimension_names
    answers = np.array(
        [[[one.get(name, np.nan) for name in names] for one in row["oracles"].values()] for row in rows]
    ).transpose(1, 0, 2)
    texts = [filter_.text.of(row["title"] or "", row["content"] or "") for row in rows]
    sources = [row["source"] for row in rows]
    return LabelledSet(
        name="uplifting-multi-oracle",
        what="articles scored by pairs of oracles with different prompts, 8 dimensions, 0-10; labels are pairs' means",
        examples=_examples([row["id"] for row in rows], texts, answers.mean(axis=0), names, source=sources),
        division="folds",
        scale=(0.0, 10.0),
        labels=labels,
        filter=filter_,
        slices={"pair": np.array([" + ".join(row["oracles"]) for row in rows])},
        oracles=answers,
    )


def lee() -> tuple[list[str], list[str]]:
    """Ids and windows of the 350 stories of the Lee corpus, which ship with gensim."""
    from gensim.test.utils import datapath

    ids, texts = [], []
    for name, encoding, prefix in (("lee_background.cor", "ascii", "lee-bg"), ("lee.cor", "latin-1", "lee")):
        lines = Path(datapath(name)).read_text(encoding=encoding).splitlines()
        ids += [f"{prefix}-{number:03d}" for number in range(len(lines))]
        texts += [Window().of("", line) for line in lines]
    return ids, texts


def _front_page() -> LabelledSet:
    ids, texts = lee()
    path = Path(str(files("potstill") / "builtin" / "lee-oracle.jsonl"))
    by_id = {row["id"]: row["front_page"] for row in map(json.loads, path.read_text("utf-8").splitlines())}
    filter_ = load_filter("front-page")
    names = filter_.dimension_names
    answers = np.array([[[by_id[i][one][name] for name in names] for i in ids] for one in "ab"], dtype=np.float64)
    return LabelledSet(
        name="front-page",
        what="350 news stories, 8 dimensions, 0-10 by halves; labels are the means of two passes of one oracle",
        examples=_examples(ids, texts, answers.mean(axis=0), names),
        division="folds",
        scale=(0.0, 10.0),
        labels=sha256(path),
        target={"mae": 0.86},
        reported={"constant": 1.893, "tfidf-ridge": 1.258, "minilm-ridge": 1.086, "minilm with support vectors": 0.946,
                  "e5 with support vectors": 0.937, "both encoders": 0.917},
        filter=filter_,
        oracles=answers,
    )  # fmt: skip


SETS: dict[str, Callable[[], LabelledSet]] = {
    "front-page": _front_page,
    "uplifting-multi-oracle": _uplifting,
    "sustainability-news": lambda: _sustainability(news=True),
    "emobank": _emobank,
    "ellipse": _ellipse,
    "sustainability-all": lambda: _sustainability(news=False),
}
"""Cheapest first."""
