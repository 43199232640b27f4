"""Multi-task training: fine-tunes one network for several filters on the labels of all of them, with a head for each.

Input: runs of different filters. Output: in each run a student in the usual form, all with the same network, so that
one pass scores every filter. A text is trained on the labels of every filter that has some; missing labels are masked.
Rows held out in one run (its validation, calibration and test parts, and held-out training rows) and their
near-duplicates are never used for training in any other run. Students that do not train a network are fitted in each
run separately: on the same frozen backbone they share the network anyway.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from potstill import metrics
from potstill.dataset import PARTS, Dataset, Examples, stories
from potstill.dataset.duplicates import joined
from potstill.errors import BadInput, DatasetError, RecipeError, require
from potstill.files import replacing
from potstill.students.graded import GradedHead
from potstill.students.levels import Levels
from potstill.students.recipes import FineTunedRecipe
from potstill.terminal import note
from potstill.training.facts import Companion, EpochRecord, Fitted, Measures, StudentRecord
from potstill.training.fit import (
    DEFAULT_RECIPES,
    count_kept,
    finished,
    load_recipes,
    put_away_others,
    record_of,
    rows_hash,
    same_student,
    train_recipe,
    write_student,
)
from potstill.training.folding import set_aside

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from potstill.runs import Run
    from potstill.students import Student
    from potstill.students.heads import LinearHead
    from potstill.students.neural import NeuralStudent
    from potstill.types import BoolArray, FloatArray, IntArray

_TRAIN, _VALIDATION = PARTS.index("train"), PARTS.index("validation")


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One filter of a multi-task training: its name, all its rows, and the part of each, shape (rows,)."""

    name: str
    rows: Examples
    parts: tuple[str, ...]

    @classmethod
    def of(cls, name: str, dataset: Dataset) -> Member:
        """Create a member from a run's dataset."""
        return cls(name, dataset.all(), tuple(dataset.frame["split"].to_list()))

    @property
    def places(self) -> IntArray:
        """The part of each row as an index into `PARTS`, shape (rows,)."""
        return np.array([PARTS.index(part) for part in self.parts], dtype=np.int64)

    def part(self, name: str) -> Examples:
        """Return the rows of one part."""
        return self.rows.take([part == name for part in self.parts])


@dataclass(frozen=True, slots=True, eq=False)
class Roles:
    """The use of one member's rows, each of shape (rows,)."""

    stories: IntArray
    """Cluster numbers: near-duplicates have the same number, in this member and in all others."""
    learnt: BoolArray
    choosing: BoolArray
    """Validation rows that select the epoch: those that no run uses for calibration or test."""
    unseen: BoolArray
    """Training rows that are held out: not used for training, and not near-duplicates of rows that select the epoch."""


@dataclass(frozen=True, slots=True, eq=False)
class Union:
    """Merged rows of several members: a text that several members labelled appears once, with all labels."""

    examples: Examples
    places: tuple[IntArray, ...]
    """For each member the indices of its rows in the union, shape (its rows,)."""


def roles(members: Sequence[Member], *, holdout: float = 0.1, seed: int = 0) -> list[Roles]:
    """Assign rows to training and epoch selection, or hold them out; near-duplicates of evaluation rows never train.

    Args:
        members: at least one member.
        holdout: share of the texts to hold out for the calibration of members without a calibration part, from 0 to 1;
            0 for none.
        seed: random seed of the held-out rows.

    Raises:
        DatasetError: a member has no row left for training or for selection.
    """
    numbers = _numbered(members)
    most = np.zeros(1 + max(int(own.max()) for own in numbers), dtype=np.int64)
    for own, member in zip(numbers, members, strict=True):
        np.maximum.at(most, own, member.places)
    free = [most[own] == _TRAIN for own in numbers]
    aside = _aside(members, numbers, free, holdout, seed)
    found = []
    for member, own, may in zip(members, numbers, free, strict=True):
        learnt = may & ~np.isin(own, aside)
        choosing = (member.places == _VALIDATION) & (most[own] == _VALIDATION)
        unseen = (member.places == _TRAIN) & ~learnt & (most[own] != _VALIDATION)
        for what, rows in (("training", learnt), ("validation", choosing)):
            if not np.isfinite(member.rows.scores[rows]).any():
                raise DatasetError(
                    f"{member.name}: no {what} row is left that the other runs do not keep for judging; split the runs "
                    "alike with: potstill dataset RUN --like OTHER"
                )
        found.append(Roles(own, learnt, choosing, unseen))
    return found


def merged(members: Sequence[Member], numbers: Sequence[IntArray], which: Sequence[BoolArray]) -> Union:
    """Merge some rows of each member into one set of examples, with a column for each dimension of each filter.

    Dimensions are named `<filter>.<dimension>`; labels that a text lacks are NaN. Two rows of one member with the same
    text remain two rows.
    """
    first: dict[tuple[str, int], int] = {}
    ids: list[str] = []
    texts: list[str] = []
    clusters: list[int] = []
    places = []
    for member, own, rows in zip(members, numbers, which, strict=True):
        seen: dict[str, int] = {}
        windows = member.rows.texts
        where = []
        for row in np.flatnonzero(rows).tolist():
            text = windows[row] or ""
            seen[text] = seen.get(text, 0) + 1
            place = first.setdefault((text, seen[text]), len(ids))
            if place == len(ids):
                ids.append(f"{member.name}:{member.rows.ids[row]}")
                texts.append(text)
                clusters.append(int(own[row]))
            where.append(place)
        places.append(np.array(where, dtype=np.int64))
    names = tuple(f"{member.name}.{dimension}" for member in members for dimension in member.rows.dimensions)
    scores = _beside([m.rows.scores[r] for m, r in zip(members, which, strict=True)], places, len(ids))
    spreads = None
    if any(member.rows.spreads is not None for member in members):
        spreads = _beside([_spreads(m)[r] for m, r in zip(members, which, strict=True)], places, len(ids))
    frame = pl.DataFrame({"id": ids, "text": texts}, schema={"id": pl.String, "text": pl.String})
    numbered = np.array(clusters, dtype=np.int64)
    return Union(Examples(tuple(ids), frame, scores, numbered, names, spreads), tuple(places))


def fit_together(
    recipe: FineTunedRecipe,
    members: Sequence[Member],
    *,
    workdir: Path,
    seed: int = 0,
    resume: bool = False,
    holdout: float = 0.1,
    device: str = "auto",
    tiny: bool = False,
) -> list[Fitted]:
    """Fine-tune one network on the labels of all members; return a fitted student for each, in their order.

    The selected epoch has the lowest mean of the members' validation errors, each relative to the error of the member's
    constant. A student's `validation` and `held_out` cover its own member's rows.

    Args:
        recipe: what to train and how.
        members: the filters; their scales must be the same.
        workdir: a folder used by this fit only, for checkpoints and a tiny backbone.
        seed: random seed.
        resume: continue from the newest complete checkpoint in `workdir`.
        holdout: share of the training texts to hold out, from 0 to 1; 0 for none.
        device: device on which the network is trained.
        tiny: replace the recipe's backbone with a tiny random one.

    Raises:
        DatasetError: as `roles`; or a dimension has no label in the training rows.
        TrainingError, MissingExtra, MissingModel: as `training.fit`.
        RecipeError: the recipe reads a filter's rubric, or does not match the backbone.
    """
    if recipe.instruction:
        raise RecipeError(
            f"{recipe.name}: instruction: a network that reads a filter's rubric before every text serves that filter "
            "alone; train without --with"
        )
    for package in ("peft", "accelerate"):
        require(package, "train")
    from potstill.training.finetune import fine_tune

    shared = roles(members, holdout=holdout, seed=seed)
    numbers = [one.stories for one in shared]
    learnt = merged(members, numbers, [one.learnt for one in shared])
    choosing = merged(members, numbers, [one.choosing for one in shared])
    workdir.mkdir(parents=True, exist_ok=True)
    whole = fine_tune(
        recipe,
        learnt.examples,
        choosing.examples,
        workdir=workdir,
        seed=seed,
        resume=resume,
        holdout=0.0,
        device=device,
        tiny=tiny,
        importance=importance(members, shared),
    )
    judged = [one.unseen | (member.places == _VALIDATION) for member, one in zip(members, shared, strict=True)]
    rows = merged(members, numbers, judged)
    predicted = whole.student.predict(rows.examples.frame)
    fitted, start = [], 0
    for place, (member, own) in enumerate(zip(members, shared, strict=True)):
        columns = slice(start, start + len(member.rows.dimensions))
        start = columns.stop
        scores = np.full(member.rows.scores.shape, np.nan)
        scores[judged[place]] = predicted[rows.places[place], columns]
        scores_held = np.where(own.unseen[:, None], scores, np.nan)
        fitted.append(
            replace(
                whole,
                student=own_student(whole.student, columns, member.rows.dimensions),
                validation=scores[member.places == _VALIDATION],
                held_out=scores_held[member.places == _TRAIN],
                history=tuple(_own_epoch(epoch, member, own) for epoch in whole.history),
                notes=(*whole.notes, _remark(members, member, own)),
            )
        )
    return fitted


def importance(members: Sequence[Member], shared: Sequence[Roles]) -> dict[str, float]:
    """Return the weight of each dimension's error in the selection of the epoch, by its name in the union.

    The weighted sum over a filter's dimensions is its error relative to its constant's, divided by the number of
    filters.
    """
    found = {}
    for member, own in zip(members, shared, strict=True):
        constant = metrics.constant(member.rows.scores[own.learnt])
        labels = member.rows.scores[own.choosing]
        errors = metrics.mae(np.broadcast_to(constant, labels.shape), labels)
        known = np.isfinite(errors)
        level = float(errors[known].mean()) or 1.0
        for name, there in zip(member.rows.dimensions, known.tolist(), strict=True):
            found[f"{member.name}.{name}"] = 1 / (len(members) * known.sum() * level) if there else 0.0
    return found


def own_student(student: Any, columns: slice, dimensions: tuple[str, ...]) -> NeuralStudent:  # noqa: ANN401 - Fitted's
    """Extract one filter's student from a multi-task one: the same encoder, and the head for its dimensions."""
    head = student.head
    if isinstance(head, GradedHead):
        each = head.levels.each()[columns]
        levels = Levels(np.concatenate([own for own, _ in each]), head.levels.counts[columns])
        outputs = slice(each[0][1].start, each[-1][1].stop)
        own: Any = replace(head, base=_linear(head.base, outputs), levels=levels)
    else:
        own = _linear(head, columns)
    return replace(student, head=own, dimensions=tuple(dimensions))  # type: ignore[no-any-return]  # as it came


def train_together(
    runs: Sequence[Run],
    recipes: Sequence[str | Path] = DEFAULT_RECIPES,
    *,
    resume: bool = False,
    seed: int = 0,
    device: str = "auto",
    tiny: bool = False,
    crossfit: int = 5,
    opening: Callable[[Path], Student] | None = None,
) -> list[list[StudentRecord]]:
    """Fit recipes in several runs of different filters; recipes that train a network train one for all runs.

    Each run gets its students in the usual form, recorded as its stage `train`; the records name the other runs.

    Args:
        runs: open runs with datasets, of filters with the same scale.
        recipes: presets by name, or paths of recipe files.
        resume: keep students that are complete, and continue the one that was interrupted.
        seed: random seed.
        device: device on which fine-tuned students are trained.
        tiny: use tiny random backbones, to test the whole pipeline; the records note this.
        crossfit: number of folds for out-of-fold predictions of students that are fitted in seconds.
        opening: as in `train_run`.

    Returns:
        For each run its records, in the order of `load_recipes`.

    Raises:
        BadInput: two runs have the same filter.
        RunError, RecipeError, DatasetError, TrainingError: as `train_run`; or scales differ, or no training rows are
            left.
    """
    wanted = load_recipes(recipes)
    _check_filters(runs)
    datasets = [Dataset.load(run.need("rows", "dataset"), run.filter.dimension_names) for run in runs]
    hashes = [rows_hash(run, dataset) for run, dataset in zip(runs, datasets, strict=True)]
    parameters = {
        "recipes": {recipe.name: recipe.hash for recipe in wanted},
        "device": device,
        "tiny": tiny,
        "together": [run.manifest.filter for run in runs],
    }
    folders = [str(run.folder) for run in runs]
    # Sorted, so that the training does not depend on the order in which runs are given.
    order = sorted(range(len(runs)), key=lambda place: runs[place].filter.name)
    records: list[list[StudentRecord]] = [[] for _ in runs]
    with ExitStack() as stack:
        recordings = []
        for run, rows in zip(runs, hashes, strict=True):
            asked = parameters | {"with": [folder for folder in folders if folder != str(run.folder)]}
            recordings.append(stack.enter_context(run.recording("train", parameters=asked, seeds={"train": seed})))
            put_away_others(run, rows)
        before = [[finished(run.path("students") / recipe.name) for recipe in wanted] for run in runs]
        for recipe in wanted:
            if isinstance(recipe, FineTunedRecipe):
                made = _train_one_network(
                    [runs[place] for place in order],
                    [datasets[place] for place in order],
                    recipe,
                    resume=resume,
                    seed=seed,
                    device=device,
                    tiny=tiny,
                )
                for place, record in zip(order, made, strict=True):
                    records[place].append(record)
            else:
                for own, run, dataset in zip(records, runs, datasets, strict=True):
                    share_features(runs[0], run)
                    own.append(
                        train_recipe(
                            run,
                            dataset,
                            recipe,
                            resume=resume,
                            seed=seed,
                            device=device,
                            tiny=tiny,
                            crossfit=crossfit,
                            opening=opening,
                        )
                    )
        for run, recording, own, found in zip(runs, recordings, records, before, strict=True):
            earlier = run.manifest.stages.get("train")
            same = earlier is not None and {**earlier.parameters, "with": None} == {**parameters, "with": None}
            count_kept(recording, own, found, same=same)
    return records


def _train_one_network(
    runs: Sequence[Run],
    datasets: Sequence[Dataset],
    recipe: FineTunedRecipe,
    *,
    resume: bool,
    seed: int,
    device: str,
    tiny: bool,
) -> list[StudentRecord]:
    hashes = [rows_hash(run, dataset) for run, dataset in zip(runs, datasets, strict=True)]
    known = [
        Companion(run=str(run.folder), filter=run.manifest.filter, rows_hash=rows)
        for run, rows in zip(runs, hashes, strict=True)
    ]
    others = [tuple(one for one in known if one is not own) for own in known]
    folders = [run.path("students") / recipe.name for run in runs]
    if resume:
        done = [finished(folder) for folder in folders]
        if all(
            record is not None and same_student(record, recipe, rows, seed, tiny=tiny, together=beside)
            for record, rows, beside in zip(done, hashes, others, strict=True)
        ):
            note(f"{recipe.name}: done already")
            return [record for record in done if record is not None]
    members = [Member.of(run.filter.name, dataset) for run, dataset in zip(runs, datasets, strict=True)]
    fitted = fit_together(
        recipe,
        members,
        workdir=runs[0].path("cache") / "training" / f"{recipe.name}-together",
        seed=seed,
        resume=resume,
        holdout=0.0 if all(dataset.has_calibration_part for dataset in datasets) else 0.1,
        device=device,
        tiny=tiny,
    )
    records = []
    for run, member, one, rows, beside, folder in zip(runs, members, fitted, hashes, others, folders, strict=True):
        train, validation = member.part("train"), member.part("validation")
        made = record_of(recipe, one, train, validation, run.filter, rows=rows, seed=seed, tiny=tiny)
        record = made.model_copy(update={"together": beside})
        write_student(folder, one, record, train, validation)
        note(f"{recipe.name}: {member.name}: validation MAE {record.validation.mae:.3f}")
        records.append(record)
    note(f"{recipe.name}: {records[0].seconds:.1f} s for {len(runs)} filters")
    return records


def share_features(first: Run, run: Run) -> None:
    """Copy the features that frozen encoders computed for one run into the cache of another (possibly the same)."""
    if run is not first:
        # Feature files are one level down: each encoder has a folder that holds nothing else.
        for path in sorted(first.path("cache").glob("*/*.safetensors")):
            target = run.path("cache") / path.relative_to(first.path("cache"))
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                with replacing(target) as temporary:
                    temporary.write_bytes(path.read_bytes())


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


def _numbered(members: Sequence[Member]) -> list[IntArray]:
    """Return cluster numbers over all members; a member's own clusters stay whole."""
    ends = np.cumsum([0, *(len(member.rows) for member in members)])
    found = np.concatenate(stories([[text or "" for text in member.rows.texts] for member in members]))
    first: dict[tuple[int, int], int] = {}
    links = []
    for row, story in enumerate(found.tolist()):
        member = int(np.searchsorted(ends, row, side="right")) - 1
        cluster = int(members[member].rows.clusters[row - ends[member]])
        links += [(first.setdefault((-1, story), row), row), (first.setdefault((member, cluster), row), row)]
    return np.split(joined(len(found), links), ends[1:-1])


def _aside(
    members: Sequence[Member], numbers: Sequence[IntArray], free: Sequence[BoolArray], holdout: float, seed: int
) -> IntArray:
    """Select clusters to hold out, on which members without a calibration part are calibrated."""
    wanting = [place for place, member in enumerate(members) if "calibration" not in member.parts]
    if not holdout or not wanting:
        return np.array([], dtype=np.int64)
    those = [members[place] for place in wanting]
    union = merged(those, [numbers[place] for place in wanting], [free[place] for place in wanting]).examples
    return np.unique(union.clusters[set_aside(union, holdout, seed)])


def _beside(each: Sequence[FloatArray], places: Sequence[IntArray], rows: int) -> FloatArray:
    """Concatenate columns, with each member's values in its rows and NaN elsewhere."""
    blocks = []
    for own, where in zip(each, places, strict=True):
        block = np.full((rows, own.shape[1]), np.nan)
        block[where] = own
        blocks.append(block)
    return np.hstack(blocks)


def _spreads(member: Member) -> FloatArray:
    spreads = member.rows.spreads
    return np.full(member.rows.scores.shape, np.nan) if spreads is None else spreads


def _linear(head: LinearHead, columns: slice) -> LinearHead:
    return replace(head, weights=np.ascontiguousarray(head.weights[:, columns]), bias=head.bias[columns].copy())


def _own_epoch(epoch: EpochRecord, member: Member, own: Roles) -> EpochRecord:
    """Return an epoch's metrics for one member's dimensions; the loss is that of all members."""
    return epoch.model_copy(
        update={
            "train": _own_measures(epoch.train, member, int(own.learnt.sum())),
            "validation": _own_measures(epoch.validation, member, int(own.choosing.sum())),
        }
    )


def _own_measures(measures: Measures, member: Member, rows: int) -> Measures:
    absolute, square = (
        {name: errors[f"{member.name}.{name}"] for name in member.rows.dimensions}
        for errors in (measures.mae_by_dimension, measures.rmse_by_dimension)
    )
    means = [float(np.mean([value for value in own.values() if value is not None])) for own in (absolute, square)]
    return Measures(
        rows=rows,
        loss=measures.loss,
        mae=means[0],
        rmse=means[1],
        mae_by_dimension=absolute,
        rmse_by_dimension=square,
    )


def _remark(members: Sequence[Member], member: Member, own: Roles) -> str:
    others = ", ".join(other.name for other in members if other is not member)
    total, learnt = int((member.places == _TRAIN).sum()), int(own.learnt.sum())
    said = f"one network for this filter and {others}, and a head each; {learnt} of {total} training rows "
    left = total - learnt - int(own.unseen.sum())
    return said + (f", {left} are near rows by which an epoch is chosen" if left else "")
