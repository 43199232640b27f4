"""What a teacher is worth to a student that scores faster: errors with and without it, on rows that none had seen.

A part of the training rows keeps its labels; the others stand for articles that nobody labelled. The teacher learns
from the labelled ones. Each pupil is fitted twice: on their labels alone, and on the mean of label and the teacher's
score out of fold, with the teacher's scores of the others beside. Networks take as many steps either way. The test
part judges all alike, and chooses nothing. Frozen encoders keep what they read under `runs/students/features`, and each
division that is done is kept under `runs/students/distilling`, so that a killed run goes on where it was.

    POTSTILL_DATA=... python benchmarks/distilling.py [--sets front-page] [--seeds 0]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _sets import HERE, WORK, NoDataError, labelled_set
from _students import machine

from potstill import metrics
from potstill.dataset import Fractions, split
from potstill.files import digest, read_json, write_json
from potstill.machine import versions
from potstill.students.recipes import FineTunedRecipe, load_recipe
from potstill.training import fit, fitter, predict_out_of_fold
from potstill.training.distilling import distillation_rows
from potstill.training.fit import frozen_encoder

if TYPE_CHECKING:
    from _sets import LabelledSet

    from potstill.dataset import Examples
    from potstill.students import Student
    from potstill.types import FloatArray

EPOCHS, TOKENS = 3, 96
"""Of networks: fewer than the recipe's, so that it takes minutes."""

RESULT = HERE / "results" / "distilling.json"


@dataclass(frozen=True)
class Trial:
    """A set, its teacher and pupils, and the share of training rows that keep their labels."""

    teacher: str
    pupils: tuple[str, ...]
    labelled: float
    fractions: Fractions


TRIALS = {
    "sustainability-news": Trial(
        "e5-median", ("tfidf-ridge", "e5-static"), 0.25, Fractions(train=0.8, validation=0.1, test=0.1)
    ),
    "front-page": Trial("minilm-median", ("minilm-3-layers",), 0.5, Fractions(train=0.7, validation=0.1, test=0.2)),
}


def main() -> int:
    """Fit teachers and pupils, and write what they err."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(TRIALS), choices=list(TRIALS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    # Sets can be run one by one; the others stay as they were.
    sets: dict[str, Any] = read_json(RESULT)["sets"] if RESULT.is_file() else {}
    try:
        for name in arguments.sets:
            labelled = labelled_set(name)
            runs = [_kept(labelled, TRIALS[name], seed) for seed in arguments.seeds]
            students = {student for run in runs for student in run["mae"]}
            sets[name] = {
                "what": labelled.what,
                "teacher": TRIALS[name].teacher,
                "mae_mean": {
                    student: round(float(np.mean([run["mae"][student] for run in runs])), 4)
                    for student in sorted(students)
                },
                "runs": runs,
                "labels": labelled.labels,
                "recipes": {one: load_recipe(one).hash for one in (TRIALS[name].teacher, *TRIALS[name].pupils)},
            }
    except NoDataError as missing:
        print(f"skipped: {missing}", file=sys.stderr)
        return 0
    what = "MAE on the test part, clipped to the scale, of pupils with and without a teacher"
    write_json(RESULT, {"schema_version": 1, "what": what, "sets": sets, "versions": versions(), "machine": machine()})
    print(f"written: {RESULT}")
    return 0


def _kept(labelled: LabelledSet, trial: Trial, seed: int) -> dict[str, Any]:
    """What was found before of the same rows and recipes, or is found now."""
    hashes = [load_recipe(name).hash for name in (trial.teacher, *trial.pupils)]
    key = digest([hashes, trial.labelled, trial.fractions.model_dump(), labelled.labels, seed])
    path = WORK / "distilling" / f"{labelled.name}-{seed}.json"
    known = read_json(path) if path.is_file() else {}
    if known.get("key") != key:
        known = {"key": key, "run": tried(labelled, trial, seed)}
        write_json(path, known)
    run: dict[str, Any] = known["run"]
    return run


def tried(labelled: LabelledSet, trial: Trial, seed: int) -> dict[str, Any]:
    """One division of a set: what the teacher and each pupil err on the test part."""
    clock, rows = time.monotonic(), labelled.examples
    part = split(rows.scores, rows.clusters, seed=seed, fractions=trial.fractions).to_numpy()
    train, validation, test = (rows.take(part == name) for name in ("train", "validation", "test"))
    # Whole clusters keep their labels, or lose them.
    order = np.random.default_rng(seed).permutation(np.unique(train.clusters))
    keeps = np.isin(train.clusters, order[: int(trial.labelled * order.size)])
    few, others = train.take(keeps), train.take(~keeps)

    teacher = load_recipe(trial.teacher)
    fitting = fitter(teacher, seed=seed, encoder=frozen_encoder(teacher, WORK / "features"))
    master = fitting(few)
    teacher_scores = np.clip(predict_out_of_fold(fitting, few, 5, seed, trial.teacher), *labelled.scale)
    said = np.clip(master.predict(others.frame), *labelled.scale)
    clusters = np.concatenate([few.clusters, others.clusters])
    taught = distillation_rows(few, teacher_scores, others.frame.select("id", "text"), said, clusters)
    found = {trial.teacher: _error(labelled, master, test)}
    for name in trial.pupils:
        found[name] = _pupil(labelled, name, few, validation, test, seed, len(taught))
        found[f"{name}, taught"] = _pupil(labelled, name, taught, validation, test, seed, len(taught))
        print(f"{labelled.name:20} seed {seed} {name:16} {found[name]:.3f}, taught {found[f'{name}, taught']:.3f}")
    rows_of = {"labelled": len(few), "unlabelled": len(others), "validation": len(validation), "test": len(test)}
    return {"seed": seed, "rows": rows_of, "mae": found, "seconds": round(time.monotonic() - clock, 1)}


def _pupil(
    labelled: LabelledSet, name: str, learned: Examples, validation: Examples, test: Examples, seed: int, most: int
) -> float:
    recipe = load_recipe(name)
    if isinstance(recipe, FineTunedRecipe):
        # As many steps on few rows as on many.
        epochs = round(EPOCHS * most / len(learned))
        recipe = recipe.model_copy(update={"epochs": epochs, "patience": None, "max_tokens": TOKENS})
    with tempfile.TemporaryDirectory() as folder:
        fitted = fit(
            recipe,
            learned,
            validation,
            workdir=Path(folder),
            seed=seed,
            crossfit=0,
            holdout=0.0,
            cache=WORK / "features",
        )
        return _error(labelled, fitted.student, test)


def _error(labelled: LabelledSet, student: Student, test: Examples) -> float:
    given: FloatArray = np.clip(student.predict(test.frame), *labelled.scale)
    return round(metrics.average(metrics.mae(given, test.scores)), 4)


if __name__ == "__main__":
    sys.exit(main())
