"""Resolves what a student is made from in addition to labelled rows: other students and unlabelled articles.

Input: a recipe and a run. Output: the order in which recipes are trained, hashes of what they need, and the students
themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from potstill.errors import BundleError, DatasetError, RecipeError, TrainingError
from potstill.files import sha256
from potstill.parquet import read_parquet
from potstill.students.recipes import DistilledRecipe, EnsembleRecipe
from potstill.students.source_median import SourceMedianStudent
from potstill.students.storage import feature_folder, load_student, student_hash
from potstill.training.distilling import distillation_rows, unlabelled_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from potstill.dataset import Dataset, Examples
    from potstill.pipeline.run import Run
    from potstill.students import Student
    from potstill.students.blend import Blended, BlendStudent
    from potstill.students.recipes import Recipe
    from potstill.types import FloatArray

ARTICLES = "articles.parquet"
"""Key of the hash of the unlabelled articles among the sources."""

BUNDLE = "bundle.json"
"""The manifest of every bundle; its hash covers all other files of the bundle."""


def needs(recipe: Recipe) -> tuple[str, ...]:
    """Return names or paths of the students that must exist before."""
    match recipe:
        case DistilledRecipe():
            return (recipe.teacher,)
        case EnsembleRecipe():
            return recipe.names
        case _:
            return ()


def in_order(recipes: Sequence[Recipe]) -> list[Recipe]:
    """Sort recipes so that each comes after those it needs, otherwise in the given order.

    Raises:
        RecipeError: some recipes depend on each other.
    """
    left = list(recipes)
    placed: list[Recipe] = []
    while left:
        waiting = {recipe.name for recipe in left}
        ready = next((recipe for recipe in left if not waiting & set(needs(recipe))), None)
        if ready is None:
            raise RecipeError(f"{', '.join(sorted(waiting))}: each needs another of them to be made first")
        left.remove(ready)
        placed.append(ready)
    return placed


def sources_of(run: Run, recipe: Recipe) -> dict[str, str]:
    """Return the current sources of the recipe's student, except for the rows, each with its hash.

    Raises:
        TrainingError: a student that it needs does not exist.
    """
    found: dict[str, str] = {}
    for name in needs(recipe):
        own = _hash(run, name)
        if own is None:
            raise TrainingError(
                f"{recipe.name}: needs the student {name}, and {place_of(run, name)} holds none; train it before, or "
                f"with it: potstill train {run.folder} --recipe {name} --recipe {recipe.name}"
            )
        found[name] = own
    if isinstance(recipe, DistilledRecipe) and recipe.unlabelled:
        found[ARTICLES] = run.fingerprint("articles") or ""
    return found


def changed(run: Run, sources: Mapping[str, str]) -> list[str]:
    """Return the students among a student's sources that have changed or no longer exist."""
    return [name for name, was in sources.items() if name != ARTICLES and _hash(run, name) != was]


def rows_to_distil(
    run: Run,
    recipe: DistilledRecipe,
    dataset: Dataset,
    teacher_scores: FloatArray,
) -> tuple[Examples, str]:
    """Return training rows from a teacher's scores and the labels, with a note about them.

    Args:
        run: the run that holds the teacher and the articles.
        recipe: the recipe that names the teacher.
        dataset: the run's dataset.
        teacher_scores: the teacher's held-out scores of training rows, shape (rows, dimensions), NaN where there are
            none.

    Raises:
        TrainingError: the teacher does not exist, or scores other dimensions.
        DatasetError: the run holds no articles.
        BundleError, MissingExtra, MissingModel: the teacher cannot be opened.
    """
    train, scale = dataset.part("train"), run.filter.scale
    teacher_scores = np.clip(teacher_scores, scale.min, scale.max)
    seen = int((~np.isnan(teacher_scores)).any(axis=1).sum())
    remark = f"distilled from {recipe.teacher}: {seen} labelled rows with its held-out scores"
    if not recipe.unlabelled:
        return distillation_rows(train, teacher_scores), remark
    if not run.path("articles").is_file():
        raise DatasetError(f"{run.path('articles')} is missing, which holds the articles without labels")
    rows, clusters = unlabelled_rows(read_parquet(run.path("articles")), dataset, run.filter)
    remark += f", {rows.height} articles without labels"
    if not rows.height:
        return distillation_rows(train, teacher_scores), remark
    teacher = _opened(run, recipe)
    if teacher.dimensions != dataset.dimensions:
        raise TrainingError(
            f"{recipe.name}: its teacher scores {', '.join(teacher.dimensions)}; the run's are "
            f"{', '.join(dataset.dimensions)}"
        )
    scores = np.clip(teacher.predict(rows), scale.min, scale.max)
    return distillation_rows(train, teacher_scores, rows, scores, clusters), remark


def members_of(run: Run, recipe: EnsembleRecipe) -> list[Blended | BlendStudent]:
    """Return the students that an ensemble averages.

    Raises:
        TrainingError: one has a type that is never shipped.
        BundleError, MissingExtra, MissingModel: one does not exist or cannot be opened.
    """
    found: list[Blended | BlendStudent] = []
    for name in recipe.names:
        student = load_student(place_of(run, name), cache=feature_folder())
        if isinstance(student, SourceMedianStudent):
            raise TrainingError(f"{recipe.name}: {name} reads nothing; it is never shipped, alone or with others")
        found.append(student)
    return found


def place_of(run: Run, name: str) -> Path:
    """Return the folder of a student: the run's own student of that name, or a path."""
    own = run.path("students") / name
    return Path(name) if Path(name).name != name or (not own.exists() and Path(name).is_dir()) else own


def _hash(run: Run, name: str) -> str | None:
    folder = place_of(run, name)
    if (folder / BUNDLE).is_file():
        return sha256(folder / BUNDLE)
    try:
        return student_hash(folder)
    except BundleError:
        return None


def _opened(run: Run, recipe: DistilledRecipe) -> Student:
    folder = place_of(run, recipe.teacher)
    if not (folder / BUNDLE).is_file():
        return load_student(folder, cache=feature_folder())
    from potstill.bundle import load_bundle

    return load_bundle(folder).student
