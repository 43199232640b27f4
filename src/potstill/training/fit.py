"""Fits students of any recipe, directly on examples or for a whole run.

Input: a recipe and examples, or a run and the names of recipes. Output: a fitted student with held-out predictions; for
a run, one folder per student with its records. torch is imported only when it is needed.
"""

from __future__ import annotations

import functools
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from potstill.dataset import Dataset, folds
from potstill.errors import BadInput, DatasetError, RecipeError, TrainingError, require
from potstill.files import digest, replacing, replacing_folder, write_json
from potstill.load import Watch
from potstill.parquet import read_parquet
from potstill.runs import versions
from potstill.students.blend import BlendStudent
from potstill.students.constant import fit_constant
from potstill.students.neural import (
    assembled,
    fit_encoder_head,
    member_encoder,
    open_encoder,
    parts_of,
    reading,
    reading_members,
)
from potstill.students.recipes import (
    BlendRecipe,
    ConstantRecipe,
    DistilledRecipe,
    EncoderHeadRecipe,
    EnsembleRecipe,
    FineTunedRecipe,
    SourceMedianRecipe,
    TfidfRecipe,
    load_recipe,
)
from potstill.students.source_median import fit_source_median
from potstill.students.storage import save_student
from potstill.students.tfidf import fit_tfidf
from potstill.terminal import note, steps
from potstill.training.blending import FOLDS, ensemble, fit_blend, weigh_fitted
from potstill.training.facts import Fitted, Measures, StudentRecord
from potstill.training.folding import out_of_fold
from potstill.training.sources import changed, in_order, members_of, place_of, sources_of, taught

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from potstill.dataset import Examples
    from potstill.filters import Filter
    from potstill.runs import Recording, Run
    from potstill.students import Encoder, Student
    from potstill.students.blend import Blended
    from potstill.students.recipes import Recipe
    from potstill.training.facts import Companion
    from potstill.types import FloatArray

    Fit = Callable[[Examples], Student]

LAYOUT = {
    "record": "record.json",
    "history": "history.json",
    "held out": "heldout.parquet",
    "validation": "validation.parquet",
}
"""Files in a student's folder besides the student; the record is written last, after everything else."""

DEFAULT_RECIPES = ("constant", "tfidf-ridge", "tfidf-median", "minilm-median")
"""Recipes that `train` fits by default: those that take from seconds to a minute."""


def fit(
    recipe: Recipe,
    train: Examples,
    validation: Examples,
    *,
    workdir: Path,
    seed: int = 0,
    resume: bool = False,
    crossfit: int = 5,
    holdout: float = 0.1,
    device: str = "auto",
    tiny: bool = False,
    cache: Path | None = None,
    rubric: str = "",
) -> Fitted:
    """Fit a student of any recipe.

    A student that is fitted in seconds is fitted on all training rows, and again for each cross-validation fold to get
    out-of-fold predictions. A fine-tuned student is trained once, with some rows held out.

    Args:
        recipe: what to fit.
        train: training examples.
        validation: examples used to select the best epoch and, later, the best student.
        workdir: a folder used by this fit only, for checkpoints and a tiny backbone.
        seed: random seed.
        resume: continue from the newest complete checkpoint in `workdir`.
        crossfit: number of folds for a student that is fitted in seconds; 0 for none.
        holdout: share of the training rows held out from a fine-tuned student, from 0 to 1; 0 for none.
        device: device on which a fine-tuned student is trained, as torch names it, or `auto`.
        tiny: replace the recipe's backbones with tiny random ones, to test the whole pipeline; scores are meaningless.
        cache: folder in which frozen encoders cache features of texts; default: a folder in `workdir`.
        rubric: the filter's rubric, for recipes that prepend it to every text.

    Raises:
        TrainingError: training had to stop.
        MissingExtra, MissingModel: torch, scikit-learn or a backbone is not installed.
        DatasetError, RecipeError: the examples or the recipe cannot be used.
    """
    if not len(train) or not len(validation):
        raise DatasetError("training needs at least one training and one validation row")
    workdir.mkdir(parents=True, exist_ok=True)
    if isinstance(recipe, FineTunedRecipe):
        require("peft", "train")
        require("accelerate", "train")
        from potstill.training.finetune import fine_tune

        return fine_tune(
            recipe,
            train,
            validation,
            workdir=workdir,
            seed=seed,
            resume=resume,
            holdout=holdout,
            device=device,
            tiny=tiny,
            rubric=rubric,
        )
    watch = Watch()
    encoder = _encoder(recipe, workdir, cache or workdir / "features", tiny=tiny, seed=seed)
    student, held_out = _fitted(recipe, train, seed=seed, encoder=encoder, crossfit=crossfit)
    cut = None
    if encoder is not None:
        cut = float(np.mean(np.any([one.truncated(train.texts) for one in readers(recipe, encoder)], axis=0)))
    return Fitted(
        student=student,
        validation=student.predict(validation.frame),
        held_out=held_out,
        seconds=(load := watch.load()).wall_seconds,
        load=load,
        # Frozen networks run in float32 on every machine, as the exported graph does; see docs/decisions.md.
        precision=None if encoder is None else "fp32",
        backbones={} if encoder is None else _hashes(encoder),
        truncated_share=cut,
        notes=(_weighed(student.dimensions, student.weights),) if isinstance(student, BlendStudent) else (),
    )


def fitter(recipe: Recipe, *, seed: int = 0, encoder: Encoder | None = None) -> Fit:
    """Return a function that fits a recipe to examples; a frozen encoder is opened once for all its calls.

    Raises:
        RecipeError: the recipe trains its encoder, which takes longer than seconds, or is made from other students.
    """
    match recipe:
        case ConstantRecipe():
            return lambda examples: fit_constant(recipe, examples, seed=seed)
        case SourceMedianRecipe():
            return lambda examples: fit_source_median(recipe, examples, seed=seed)
        case TfidfRecipe():
            return lambda examples: fit_tfidf(recipe, examples, seed=seed)
        case EncoderHeadRecipe():
            opened = encoder or open_encoder(recipe)
            return lambda examples: fit_encoder_head(recipe, examples, seed=seed, encoder=opened)
        case BlendRecipe():
            fits = _member_fits(recipe, seed=seed, encoder=encoder)
            return lambda examples: fit_blend(recipe, fits, examples, seed=seed)[0]
        case FineTunedRecipe():
            raise RecipeError(f"{recipe.name}: a fine-tuned student is not fitted again for each fold")
        case DistilledRecipe() | EnsembleRecipe():
            raise RecipeError(f"{recipe.name}: is made from other students, which a run holds")


def predict_unseen(fitting: Fit, examples: Examples, k: int, seed: int, name: str = "student") -> FloatArray:
    """Return out-of-fold predictions of every row, shape (rows, dimensions); see `out_of_fold`.

    The folds are created here: `k` of them, or fewer if there are fewer clusters. With fewer than two, all predictions
    are NaN.
    """
    k = min(k, len(np.unique(examples.clusters)))
    if k < 2:
        return np.full(examples.scores.shape, np.nan)
    with steps(f"{name}: out of fold", k) as advance:
        return out_of_fold(fitting, examples, folds(examples.clusters, examples.scores, k, seed), done=advance)


def frozen_encoder(recipe: Recipe, cache: Path | None = None) -> Encoder | None:
    """Open the encoder of the recipe's heads with torch, for `fitter`; None if the recipe has none.

    Raises:
        MissingExtra, MissingModel: torch or a backbone is not installed.
    """
    if isinstance(recipe, EncoderHeadRecipe | BlendRecipe) and reading_members(recipe):
        return open_encoder(recipe, cache)
    return None


def readers(recipe: Recipe, encoder: Encoder) -> list[Encoder]:
    """Return one encoder per head of the student, each a part of the encoder that `frozen_encoder` opened."""
    match recipe:
        case EncoderHeadRecipe():
            return [reading(encoder, recipe.pieces)]
        case BlendRecipe():
            members = reading_members(recipe)
            return [reading(member_encoder(recipe, member, encoder), member.pieces) for member in members]
        case _:
            return []


def train_run(
    run: Run,
    recipes: Sequence[str | Path] = DEFAULT_RECIPES,
    *,
    resume: bool = False,
    seed: int = 0,
    device: str = "auto",
    tiny: bool = False,
    crossfit: int = 5,
    opening: Callable[[Path], Student] | None = None,
) -> list[StudentRecord]:
    """Fit recipes on a run's training part and write each student's folder; recorded as the stage `train`.

    Students that were trained on other rows are moved to the run's cache, since they are not comparable.

    Args:
        run: an open run with a dataset.
        recipes: presets by name, or paths of recipe files.
        resume: keep students that are complete, and continue the one that was interrupted.
        seed: random seed.
        device: device on which fine-tuned students are trained.
        tiny: use tiny random backbones, to test the whole pipeline; the records note this.
        crossfit: number of folds for out-of-fold predictions of students that are fitted in seconds.
        opening: function that opens a bundle as a teacher; without it, only students can be teachers.

    Raises:
        RunError: there is no dataset yet, or another process is writing to the run.
        RecipeError: a recipe is unknown, or two recipes have the same name.
        TrainingError: training had to stop; students that are complete are kept.
    """
    wanted = load_recipes(recipes)
    dataset = Dataset.load(run.need("rows", "dataset"), run.filter.dimension_names)
    parameters = {"recipes": {recipe.name: recipe.hash for recipe in wanted}, "device": device, "tiny": tiny}
    with run.recording("train", parameters=parameters, seeds={"train": seed}) as recording:
        put_away_others(run, rows_hash(run, dataset))
        each = functools.partial(train_recipe, run, dataset, resume=resume, seed=seed, device=device, tiny=tiny)
        kept = {recipe.name: finished(run.path("students") / recipe.name) for recipe in wanted}
        records = [each(recipe, crossfit=crossfit, opening=opening) for recipe in wanted]
        earlier = run.manifest.stages.get("train")
        same = earlier is not None and earlier.parameters == parameters
        count_kept(recording, records, kept.values(), same=same)
        _tell_of_changed_sources(run)
    return records


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


def train_recipe(
    run: Run,
    dataset: Dataset,
    recipe: Recipe,
    *,
    resume: bool,
    seed: int,
    device: str,
    tiny: bool,
    crossfit: int,
    opening: Callable[[Path], Student] | None = None,
) -> StudentRecord:
    """Fit one recipe on a run's dataset and write its student; must be called within `Run.recording`.

    The arguments are those of `train_run`.
    """
    train, validation = dataset.part("train"), dataset.part("validation")
    rows = rows_hash(run, dataset)
    folder = run.path("students") / recipe.name
    sources = sources_of(run, recipe)
    done = finished(folder) if resume else None
    if done is not None and done.sources == sources and same_student(done, recipe, rows, seed, tiny=tiny):
        note(f"{recipe.name}: done already")
        return done
    learner, learned, remark = recipe, train, None
    if isinstance(recipe, DistilledRecipe):
        opinion = _unseen(place_of(run, recipe.teacher), train)
        learned, remark = taught(run, recipe, dataset, opinion, opening=opening)
        # Notes and progress bars show the name of the distilled recipe.
        learner = recipe.pupil.model_copy(update={"name": recipe.name})
    making = functools.partial(
        fit,
        learner,
        learned,
        validation,
        workdir=run.path("cache") / "training" / recipe.name,
        seed=seed,
        resume=resume,
        crossfit=crossfit,
        holdout=0.0 if dataset.has_calibration_part else 0.1,
        device=device,
        tiny=tiny,
        cache=run.path("cache"),
        rubric=run.filter.rubric,
    )
    fitted = _together(run, recipe, train, validation, seed) if isinstance(recipe, EnsembleRecipe) else making()
    if remark is not None:
        # Rows without labels come after those with labels; their predictions cannot be evaluated and are dropped.
        fitted = replace(fitted, held_out=fitted.held_out[: len(train)], notes=(remark, *fitted.notes))
    record = record_of(recipe, fitted, train, validation, run.filter, rows=rows, seed=seed, tiny=tiny)
    record = record.model_copy(update={"sources": sources})
    write_student(folder, fitted, record, train, validation)
    note(f"{recipe.name}: validation MAE {record.validation.mae:.3f}, {record.seconds:.1f} s")
    return record


def _unseen(teacher: Path, train: Examples) -> FloatArray:
    """Return a teacher's held-out scores of training rows; NaN where there are none, as for another run's teacher."""
    path = teacher / LAYOUT["held out"]
    nothing = np.full(train.scores.shape, np.nan)
    if not path.is_file():
        return nothing
    frame = read_parquet(path)
    if tuple(frame["id"].to_list()) != train.ids or not set(train.dimensions) <= set(frame.columns):
        return nothing
    return frame.select(train.dimensions).to_numpy().astype(np.float64)


def _together(run: Run, recipe: EnsembleRecipe, train: Examples, validation: Examples, seed: int) -> Fitted:
    """Return the mean of existing students, and of their held-out scores."""
    watch = Watch()
    members = members_of(run, recipe)
    said = np.array([member.predict(validation.frame) for member in members])
    kept, weights, judged = weigh_fitted(recipe.weights, said, validation, seed=seed)
    student = ensemble([members[place] for place in kept], weights)
    names = [recipe.names[place] for place in kept]
    records = [finished(place_of(run, name)) for name in names]
    unseen = np.array([_unseen(place_of(run, name), train) for name in names])
    remark = f"the mean of {', '.join(names)}, trained before; their time is not in this one's"
    left_out = [name for name in recipe.names if name not in names]
    return Fitted(
        student=student,
        validation=judged,
        held_out=np.einsum("md,mrd->rd", weights, unseen),
        seconds=(load := watch.load()).wall_seconds,
        load=load,
        backbones={name: sha for record in records if record is not None for name, sha in record.backbones.items()},
        notes=(
            remark,
            *([f"left out, as next to nothing: {', '.join(left_out)}"] if left_out else []),
            *([_weighed(train.dimensions, weights)] if recipe.weights != "equal" else []),
        ),
    )


def rows_hash(run: Run, dataset: Dataset) -> str:
    """Return the SHA-256 of the rows on which a run's students are fitted."""
    return digest([run.fingerprint("rows"), list(dataset.dimensions)])


def write_student(folder: Path, fitted: Fitted, record: StudentRecord, train: Examples, validation: Examples) -> None:
    """Write a student with its records atomically.

    Raises:
        BadInput: the disk is full or the folder cannot be written.
    """
    with replacing_folder(folder) as temporary:
        save_student(fitted.student, temporary)  # type: ignore[arg-type]  # every fit gives one that can be saved
        _write_scores(temporary / LAYOUT["held out"], train, fitted.held_out)
        _write_scores(temporary / LAYOUT["validation"], validation, fitted.validation)
        write_json(temporary / LAYOUT["history"], [epoch.model_dump(mode="json") for epoch in fitted.history])
        record.save(temporary / LAYOUT["record"])


def read_scores(path: Path, dimensions: Sequence[str]) -> tuple[list[str], FloatArray]:
    """Read the ids and scores, shape (rows, dimensions), from a file that `write_student` wrote."""
    frame = read_parquet(path)
    return frame["id"].to_list(), frame.select(dimensions).to_numpy().astype(np.float64)


def _fitted(
    recipe: Recipe, train: Examples, *, seed: int, encoder: Encoder | None, crossfit: int
) -> tuple[Student, FloatArray]:
    """Fit a student that takes seconds; return it with its out-of-fold scores."""
    if not isinstance(recipe, BlendRecipe):
        fitting = fitter(recipe, seed=seed, encoder=encoder)
        return fitting(train), predict_unseen(fitting, train, crossfit, seed, recipe.name)
    # The weights are already chosen on out-of-fold scores; refitting the whole blend for each fold would take five
    # times as long.
    fits = _member_fits(recipe, seed=seed, encoder=encoder)
    student, held_out = fit_blend(recipe, fits, train, seed=seed, k=crossfit or FOLDS)
    return student, held_out if crossfit else np.full_like(held_out, np.nan)


def _member_fits(recipe: BlendRecipe, *, seed: int, encoder: Encoder | None) -> list[Callable[[Examples], Blended]]:
    """Return a fit function for each member of a blend; members that use the same encoder share one instance."""
    encoder = encoder or frozen_encoder(recipe)
    fits: list[Any] = []
    for member in recipe.members:
        own = None
        if isinstance(member, EncoderHeadRecipe) and encoder is not None:
            own = member_encoder(recipe, member, encoder)
        fits.append(fitter(member, seed=seed, encoder=own))
    return fits


def _weighed(dimensions: Sequence[str], weights: FloatArray) -> str:
    each = [
        f"{name} {', '.join(f'{weight:.2f}' for weight in column)}"
        for name, column in zip(dimensions, weights.T, strict=True)
    ]
    return f"weights of the members, in order: {'; '.join(each)}"


def _encoder(recipe: Recipe, workdir: Path, cache: Path, *, tiny: bool, seed: int) -> Encoder | None:
    if not tiny:
        return frozen_encoder(recipe, cache)
    if not isinstance(recipe, EncoderHeadRecipe | BlendRecipe) or not reading_members(recipe):
        return None
    require("torch", "train")
    from potstill.students.torch.backbones import tiny_backbone
    from potstill.students.torch.encoder import TorchEncoder

    made: list[Encoder] = []

    def opening(member: EncoderHeadRecipe, backbone: str) -> Encoder:
        folder = (workdir / f"backbone-{len(made)}").resolve()
        small = TorchEncoder.open(
            tiny_backbone(backbone, folder, seed=seed),
            max_tokens=member.max_tokens,
            pooling=member.pooling,
            # A tiny network has two layers, however many the recipe's real backbone has.
            layers=tuple(layer for layer in member.layers if -3 <= layer <= 2),
        )
        made.append(small)
        return small

    return assembled(recipe, opening)


def _hashes(encoder: Encoder) -> dict[str, str]:
    parts: tuple[Any, ...] = parts_of(encoder)
    return {part.facts.backbone: part.facts.backbone_sha256 for part in parts}


def record_of(
    recipe: Recipe,
    fitted: Fitted,
    train: Examples,
    validation: Examples,
    filter_: Filter,
    *,
    rows: str,
    seed: int,
    tiny: bool,
) -> StudentRecord:
    """Build the record of a fitted student.

    Raises:
        TrainingError: a prediction of the validation part is NaN or infinite.
    """
    loss = next((epoch.validation.loss for epoch in fitted.history if epoch.epoch == fitted.best_epoch), None)
    clipped = np.clip(fitted.validation, filter_.scale.min, filter_.scale.max)
    measured = Measures.of(clipped, validation.scores, tuple(train.dimensions), loss)
    if not np.isfinite(fitted.validation).all():
        raise TrainingError(f"{recipe.name}: a prediction of the validation part is not finite")
    return StudentRecord(
        recipe=recipe.model_dump(mode="json"),
        recipe_hash=recipe.hash,
        rows_hash=rows,
        dimensions=tuple(train.dimensions),
        seeds={"train": seed},
        train_rows=len(train),
        held_out_rows=int((~np.isnan(fitted.held_out).all(axis=1)).sum()),
        validation=measured,
        counts=fitted.counts,
        best_epoch=fitted.best_epoch,
        epochs=len(fitted.history) or None,
        steps=fitted.steps,
        warmup_steps=fitted.warmup_steps,
        truncated_share=fitted.truncated_share,
        backbones=fitted.backbones,
        tiny=tiny,
        device=fitted.device,
        precision=fitted.precision,
        resumed_from=fitted.resumed_from,
        seconds=fitted.seconds,
        load=fitted.load,
        peak_memory_bytes=peak_memory(),
        peak_device_memory_bytes=fitted.peak_device_memory_bytes,
        notes=fitted.notes,
        versions=versions(),
    )


def peak_memory() -> int | None:
    """Return the peak resident memory of this process in bytes; None if the system does not report it."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux reports kibibytes, macOS bytes.
    return peak if sys.platform == "darwin" else peak * 1024


def finished(folder: Path) -> StudentRecord | None:
    """Return the record of a complete student, or None."""
    path = folder / LAYOUT["record"]
    try:
        return StudentRecord.from_file(path)
    except BadInput:
        return None


def same_student(
    record: StudentRecord,
    recipe: Recipe,
    rows: str,
    seed: int,
    *,
    tiny: bool,
    together: Sequence[Companion] = (),
) -> bool:
    """Return whether a record describes the student that this training would make, `together` with other runs."""
    wanted = (recipe.hash, rows, {"train": seed}, tiny)
    beside = [{(other.filter, other.rows_hash) for other in others} for others in (record.together, together)]
    return (record.recipe_hash, record.rows_hash, record.seeds, record.tiny) == wanted and beside[0] == beside[1]


def put_away_others(run: Run, rows: str) -> None:
    """Move students that were trained on other rows than these to the run's cache."""
    students = run.path("students")
    for folder in sorted(students.iterdir()) if students.is_dir() else []:
        record = finished(folder) if folder.is_dir() and not folder.name.startswith(".") else None
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


def _write_scores(path: Path, examples: Examples, scores: FloatArray) -> None:
    columns = {name: scores[:, column] for column, name in enumerate(examples.dimensions)}
    with replacing(path) as temporary:
        pl.DataFrame({"id": list(examples.ids), **columns}).write_parquet(temporary)
