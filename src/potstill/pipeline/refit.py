"""Run the stage `refit`: fit the bundle's student again on every labelled row, and write the bundle to ship.

Input: a run with a bundle, whose student was fitted on the training part. Output: a second bundle, whose student has
learned from the training, validation, calibration and test parts. All figures that are stated are those of the first
bundle, which the evaluation judges: nothing is left to judge the second one on. It records the rows that it has learned
from, so that it is never judged on them.

A student that is fitted in seconds chooses its hyperparameters again, and its curves, intervals and cuts come from
out-of-fold predictions of all rows. A student whose network is trained is trained once more, for the number of epochs
that its validation part had chosen. Folds would take as many further trainings, so it keeps the calibration of the
first bundle: with more training rows its errors become smaller, so its intervals rather hold too much than too little.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from potstill.bundle import load_bundle
from potstill.bundle.exporting import bundle_student
from potstill.bundle.facts import Refit
from potstill.bundle.refitting import calibrate_refitted
from potstill.bundle.seen import SeenRows
from potstill.dataset import Dataset
from potstill.errors import RunError
from potstill.files import digest
from potstill.machine import Watch
from potstill.operating_points import as_points
from potstill.pipeline.bundle import read_candidates
from potstill.pipeline.held_out import CROSSFIT, held_out_scores
from potstill.pipeline.run import LAYOUT
from potstill.pipeline.teachers_and_members import members_of, place_of, rows_to_distil
from potstill.records import Record
from potstill.students.recipes import DistilledRecipe, EnsembleRecipe, FineTunedRecipe, recorded_recipe
from potstill.students.storage import feature_folder, load_student
from potstill.terminal import note, steps
from potstill.training.blending import choose_weights, weighted_mean
from potstill.training.facts import Fitted, StudentRecord
from potstill.training.fit import fit
from potstill.training.folder import LAYOUT as STUDENT
from potstill.training.folder import finished

if TYPE_CHECKING:
    from potstill.bundle import Bundle
    from potstill.dataset import Examples
    from potstill.pipeline.bundle import Candidate
    from potstill.pipeline.run import Run
    from potstill.students.recipes import Recipe
    from potstill.types import FloatArray


class Refitted(Record):
    """`refit.json`: which bundle of the run is to be shipped, and how its student was refitted."""

    fault = RunError
    made_by = "potstill refit RUN"

    schema_version: int = 1
    refitted: bool
    """Whether there is a refitted bundle; if not, the measured bundle is the one to ship."""
    why: str
    """One sentence: what was done, or why the student was not refitted."""
    student: str
    measured: str
    """SHA-256 of the bundle whose figures are stated."""
    shipped: str
    """SHA-256 of the bundle to ship; that of `measured` if the student was not refitted."""
    train_rows: int
    """Number of rows that the student of the measured bundle has learned from."""
    rows: int
    """Number of rows that the student of the shipped bundle has learned from."""
    calibration: Literal["out-of-fold", "kept"]
    folds: int | None


@dataclass(frozen=True, slots=True)
class _Job:
    """The run, its dataset, the same dataset with every row in the training part, and the device."""

    run: Run
    dataset: Dataset
    everything: Dataset
    device: str


def refit_run(run: Run, *, device: str = "auto", seed: int = 0) -> Refitted:
    """Refit the student of a run's bundle on all labelled rows and write the bundle to ship; the stage `refit`.

    Args:
        run: an open run with a bundle.
        device: device on which a network is trained.
        seed: random seed of the golden word lists and of the calibration folds.

    Returns:
        The record, which the run keeps.

    Raises:
        RunError: there is no bundle, its rows, its student or the filter have changed since it was made, or another
            process is writing to the run.
        BundleError: the bundle cannot be made or does not pass its checks; the previous one is kept.
        TrainingError: training had to stop; the same command goes on.
        MissingExtra, MissingModel: the student's libraries or backbone are not installed.
    """
    filter_ = run.filter
    run.need("bundle", "bundle")
    _refuse_old_bundle(run)
    dataset = Dataset.load(run.need("rows", "dataset"), filter_.dimension_names)
    with run.recording("refit", parameters={"device": device}, seeds={"refit": seed}):
        measured = load_bundle(run.path("bundle"), check="hashes")
        chosen = next(one for one in read_candidates(run, dataset) if one.name == measured.manifest.recipe)
        why_not = _why_not(run, chosen.record)
        if why_not is not None:
            found = _kept(measured, chosen, why_not)
        else:
            everything = Dataset(dataset.frame.with_columns(split=pl.lit("train")), dataset.dimensions)
            found = _refit(_Job(run, dataset, everything, device), measured, chosen, seed)
        found.save(run.path("refit"))
        if not found.refitted:
            shutil.rmtree(run.path("shipped"), ignore_errors=True)
    note(f"refit: {found.why}")
    return found


def _refuse_old_bundle(run: Run) -> None:
    record = run.manifest.stages.get("bundle")
    for name in ("filter.all", "rows", "students"):
        if record is None or run.fingerprint(name) != record.inputs.get(name):
            what = LAYOUT.get(name, "filter")
            raise RunError(
                f"{run.folder}: {what} has changed since the bundle was made; run: potstill bundle {run.folder}"
            )


def _refit(job: _Job, measured: Bundle, chosen: Candidate, seed: int) -> Refitted:
    run, filter_, rows = job.run, job.run.filter, job.everything.part("train")
    watch = Watch()
    fitted = _fitted(job, chosen.record, recorded_recipe(chosen.record.recipe, str(chosen.folder)))
    out_of_fold = bool(np.isfinite(fitted.held_out).any())
    with steps("calibrating, exporting and proving the refitted bundle", None):
        decide = run.manifest.stages["bundle"].parameters.get("decide", {})
        student, calibration = calibrate_refitted(
            fitted.student,  # type: ignore[arg-type]  # every fit gives one that can be saved
            rows,
            fitted.held_out,
            filter_,
            measured.calibration,
            decide=as_points(decide, filter_.positive_tiers),
            seed=seed,
        )
        refit = Refit(
            measured=measured.hash,
            seen=SeenRows.of(rows),
            parts=dict(job.dataset.frame["split"].value_counts(sort=True).iter_rows()),
            calibration="out-of-fold" if out_of_fold else "kept",
            folds=CROSSFIT if out_of_fold else None,
            epochs=chosen.record.best_epoch,
            notes=fitted.notes,
            seconds=round(watch.load().wall_seconds, 3),
        )
        shipped = bundle_student(
            run.path("shipped"),
            student,
            chosen.name,
            filter_,
            calibration,
            train_texts=rows.texts,
            kind=measured.manifest.kind,
            seed=seed,
            graphs_of=[run.path("bundle"), run.path("shipped")],
            choice=measured.facts.choice,
            record=chosen.record,
            refit=refit,
        )
    how = (
        f"curves, intervals and cuts come from predictions of all rows in {CROSSFIT} folds"
        if out_of_fold
        else "its calibration is that of the measured bundle"
    )
    return Refitted(
        refitted=True,
        why=f"{chosen.name} was fitted again on all {len(rows):,} labelled rows, of which it had learned from "
        f"{_learned(chosen.record):,}; {how}; figures are those of the student before",
        student=chosen.name,
        measured=measured.hash,
        shipped=shipped.hash,
        train_rows=_learned(chosen.record),
        rows=len(rows),
        calibration=refit.calibration,
        folds=refit.folds,
    )


def _kept(measured: Bundle, chosen: Candidate, why_not: str) -> Refitted:
    return Refitted(
        refitted=False,
        why=f"{chosen.name} was not fitted again: {why_not}; the measured bundle is the one to ship",
        student=chosen.name,
        measured=measured.hash,
        shipped=measured.hash,
        train_rows=_learned(chosen.record),
        rows=_learned(chosen.record),
        calibration="kept",
        folds=None,
    )


def _learned(record: StudentRecord) -> int:
    """Return the number of rows that a student has learned from; a network does not learn from held-out rows."""
    recipe = recorded_recipe(record.recipe, "the student's record")
    return record.train_rows - (record.held_out_rows if isinstance(recipe, FineTunedRecipe) else 0)


def _why_not(run: Run, record: StudentRecord) -> str | None:
    """Return the reason why a student cannot be refitted by its run alone; None if it can."""
    if record.together:
        others = ", ".join(other.filter for other in record.together)
        return f"its network was trained together with {others}, whose labels are in other runs"
    recipe = recorded_recipe(record.recipe, "the student's record")
    for name in recipe.names if isinstance(recipe, EnsembleRecipe) else ():
        own = finished(place_of(run, name)) if place_of(run, name).parent == run.path("students") else None
        if own is None:
            return f"its member {name} belongs to no student of this run"
        why = _why_not(run, own)
        if why is not None:
            return f"of its member {name}: {why}"
    return None


def _fitted(job: _Job, record: StudentRecord, recipe: Recipe) -> Fitted:
    """Fit a recipe on all rows; without out-of-fold predictions if its network is trained."""
    run, rows = job.run, job.everything.part("train")
    if isinstance(recipe, EnsembleRecipe):
        return _mean(job, record, recipe)
    learner, learned = recipe, rows
    if isinstance(recipe, DistilledRecipe):
        learned, _ = rows_to_distil(run, recipe, job.everything, _teacher_scores(job, recipe, rows))
        learner = recipe.recipe.model_copy(update={"name": recipe.name})
    # A checkpoint belongs to one recipe, these rows and this number of epochs, so it can always be continued.
    key = digest([record.recipe_hash, record.rows_hash, record.best_epoch])[:16]
    fitted = fit(
        learner,
        learned,
        None,
        workdir=run.path("cache") / "training" / f"{recipe.name}-refit-{key}",
        seed=record.seeds["train"],
        resume=True,
        crossfit=CROSSFIT,
        holdout=0.0,
        device=job.device,
        tiny=record.tiny,
        cache=feature_folder(),
        rubric=run.filter.rubric,
        epochs=record.best_epoch,
    )
    # Rows without labels, which a distilled student also learns from, come after those with labels.
    return replace(fitted, held_out=fitted.held_out[: len(rows)])


def _mean(job: _Job, record: StudentRecord, recipe: EnsembleRecipe) -> Fitted:
    """Refit the members of an ensemble, and average them with the weights that were chosen before."""
    run, validation = job.run, job.dataset.part("validation")
    before = np.array([member.predict(validation.frame) for member in members_of(run, recipe)])
    chosen = choose_weights(recipe.weights, before, validation, seed=record.seeds["train"])
    members = []
    for name in (recipe.names[place] for place in chosen.kept):
        own = StudentRecord.from_file(place_of(run, name) / STUDENT["record"])
        members.append(_fitted(job, own, recorded_recipe(own.recipe, name)))
    held_out = np.einsum("md,mrd->rd", chosen.weights, np.array([member.held_out for member in members]))
    return Fitted(
        student=weighted_mean([member.student for member in members], chosen.weights),  # type: ignore[misc]  # see above
        validation=members[0].validation,
        held_out=held_out,
        seconds=sum(member.seconds for member in members),
        notes=chosen.notes(recipe.names, validation.dimensions),
    )


def _teacher_scores(job: _Job, recipe: DistilledRecipe, rows: Examples) -> FloatArray:
    """Return the teacher's scores of rows that it was not trained on, shape (rows, dimensions); NaN for others.

    For training rows they are out of fold; the other parts trained nothing.
    """
    run, scores = job.run, np.full(rows.scores.shape, np.nan)
    place = place_of(run, recipe.teacher)
    own = next((one for one in read_candidates(run, job.dataset) if one.folder == place), None)
    if own is None:
        return scores  # which rows a teacher from elsewhere has learned from is not known
    others = np.array([part != "train" for part in job.dataset.frame["split"]])
    scores[~others] = held_out_scores(own.folder, job.dataset.part("train"))
    scores[others] = load_student(place, cache=feature_folder()).predict(rows.take(others).frame)
    return scores
