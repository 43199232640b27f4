"""What a student is made from besides labelled rows: other students, and articles without labels.

In: a recipe and a run. Out: in which order recipes are made, hashes of what they need, and the students themselves.
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
from potstill.students.storage import load_student, student_hash
from potstill.training.distilling import lessons, unlabelled_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from potstill.dataset import Dataset, Examples
    from potstill.runs import Run
    from potstill.students import Student
    from potstill.students.blend import Blended, BlendStudent
    from potstill.students.recipes import Recipe
    from potstill.types import FloatArray

ARTICLES = "articles.parquet"
"""Under which the hash of the articles without labels stands among the sources."""

BUNDLE = "bundle.json"
"""The file that every bundle has; what it holds stands for all other files of it."""


def needs(recipe: Recipe) -> tuple[str, ...]:
    """Names of the students that must be there before, or paths."""
    match recipe:
        case DistilledRecipe():
            return (recipe.teacher,)
        case EnsembleRecipe():
            return recipe.names
        case _:
            return ()


def in_order(recipes: Sequence[Recipe]) -> list[Recipe]:
    """The recipes such that what one needs comes before it, and otherwise as they were named.

    Raises:
        RecipeError: some need each other.
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
    """What the recipe's student would be made from now, besides the rows, each with its hash.

    Raises:
        TrainingError: a student that it needs is not there.
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
    """Those students among a student's sources that are others now than they were, or gone."""
    return [name for name, was in sources.items() if name != ARTICLES and _hash(run, name) != was]


def taught(
    run: Run,
    recipe: DistilledRecipe,
    dataset: Dataset,
    opinion: FloatArray,
    *,
    opening: Callable[[Path], Student] | None = None,
) -> tuple[Examples, str]:
    """A teacher's scores, and the labels, as rows to learn from; and what may be said of them.

    Args:
        run: holds the teacher and the articles.
        recipe: names the teacher.
        dataset: the run's.
        opinion: the teacher's scores of training rows that it had not seen, shape (rows, dimensions), else NaN.
        opening: opens a bundle; without it a teacher is a student's folder.

    Raises:
        TrainingError: the teacher is not there, or scores other dimensions.
        DatasetError: the run holds no articles.
        BundleError, MissingExtra, MissingModel: the teacher cannot be opened.
    """
    train, scale = dataset.part("train"), run.filter.scale
    opinion = np.clip(opinion, scale.min, scale.max)
    seen = int((~np.isnan(opinion)).any(axis=1).sum())
    remark = f"taught by {recipe.teacher}: {seen} labelled rows with its scores of them unseen"
    if not recipe.unlabelled:
        return lessons(train, opinion), remark
    if not run.path("articles").is_file():
        raise DatasetError(f"{run.path('articles')} is missing, which holds the articles without labels")
    rows, clusters = unlabelled_rows(read_parquet(run.path("articles")), dataset, run.filter)
    remark += f", {rows.height} articles without labels"
    if not rows.height:
        return lessons(train, opinion), remark
    teacher = _opened(run, recipe, opening)
    if teacher.dimensions != dataset.dimensions:
        raise TrainingError(
            f"{recipe.name}: its teacher scores {', '.join(teacher.dimensions)}; the run's are "
            f"{', '.join(dataset.dimensions)}"
        )
    scores = np.clip(teacher.predict(rows), scale.min, scale.max)
    return lessons(train, opinion, rows, scores, clusters), remark


def members_of(run: Run, recipe: EnsembleRecipe) -> list[Blended | BlendStudent]:
    """The students that an ensemble is the mean of.

    Raises:
        TrainingError: one is of a kind that is never shipped.
        BundleError, MissingExtra, MissingModel: one is not there or cannot be opened.
    """
    found: list[Blended | BlendStudent] = []
    for name in recipe.names:
        student = load_student(place_of(run, name), cache=run.path("cache"))
        if isinstance(student, SourceMedianStudent):
            raise TrainingError(f"{recipe.name}: {name} reads nothing; it is never shipped, alone or with others")
        found.append(student)
    return found


def place_of(run: Run, name: str) -> Path:
    """The folder of a student: the run's own of that name, or a path."""
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


def _opened(run: Run, recipe: DistilledRecipe, opening: Callable[[Path], Student] | None) -> Student:
    folder = place_of(run, recipe.teacher)
    if not (folder / BUNDLE).is_file():
        return load_student(folder, cache=run.path("cache"))
    if opening is None:
        raise TrainingError(f"{recipe.name}: {folder} is a bundle; here a teacher is a student's folder")
    return opening(folder)
