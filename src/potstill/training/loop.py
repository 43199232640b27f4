"""Trains a model with transformers' Trainer, using potstill's batches, loss, evaluation and checkpoints.

Input: a model whose trainable parameters are marked, tokens and scores, and a recipe. Output: the model with the
parameters of its best epoch, and a record of the training. Trainer runs the steps; it neither saves, evaluates nor
logs. A callback evaluates both parts after each epoch and writes checkpoints. Three of Trainer's methods are overridden
so that a resume reads these checkpoints and no pickle; a resume that did not call all three is refused.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from potstill.errors import TrainingError
from potstill.students.encoding import token_batches
from potstill.students.torch.model import part_of, trainable
from potstill.terminal import note, steps
from potstill.training import checkpoints, state
from potstill.training.batches import LengthGrouped
from potstill.training.checkpoints import Snapshot
from potstill.training.counts import check_trainable
from potstill.training.facts import Counts, EpochRecord, Measures
from potstill.training.state import load_parameters, parameters_of, same_trainable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import nn

    from potstill.students.recipes import FineTunedRecipe
    from potstill.training.batches import Part, Tokens
    from potstill.training.objectives import Target
    from potstill.types import FloatArray

    Advance = Callable[[float], None]

SCHEDULE = (
    "learning_rate",
    "head_learning_rate",
    "warmup_steps",
    "warmup_share",
    "weight_decay",
    "clip",
    "precision",
    "objective",
    "epochs",
    "patience",
    "checkpoint_steps",
)
"""Recipe fields that may change on resume, such as a learning rate that led to NaN; the change is recorded."""

EVALUATION_TOKENS = 8192
"""Maximum number of tokens in an evaluation batch, padding included."""


def fixed_on_resume(recipe: FineTunedRecipe) -> str:
    """Return the SHA-256 of what may not change on resume in a recipe."""
    # Recipes of earlier versions had a learning rate for each layer, which could change too.
    return recipe.digest_without(*SCHEDULE, "layer_decay")


@dataclass(frozen=True, slots=True)
class Plan:
    """Length of a training, in steps."""

    steps_per_epoch: int
    steps: int
    warmup: int
    notes: tuple[str, ...]

    @classmethod
    def of(cls, recipe: FineTunedRecipe, rows: int) -> Plan:
        """Compute the steps of a recipe's epochs; a warm-up as long as the training is cut to a tenth, with a note."""
        per_epoch = -(-rows // recipe.batch_size)
        total = per_epoch * recipe.epochs
        warmup = recipe.warmup_steps or math.ceil((recipe.warmup_share or 0) * total)
        if warmup < total or total == 1:
            return cls(per_epoch, total, min(warmup, total - 1), ())
        shorter = max(1, total // 10)
        said = f"warm-up of {warmup} steps is not shorter than the run of {total}; it is cut to {shorter}"
        return cls(per_epoch, total, shorter, (said,))

    def rate(self, step: int) -> float:
        """Return the share of the peak learning rate after `step` steps: linear warm-up, then linear decay to 0."""
        if step < self.warmup:
            return step / self.warmup
        return max(0.0, (self.steps - step) / max(1, self.steps - self.warmup))


@dataclass(frozen=True, slots=True)
class Task:
    """Data and settings of a training. A checkpoint is resumed only if its `identity` is the same."""

    recipe: FineTunedRecipe
    target: Target
    train: Part
    validation: Part | None
    """Rows that select the epoch; None if `stop_after` is given."""
    dimensions: tuple[str, ...]
    implied: Counts
    seed: int
    device: str
    importance: Mapping[str, float] | None = None
    """Weight of each dimension's error in the selection of the best epoch; equal if not given."""
    identity: Mapping[str, Any] = field(default_factory=dict)
    stop_after: int | None = None
    """Number of the epoch after which training stops and that is kept; None if validation rows select it."""

    def error(self, validation: Measures) -> float:
        """Return the error that the best epoch minimizes."""
        if self.importance is None:
            return validation.mae
        each = validation.mae_by_dimension
        return sum(share * (each[name] or 0.0) for name, share in self.importance.items())


@dataclass
class Outcome:
    """Result of a training. `history` has an entry for each epoch, including those run by earlier processes."""

    plan: Plan
    history: list[EpochRecord] = field(default_factory=list)
    best_epoch: int | None = None
    stopped: bool = False
    resumed_from: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    counts: Counts | None = None

    @property
    def best(self) -> EpochRecord | None:
        """The record of the epoch with the lowest validation error."""
        return next((record for record in self.history if record.epoch == self.best_epoch), None)


def train_model(model: nn.Module, task: Task, workdir: Path, *, resume: bool = False) -> Outcome:
    """Train a model in place; it ends with the parameters of its best epoch by validation MAE, or of `stop_after`.

    The same model, task and seed give the same parameters, no matter how often the process was killed and resumed.

    Args:
        model: from `build_model`, on any device.
        task: recipe, data and what the recipe implies.
        workdir: folder for checkpoints, used by this training only.
        resume: continue from the newest complete checkpoint, if there is one; otherwise older ones are removed.

    Raises:
        TrainingError: the trainable parameters are not those that the recipe implies, at the start or in a checkpoint;
            the checkpoint belongs to another training; a loss, prediction or parameter is NaN or infinite.
    """
    check_trainable(model, task.implied)
    outcome = Outcome(Plan.of(task.recipe, len(task.train)))
    outcome.notes = outcome.plan.notes
    for line in outcome.notes:
        note(f"{task.recipe.name}: {line}")
    workdir.mkdir(parents=True, exist_ok=True)
    checkpoints.sweep(workdir)
    if not resume:
        checkpoints.clear(workdir)
    found = checkpoints.newest(workdir) if resume else None
    start = _resume(found, model, task, outcome) if found is not None else None
    if not outcome.stopped:
        _run(model, task, workdir, outcome, found, start)
    if outcome.best_epoch is None:
        raise TrainingError("training ended before its first epoch did")
    best = checkpoints.read(checkpoints.best_folder(workdir, outcome.best_epoch))
    load_parameters(model, best.tensors["parameters"], checkpoints.best_folder(workdir, outcome.best_epoch).name)
    outcome.counts = check_trainable(model, task.implied)
    return outcome


def predict(model: nn.Module, tokens: Tokens, *, device: str, bf16: bool = False) -> FloatArray:
    """Return a model's raw outputs in evaluation mode, shape (texts, outputs), float64, in input order.

    The model's mode and all random states are left unchanged.
    """
    was_training = model.training
    model.eval()
    scores: list[tuple[Any, torch.Tensor]] = []
    with torch.no_grad(), torch.random.fork_rng(), torch.autocast(_kind(device), torch.bfloat16, enabled=bf16):
        for rows in token_batches(tokens.lengths, EVALUATION_TOKENS):
            ids, mask = tokens.batch(rows)
            scores.append((rows, model(ids.to(device), mask.to(device)).float().cpu()))
    model.train(was_training)
    whole = np.empty((len(tokens.ids), scores[0][1].shape[1]))
    for rows, values in scores:
        whole[rows] = values.numpy()
    return whole


def evaluate(model: nn.Module, part: Part, task: Task) -> Measures:
    """Evaluate a model on a part of the data, in its training precision.

    Raises:
        TrainingError: a prediction is NaN or infinite.
    """
    outputs = predict(model, part.tokens, device=task.device, bf16=task.recipe.precision == "bf16")
    if not np.isfinite(outputs).all():
        raise TrainingError("a prediction is not finite")
    loss = task.target.loss(torch.from_numpy(outputs), torch.from_numpy(part.scores))
    return Measures.of(task.target.scores(outputs), part.scores, task.dimensions, float(loss))


class _Rows(Dataset[int]):
    """Row indices as a dataset; the collator looks up the rows."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> int:
        return row


@dataclass(frozen=True, slots=True)
class TrainingState:
    """Mutable parts of a training: the model, its optimizer and schedule, and the checkpoint it resumes from."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    start: Snapshot | None
    restored: set[str] = field(default_factory=set)
    """Parts that Trainer has restored from `start`; all must be restored before the first step."""


class _ScoreTrainer(Trainer):
    """Trainer with potstill's batches and loss; on resume it restores from a `Snapshot`."""

    def __init__(self, task: Task, training: TrainingState, plan: Plan, **parts: Any) -> None:  # noqa: ANN401 - Trainer's own
        self.task = task
        self.training = training
        self.plan = plan
        super().__init__(model=training.model, optimizers=(training.optimizer, training.schedule), **parts)

    def get_train_dataloader(self) -> Any:  # noqa: ANN401 - accelerate is untyped
        """Return batches of texts of similar length, in an order that depends only on seed and epoch."""
        sampler = LengthGrouped(self.task.train.tokens.lengths, self.task.recipe.batch_size, self.task.seed)
        loader = DataLoader(_Rows(len(self.task.train)), batch_sampler=sampler, collate_fn=self.task.train.collate)
        return self.accelerator.prepare(loader)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,  # noqa: FBT001, FBT002 - Trainer's signature
        num_items_in_batch: Any = None,  # noqa: ANN401, ARG002 - as above
    ) -> Any:  # noqa: ANN401 - as above
        """Compute the recipe's loss over the labels that are present."""
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        loss = self.task.target.loss(outputs, inputs["labels"])
        if not bool(torch.isfinite(loss)):
            raise TrainingError(_not_finite(self.state.global_step + 1, f"the loss is {loss.item()}"))
        return (loss, outputs) if return_outputs else loss

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        del model
        state.load_parameters(self.training.model, self._start.tensors["parameters"], resume_from_checkpoint)
        self.training.restored.add("parameters")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        optimizer, schedule = self.training.optimizer, self.training.schedule
        state.load_optimizer(optimizer, self.training.model, self._start.tensors["optimizer"])
        # The schedule depends only on the step, so the step is its whole state.
        step = self._start.documents["progress"]["step"]
        schedule.last_epoch = step
        rates = [base * self.plan.rate(step) for base in schedule.base_lrs]
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        schedule._last_lr = rates  # noqa: SLF001 - what `get_last_lr` gives; torch has no setter
        self.training.restored.add("optimizer")

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        state.load_random_state(self._start.documents["rng"], self._start.tensors["rng"])
        self.training.restored.add("random state")

    @property
    def _start(self) -> Snapshot:
        if self.training.start is None:
            raise TrainingError("Trainer asked for a checkpoint that was not read")
        return self.training.start


class CheckpointCallback(TrainerCallback):
    """Checks trainable parameters, evaluates each epoch, keeps the best, writes checkpoints and stops early."""

    def __init__(self, task: Task, training: TrainingState, workdir: Path, outcome: Outcome, advance: Advance) -> None:
        self.task = task
        self.training = training
        self.workdir = workdir
        self.outcome = outcome
        self.advance = advance
        self.clock = time.monotonic()
        self.checked_gradients = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401, ARG002
        """Check the trainable parameters; at this point a resume has restored parameters and optimizer."""
        self._restored("parameters", "optimizer")
        check_trainable(self.training.model, self.task.implied, self.training.optimizer)
        self.advance(state.global_step)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401, ARG002
        """Record the start time of the epoch."""
        self.clock = time.monotonic()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401, ARG002
        """Check, once, that every trainable parameter receives a gradient."""
        if self.checked_gradients:
            return
        self._restored("parameters", "optimizer", "random state")
        without = [name for name, parameter in trainable(self.training.model).items() if parameter.grad is None]
        if without:
            raise TrainingError(f"{len(without)} tensors that should train got no gradient, such as {without[0]}")
        self.checked_gradients = True

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401, ARG002
        """Write a checkpoint if the recipe asks for one within epochs."""
        self.advance(1)
        every = self.task.recipe.checkpoint_steps
        # The last step of an epoch is saved after the epoch's evaluation; otherwise a resume would skip the evaluation.
        if every and state.global_step % every == 0 and state.global_step % self.outcome.plan.steps_per_epoch:
            self._write(state)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401, ARG002
        """Evaluate, keep the best epoch, write a checkpoint and decide whether to stop."""
        recipe, outcome = self.task.recipe, self.outcome
        record = self._evaluate(state.global_step)
        outcome.history.append(record)
        if record.best:
            outcome.best_epoch = record.epoch
            parameters = {"parameters": parameters_of(self.training.model)}
            checkpoints.write(checkpoints.best_folder(self.workdir, record.epoch), Snapshot({}, parameters))
        waited = record.epoch - (outcome.best_epoch or 0)
        if self.task.stop_after is None:
            outcome.stopped = record.epoch == recipe.epochs or (
                recipe.patience is not None and waited >= recipe.patience
            )
            on_validation = f"MAE {record.validation.mae:.3f} on validation{' (best)' if record.best else ''}, "
        else:
            outcome.stopped, on_validation = record.epoch == self.task.stop_after, "MAE "
        last = self.task.stop_after or recipe.epochs
        note(f"{recipe.name}: epoch {record.epoch}/{last}: {on_validation}{record.train.mae:.3f} on train")
        self._write(state)
        control.should_training_stop = outcome.stopped

    def _evaluate(self, step: int) -> EpochRecord:
        try:
            train = evaluate(self.training.model, self.task.train, self.task)
            rows = self.task.validation
            validation = train if rows is None else evaluate(self.training.model, rows, self.task)
        except TrainingError as error:
            raise TrainingError(_not_finite(step, str(error))) from None
        best, epoch = self.outcome.best, step // self.outcome.plan.steps_per_epoch
        lowest = best is None or bool(self.task.error(validation) < self.task.error(best.validation))
        return EpochRecord(
            epoch=epoch,
            step=step,
            learning_rate=float(self.training.schedule.get_last_lr()[0]),
            train=train,
            validation=validation,
            best=lowest if self.task.stop_after is None else epoch == self.task.stop_after,
            seconds=round(time.monotonic() - self.clock, 3),
        )

    def _write(self, trainer_state: Any) -> None:  # noqa: ANN401 - Trainer's own
        outcome, training, step = self.outcome, self.training, trainer_state.global_step
        parameters = parameters_of(training.model)
        if not all(bool(torch.isfinite(tensor).all()) for tensor in parameters.values()):
            raise TrainingError(_not_finite(step, "a parameter is not finite"))
        progress = {
            "step": step,
            "identity": dict(self.task.identity),
            "recipe": self.task.recipe.model_dump(mode="json"),
            "trains": list(parameters),
            "counts": check_trainable(training.model, self.task.implied, training.optimizer).model_dump(mode="json"),
            "history": [record.model_dump(mode="json") for record in outcome.history],
            "best_epoch": outcome.best_epoch,
            "stopped": outcome.stopped,
            "resumed_from": list(outcome.resumed_from),
            "notes": list(outcome.notes),
        }
        rng, drawn = state.random_state()
        documents = {"progress": progress, "rng": rng, "trainer_state": dataclasses.asdict(trainer_state)}
        adam = state.optimizer_tensors(training.optimizer, training.model)
        tensors = {"parameters": parameters, "optimizer": adam, "rng": drawn}
        checkpoints.write(checkpoints.checkpoint_folder(self.workdir, step), Snapshot(documents, tensors))
        checkpoints.prune(self.workdir)

    def _restored(self, *needed: str) -> None:
        """Raise if Trainer did not call the methods that restore a checkpoint; a later version might not."""
        missing = [name for name in needed if name not in self.training.restored]
        if self.training.start is not None and missing:
            raise TrainingError(f"this version of transformers did not restore the {' and '.join(missing)}")


def _run(
    model: nn.Module, task: Task, workdir: Path, outcome: Outcome, found: Path | None, start: Snapshot | None
) -> None:
    recipe = task.recipe
    # Libraries read this before they report usage. Nothing here asks for reports, and none may be sent unasked.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    arguments = TrainingArguments(
        output_dir=str(workdir),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        max_grad_norm=recipe.clip,
        bf16=recipe.precision == "bf16",
        use_cpu=_kind(task.device) == "cpu",
        seed=task.seed,
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    model.to(task.device)
    optimizer = make_optimizer(model, recipe)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, outcome.plan.rate)
    training = TrainingState(model, optimizer, schedule, start)
    with steps(f"train {recipe.name}", outcome.plan.steps) as advance:
        callback = CheckpointCallback(task, training, workdir, outcome, advance)
        trainer = _ScoreTrainer(
            task, training, outcome.plan, args=arguments, train_dataset=_Rows(len(task.train)), callbacks=[callback]
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=None if found is None else str(found))


def _resume(found: Path, model: nn.Module, task: Task, outcome: Outcome) -> Snapshot:
    """Read a checkpoint, check that it belongs to this training and has the same trainable parameters; resume it."""
    start = checkpoints.read(found)
    progress = start.documents["progress"]
    for name, wanted in task.identity.items():
        if progress["identity"].get(name) != wanted:
            raise TrainingError(
                f"{found}: differs from this training in its {name}; train without --resume to start again"
            )
    same_trainable(progress["trains"], model, str(found))
    if Counts.validated(progress["counts"], str(found)) != task.implied:
        raise TrainingError(f"{found}: its counts of what trains are not what the recipe implies")
    outcome.history = [EpochRecord.validated(record, str(found)) for record in progress["history"]]
    outcome.best_epoch = progress["best_epoch"]
    # A finished training continues if the recipe now has more epochs.
    outcome.stopped = progress["stopped"] and progress["recipe"]["epochs"] == task.recipe.epochs
    outcome.resumed_from = (*progress["resumed_from"], progress["step"])
    outcome.notes = tuple(dict.fromkeys([*outcome.plan.notes, *progress["notes"]]))
    now = task.recipe.model_dump(mode="json")
    for name in SCHEDULE:
        if progress["recipe"].get(name) != now[name]:
            line = (
                f"from step {progress['step']} on {name} is {now[name]}, before it was {progress['recipe'].get(name)}"
            )
            outcome.notes += (line,)
            note(f"{task.recipe.name}: {line}")
    note(f"{task.recipe.name}: goes on after step {progress['step']} of {outcome.plan.steps}")
    return start


def make_optimizer(model: nn.Module, recipe: FineTunedRecipe) -> torch.optim.Optimizer:
    """Create AdamW (Loshchilov & Hutter 2019); biases and norms do not decay, and the head may learn faster."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in trainable(model).items():
        own = recipe.head_learning_rate if part_of(name) == "head" else None
        rate = recipe.learning_rate if own is None else own
        decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    # The fused kernel reads each tensor once; on a CPU it halves the optimizer's time.
    fused = next(iter(trainable(model).values())).device.type in {"cpu", "cuda"}
    return torch.optim.AdamW(
        [{"params": parameters, "lr": rate, "weight_decay": decay} for (rate, decay), parameters in groups.items()],
        lr=recipe.learning_rate,
        fused=fused,
    )


def _not_finite(step: int, what: str) -> str:
    return (
        f"step {step}: {what}; older checkpoints are unchanged: lower learning_rate or clip, or set precision: "
        "fp32, and go on with --resume"
    )


def _kind(device: str) -> str:
    return device.partition(":")[0]
