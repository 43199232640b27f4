"""The whole river on real input: the 350 news stories of the Lee corpus and an oracle's recorded scores of them.

In: a filter that the scores exist for. Out: a run folder with labels, dataset, students, bundle, evaluation and
report, and the verdicts of three texts nobody has labelled. The stories come from the gensim package (Lee,
Pincombe and Welsh 2005); the scores ship with potstill and are replayed through the path a live oracle takes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.bundle import build_bundle
from potstill.dataset import build_dataset
from potstill.errors import BadInput, require
from potstill.evaluation import Evaluation, evaluate_run
from potstill.files import write_text
from potstill.filters import load_filter
from potstill.labelling import label_run
from potstill.oracle import open_oracle
from potstill.records import Article, Verdict
from potstill.report import write_report
from potstill.runs import Run
from potstill.scorer import Scorer
from potstill.terminal import note
from potstill.training import train_run

if TYPE_CHECKING:
    from collections.abc import Iterator

FILTERS = {"front-page": "front_page", "uplifting": "uplifting", "investment-risk": "investment_risk"}
"""The filters that recorded scores exist for, and their names in the record."""

RECIPES = ("constant", "tfidf-ridge", "minilm-svr", "minilm-median", "minilm-lora")

NEW_TEXTS = (
    Article(
        "river",
        "Fishers bring a dead river back",
        "Nine villages along the Marlow have spent eleven years planting its banks and fencing off its springs. "
        "This spring the state laboratory counted forty species of fish where it had found three, and 2,100 "
        "families who had left their boats on the shore are fishing again under rules they wrote themselves. "
        "Two neighbouring valleys have asked the villagers to show them how.",
    ),
    Article(
        "bank",
        "Third bank halts withdrawals as run spreads",
        "Regulators closed the country's third-largest bank on Thursday after depositors queued through the night. "
        "Interbank lending has stopped, the currency fell nine per cent and the finance ministry said emergency "
        "loans to two more lenders were being prepared. The central bank called a meeting for Sunday evening.",
    ),
    Article(
        "cricket",
        "Captain doubtful for second Test",
        "The captain missed training with a sore hamstring and will have a scan tomorrow. The coach said there "
        "was no hurry to name the side and that the young batsman from the west would be ready if called.",
    ),
)
"""Three texts written for this demo; nobody has scored them."""


@dataclass(frozen=True, slots=True)
class Demo:
    """What a demo leaves behind."""

    run: Run
    evaluation: Evaluation
    verdicts: tuple[Verdict, ...]
    report: Path


def lee_articles() -> Iterator[Article]:
    """The Lee corpus: 300 background stories and 50 more, as gensim ships them; a line is a story.

    Raises:
        MissingExtra: gensim is not installed.
    """
    require("gensim", "demo")
    folder = Path(str(files("gensim") / "test" / "test_data"))
    for name, prefix, encoding in (("lee_background.cor", "lee-bg", "ascii"), ("lee.cor", "lee", "latin-1")):
        for number, line in enumerate((folder / name).read_text(encoding=encoding).splitlines()):
            yield Article(f"{prefix}-{number:03}", "", line.strip())


def recorded_samples(filter_name: str) -> Iterator[dict[str, Any]]:
    """The recorded scores for a filter, as the replay oracle reads them: one row a story, a sample for each pass."""
    key = FILTERS[filter_name]
    for line in (files("potstill") / "builtin" / "lee-oracle.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        scores, evidence = row[key], row[f"{key}_evidence"]
        passes = sorted(scores) if set(scores) == {"a", "b"} else [None]
        yield {
            "id": row["id"],
            "samples": [
                {"scores": scores, "evidence": evidence}
                if name is None
                else {"scores": scores[name], "evidence": evidence[name]}
                for name in passes
            ],
        }


def run_demo(folder: str | Path, filter_name: str = "front-page", *, seed: int = 0) -> Demo:
    """Distil a recorded oracle's judgement of the Lee corpus, from labels to report.

    Raises:
        BadInput: no scores are recorded for that filter.
        MissingExtra: a part of the demo is not installed; the message holds the command.
    """
    if filter_name not in FILTERS:
        raise BadInput(f"no recorded scores for {filter_name!r}; the demo has them for: {', '.join(FILTERS)}")
    folder = Path(folder)
    samples = list(recorded_samples(filter_name))
    replay = folder / "oracle" / f"{filter_name}.jsonl"
    write_text(replay, "".join(json.dumps(row) + "\n" for row in samples))
    articles = folder / "lee.jsonl"
    write_text(articles, "".join(json.dumps({"id": a.id, "content": a.content}) + "\n" for a in lee_articles()))
    run_folder = folder / filter_name
    note("labels: replaying the recorded oracle")
    passes = max(len(row["samples"]) for row in samples)
    label_run(run_folder, load_filter(filter_name), articles, open_oracle(f"replay:{replay}"), samples=passes)
    run = Run.open(run_folder)
    note("dataset: near-duplicates together, then train, validation and test")
    build_dataset(run, seed=seed)
    note("students: the ladder")
    train_run(run, RECIPES, seed=seed)
    note("bundle: calibrate, export, prove")
    build_bundle(run)
    note("evaluation and report")
    evaluation = evaluate_run(run)
    report = write_report(run)
    scorer = Scorer.load(run.path("bundle"))
    return Demo(run, evaluation, tuple(scorer.score_many(NEW_TEXTS)), report)
