"""Run the stage `train`: fit students of one run, or of several runs together.

Input: runs with datasets, and recipes. Output: in each run one folder per student with its records. Students that were
trained already can be kept. A recipe that trains a network trains one for all runs that are given (see
`training.joint`); all other recipes are fitted in each run.
"""

from __future__ import annotations

import functools
import shutil
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from potstill.dataset import Dataset
from potstill.dataset.languages import share_not_english
from potstill.errors import BadInput, RecipeError, Unavailable, require
from potstill.files import digest
from potstill.machine import Watch
from potstill.parquet import read_parquet
from potstill.pipeline.held_out import CROSSFIT, folds_of_training, held_out_scores
from potstill.pipeline.teachers_and_members import changed, in_order, members_of, place_of, rows_to_distil, sources_of
from potstill.students.recipes import DistilledRecipe, EncoderHeadRecipe, EnsembleRecipe, FineTunedRecipe, load_recipe
from potstill.students.storage import feature_folder
from potstill.terminal import note
from potstill.training.blending import choose_weights, weighted_mean
from potstill.training.facts import Companion, Fitted, StudentRecord
from potstill.training.fit import fit
from potstill.training.folder import LAYOUT, finished, record_of, same_student, write_student
from potstill.training.joint import Member, fit_together

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from potstill.dataset import Examples
    from potstill.pipeline.run import Recording, Run, StageRecord
    from potstill.students.recipes import Recipe
    from potstill.types import FloatArray

DEFAULT_RECIPES = ("constant", "tfidf-ridge", "tfidf-median", "minilm-median")
"""Recipes that `train` fits by default: those that take from seconds to a minute."""

MULTILINGUAL_RECIPE = "e5-median"
"""The recipe that is added by default if not all texts are in English."""

MULTILINGUAL_FROM = 0.1
"""Share of texts in other languages from which it is added."""


@dataclass(frozen=True, slots=True)
class _Options:
    """How students are trained; the fields are the arguments of `train_runs`."""

    resume: bool
    seed: int
    device: str
    tiny: bool
    crossfit: int | None


@dataclass(frozen=True, slots=True, eq=False)
class _Input:
    """A run with its dataset, and the hash of the rows on which its students are fitted."""

    run: Run
    dataset: Dataset
    rows_hash: str

    @classmethod
    def of(cls, run: Run) -> _Input:
        dataset = Dataset.load(run.need("rows", "dataset"), run.filter.dimension_names)
        return cls(run, dataset, rows_hash(run, dataset))


def default_recipes(runs: Sequence[Run], *, tiny: bool = False) -> tuple[str, ...]:
    """Return the recipes that fit the languages of the training texts; a note says why a recipe was added, or not.

    Args:
        runs: open runs with datasets.
        tiny: whether tiny random backbones are used, so that no real one is needed.

    Raises:
        RunError: a run has no dataset.
    """
    shares = []
    for run in runs:
        train = Dataset.load(run.need("rows", "dataset"), run.filter.dimension_names).part("train")
        tags = train.frame["language"].to_list() if "language" in train.frame.columns else [None] * len(train)
        shares.append(share_not_english(train.texts, tags))
    share = max(shares)
    if share < MULTILINGUAL_FROM:
        return DEFAULT_RECIPES
    try:
        if not tiny:
            _find_backbones(MULTILINGUAL_RECIPE)
    except Unavailable as error:
        note(f"{share:.0%} of the texts are not English, but {MULTILINGUAL_RECIPE} is not trained: {error}")
        return DEFAULT_RECIPES
    note(f"{share:.0%} of the texts are not English: {MULTILINGUAL_RECIPE} is trained too")
    return (*DEFAULT_RECIPES, MULTILINGUAL_RECIPE)


def _find_backbones(recipe: str) -> None:
    """Find the backbones of a recipe with a frozen encoder.

    Raises:
        MissingExtra, MissingModel: torch or a backbone is not installed.
    """
    require("torch", "train")
    from potstill.students.torch.backbones import find_backbone

    found = load_recipe(recipe)
    for backbone in found.backbones if isinstance(found, EncoderHeadRecipe) else ():
        find_backbone(backbone)


def train_run(
    run: Run,
    recipes: Sequence[str | Path] | None = None,
    *,
    resume: bool = False,
    seed: int = 0,
    device: str = "auto",
    tiny: bool = False,
    crossfit: int | None = None,
) -> list[StudentRecord]:
    """Fit recipes on a run's training part; as `train_runs` with a single run.

    Returns:
        The records of the students, in the order of `load_recipes`.
    """
    return train_runs([run], recipes, resume=resume, seed=seed, device=device, tiny=tiny, crossfit=crossfit)[0]


def train_runs(
    runs: Sequence[Run],
    recipes: Sequence[str | Path] | None = None,
    *,
    resume: bool = False,
    seed: int = 0,
    device: str = "auto",
    tiny: bool = False,
    crossfit: int | None = None,
) -> list[list[StudentRecord]]:
    """Fit recipes on the training parts of one or several runs and write each student's folder.

    With several runs, a recipe that trains a network trains one for all of them, and other recipes are fitted in each
    run. Each run gets its students in the usual form, recorded as its stage `train`; the records name the other runs.
    Students that were trained on other rows are moved to the run's cache, since they are not comparable.

    Args:
        runs: open runs with datasets, of different filters with the same scale.
        recipes: presets by name, or paths of recipe files; by default those of `default_recipes`.
        resume: keep students that are complete, and continue the one that was interrupted.
        seed: random seed.
        device: device on which fine-tuned students are trained.
        tiny: use tiny random backbones, to test the whole pipeline; the records note this.
        crossfit: number of folds for out-of-fold predictions of students that are fitted in seconds; by default
            `CROSSFIT`, and none for a dataset with a calibration part, where these predictions are not needed.

    Returns:
        For each run its records, in the order of `load_recipes`.

    Raises:
        BadInput: two runs have the same filter.
        RunError: a run has no dataset yet, or another process is writing to it.
        RecipeError: a recipe is unknown, two recipes have the same name, or the filters' scales differ.
        DatasetError: no training row of a run is left that the other runs do not use for evaluation.
        TrainingError: training had to stop; students that are complete are kept.
    """
    recipes = default_recipes(runs, tiny=tiny) if recipes is None else recipes
    wanted = load_recipes(recipes)
    _check_filters(runs)
    options = _Options(resume=resume, seed=seed, device=device, tiny=tiny, crossfit=crossfit)
    inputs = [_Input.of(run) for run in runs]
    parameters = train_parameters(recipes, device=device, tiny=tiny)
    if len(runs) > 1:
        parameters |= {"together": [run.manifest.filter for run in runs]}
    records: list[list[StudentRecord]] = [[] for _ in runs]
    with ExitStack() as stack:
        recordings = []
        for run, one in zip(runs, inputs, strict=True):
            others = {"with": [str(other.folder) for other in runs if other is not run]} if len(runs) > 1 else {}
            recordings.append(
                stack.enter_context(run.recording("train", parameters=parameters | others, seeds={"train": seed}))
            )
            put_away_others(run, one.rows_hash)
        before = [[finished(run.path("students") / recipe.name) for recipe in wanted] for run in runs]
        for recipe in wanted:
            for own, record in zip(records, _train_recipe(inputs, recipe, options), strict=True):
                own.append(record)
        for run, recording, own, found in zip(runs, recordings, records, before, strict=True):
            earlier = run.manifest.stages.get("train")
            count_kept(recording, own, found, same=same_training(earlier, parameters))
    for run in runs:
        _tell_of_changed_sources(run)
    return records


def train_parameters(recipes: Iterable[str | Path], *, device: str, tiny: bool) -> dict[str, Any]:
    """Return the parameters that the stage `train` records; `files` are the paths of recipes that are no presets."""
    wanted = load_recipes(list(recipes))
    parameters = {"recipes": {recipe.name: recipe.hash for recipe in wanted}, "device": device, "tiny": tiny}
    paths = {load_recipe(name).name: str(Path(name).resolve()) for name in recipes if Path(name).is_file()}
    return parameters | ({"files": paths} if paths else {})


def recipes_of(last: StageRecord | None) -> list[str] | None:
    """Return the recipes that the stage was last run with, as names or paths; None for the default ones."""
    if last is None:
        return None
    about = last.parameters.get("leaderboard")
    names = last.parameters["recipes"] if about is None else about["named"]
    files = last.parameters.get("files", {})
    return None if names is None else [files.get(name, name) for name in names]


def same_training(earlier: StageRecord | None, parameters: Mapping[str, Any]) -> bool:
    """Return whether an earlier record of the stage covers the same students, made in the same way."""
    names = ("recipes", "device", "tiny", "together")
    return earlier is not None and all(earlier.parameters.get(name) == parameters.get(name) for name in names)


def train_one(
    run: Run, dataset: Dataset, recipe: str | Path, *, seed: int = 0, device: str = "auto", tiny: bool = False
) -> StudentRecord:
    """Train one recipe, or continue its training, after the students that an ensemble trains with it.

    It must be called within `Run.recording`.

    Raises:
        RecipeError, DatasetError, TrainingError: as `train_runs`.
    """
    options = _Options(resume=True, seed=seed, device=device, tiny=tiny, crossfit=None)
    one = _Input(run, dataset, rows_hash(run, dataset))
    return [_train_student(one, each, options) for each in load_recipes([recipe])][-1]


def _train_recipe(inputs: Sequence[_Input], recipe: Recipe, options: _Options) -> list[StudentRecord]:
    """Fit one recipe in every run, and return a record for each."""
    if len(inputs) > 1 and isinstance(recipe, FineTunedRecipe):
        # Sorted, so that the training does not depend on the order in which runs are given.
        order = sorted(range(len(inputs)), key=lambda place: inputs[place].run.filter.name)
        made = dict(zip(order, _train_one_network([inputs[place] for place in order], recipe, options), strict=True))
        return [made[place] for place in range(len(inputs))]
    return [_train_student(one, recipe, options) for one in inputs]


def count_kept(
    recording: Recording, records: Sequence[StudentRecord], before: Iterable[StudentRecord | None], *, same: bool
) -> None:
    """Include the training time of students that already existed in the recorded time of a stage.

    Args:
        recording: the recording of the stage.
        records: the records of all its students.
        before: for each student, the record that existed before the stage began, or None.
        same: whether the earlier record of the stage covers exactly these students; if nothing was trained, its time is
            then kept.
    """
    kept = [record for record, one in zip(records, before, strict=True) if record == one]
    recording.before = sum(record.seconds for record in kept)
    recording.nothing_done = same and len(kept) == len(records)


def load_recipes(recipes: Sequence[str | Path]) -> list[Recipe]:
    """Load recipes by name or path, ordered so that each comes after the recipes it is made from.

    Recipes that an ensemble trains are added if they are not named.

    Raises:
        RecipeError: a recipe is unknown, two have the same name, some depend on each other, or none is given.
    """
    wanted = [load_recipe(name) for name in recipes]
    if not wanted:
        raise RecipeError("no recipe was named")
    twice = {recipe.name for recipe in wanted if sum(other.name == recipe.name for other in wanted) > 1}
    if twice:
        raise RecipeError(f"{min(twice)} is named twice; a run holds one student of a name")
    for recipe in list(wanted):
        for made in recipe.made if isinstance(recipe, EnsembleRecipe) else ():
            known = next((other for other in wanted if other.name == made.name), None)
            if known is None:
                wanted.append(made)
            elif known.hash != made.hash:
                raise RecipeError(f"{recipe.name}: {made.name} is named beside it and is another recipe")
    return in_order(wanted)


def _train_student(one: _Input, recipe: Recipe, options: _Options) -> StudentRecord:
    """Fit one recipe on a run's dataset and write its student; must be called within `Run.recording`."""
    run, dataset = one.run, one.dataset
    train, validation = dataset.part("train"), dataset.part("validation")
    folder = run.path("students") / recipe.name
    sources = sources_of(run, recipe)
    done = finished(folder) if options.resume else None
    if done is not None and done.sources == sources and _is_current(done, recipe, one.rows_hash, options):
        note(f"{recipe.name}: done already")
        return done
    learner, learned, remark = recipe, train, None
    if isinstance(recipe, DistilledRecipe):
        teacher_scores = _held_out_scores(place_of(run, recipe.teacher), train)
        learned, remark = rows_to_distil(run, recipe, dataset, teacher_scores)
        # Notes and progress bars show the name of the distilled recipe.
        learner = recipe.recipe.model_copy(update={"name": recipe.name})
    making = functools.partial(
        fit,
        learner,
        learned,
        validation,
        workdir=run.path("cache") / "training" / recipe.name,
        seed=options.seed,
        resume=options.resume,
        # A distilled student has rows of its own, so its predictions cannot be made later.
        crossfit=CROSSFIT
        if options.crossfit is None and isinstance(recipe, DistilledRecipe)
        else folds_of_training(dataset, options.crossfit),
        holdout=0.0 if dataset.has_calibration_part else 0.1,
        device=options.device,
        tiny=options.tiny,
        cache=feature_folder(),
        rubric=run.filter.rubric,
    )
    fitted = (
        _mean_of_students(run, recipe, train, validation, options.seed)
        if isinstance(recipe, EnsembleRecipe)
        else making()
    )
    if remark is not None:
        # Rows without labels come after those with labels; their predictions cannot be evaluated and are dropped.
        fitted = replace(fitted, held_out=fitted.held_out[: len(train)], notes=(remark, *fitted.notes))
    record = record_of(
        recipe, fitted, train, validation, run.filter, rows=one.rows_hash, seed=options.seed, tiny=options.tiny
    )
    record = record.model_copy(update={"sources": sources})
    write_student(folder, fitted, record, train, validation)
    note(f"{recipe.name}: validation MAE {record.validation.mae:.3f}, {record.seconds:.1f} s")
    return record


def _held_out_scores(teacher: Path, train: Examples) -> FloatArray:
    """Return a teacher's held-out scores of training rows; NaN where there are none, as for another run's teacher."""
    path = teacher / LAYOUT["held out"]
    nothing = np.full(train.scores.shape, np.nan)
    if not path.is_file():
        return nothing
    frame = read_parquet(path)
    if tuple(frame["id"].to_list()) != train.ids or not set(train.dimensions) <= set(frame.columns):
        return nothing
    return held_out_scores(teacher, train)


def _mean_of_students(run: Run, recipe: EnsembleRecipe, train: Examples, validation: Examples, seed: int) -> Fitted:
    """Return the mean of existing students, and of their held-out scores."""
    watch = Watch()
    members = members_of(run, recipe)
    predicted = np.array([member.predict(validation.frame) for member in members])
    chosen = choose_weights(recipe.weights, predicted, validation, seed=seed)
    names = [recipe.names[place] for place in chosen.kept]
    records = [finished(place_of(run, name)) for name in names]
    held_out = np.array([_held_out_scores(place_of(run, name), train) for name in names])
    remark = f"the mean of {', '.join(names)}, trained before; their time is not in this one's"
    return Fitted(
        student=weighted_mean([members[place] for place in chosen.kept], chosen.weights),
        validation=chosen.scores,
        held_out=np.einsum("md,mrd->rd", chosen.weights, held_out),
        seconds=(load := watch.load()).wall_seconds,
        load=load,
        backbones={name: sha for record in records if record is not None for name, sha in record.backbones.items()},
        notes=(remark, *chosen.notes(recipe.names, train.dimensions)),
    )


def rows_hash(run: Run, dataset: Dataset) -> str:
    """Return the SHA-256 of the rows on which a run's students are fitted."""
    return digest([run.fingerprint("rows"), list(dataset.dimensions)])


def put_away_others(run: Run, rows: str) -> None:
    """Move students that were trained on other rows than these to the run's cache."""
    students = run.path("students")
    for folder in sorted(students.iterdir()) if students.is_dir() else []:
        if folder.name.startswith(".") and folder.is_dir():
            # A process was killed while it wrote a student.
            shutil.rmtree(folder)
            continue
        record = finished(folder) if folder.is_dir() else None
        if record is not None and record.rows_hash != rows:
            target = run.path("cache") / "students-of-other-rows" / f"{folder.name}-{record.rows_hash[:8]}"
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                folder.replace(target)
                note(f"{folder.name} was made of other rows; it is moved to {target}")


def _tell_of_changed_sources(run: Run) -> None:
    for path in sorted(run.path("students").glob(f"*/{LAYOUT['record']}")):
        record = finished(path.parent)
        for name in changed(run, record.sources) if record is not None else ():
            note(f"{path.parent.name} was made from another {name} than is there now; train it again")


def _train_one_network(inputs: Sequence[_Input], recipe: FineTunedRecipe, options: _Options) -> list[StudentRecord]:
    """Train one network for several runs, and write a student in each."""
    companions = [
        Companion(run=str(one.run.folder), filter=one.run.manifest.filter, rows_hash=one.rows_hash) for one in inputs
    ]
    others = [tuple(other for other in companions if other is not own) for own in companions]
    folders = [one.run.path("students") / recipe.name for one in inputs]
    if options.resume:
        done = [finished(folder) for folder in folders]
        if all(
            record is not None and _is_current(record, recipe, one.rows_hash, options, together=known)
            for record, one, known in zip(done, inputs, others, strict=True)
        ):
            note(f"{recipe.name}: done already")
            return [record for record in done if record is not None]
    members = [Member.of(one.run.filter.name, one.dataset) for one in inputs]
    fitted = fit_together(
        recipe,
        members,
        workdir=inputs[0].run.path("cache") / "training" / f"{recipe.name}-together",
        seed=options.seed,
        resume=options.resume,
        holdout=0.0 if all(one.dataset.has_calibration_part for one in inputs) else 0.1,
        device=options.device,
        tiny=options.tiny,
    )
    records = []
    for one, member, own, known, folder in zip(inputs, members, fitted, others, folders, strict=True):
        train, validation = member.part("train"), member.part("validation")
        made = record_of(
            recipe, own, train, validation, one.run.filter, rows=one.rows_hash, seed=options.seed, tiny=options.tiny
        )
        record = made.model_copy(update={"together": known})
        write_student(folder, own, record, train, validation)
        note(f"{recipe.name}: {member.name}: validation MAE {record.validation.mae:.3f}")
        records.append(record)
    note(f"{recipe.name}: {records[0].seconds:.1f} s for {len(inputs)} filters")
    return records


def _is_current(
    record: StudentRecord, recipe: Recipe, rows: str, options: _Options, *, together: Sequence[Companion] = ()
) -> bool:
    return same_student(record, recipe, rows, options.seed, tiny=options.tiny, together=together)


def _check_filters(runs: Sequence[Run]) -> None:
    first: dict[str, Run] = {}
    for run in runs:
        other = first.setdefault(run.filter.name, run)
        if other is not run:
            raise BadInput(
                f"{run.folder}: is a run of the filter {run.filter.name}, as {other.folder} is; one network has one "
                "head a filter"
            )
    scales = {run.filter.scale: run for run in runs}
    if len(scales) > 1:
        said = ", ".join(f"{run.folder} {scale.min:g} to {scale.max:g}" for scale, run in scales.items())
        raise RecipeError(f"filters that train together need one scale; got {said}")
