"""How near cheap students come to the labels, set by set and rung by rung.

Sets of thousands of rows are divided into train, validation and test, once a seed; sets of hundreds into ten folds.
Near-duplicates stay together. What a recipe leaves open is chosen inside the rows that train it, a fine-tuned one's
epoch by validation, and so is the rung that a set is said to reach; the test part only judges. Every fit of a rung is
kept under `runs/students`, so that a killed run goes on where it was; frozen encoders read each text once. A rung that
takes long has fewer seeds.

    POTSTILL_DATA=... python benchmarks/students.py [--sets front-page emobank] [--rungs e5-svr] [--seeds 0 1 2]
    POTSTILL_DATA=... python benchmarks/students.py --sets emobank --rungs emotion-ensemble

The result keeps every rung that was recorded for the same texts and labels: single ones can be run again.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from _sets import HERE, SETS, WORK, LabelledSet, NoDataError, labelled_set
from _students import machine, summary

from potstill import metrics
from potstill.dataset import Fractions, folds, split
from potstill.errors import BadInput
from potstill.files import digest, read_json, write_json
from potstill.machine import versions
from potstill.students.recipes import EnsembleRecipe, FineTunedRecipe, Recipe, load_recipe
from potstill.training import out_of_fold
from potstill.training.blending import choose_weights
from potstill.training.fit import fit as fit_recipe
from potstill.training.fit import fitter, frozen_encoder, readers
from potstill.verdict import decide_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from potstill.dataset import Examples
    from potstill.students import Student
    from potstill.types import BoolArray, FloatArray

RESULT = HERE / "results" / "students.json"
FRACTIONS = Fractions(train=0.8, validation=0.1, test=0.1)
FOLDS = 10
PROTOCOL = 2
"""Rises when what is measured, or how, changes: older fits are then done again."""

RUNGS = ("constant", "source-median", "tfidf-ridge", "tfidf-median", "minilm-ridge", "e5-ridge", "minilm-svr", "e5-svr",
         "minilm-e5-svr", "e5-static", "minilm-median", "e5-median", "minilm-e5-median", "minilm-rbf",
         "e5-rbf")  # fmt: skip
_BLEND = ("minilm-e5-tfidf-blend",)
OWN = {
    "front-page": _BLEND,
    "sustainability-news": _BLEND,
    "uplifting-multi-oracle": _BLEND,
    "ellipse": ("minilm-e5-tfidf-blend-squares", "e5-middle-rbf", "essays-blend", "minilm-essays", "essays-ensemble"),
    "emobank": ("minilm-emotion", "e5-emotion", "emotion-ensemble"),
}
"""Rungs that a set has besides: blends take six times as long as their members."""

ONE_SEED = ("minilm-essays", "essays-ensemble")
"""Rungs of more than 20 minutes a fit."""


def main() -> int:
    """Fit what is not fitted yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--rungs", nargs="+", help="names in benchmarks/recipes, presets, or paths; all unless given")
    parser.add_argument("--seeds", type=int, nargs="+", help="0, 1 and 2 unless given, or 0 for what takes long")
    parser.add_argument("--fresh", action="store_true", help="fit again what is done already")
    parser.add_argument("--table", action="store_true", help="fit nothing; write the table of what is done")
    parser.add_argument("--bf16", action="store_true", help="frozen encoders multiply in bfloat16, which is recorded")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        fit_rung(labelled_set(arguments.sets[0]), rung_recipe(arguments.rungs[0]), arguments.seeds, bf16=arguments.bf16)
        return 0
    try:
        for name in arguments.sets:
            labelled = labelled_set(name)
            for rung in () if arguments.table else arguments.rungs or (*RUNGS, *OWN.get(name, ())):
                seeds = arguments.seeds or ([0] if rung in ONE_SEED else [0, 1, 2])
                _fit_apart(labelled, rung, seeds, fresh=arguments.fresh, bf16=arguments.bf16)
    except NoDataError as missing:
        print(f"skipped: {missing}", file=sys.stderr)
        return 0
    write_json(RESULT, table())
    print(f"written: {RESULT}")
    return 0


def rung_recipe(rung: str) -> Recipe:
    """The recipe of that name beside this file, or else the preset or file."""
    own = HERE / "recipes" / f"{rung}.yaml"
    return load_recipe(own if own.is_file() else rung)


def _fit_apart(
    labelled: LabelledSet, rung: str, seeds: list[int], *, fresh: bool, bf16: bool, scores: bool = False
) -> None:
    """Fit a rung in a process of its own, so that its peak memory is its own; `scores`: theirs must be there too."""
    recipe = rung_recipe(rung)
    if recipe.student == "source-median" and "source" not in labelled.examples.frame.columns:
        return
    for member in recipe.names if isinstance(recipe, EnsembleRecipe) else ():
        _fit_apart(labelled, member, seeds, fresh=fresh, bf16=bf16, scores=True)
    path = record_path(labelled, recipe)
    there = not scores or all(scores_path(labelled, recipe.name, seed).is_file() for seed in seeds)
    if not fresh and there and set(seeds) <= set(_seeds_done(labelled, recipe, path)):
        return
    command = [sys.executable, __file__, "--one", "--sets", labelled.name, "--rungs", rung, "--seeds", *map(str, seeds)]
    command += ["--bf16"] if bf16 else []
    if subprocess.run(command, check=False).returncode:
        print(f"{labelled.name}: {recipe.name} failed", file=sys.stderr)


def record_path(labelled: LabelledSet, recipe: Recipe) -> Path:
    """Where the fits of one rung on one set are written down."""
    return WORK / labelled.name / f"{recipe.name}.json"


def _seeds_done(labelled: LabelledSet, recipe: Recipe, path: Path) -> list[int]:
    """Seeds of the fits that are kept, none where they are of other rows or measured in an older way."""
    if not path.is_file():
        return []
    record = read_json(path)
    done = [run["seed"] for run in record["runs"]]
    return done if record["key"] == _key(labelled, recipe.hash, done) else []


def scores_path(labelled: LabelledSet, name: str, seed: int) -> Path:
    """Where what a rung said of rows that it had not learned from is kept, NaN elsewhere; for ensembles."""
    return WORK / labelled.name / f"{name}-{seed}.npy"


def _key(labelled: LabelledSet, recipe_hash: str, seeds: list[int]) -> str:
    return digest([PROTOCOL, recipe_hash, labelled.labels, digest(labelled.examples.texts), seeds])


def fit_rung(labelled: LabelledSet, recipe: Recipe, seeds: list[int], *, bf16: bool = False) -> None:
    """Fit a recipe on one set with every seed, and write down how near it came."""
    encoder = frozen_encoder(recipe, WORK / ("features-bf16" if bf16 else "features"))
    # Against float32, no feature of 24 news stories moves by more than 0.3% of the largest.
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for reader in () if encoder is None else readers(recipe, encoder):
            # Once for all seeds, so that no seed's time has it.
            reader.encode(labelled.examples.texts)
    runs = []
    for seed in seeds:
        clock = time.monotonic()
        if isinstance(recipe, EnsembleRecipe):
            predicted, judged = _judge_together(labelled, recipe, seed)
        elif isinstance(recipe, FineTunedRecipe):
            predicted, judged = _judge_tuned(labelled, recipe, seed)
        else:
            predicted, judged = _judge(labelled, fitter(recipe, seed=seed, encoder=encoder), seed)
        path = scores_path(labelled, recipe.name, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, predicted)
        runs.append({"seed": seed, "seconds": round(time.monotonic() - clock, 1), **judged})
    parts: Any = getattr(encoder, "parts", () if encoder is None else (encoder,))
    record = {
        "key": _key(labelled, recipe.hash, seeds),
        "recipe": recipe.model_dump(mode="json"),
        "hash": recipe.hash,
        **summary(runs),
        # Linux counts in KiB.
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "backbones": {part.facts.backbone: part.facts.backbone_sha256 for part in parts} or runs[0].get("backbones"),
        "inputs": {"labels": labelled.labels, "texts": digest(labelled.examples.texts)},
        "versions": versions(),
        "machine": machine(),
        "products": "bfloat16" if bf16 else "float32",
    }
    write_json(record_path(labelled, recipe), record)
    print(f"{labelled.name:24} {recipe.name:24} {record['mae_mean']:.3f}", flush=True)


def _judge(labelled: LabelledSet, fit: Callable[[Examples], Student], seed: int) -> tuple[FloatArray, dict[str, Any]]:
    """Fit once, by parts or by folds: scores of rows that were not learned from, and what is measured on them."""
    examples = labelled.examples
    if labelled.division == "folds":
        fold = folds(examples.clusters, examples.scores, FOLDS, seed)
        predicted = out_of_fold(fit, examples, fold)
        return predicted, measures(labelled, predicted, np.ones(len(examples), dtype=bool))
    part = parts_of_set(labelled, seed)
    return _judged(labelled, fit(examples.take(part == "train")), part)


def _judge_together(labelled: LabelledSet, recipe: EnsembleRecipe, seed: int) -> tuple[FloatArray, dict[str, Any]]:
    """Weigh rungs that are fitted by the validation part, and measure as the others are."""
    if labelled.division == "folds":
        raise BadInput(f"{labelled.name}: {recipe.name} is weighed by a validation part, and folds have none")
    examples, part = labelled.examples, parts_of_set(labelled, seed)
    own = part == "validation"
    said = np.array([np.load(scores_path(labelled, name, seed)) for name in recipe.names])
    kept, weights, judged = choose_weights(recipe.weights, said[:, own], examples.take(own), seed=seed)
    predicted = np.einsum("md,mrd->rd", weights, said[kept])
    chooses = predicted.copy()
    chooses[own] = judged
    names = [recipe.names[place] for place in kept]
    counts = {name: _named(examples.dimensions, count) for name, count in zip(names, weights, strict=True)}
    return predicted, {**_measured(labelled, chooses, part), "weights": counts}


def _judge_tuned(labelled: LabelledSet, recipe: FineTunedRecipe, seed: int) -> tuple[FloatArray, dict[str, Any]]:
    """Fine-tune once, in a folder where a killed run goes on, and measure as the others are."""
    examples = labelled.examples
    if labelled.division == "folds":
        raise BadInput(f"{labelled.name}: {recipe.name} is not fine-tuned once for each of {FOLDS} folds")
    part = parts_of_set(labelled, seed)
    train, validation = (examples.take(part == name) for name in ("train", "validation"))
    workdir = WORK / labelled.name / f"{recipe.name}-{seed}"
    # Nothing is calibrated here, so that no row is set aside.
    fitted = fit_recipe(recipe, train, validation, workdir=workdir, seed=seed, resume=True, holdout=0.0)
    predicted, judged = _judged(labelled, fitted.student, part)
    return predicted, {
        **judged,
        "backbones": fitted.backbones,
        "best_epoch": fitted.best_epoch,
        "epochs": [round(epoch.validation.mae, 4) for epoch in fitted.history],
        "training_seconds": fitted.seconds,
        "resumed_from": fitted.resumed_from,
    }


def parts_of_set(labelled: LabelledSet, seed: int) -> NDArray[np.str_]:
    """Each row's part, shape (rows,)."""
    return split(labelled.examples.scores, labelled.examples.clusters, seed=seed, fractions=FRACTIONS).to_numpy()


def _judged(labelled: LabelledSet, student: Student, part: NDArray[np.str_]) -> tuple[FloatArray, dict[str, Any]]:
    examples = labelled.examples
    predicted = np.full(examples.scores.shape, np.nan)
    for rows in (part == "validation", part == "test"):
        predicted[rows] = student.predict(examples.take(rows).frame)
    return predicted, _measured(labelled, predicted, part)


def _measured(labelled: LabelledSet, predicted: FloatArray, part: NDArray[np.str_]) -> dict[str, Any]:
    validation, test = part == "validation", part == "test"
    chooses = measures(labelled, predicted, validation)
    return {
        "validation_mae": chooses["mae"],
        "validation": {name: chooses[name] for name in ("mcrmse", "pearson")},
        **measures(labelled, predicted, test),
    }


def measures(labelled: LabelledSet, predicted: FloatArray, rows: BoolArray) -> dict[str, Any]:
    """What is reported of predictions, shape (all rows, dimensions), on some of the rows; clipped to the scale."""
    given, scores = np.clip(predicted, *labelled.scale)[rows], labelled.examples.scores[rows]
    names = labelled.examples.dimensions
    each = metrics.mae(given, scores)
    measured: dict[str, Any] = {
        "rows": int(rows.sum()),
        "mae": _number(metrics.average(each)),
        "by_dimension": _named(names, each),
        "mcrmse": _number(metrics.average(metrics.rmse(given, scores))),
        "pearson": _named(names, pearson(given, scores)),
    }
    for name, groups in labelled.slices.items():
        own = groups[rows]
        measured[f"by_{name}"] = {
            str(group): _number(metrics.average(metrics.mae(given[own == group], scores[own == group])))
            for group in np.unique(own)
        }
    if labelled.filter is not None:
        measured["positives"] = positives(labelled, given, scores)
    return measured


def positives(labelled: LabelledSet, given: FloatArray, scores: FloatArray) -> dict[str, Any]:
    """How many of the rows in positive tiers the student finds, and how many of those it names are."""
    filter_ = labelled.filter
    if filter_ is None:
        raise TypeError(f"{labelled.name} has no filter")
    wanted, found = (
        decide_rows(table, filter_)["tier"].is_in(filter_.positive_tiers).to_numpy() for table in (scores, given)
    )
    both = int((wanted & found).sum())
    return {
        "labelled": int(wanted.sum()),
        "found": both,
        "named": int(found.sum()),
        "recall": _number(both / wanted.sum()) if wanted.any() else None,
        "precision": _number(both / found.sum()) if found.any() else None,
    }


def pearson(predicted: FloatArray, y: FloatArray) -> FloatArray:
    """Pearson's r of each dimension, shape (dimensions,); NaN where predictions do not vary."""
    result = np.full(y.shape[1], np.nan)
    for column in range(y.shape[1]):
        known = np.isfinite(y[:, column])
        p, t = predicted[known, column], y[known, column]
        if p.std() > 0 and t.std() > 0:
            result[column] = np.corrcoef(p, t)[0, 1]
    return result


def table() -> dict[str, Any]:
    """Every rung that was fitted, by set, with its skill and the rung that each set is said to reach."""
    recorded = read_json(RESULT)["sets"] if RESULT.is_file() else {}
    sets = {}
    for name in SETS:
        labelled = labelled_set(name)
        inputs = {"labels": labelled.labels, "texts": digest(labelled.examples.texts)}
        before = recorded.get(name, {}).get("rungs", {})
        rungs = {rung: record for rung, record in before.items() if record["inputs"] == inputs}
        for path in sorted((WORK / name).glob("*.json")):
            record = read_json(path)
            # A fit of other rows, or measured in an older way, is no part of this table.
            if record["key"] == _key(labelled, record["hash"], [run["seed"] for run in record["runs"]]):
                rungs[path.stem] = {key: value for key, value in record.items() if key != "key"}
        if rungs:
            sets[name] = _set_facts(labelled, rungs)
    return {
        "schema_version": 1,
        "what": "error on rows that were not learned from, clipped to the scale; mean and spread over seeds; "
        "near-duplicates together; the rung reached is chosen by validation, or named beforehand where rows are few",
        "sets": sets,
    }


def _set_facts(labelled: LabelledSet, rungs: dict[str, Any]) -> dict[str, Any]:
    base = {run["seed"]: run["mae"] for run in rungs["constant"]["runs"]} if "constant" in rungs else {}
    for rung in rungs.values():
        skills = [1 - run["mae"] / base[run["seed"]] for run in rung["runs"] if run["seed"] in base]
        rung["skill_mean"] = _number(np.mean(skills)) if skills else None
    facts: dict[str, Any] = {
        "what": labelled.what,
        "rows": len(labelled.examples),
        "division": labelled.division,
        "target": labelled.target,
        "reported": labelled.reported,
        "rungs": dict(sorted(rungs.items(), key=lambda item: -item[1]["mae_mean"])),
    }
    if labelled.oracles is not None:
        facts["oracles"] = _disagreement(labelled)
    return facts


def _disagreement(labelled: LabelledSet) -> dict[str, Any]:
    """How far the answers that the labels are means of lie apart: no student of one of them comes nearer than half."""
    a, b = labelled.oracles  # type: ignore[misc]  # the caller has seen that there are some
    difference = metrics.repeat_difference(a, b)
    facts: dict[str, Any] = {
        "difference": _number(metrics.average(difference)),
        "by_dimension": _named(labelled.examples.dimensions, difference),
        "floor": _number(metrics.average(metrics.floor(difference, 2))),
    }
    for name, groups in labelled.slices.items():
        facts[f"by_{name}"] = {
            str(group): _number(metrics.average(metrics.repeat_difference(a[groups == group], b[groups == group])))
            for group in np.unique(groups)
        }
    return facts


def _named(names: tuple[str, ...], values: NDArray[np.float64]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in zip(names, values, strict=True)}


def _number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BadInput as error:
        sys.exit(f"{error}")
