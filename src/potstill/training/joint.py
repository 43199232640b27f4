"""Multi-task training: fine-tunes one network for several filters on the labels of all of them, with a head for each.

Input: the rows of several filters, each with their parts. Output: a student per filter in the usual form, all with the
same network, so that one pass scores every filter. A text is trained on the labels of every filter that has some;
missing labels are masked. Rows held out for one filter (its validation, calibration and test parts, and held-out
training rows) and their near-duplicates are never used for training for any other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from potstill import metrics
from potstill.dataset import PARTS, Dataset, Examples, stories
from potstill.dataset.duplicates import joined
from potstill.errors import DatasetError, RecipeError, require
from potstill.students.constant import baseline_rows
from potstill.students.levels import Levels
from potstill.students.ordinal import OrdinalHead
from potstill.training.facts import EpochRecord, Fitted, Measures
from potstill.training.folding import set_aside

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from potstill.students.heads import LinearHead
    from potstill.students.neural import NeuralStudent
    from potstill.students.recipes import FineTunedRecipe
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
    frame = pl.DataFrame({"id": ids, "text": texts}, schema={"id": pl.String, "text": pl.String})
    numbered = np.array(clusters, dtype=np.int64)
    return Union(Examples(tuple(ids), frame, scores, numbered, names), tuple(places))


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
        constant = metrics.constant(baseline_rows(member.rows.take(own.learnt)).scores)
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
    if isinstance(head, OrdinalHead):
        each = head.levels.each()[columns]
        levels = Levels(np.concatenate([own for own, _ in each]), head.levels.counts[columns])
        outputs = slice(each[0][1].start, each[-1][1].stop)
        own: Any = replace(head, base=_linear(head.base, outputs), levels=levels)
    else:
        own = _linear(head, columns)
    return replace(student, head=own, dimensions=tuple(dimensions))  # type: ignore[no-any-return]  # as it came


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
