"""Fine-tuning: fits a student with a trained encoder from a recipe and examples.

Input: a recipe, examples, a backbone. Output: a neural student in the usual form: an encoder (with the adapter merged
in) and a linear head in numpy. Some rows are held out before training and not used for any selection, so that
calibration has held-out predictions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from potstill.errors import DatasetError, RecipeError, TrainingError
from potstill.files import digest
from potstill.findings import MANY_TRUNCATED
from potstill.machine import Watch
from potstill.students.constant import check_labelled
from potstill.students.heads import LinearHead
from potstill.students.neural import NeuralStudent
from potstill.students.torch.adapted import AdaptedEncoder, adapter_of
from potstill.students.torch.backbones import Backbone, empty_model, find_backbone, known_sizes, tiny_backbone
from potstill.students.torch.encoder import (
    TorchEncoder,
    encoder_facts,
    pick_device,
    shallower,
    text_reader,
)
from potstill.students.torch.memory import ADAM, check_room
from potstill.students.torch.model import build_model, merged
from potstill.terminal import note
from potstill.training.batches import Part, tokenise
from potstill.training.counts import implied_counts
from potstill.training.facts import Fitted
from potstill.training.folding import set_aside
from potstill.training.loop import Task, fixed_on_resume, train_model
from potstill.training.objectives import Target
from potstill.training.precision import used_precision, warn_if_emulated

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

    from potstill.dataset import Examples
    from potstill.students.encoding import EncoderFacts
    from potstill.students.recipes import FineTunedRecipe

LEAST_ROOM = 32
"""Minimum number of tokens that a rubric must leave for a text."""


def fits_tiny(recipe: FineTunedRecipe) -> FineTunedRecipe:
    """Adapt the recipe to a tiny backbone, which has two layers."""
    return recipe if recipe.keep_layers is None else recipe.model_copy(update={"keep_layers": 1})


def fine_tune(
    recipe: FineTunedRecipe,
    train: Examples,
    validation: Examples | None,
    *,
    workdir: Path,
    seed: int = 0,
    resume: bool = False,
    holdout: float = 0.1,
    device: str = "cpu",
    backbone: Backbone | None = None,
    tiny: bool = False,
    importance: Mapping[str, float] | None = None,
    rubric: str = "",
    epochs: int | None = None,
) -> Fitted:
    """Train a backbone and a head on examples; the epoch with the lowest validation error is kept.

    Args:
        recipe: what to train and how.
        train: training examples, of which some are held out.
        validation: examples that select the epoch; None if `epochs` is given.
        workdir: folder for checkpoints, used by this training only.
        seed: random seed of the head, the adapter, the batches, dropout and the held-out rows.
        resume: continue from the newest complete checkpoint in `workdir`.
        holdout: share of the training rows to hold out, from 0 to 1, keeping clusters whole; 0 for none.
        device: device as torch names it, or `auto`.
        backbone: replaces the recipe's backbone.
        tiny: replace the recipe's backbone with a tiny random one, to test the whole pipeline; scores are meaningless.
        importance: weight of each dimension's error in the selection of the epoch; all equal if not given.
        rubric: the filter's rubric, for a recipe with `instruction`.
        epochs: without validation examples, the number of epochs after which training stops. The learning rate of each
            epoch is that of the recipe's full training.

    Raises:
        TrainingError: the trainable parameters are not those that the recipe implies, or a number is NaN or infinite.
        MissingModel, RecipeError, DatasetError: the backbone, the recipe or the examples cannot be used.
    """
    watch = Watch()
    if tiny:
        recipe = fits_tiny(recipe)
        backbone = tiny_backbone(recipe.backbone, (workdir / "backbone").resolve(), seed=seed)
    check_labelled(train)
    if validation is None and epochs is None:
        raise DatasetError("training needs validation rows to select the epoch, or the number of epochs")
    if validation is not None and np.isnan(validation.scores).all():
        raise DatasetError("the validation part has no label at all")
    where = str(pick_device(device))
    warn_if_emulated(recipe.name, recipe.precision, where)
    precision = used_precision(recipe.precision, where)
    # From here on the recipe holds the precision in use, so that checkpoints record it and a resume on other hardware
    # notes the change.
    recipe = recipe.model_copy(update={"precision": precision})
    found = backbone or find_backbone(recipe.backbone)
    tokenizer = found.load_tokenizer()
    facts = encoder_facts(
        found,
        tokenizer,
        max_tokens=recipe.max_tokens,
        pooling=recipe.pooling,
        instruction=_instruction(recipe, rubric),
    )
    remarks = _room(recipe, tokenizer, facts)
    aside = set_aside(train, holdout, seed)
    # Recipes that differ only in this offset hold out the same rows, so they are evaluated on the same ones.
    seed += recipe.seed_offset
    learnt = train.take(~aside)
    _check_memory(recipe, found, train.scores.shape[1], where)
    whole = found.load_model(attention_dropout=recipe.attention_dropout)
    if recipe.keep_layers is not None:
        whole = shallower(whole, recipe.keep_layers)
    network = _placed(whole, recipe, where)
    target = Target.of(recipe, learnt.scores)
    implied = implied_counts(network, found.width, target.outputs, recipe)
    # Trainer seeds again before its first step; this seed is for the head and the adapter.
    torch.manual_seed(seed)
    start = target.start(learnt.scores)
    model = build_model(network, found.width, target.outputs, recipe, start=start)
    task = Task(
        recipe=recipe,
        target=target,
        train=_part(tokenizer, learnt, facts),
        validation=None if validation is None else _part(tokenizer, validation, facts),
        dimensions=tuple(train.dimensions),
        implied=implied,
        seed=seed,
        device=where,
        importance=importance,
        identity={
            "recipe": fixed_on_resume(recipe),
            "backbone": facts.backbone_sha256,
            # A linear layer's outputs can be read in several ways, so its shape does not identify the objective.
            "head": recipe.link or "scores",
            "training rows": digest_of(learnt),
            "validation rows": "none" if validation is None else digest_of(validation),
            "seed": seed,
            **({"rubric": digest(facts.prefix)} if recipe.instruction else {}),
        },
        stop_after=None if validation is not None else epochs,
    )
    if where.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    outcome = train_model(model, task, workdir, resume=resume)
    peak = torch.cuda.max_memory_allocated() if where.startswith("cuda") else None
    cut = float(np.mean(task.train.tokens.truncated))
    student = _student(model, task, tokenizer, facts)
    held_out = np.full(train.scores.shape, np.nan)
    if aside.any():
        held_out[aside] = student.predict(train.take(aside).frame)
    return Fitted(
        student=student,
        validation=np.empty((0, train.scores.shape[1])) if validation is None else student.predict(validation.frame),
        held_out=held_out,
        seconds=(load := watch.load()).wall_seconds,
        load=load,
        device=where,
        precision=precision,
        history=tuple(outcome.history),
        best_epoch=outcome.best_epoch,
        steps=outcome.plan.steps,
        warmup_steps=outcome.plan.warmup,
        counts=outcome.counts,
        backbones={facts.backbone: facts.backbone_sha256},
        truncated_share=cut,
        resumed_from=outcome.resumed_from,
        notes=(*outcome.notes, *remarks, *_remarks(recipe, facts, cut)),
        peak_device_memory_bytes=peak,
    )


def digest_of(examples: Examples) -> str:
    """Return the SHA-256 of examples: ids, texts, scores and dimensions."""
    scores = [[None if np.isnan(value) else value for value in row] for row in examples.scores.tolist()]
    return digest([list(examples.dimensions), list(examples.ids), examples.texts, scores])


def _placed(network: nn.Module, recipe: FineTunedRecipe, device: str) -> nn.Module:
    """Move the backbone to its device and precision: frozen weights on an accelerator are stored as bfloat16.

    On a CPU they stay in float32: autocast converts them to bfloat16 only for the products, without any loss.
    """
    if recipe.lora is not None and recipe.precision == "bf16" and not device.startswith("cpu"):
        network = network.to(torch.bfloat16)
    return network.to(device)


def _part(tokenizer: Any, examples: Examples, facts: EncoderFacts) -> Part:  # noqa: ANN401 - transformers' own
    return Part(tokenise(tokenizer, [text or "" for text in examples.texts], facts), examples.scores)


def _check_memory(recipe: FineTunedRecipe, found: Backbone, dimensions: int, device: str) -> None:
    """Check before loading that network, gradients and optimizer fit into the memory of the device.

    Raises:
        NotEnoughMemory: they do not; the message says what would fit.
    """
    network = empty_model(found.architecture())
    if recipe.keep_layers is not None:
        network = shallower(network, recipe.keep_layers)
    counts = implied_counts(network, found.width, dimensions, recipe)
    slim = recipe.lora is not None and recipe.precision == "bf16" and not device.startswith("cpu")
    each = 2 if slim else 4

    def smaller() -> dict[str, int]:
        others = {
            f"backbone {name}": count * each + int(ADAM * count * counts.trainable / counts.total)
            for name, count in known_sizes()
        }
        if counts.trainable_base:
            others[f"{found.name} with lora"] = int(1.05 * each * counts.base)
        return others

    check_room(f"{recipe.name}: {found.name}", each * counts.total + ADAM * counts.trainable, device, smaller=smaller)


def _instruction(recipe: FineTunedRecipe, rubric: str) -> str:
    """Return the text that is prepended to every text."""
    if not recipe.instruction:
        return ""
    if not rubric.strip():
        raise RecipeError(f"{recipe.name}: instruction: there is no rubric to put before the texts")
    return f"{rubric.strip()}\n\n"


def _room(recipe: FineTunedRecipe, tokenizer: Any, facts: EncoderFacts) -> tuple[str, ...]:  # noqa: ANN401 - as below
    """Return a note on how many of an encoder's tokens the rubric leaves for a text; empty without a rubric.

    Raises:
        RecipeError: it leaves too few.
    """
    if not recipe.instruction:
        return ()
    left = text_reader(tokenizer, facts).left
    taken = f"instruction: the rubric takes {facts.max_tokens - left} of {facts.max_tokens} tokens"
    if left < LEAST_ROOM:
        raise RecipeError(
            f"{recipe.name}: {taken} and leaves {max(left, 0)} for a text, which needs at least {LEAST_ROOM}; raise "
            "max_tokens, or take a backbone that reads more or a shorter rubric"
        )
    said = f"{taken}; {left} are left for a text"
    note(f"{recipe.name}: {said}")
    return (said,)


def _student(
    model: nn.Module,
    task: Task,
    tokenizer: Any,  # noqa: ANN401 - transformers' own
    facts: EncoderFacts,
) -> NeuralStudent:
    adapter = adapter_of(model)
    tuned = merged(model)
    base = LinearHead(
        weights=np.ascontiguousarray(tuned.weights.numpy().T), bias=np.asarray(tuned.bias.numpy(), dtype=np.float32)
    )
    if not (np.isfinite(base.weights).all() and np.isfinite(base.bias).all()):
        raise TrainingError("the trained head holds a number that is not finite")
    head, lora, device = task.target.head(base), task.recipe.lora, task.device
    if lora is None:
        encoder = TorchEncoder(tuned.backbone, tokenizer, facts, trained=True, device=device)
        return NeuralStudent(encoder, head, task.dimensions)
    adapted = AdaptedEncoder(tuned.backbone, tokenizer, facts, lora=lora, adapter=adapter, device=device)
    return NeuralStudent(adapted, head, task.dimensions)


def _remarks(recipe: FineTunedRecipe, facts: EncoderFacts, cut: float) -> list[str]:
    said = []
    if facts.max_tokens < recipe.max_tokens:
        said.append(
            f"max_tokens is {facts.max_tokens}, all that the backbone can read; the recipe asks {recipe.max_tokens}"
        )
    if cut > MANY_TRUNCATED:
        said.append(f"{cut:.0%} of the training texts are longer than {facts.max_tokens} tokens and are cut")
    return said
