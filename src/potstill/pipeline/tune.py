"""Hyperparameter search: a declared search space and a time budget, judged on validation; it can be resumed.

In: a run with a dataset, and a search space in YAML: a start recipe, and the values that its fields may take.
Out: `tuning/NAME/` in the run: the best recipe as a file for `potstill train`, a record of every trial, and the study's
journal. The test part is not read. Trials are proposed by a tree-structured Parzen estimator (Bergstra et al. 2011, as
implemented in optuna). The first trial is the start recipe, so that the best recipe is compared with it.
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
from potstill.machine import Load, Watch, versions
from potstill.pipeline.train import rows_hash
from potstill.records import Part, Record
from potstill.students.recipes import FineTunedRecipe, load_recipe, parse_recipe
from potstill.students.storage import feature_folder
from potstill.terminal import note, steps
from potstill.training import fit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from potstill.pipeline.run import Run
    from potstill.students.recipes import Recipe

TUNING_LAYOUT = {"journal": "study.log", "record": "study.json", "best": "best.yaml"}
"""The files in the folder of a search."""


class Between(Part):
    """Numbers from `low` to `high`, inclusive; integers if both ends are integers. `log` samples on a log scale."""

    low: int | float
    high: int | float
    log: bool = False

    @model_validator(mode="after")
    def _rising(self) -> Between:
        if self.low >= self.high or (self.log and self.low <= 0):
            raise ValueError(f"from {self.low} to {self.high}: low must be below high, and above 0 if log is true")
        return self


Choices = Annotated[list[Any], Field(min_length=2)]
"""A list of values to choose from."""

Allowed = Annotated[
    Annotated[Between, Tag("range")] | Annotated[Choices, Tag("choices")],
    # Distinguished by type, so that an error message refers to the intended form.
    Discriminator(lambda value: "choices" if isinstance(value, list) else "range"),
]


class Space(Part):
    """A search space: fields of a recipe by name, nested ones with a dot, such as `lora.rank`."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    """The name of the search and of the recipe that it finds."""
    start: str
    """The start recipe: a preset, or the path of a recipe file. Fields that are not searched keep its values."""
    search: dict[str, Allowed] = Field(min_length=1)

    @property
    def size(self) -> int | None:
        """The number of recipes in the space; None if a field has a continuous range."""
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
    """One recipe that was tried. `mae` is None if it could not be fitted; `why` is the reason."""

    number: int
    values: dict[str, Any]
    mae: float | None
    seconds: float
    why: str | None = None
    load: Load | None = None
    """How busy the machine was during the trial; None if it was not recorded."""


class Study(Record):
    """`study.json`: all trials, and the data that they were judged on."""

    fault = RunError
    made_by = "potstill tune RUN"

    schema_version: int = 1
    name: str
    space: Space
    recipe_hash: str
    """The hash of the start recipe."""
    rows: str
    """SHA-256 of the dataset's rows."""
    judged_on: Literal["validation", "inner folds"]
    folds: int
    seed: int
    tiny: bool
    trials: tuple[Trial, ...]
    best: int | None
    """The number of the trial with the lowest error."""
    start: int | None
    """The number of the trial of the start recipe; None if its values are outside the space."""
    versions: dict[str, str]

    @property
    def found(self) -> Trial | None:
        """The trial with the lowest error."""
        return next((trial for trial in self.trials if trial.number == self.best), None)

    @property
    def begun(self) -> Trial | None:
        """The trial of the start recipe."""
        return next((trial for trial in self.trials if trial.number == self.start), None)


def load_space(path: str | Path) -> Space:
    """Read a search space; a `start` that is a path is relative to the file.

    Raises:
        RecipeError: the file is missing or not valid; the message names the path to the fault.
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
    """Try recipes of a space until the time is up; an existing search of this name is resumed.

    Args:
        run: an open run with a dataset.
        space: the search space.
        minutes: the time for this call. After the first trial, a trial is started only if the median time of a trial
            fits into the remaining time.
        trials: the maximum number of trials, including those of earlier calls; None for as many as the time allows.
        folds: judge by out-of-fold predictions of the training rows instead of on validation; for students that are
            fitted in seconds.
        seed: random seed of the proposals and of training.
        device: where fine-tuned students train.
        tiny: use tiny random backbones, to test the whole path.
        clock: a monotonic clock in seconds.

    Raises:
        MissingExtra: optuna is not installed.
        MissingModel: a backbone is not on this machine.
        RecipeError: a searched field is not a field of the recipe, or folds are requested for a fine-tuned student.
        RunError: no dataset, another process writes, or the search was started on other rows or another space.
    """
    require("optuna", "tune")
    begin = load_recipe(space.start)
    if folds == 1 or (folds and isinstance(begin, FineTunedRecipe)):
        raise RecipeError(f"folds: {folds}: expected at least 2; folds are not available for fine-tuned students")
    for name in space.search:
        _place(begin.model_dump(mode="json"), name)
    dataset = Dataset.load(run.need("rows", "dataset"), run.filter.dimension_names)
    folder = run.path("tuning") / space.name
    folder.mkdir(parents=True, exist_ok=True)
    search = _Search(run, dataset, space, begin, folds, seed, device, tiny)
    with run.locked(), steps("searching", trials) as advance:
        study = search.opened(folder / TUNING_LAYOUT["journal"])
        start, took = clock(), [trial.seconds for trial in search.finished_trials(study)]
        advance(len(took))
        size = space.size
        while trials is None or len(search.finished_trials(study)) < trials:
            if (
                size is not None
                and len({json.dumps(one.values, sort_keys=True) for one in search.finished_trials(study)}) >= size
            ):
                note(f"all {size:,} recipes of the space have been tried")
                break
            left = 60 * minutes - (clock() - start)
            if left <= 0 or (took and statistics.median(took) > left):
                break
            took.append(search.tried(study, clock))
            best = search.write(study, folder).found
            advance(1, "" if best is None else f"MAE {best.mae:.4f} so far")
        return search.write(study, folder)


def recipe_of(space: Space, begin: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The start recipe with the values of a trial.

    Raises:
        RecipeError: the values do not make a valid recipe.
    """
    content = copy.deepcopy(begin.model_dump(mode="json"))
    for name, value in values.items():
        inner, key = _place(content, name)
        inner[key] = value
    content["name"] = space.name
    return parse_recipe(json.dumps(content), space.name)


@dataclass(frozen=True, slots=True)
class _Search:
    """A search and its inputs; optuna's study and trials are untyped."""

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
        """What must be unchanged for a study to be resumed."""
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
                f"{journal.parent}: this search was started with a different value of {other}; rename the space or "
                "remove the folder"
            )
        # Each call starts a new sampler; the number of trials in its seed prevents it from proposing the same values.
        study.sampler = optuna.samplers.TPESampler(seed=self.seed + len(study.trials))
        running = optuna.trial.TrialState.RUNNING
        for trial in study.get_trials(states=(running,)):
            # It was killed. Its checkpoints are in the cache and are resumed.
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(trial.params, user_attrs={"start": trial.user_attrs.get("start", False)})
            note(f"trial {trial.number} was interrupted; it is repeated")
        return study

    def own_values(self) -> dict[str, Any] | None:
        """The values of the start recipe in optuna's form; None if one of them is outside the space."""
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
        """Ask optuna for a trial, fit it and report its error; return the seconds that it took."""
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
        """The error of a recipe's student on held-out rows, with scores clipped to the scale."""
        train, validation = self.dataset.part("train"), self.dataset.part("validation")
        scale = self.run.filter.scale
        workdir = self.run.path("cache") / "tuning" / f"{recipe.hash[:16]}-{self.seed}"
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
            cache=feature_folder(),
            rubric=self.run.filter.rubric,
        )
        judged, scores = (train, fitted.held_out) if self.folds else (validation, fitted.validation)
        error = metrics.average(metrics.mae(np.clip(scores, scale.min, scale.max), judged.scores))
        if not np.isfinite(error):
            raise TrainingError(f"{recipe.name}: no labelled row has a finite prediction")
        # Checkpoints are only needed for interrupted trials; those of hundreds of finished trials would fill the disk.
        shutil.rmtree(workdir, ignore_errors=True)
        return error

    def finished_trials(self, study: Any) -> list[Trial]:  # noqa: ANN401 - as above
        """All finished trials."""
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
        ended = self.finished_trials(study)
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
            f"Tuned from {self.begin.name}: trial {best.number} of {len(found.trials)}, judged on {found.judged_on}"
        )
        begun = "" if found.begun is None else f"; the start recipe {self.begin.name} has {found.begun.mae:.4f}"
        return (
            f"# MAE {best.mae:.4f} on {found.judged_on}{begun}. This is slightly optimistic: it is the best of "
            f"{len(found.trials)} on the same rows.\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}"
        )


def _place(content: dict[str, Any], name: str) -> tuple[dict[str, Any], str]:
    """The mapping that holds a field, and the field's key there."""
    *above, key = name.split(".")
    inner: Any = content
    for part in above:
        inner = inner.get(part) if isinstance(inner, dict) else None
    if not isinstance(inner, dict) or key not in inner or name in {"name", "description", "student", "head.kind"}:
        fields = ", ".join(sorted(set(content) - {"name", "description", "student"}))
        raise RecipeError(f"search -> {name}: not a field of {content['name']} that can be searched; fields: {fields}")
    return inner, key


def _suggested(trial: Any, name: str, allowed: Between | list[Any]) -> Any:  # noqa: ANN401 - a value of YAML
    if isinstance(allowed, list):
        # Optuna does not accept lists and mappings as values, but it accepts their JSON text.
        return json.loads(trial.suggest_categorical(name, [json.dumps(choice) for choice in allowed]))
    if isinstance(allowed.low, int) and isinstance(allowed.high, int):
        return trial.suggest_int(name, allowed.low, allowed.high, log=allowed.log)
    return trial.suggest_float(name, allowed.low, allowed.high, log=allowed.log)
