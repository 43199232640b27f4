"""Searching for a recipe: a declared space, a budget of time, validation alone; it stops and goes on as you like.

In: a run with a dataset, and a space in YAML: a recipe to start from, and which of its fields may take which values.
Out: `tuning/NAME/` in the run: the best recipe as a file that `potstill train` takes, a record of every trial, and the
study's journal. The test part is not read. Trials are proposed by a tree-structured Parzen estimator (Bergstra et al.
2011, as optuna has it); the first is the recipe to start from, so that what is found is compared with it.
"""

from __future__ import annotations

import copy
import json
import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import Discriminator, Field, Tag, model_validator

from potstill import metrics
from potstill.dataset import Dataset
from potstill.errors import BadInput, RecipeError, RunError, TrainingError, require
from potstill.files import digest, read_text, write_text
from potstill.filters.reading import read_yaml
from potstill.load import Load, Watch
from potstill.records import Part, Record
from potstill.runs import versions
from potstill.students.recipes import FineTunedRecipe, load_recipe, parse_recipe
from potstill.terminal import note, steps
from potstill.training import fit
from potstill.training.fit import rows_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from potstill.runs import Run
    from potstill.students.recipes import Recipe

SCHEMA_VERSION = 1

TUNING_LAYOUT = {"journal": "study.log", "record": "study.json", "best": "best.yaml"}
"""What the folder of one search holds."""


class Between(Part):
    """Numbers from `low` to `high`, both included; whole ones where both ends are whole. `log` for rates."""

    low: int | float
    high: int | float
    log: bool = False

    @model_validator(mode="after")
    def _rising(self) -> Between:
        if self.low >= self.high or (self.log and self.low <= 0):
            raise ValueError(f"from {self.low} to {self.high}: low is below high, and above 0 where log is true")
        return self


Choices = Annotated[list[Any], Field(min_length=2)]
"""Values of which one is taken."""

Allowed = Annotated[
    Annotated[Between, Tag("range")] | Annotated[Choices, Tag("choices")],
    # Told apart by their shape, so that a fault is named in what was meant.
    Discriminator(lambda value: "choices" if isinstance(value, list) else "range"),
]


class Space(Part):
    """What to search: fields of a recipe by name, those within others with a dot, such as `lora.rank`."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    """Of the recipe that is found, and of the search."""
    start: str
    """A preset, or the path of a recipe file; what is not searched stays as it is there."""
    search: dict[str, Allowed] = Field(min_length=1)

    @property
    def size(self) -> int | None:
        """How many recipes there are to try; None where a field takes any number of a range."""
        size = 1
        for allowed in self.search.values():
            if isinstance(allowed, list):
                size *= len(allowed)
            elif isinstance(allowed.low, int) and isinstance(allowed.high, int):
                size *= allowed.high - allowed.low + 1
            else:
                return None
        return size


class Trial(Part):
    """One recipe that was tried. `mae` is None where it could not be fitted, for the reason in `why`."""

    number: int
    values: dict[str, Any]
    mae: float | None
    seconds: float
    why: str | None = None
    load: Load | None = None
    """How busy the machine was in those seconds; None where nobody recorded it."""


class Study(Record):
    """`study.json`: all that was tried, and on what."""

    fault = RunError
    made_by = "potstill tune RUN"

    schema_version: int = 1
    name: str
    space: Space
    recipe_hash: str
    """Of the recipe to start from."""
    rows: str
    """SHA-256 of the dataset's rows."""
    judged_on: Literal["validation", "inner folds"]
    folds: int
    seed: int
    tiny: bool
    trials: tuple[Trial, ...]
    best: int | None
    """Number of the trial that errs least."""
    start: int | None
    """Number of the trial that is the recipe to start from; None where its own values lie outside the space."""
    versions: dict[str, str]

    @property
    def found(self) -> Trial | None:
        """The trial that errs least."""
        return next((trial for trial in self.trials if trial.number == self.best), None)

    @property
    def begun(self) -> Trial | None:
        """The trial that is the recipe to start from."""
        return next((trial for trial in self.trials if trial.number == self.start), None)


def load_space(path: str | Path) -> Space:
    """Read a space; a `start` that is a path stands relative to the file.

    Raises:
        RecipeError: the file is missing or not legal; the message names the path to the fault.
    """
    path = Path(path)
    if not path.is_file():
        raise RecipeError(f"{path}: no such file")
    try:
        content, _ = read_yaml(read_text(path), str(path))
    except BadInput as error:
        raise RecipeError(str(error)) from None
    space = Space.validated(content, str(path), error=RecipeError)
    beside = path.parent / space.start
    if beside.suffix in {".yaml", ".yml"}:
        space = space.model_copy(update={"start": str(beside)})
    return space


def tune(
    run: Run,
    space: Space,
    *,
    minutes: float = 15.0,
    trials: int | None = None,
    folds: int = 0,
    seed: int = 0,
    device: str = "auto",
    tiny: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Study:
    """Try recipes of a space until the time is spent; a search of this name that was begun goes on.

    Args:
        run: an open run with a dataset.
        space: what to search.
        minutes: for this call. After the first, a trial is begun only when the median trial fits what is left.
        trials: the most of all, those of earlier calls too; none: as many as the time allows.
        folds: judge by predictions of unseen training rows, fold by fold, instead of on validation; for students
            that are fitted in seconds.
        seed: of the proposals and the trainings.
        device: where fine-tuned students train.
        tiny: tiny random backbones, to try the whole path.
        clock: seconds, rising.

    Raises:
        MissingExtra: optuna is not installed.
        MissingModel: a backbone is not here.
        RecipeError: a searched field is not one of the recipe, or folds are asked of a fine-tuned student.
        RunError: no dataset, another process writes, or the search was begun on other rows or another space.
    """
    require("optuna", "tune")
    begin = load_recipe(space.start)
    if folds == 1 or (folds and isinstance(begin, FineTunedRecipe)):
        raise RecipeError(f"folds: {folds}: at least 2, and a fine-tuned student is not fitted again for each fold")
    for name in space.search:
        _place(begin.model_dump(mode="json"), name)
    dataset = Dataset.load(run.need("rows", "dataset"), run.filter.dimension_names)
    folder = run.path("tuning") / space.name
    folder.mkdir(parents=True, exist_ok=True)
    search = _Search(run, dataset, space, begin, folds, seed, device, tiny)
    with run.locked(), steps("searching", trials) as advance:
        study = search.opened(folder / TUNING_LAYOUT["journal"])
        start, took = clock(), [trial.seconds for trial in search.told(study)]
        advance(len(took))
        size = space.size
        while trials is None or len(search.told(study)) < trials:
            if size is not None and len({json.dumps(one.values, sort_keys=True) for one in search.told(study)}) >= size:
                note(f"all {size:,} recipes of the space are tried")
                break
            left = 60 * minutes - (clock() - start)
            if left <= 0 or (took and statistics.median(took) > left):
                break
            took.append(search.tried(study, clock))
            best = search.write(study, folder).found
            advance(1, "" if best is None else f"MAE {best.mae:.4f} so far")
        return search.write(study, folder)


def recipe_of(space: Space, begin: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe to start from, with values of a trial in the places of its own.

    Raises:
        RecipeError: the values do not make a legal recipe.
    """
    content = copy.deepcopy(begin.model_dump(mode="json"))
    for name, value in values.items():
        inner, key = _place(content, name)
        inner[key] = value
    content["name"] = space.name
    return parse_recipe(json.dumps(content), space.name)


@dataclass(frozen=True, slots=True)
class _Search:
    """A search and what it needs; optuna's study and trials are untyped."""

    run: Run
    dataset: Dataset
    space: Space
    begin: Recipe
    folds: int
    seed: int
    device: str
    tiny: bool

    @property
    def identity(self) -> dict[str, Any]:
        """What a study that goes on must share."""
        return {
            "space": digest(self.space.model_dump(mode="json", include={"search"})),
            "start": self.begin.hash,
            "rows": rows_hash(self.run, self.dataset),
            "folds": self.folds,
            "seed": self.seed,
            "tiny": self.tiny,
        }

    def opened(self, journal: Path) -> Any:  # noqa: ANN401 - optuna comes late
        optuna: Any = require("optuna", "tune")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        backend = optuna.storages.journal.JournalFileBackend(str(journal))
        storage = optuna.storages.JournalStorage(backend)
        study = optuna.create_study(study_name=self.space.name, storage=storage, load_if_exists=True)
        known = study.user_attrs.get("identity")
        if known is None:
            study.set_user_attr("identity", self.identity)
            own = self.own_values()
            if own is not None:
                study.enqueue_trial(own, user_attrs={"start": True})
        elif known != self.identity:
            other = next(name for name, value in self.identity.items() if known.get(name) != value)
            raise RunError(
                f"{journal.parent}: this search was begun with another {other}; give the space another name, or remove "
                "the folder"
            )
        # Each call proposes anew from all trials so far; the number of these keeps it from proposing the same.
        study.sampler = optuna.samplers.TPESampler(seed=self.seed + len(study.trials))
        running = optuna.trial.TrialState.RUNNING
        for trial in study.get_trials(states=(running,)):
            # It was killed. What it had trained lies in the cache, and is taken up.
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(trial.params, user_attrs={"start": trial.user_attrs.get("start", False)})
            note(f"trial {trial.number} was interrupted; it is done again")
        return study

    def own_values(self) -> dict[str, Any] | None:
        """The values of the recipe to start from, as optuna is told them; None where one lies outside the space."""
        content = self.begin.model_dump(mode="json")
        own: dict[str, Any] = {}
        for name, allowed in self.space.search.items():
            inner, key = _place(content, name)
            value = inner[key]
            if isinstance(allowed, Between):
                if not isinstance(value, int | float) or not allowed.low <= value <= allowed.high:
                    return None
                own[name] = value
            elif value in allowed:
                own[name] = json.dumps(value)
            else:
                return None
        return own

    def tried(self, study: Any, clock: Callable[[], float]) -> float:  # noqa: ANN401 - as above
        """Ask for a trial, fit it, tell its error; the seconds that it took."""
        optuna: Any = require("optuna", "tune")
        start, watch, trial = clock(), Watch(), study.ask()
        values = {name: _suggested(trial, name, allowed) for name, allowed in self.space.search.items()}
        trial.set_user_attr("values", values)
        said = ", ".join(f"{name} {value}" for name, value in values.items())
        try:
            mae = self.mae(recipe_of(self.space, self.begin, values))
        except (RecipeError, TrainingError) as error:
            trial.set_user_attr("why", str(error))
            note(f"trial {trial.number}: {said}: {error}")
            mae = None
        seconds = clock() - start
        trial.set_user_attr("seconds", round(seconds, 3))
        trial.set_user_attr("load", watch.load().model_dump())
        if mae is None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            note(f"trial {trial.number}: {said}: MAE {mae:.3f}")
            study.tell(trial, mae)
        return seconds

    def mae(self, recipe: Recipe) -> float:
        """The error of a recipe's student on rows that it has not seen, clipped to the scale."""
        train, validation = self.dataset.part("train"), self.dataset.part("validation")
        cache, scale = self.run.path("cache"), self.run.filter.scale
        workdir = cache / "tuning" / f"{recipe.hash[:16]}-{self.seed}"
        fitted = fit(
            recipe,
            train,
            validation,
            workdir=workdir,
            seed=self.seed,
            resume=True,
            crossfit=self.folds,
            holdout=0.0,
            device=self.device,
            tiny=self.tiny,
            cache=cache,
            rubric=self.run.filter.rubric,
        )
        judged, scores = (train, fitted.held_out) if self.folds else (validation, fitted.validation)
        error = metrics.average(metrics.mae(np.clip(scores, scale.min, scale.max), judged.scores))
        if not np.isfinite(error):
            raise TrainingError(f"{recipe.name}: no prediction of a row with a label is finite")
        # Checkpoints are kept for a trial that was interrupted; hundreds of ended ones would fill the disk.
        shutil.rmtree(workdir, ignore_errors=True)
        return error

    def told(self, study: Any) -> list[Trial]:  # noqa: ANN401 - as above
        """Every trial that ended."""
        return [
            Trial(
                number=trial.number,
                values=trial.user_attrs["values"],
                mae=None if trial.value is None else round(trial.value, 6),
                seconds=trial.user_attrs["seconds"],
                why=trial.user_attrs.get("why"),
                load=trial.user_attrs.get("load"),
            )
            for trial in study.get_trials(deepcopy=False)
            if trial.state.is_finished() and "seconds" in trial.user_attrs
        ]

    def write(self, study: Any, folder: Path) -> Study:  # noqa: ANN401 - as above
        """The record and the best recipe."""
        ended = self.told(study)
        fitted = [trial for trial in ended if trial.mae is not None]
        best = min(fitted, key=lambda trial: (trial.mae, trial.number), default=None)
        started = {trial.number for trial in study.get_trials(deepcopy=False) if trial.user_attrs.get("start")}
        found = Study(
            name=self.space.name,
            space=self.space,
            recipe_hash=self.begin.hash,
            rows=rows_hash(self.run, self.dataset),
            judged_on="inner folds" if self.folds else "validation",
            folds=self.folds,
            seed=self.seed,
            tiny=self.tiny,
            trials=tuple(ended),
            best=None if best is None else best.number,
            start=next((trial.number for trial in fitted if trial.number in started), None),
            versions=versions(),
        )
        found.save(folder / TUNING_LAYOUT["record"])
        if best is not None:
            write_text(folder / TUNING_LAYOUT["best"], self.as_yaml(found, best))
        return found

    def as_yaml(self, found: Study, best: Trial) -> str:
        content = recipe_of(self.space, self.begin, best.values).model_dump(mode="json")
        content["description"] = (
            f"From {self.begin.name}: trial {best.number} of {len(found.trials)} on {found.judged_on}"
        )
        begun = "" if found.begun is None else f"; {self.begin.name} as it was had {found.begun.mae:.4f}"
        return (
            f"# MAE {best.mae:.4f} on {found.judged_on}{begun}. The least of {len(found.trials)} flatters itself a "
            f"little.\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}"
        )


def _place(content: dict[str, Any], name: str) -> tuple[dict[str, Any], str]:
    """The mapping that holds a field, and the field's key there."""
    *above, key = name.split(".")
    inner: Any = content
    for part in above:
        inner = inner.get(part) if isinstance(inner, dict) else None
    if not isinstance(inner, dict) or key not in inner or name in {"name", "description", "student", "head.kind"}:
        fields = ", ".join(sorted(set(content) - {"name", "description", "student"}))
        raise RecipeError(f"search -> {name}: no field of {content['name']} that can be searched; fields: {fields}")
    return inner, key


def _suggested(trial: Any, name: str, allowed: Between | list[Any]) -> Any:  # noqa: ANN401 - a value of YAML
    if isinstance(allowed, list):
        # Lists and mappings are no values to optuna, their text is.
        return json.loads(trial.suggest_categorical(name, [json.dumps(choice) for choice in allowed]))
    if isinstance(allowed.low, int) and isinstance(allowed.high, int):
        return trial.suggest_int(name, allowed.low, allowed.high, log=allowed.log)
    return trial.suggest_float(name, allowed.low, allowed.high, log=allowed.log)
