"""Run the whole pipeline on real data: 350 news stories of the Lee corpus and an oracle's recorded scores of them.

Input: filters with recorded scores. Output: for each filter a run folder with labels, dataset, students, bundle,
evaluation and report, and the verdicts of all filters on three unlabelled texts, from one pass of one network. The
stories come from the gensim package (Lee, Pincombe and Welsh 2005). The scores ship with potstill and are replayed
through the same code path as a live oracle.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.errors import BadInput, MissingExtra
from potstill.evaluation import Evaluation
from potstill.files import write_text
from potstill.filters import load_filter
from potstill.oracle import open_oracle
from potstill.pipeline.bundle import build_bundle, choose_for_all
from potstill.pipeline.dataset import build_dataset
from potstill.pipeline.distill import NumberedStages, why_stale
from potstill.pipeline.evaluate import evaluate_run
from potstill.pipeline.label import label_run
from potstill.pipeline.refit import refit_run
from potstill.pipeline.run import LAYOUT, Run
from potstill.pipeline.train import train_run, train_runs
from potstill.report import LAYOUT as REPORT
from potstill.report import write_report
from potstill.scorer import Scorer
from potstill.students.storage import load_student
from potstill.types import Article, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FILTERS = {"front-page": "front_page", "uplifting": "uplifting", "investment-risk": "investment_risk"}
"""Filters with recorded scores, and their names in the record."""

RECIPES = ("constant", "tfidf-ridge", "minilm-median")
"""Recipes that the demo trains: students that are fitted in seconds on any CPU."""

FOLDS = 5
"""Number of folds of the evaluation: half of the default of `evaluate`, in half the time."""

FULL_RECIPES = (*RECIPES, "minilm-lora")
"""Recipes that the demo trains with `full`. On so few labels the fine-tuned student is worse than the frozen one."""

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
"""Three texts that were written for this demo and have no labels."""


@dataclass(frozen=True, slots=True)
class Distilled:
    """Results of the demo for one filter."""

    run: Run
    evaluation: Evaluation
    report: Path


@dataclass(frozen=True, slots=True)
class Demo:
    """Results of the demo: those of each filter, and for each new text the verdicts of all filters by name."""

    filters: tuple[Distilled, ...]
    verdicts: tuple[dict[str, Verdict], ...]
    networks: int
    """Number of networks that were run on the new texts."""


def lee_articles() -> Iterator[Article]:
    """Read the Lee corpus as gensim ships it: 300 background stories and 50 more, one story per line.

    Raises:
        MissingExtra: gensim is not installed.
    """
    # The package is located but not imported, because importing gensim takes seconds and only two of its files are
    # needed.
    spec = find_spec("gensim")
    if spec is None or spec.origin is None:
        raise MissingExtra("gensim", "demo")
    folder = Path(spec.origin).parent / "test" / "test_data"
    for name, prefix, encoding in (("lee_background.cor", "lee-bg", "ascii"), ("lee.cor", "lee", "latin-1")):
        for number, line in enumerate((folder / name).read_text(encoding=encoding).splitlines()):
            yield Article(f"{prefix}-{number:03}", "", line.strip())


def recorded_samples(filter_name: str) -> Iterator[dict[str, Any]]:
    """Read the recorded scores for a filter in the replay oracle's format: one row per story, one sample per pass."""
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


def run_demo(
    folder: str | Path, filter_names: Sequence[str] = tuple(FILTERS), *, seed: int = 0, full: bool = False
) -> Demo:
    """Distil a recorded oracle's judgement of the Lee corpus, from labels to reports.

    All filters use the same split and ship the same student, so that one network scores new texts for all of them. A
    line is written for each stage of each filter. Stages that are current are not run again, so an interrupted demo
    continues.

    Args:
        folder: folder for the runs; each filter has a subfolder.
        filter_names: filters with recorded scores.
        seed: random seed for the split and for training.
        full: whether to also fine-tune a network that all filters share. This takes minutes, or a quarter of an hour on
            a slow CPU.

    Returns:
        The results of all filters.

    Raises:
        BadInput: a filter has no recorded scores, or no filter is named.
        MissingExtra: a dependency of the demo is not installed. The message contains the command to install it.
    """
    unknown = next((name for name in filter_names if name not in FILTERS), None)
    if unknown is not None or not filter_names:
        what = "no filter is named" if unknown is None else f"no recorded scores for {unknown!r}"
        raise BadInput(f"{what}; the demo has them for: {', '.join(FILTERS)}")
    folder = Path(folder)
    names = list(dict.fromkeys(filter_names))
    together = full and len(names) > 1
    stages = NumberedStages(7 * len(names) + together)
    articles = folder / "lee.jsonl"
    write_text(articles, "".join(json.dumps({"id": a.id, "content": a.content}) + "\n" for a in lee_articles()))
    runs: list[Run] = []
    for name in names:
        why = (
            why_stale(Run.open(folder / name), "label")
            if (folder / name / LAYOUT["manifest"]).exists()
            else "never run"
        )
        labels = functools.partial(_label, folder, name, articles)
        stages.run(f"{name}: labels", why, "replay recorded answers", labels)
        runs.append(run := Run.open(folder / name))
        split = functools.partial(build_dataset, run, seed=seed, like=runs[0] if len(runs) > 1 else None)
        why = why_stale(run, "dataset") or _other_seed(run, "dataset", seed)
        stages.run(f"{name}: dataset", why, "split the stories", split)
    recipes = FULL_RECIPES if full and not together else RECIPES
    for run in runs:
        why = why_stale(run, "train") or _other_seed(run, "train", seed) or _missing(run, recipes)
        fit = functools.partial(_train, run, recipes, seed)
        stages.run(
            f"{run.filter.name}: students", why, f"train {len(recipes)} students", fit, partly="finished students"
        )
    if together:
        why = next((why for run in runs if (why := _missing(run, FULL_RECIPES))), None)
        joint = functools.partial(train_runs, runs, FULL_RECIPES, seed=seed, resume=True)
        stages.run("all filters: student", why, "fine-tune a network for all filters", joint, partly="its checkpoints")
    student = choose_for_all(runs) if len(runs) > 1 else None
    # While this student is open, all runs share its network.
    stale = any(why_stale(run, "bundle") for run in runs)
    shared = load_student(runs[0].path("students") / student) if student is not None and stale else None
    done = tuple(_judged(run, student, runs, stages) for run in runs)
    del shared
    scorer = Scorer.load([run.shipped() for run in runs])
    return Demo(done, tuple(scorer.score_many(NEW_TEXTS)), scorer.networks)


def _other_seed(run: Run, stage: str, seed: int) -> str | None:
    """Return the reason if a stage was run with another seed."""
    seeds = run.manifest.stages[stage].seeds
    return None if set(seeds.values()) == {seed} else f"seed {seed} in place of {min(seeds.values())}"


def _missing(run: Run, recipes: Sequence[str]) -> str | None:
    """Return the reason if one of these recipes is not among those that the run's stage `train` recorded."""
    missing = [name for name in recipes if name not in run.manifest.stages["train"].parameters["recipes"]]
    return f"{', '.join(missing)}: not trained yet" if missing else None


def _label(folder: Path, name: str, articles: Path) -> None:
    """Create a run with the recorded labels."""
    samples = list(recorded_samples(name))
    replay = folder / "oracle" / f"{name}.jsonl"
    write_text(replay, "".join(json.dumps(row) + "\n" for row in samples))
    passes = max(len(row["samples"]) for row in samples)
    label_run(folder / name, load_filter(name), articles, open_oracle(f"replay:{replay}"), samples=passes)


def _train(run: Run, recipes: Sequence[str], seed: int) -> None:
    """Train a run's students; texts that were read for another run are not read again."""
    train_run(run, recipes, seed=seed, resume=True)


def _judged(run: Run, student: str | None, runs: Sequence[Run], stages: NumberedStages) -> Distilled:
    """Build a run's bundle, evaluation and report; results that earlier runs share are reused."""
    name = run.filter.name
    graphs = [other.path("bundle") for other in runs if other is not run]
    why = why_stale(run, "bundle")
    if why is None and student not in {None, run.manifest.stages["bundle"].parameters["choice"]["rung"]}:
        why = f"{student} serves all filters best"
    stages.run(
        f"{name}: bundle",
        why,
        "calibrate, export and prove the best student",
        lambda: build_bundle(run, student, graphs_of=graphs, anyway=True),
    )
    stages.run(
        f"{name}: evaluation",
        why_stale(run, "evaluate"),
        "measure the students and the bundle",
        lambda: evaluate_run(run, k=FOLDS),
    )
    stages.run(
        f"{name}: refit",
        why_stale(run, "refit"),
        "fit the student again on all labelled rows",
        lambda: refit_run(run),
    )
    stages.run(f"{name}: report", why_stale(run, "report"), "write the report", lambda: write_report(run))
    evaluation = Evaluation.from_file(run.path("evaluation"))
    return Distilled(run, evaluation, run.path("report") / REPORT["html"])
